// Plays stories with the library of a folder, all at once in one JVM, and holds its sources against what the Groovy sandbox
// permits; those of another folder too.
//
//     groovy -cp <this folder>:<its classes> harness.groovy <library> <stage's URL> <other folder>
//     stdin:  {"<name>": {script, env, credentials, shell}}
//     stdout: {"lint": [finding], "other_lint": [finding], "stories": {"<name>": {result, returned?, error?, log, nodes}}}

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import java.util.concurrent.Callable
import java.util.concurrent.Executors
import org.codehaus.groovy.control.CompilerConfiguration

File library = new File(args[0])
Map stories = new JsonSlurper().parse(System.in, 'UTF-8')

CompilerConfiguration scripts = new CompilerConfiguration(scriptBaseClass: Steps.name)
GroovyClassLoader loader = new GroovyClassLoader(Steps.classLoader, scripts)
loader.addClasspath(new File(library, 'src').path)

Closure start = { Class compiled, Story story ->
    Steps script = compiled.newInstance()
    script.setStory(story) // not a property: that would be a variable of the script
    return script
}
Map variables = [:]
new File(library, 'vars').eachFileMatch(~/.*\.groovy/) { variables[it.name - '.groovy'] = loader.parseClass(it) }
Closure load = { String name, Story story -> variables[name] ? start(variables[name], story) : null }

def pool = Executors.newFixedThreadPool(stories.size())
Map running = stories.collectEntries { name, given ->
    Story story = new Story(given, args[1], load)
    Class compiled = loader.parseClass(given.script, "${name.replaceAll(/\W/, '_')}_story.groovy")
    [(name): pool.submit({ story.play(start(compiled, story)) } as Callable)]
}
Map lint = [lint: new SandboxLint(library).findings(), other_lint: new SandboxLint(new File(args[2])).findings()]
Map ends = running.collectEntries { name, future -> [(name): future.get()] }
pool.shutdown()
System.out.write(JsonOutput.toJson(lint + [stories: ends]).getBytes('UTF-8'))
System.out.flush()
