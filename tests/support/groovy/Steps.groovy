import java.util.concurrent.Callable
import java.util.concurrent.Executors

/**
 * The steps of a stock Jenkins that a library may use, and no more: a pipeline's base class.
 *
 * `sh` runs a real shell, as Jenkins starts it; `input` waits at the Jenkins emulator, through the test's stage.
 */
abstract class Steps extends Script {
    /** What one build is given, and what it leaves: shared by the pipeline and the library's global variables. */
    Story story

    def getEnv() { story.env }

    def methodMissing(String name, def arguments) {
        Steps variable = story.variable(name)
        if (variable == null) {
            throw new MissingMethodException(name, getClass(), arguments as Object[])
        }
        return variable.invokeMethod('call', arguments)
    }

    // --- steps

    def node(String label = '', Closure body) {
        story.nodes << label
        return story.within([NODE_NAME: 'agent-1'], body)
    }

    def withCredentials(List bindings, Closure body) {
        Map values = bindings.collectEntries { binding ->
            assert story.credentials.containsKey(binding.credentialsId) : "no credentials ${binding.credentialsId}"
            [(binding.variable): story.credentials[binding.credentialsId]]
        }
        return story.within(values, body)
    }

    def sh(String script) { sh(script: script) }

    /** As the durable task does: `sh -xe`, or the script's own interpreter; what is not returned goes to the log. */
    def sh(Map given) {
        check(given, ['script', 'returnStdout', 'encoding', 'label'])
        assert env.NODE_NAME : 'sh needs a node'
        File file = File.createTempFile('script', '.sh')
        file.setText(given.script.toString(), 'UTF-8')
        ProcessBuilder builder = new ProcessBuilder('sh', '-xe', file.path)
        builder.environment().clear()
        builder.environment().putAll(story.shell + env)
        Process process = builder.start()
        process.outputStream.close()
        StringBuffer out = new StringBuffer(), err = new StringBuffer()
        process.waitForProcessOutput(out, err)
        file.delete()
        story.log(err)
        if (!given.returnStdout) {
            story.log(out)
        }
        if (process.exitValue() != 0) {
            throw new Story.Failure("script returned exit code ${process.exitValue()}")
        }
        return given.returnStdout ? out.toString() : null
    }

    def input(Map given) {
        check(given, ['id', 'message', 'parameters', 'submitter'])
        Map answer = story.ask('input', given + [build_url: env.BUILD_URL, timeout_s: story.timeouts.get()])
        if (answer.is_abort) {
            throw new Story.Aborted('input')
        }
        return answer.returned
    }

    /** Told to the stage; nothing here is waited for so long. */
    def timeout(Map given, Closure body) {
        check(given, ['time', 'unit'])
        assert given.time instanceof Integer && given.unit == 'SECONDS'
        story.timeouts.set(given.time)
        try {
            return body()
        } finally {
            story.timeouts.remove()
        }
    }

    def error(def message) { throw new Story.Failure(message.toString()) }

    def parallel(Map branches) {
        def pool = Executors.newFixedThreadPool(branches.size())
        Map values = story.bound()
        try {
            Map running = branches.collectEntries { name, body ->
                [(name): pool.submit({ story.within(values, body) } as Callable)]
            }
            return running.collectEntries { name, future -> [(name): future.get()] }
        } finally {
            pool.shutdown()
        }
    }

    def echo(def message) { story.log("${message}\n") }

    def string(Map given) { given + [type: 'string'] }

    def text(Map given) { given + [type: 'text'] }

    def choice(Map given) { given + [type: 'choice'] }

    private static void check(Map given, List known) {
        assert given.keySet() - known == [] as Set
    }

    // --- for the stories

    /** What Jenkins does with every variable of a pipeline that waits: it is written to the disk, and read after a restart. */
    def throughDisk(def value) {
        def bytes = new ByteArrayOutputStream()
        new ObjectOutputStream(bytes).withStream { it.writeObject(value) }
        def loader = getClass().classLoader
        def stream = new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray())) {
            protected Class resolveClass(ObjectStreamClass described) { Class.forName(described.name, false, loader) }
        }
        return stream.readObject()
    }
}
