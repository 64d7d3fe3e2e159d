import callbackbridge.Answer
import callbackbridge.Bridge

/**
 * Wait for what registerWebhook() has opened; return the result, the same map in every case: outcome, summary, url, data.
 *
 * Holds no executor outside of `node`. outcome: succeeded, failed, cancelled or timed_out. An abort aborts, as ever.
 *
 * failOnError: true lets the build fail, with the summary, for every outcome but succeeded.
 * message:     shown to people at the input.
 * submitter:   who may answer, beside administrators: users or groups, separated by commas. The bridge's user is to be one.
 */
Map call(Map options = [:], Map hook) {
    Map asked = [
        id: hook.inputId,
        message: options.message ?: "Waiting for ${hook.name}",
        parameters: [
            choice(name: 'OUTCOME', choices: Answer.OUTCOMES, description: 'Filled in by the bridge; so are the others.'),
            string(name: 'SUMMARY', defaultValue: '', description: ''),
            string(name: 'URL', defaultValue: '', description: ''),
            text(name: 'PAYLOAD', defaultValue: '', description: 'By hand: empty, or {"data": …}.'),
        ],
    ]
    if (options.submitter) {
        asked.submitter = options.submitter
    }
    def given = null
    // No answer can come later: the bridge ends the wait at its timeout, and delivers for the grace at most.
    timeout(time: hook.timeoutS + hook.graceS, unit: 'SECONDS') {
        given = input(asked)
    }
    Map result = resultOf(given, hook)
    if (options.failOnError && result.outcome != 'succeeded') {
        error("${hook.name}: ${result.outcome}${result.summary ? ': ' + result.summary : ''}")
    }
    return result
}

private Map resultOf(def given, Map hook) {
    Map answer = Answer.read(given)
    if (answer == null) {
        error("waitForWebhook: ${hook.name} was answered, but not with OUTCOME, SUMMARY, URL and PAYLOAD")
    }
    def data = answer.data
    if (!answer.isComplete) {
        Map whole = new Bridge(this, hook).result(hook.id)
        data = whole == null ? null : whole.data
    }
    return [outcome: answer.outcome, summary: answer.summary, url: answer.url, data: data]
}
