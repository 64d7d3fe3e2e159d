import groovy.json.JsonOutput
import groovy.json.JsonSlurper

/** One build of a pipeline. */
class Story {
    /** The `error` step, or a script that failed. */
    static class Failure extends RuntimeException {
        Failure(String message) { super(message) }
    }

    /** An input that was aborted. */
    static class Aborted extends RuntimeException {
        Aborted(String message) { super(message) }
    }

    String stage
    /** The shell's environment, PATH among it. */
    Map shell
    Map credentials
    Closure load
    List nodes = [].asSynchronized()
    ThreadLocal timeouts = new ThreadLocal()
    private final StringBuffer text = new StringBuffer()
    private final Map variables = [:]
    private final Map environment
    private final ThreadLocal here = new ThreadLocal()

    Story(Map given, String stage, Closure load) {
        this.stage = stage
        this.load = load
        shell = given.shell
        credentials = given.credentials
        environment = given.env
    }

    Map getEnv() { environment + bound() }

    Map bound() { here.get() ?: [:] }

    def within(Map values, Closure body) {
        Map before = bound()
        here.set(before + values)
        try {
            return body()
        } finally {
            here.set(before)
        }
    }

    /** Return a global variable of the library: one for each build, as in Jenkins. */
    synchronized Steps variable(String name) {
        variables.computeIfAbsent(name) { load(name, this) }
    }

    void log(CharSequence words) { text.append(words) }

    Map ask(String what, Map body) {
        HttpURLConnection connection = new URL("${stage}/${what}").openConnection()
        connection.doOutput = true
        connection.setRequestProperty('Content-Type', 'application/json')
        connection.outputStream.withStream { it.write(JsonOutput.toJson(body).getBytes('UTF-8')) }
        return new JsonSlurper().parse(connection.inputStream, 'UTF-8')
    }

    /** Run the pipeline; return what became of the build. */
    Map play(Steps pipeline) {
        Map end = [result: 'SUCCESS']
        try {
            end.returned = pipeline.throughDisk(pipeline.run())
        } catch (Failure failure) {
            end = [result: 'FAILURE', error: failure.message]
        } catch (Aborted aborted) {
            end = [result: 'ABORTED']
        } catch (Throwable broken) {
            end = [result: 'BROKEN', error: org.codehaus.groovy.runtime.StackTraceUtils.sanitize(broken).with {
                StringWriter trace = new StringWriter()
                printStackTrace(new PrintWriter(trace))
                trace.toString()
            }]
        }
        return end + [log: text.toString(), nodes: nodes]
    }
}
