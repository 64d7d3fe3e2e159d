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
            return result([OUTCOME: 'succeeded'], 'answered in Jenkins', null, true)
        }
        if (!(given instanceof Map) || !OUTCOMES.contains(given.get('OUTCOME'))) {
            return null
        }
        if (!given.containsKey('PAYLOAD')) {
            return result(given, '', null, false)
        }
        if (!given.get('PAYLOAD')) { // the bridge leaves it out, or fills it
            return result(given, 'answered in Jenkins', null, true)
        }
        def payload = Bridge.parse(given.get('PAYLOAD'))
        return payload instanceof Map ? result(given, '', payload.get('data'), true) : null
    }

    @NonCPS
    private static Map result(Map given, String unsaid, def data, boolean isComplete) {
        return [
            outcome: given.get('OUTCOME'),
            summary: given.get('SUMMARY') ?: unsaid,
            url: given.get('URL') ?: '',
            data: data,
            isComplete: isComplete,
        ]
    }
}
