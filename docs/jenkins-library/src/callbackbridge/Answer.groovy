package callbackbridge

import com.cloudbees.groovy.cps.NonCPS

/**
 * What an input step is answered with: the result map of a wait, in four parameters.
 *
 * OUTCOME, SUMMARY and URL always travel with the answer, and the data does as long as it fits: Jenkins reads a form of at
 * most 200,000 bytes. PAYLOAD is `{"data": …}` as JSON, so that text stays text and null stays null. Data that is longer is
 * not sent, and fetched from the bridge.
 */
class Answer implements Serializable {
    private static final long serialVersionUID = 1

    static final List OUTCOMES = ['succeeded', 'failed', 'cancelled', 'timed_out']

    /**
     * JMESPath over the event, for the wait's address.
     *
     * A character of JSON text makes at most 6 bytes of a form (`%5C%22`); 150,000 for the data leave room for a SUMMARY of
     * 1000 and a URL of 2000 characters of 12 bytes.
     */
    static final Map EXPRESSIONS = [
        OUTCOME: 'outcome',
        SUMMARY: 'summary',
        URL: 'url',
        PAYLOAD: '[to_string({data: body})][?length(@) <= `25000`] | [0]',
    ]

    /** Return the result map, with isComplete: false where the data is to be fetched; null for an answer in another shape. */
    @NonCPS
    static Map read(def given) {
        if (given == null) { // by an API call without parameters
            return byHand([OUTCOME: 'succeeded'])
        }
        if (!(given instanceof Map) || !OUTCOMES.contains(given.get('OUTCOME'))) {
            return null
        }
        if (given.containsKey('PAYLOAD') && !given.get('PAYLOAD')) { // the bridge leaves it out, or fills it
            return byHand(given)
        }
        def payload = given.containsKey('PAYLOAD') ? Bridge.parse(given.get('PAYLOAD')) : [data: null]
        if (!(payload instanceof Map)) {
            return null
        }
        return map(given, payload.get('data')) + [isComplete: given.containsKey('PAYLOAD')]
    }

    @NonCPS
    private static Map byHand(Map given) {
        Map result = map(given, null)
        return result + [summary: result.get('summary') ?: 'answered in Jenkins', isComplete: true]
    }

    @NonCPS
    private static Map map(Map given, def data) {
        return [outcome: given.get('OUTCOME'), summary: given.get('SUMMARY') ?: '', url: given.get('URL') ?: '', data: data]
    }
}
