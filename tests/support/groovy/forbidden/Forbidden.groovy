import groovy.json.JsonSlurperClassic

/** What a library must not do: the lint is to find one thing in each line that says so. */
class Forbidden implements Serializable {
    def steps

    def calls(Map given) {
        def text = new URL('https://bridge.example.com').text // finds: new java.net.URL
        new JsonSlurperClassic() // finds: new groovy.json.JsonSlurperClassic
        System.getenv('BRIDGE_TOKEN') // finds: java.lang.System.getenv
        text.execute() // finds: method execute
        steps.readJSON(text: text) // finds: step readJSON
        steps.getClass() // finds: step getClass
        given.keySet().each { steps.error(it) } // finds: method each; a closure that is no step's body
        def match = text =~ 'a' // finds: a matcher, which no restart survives
        def name = given.class // finds: property given.class
        def path = File.separator // finds: property java.io.File.separator
        def pointer = text.&trim // finds: a method pointer
    }

    @com.cloudbees.groovy.cps.NonCPS
    def waits() {
        steps.input('Go?') // finds: step input in a method without CPS
    }

    @Deprecated // finds: annotation Deprecated
    def old() {}
}
