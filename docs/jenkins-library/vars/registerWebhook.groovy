import callbackbridge.Answer
import callbackbridge.Bridge

/**
 * Open a wait for this build; return its hook, for waitForWebhook(). The remote system gets hook.url.
 *
 * timeout:       "90s" "15m" "8h" "7d" or seconds; mandatory. Then the outcome is `timed_out`.
 * name:          what is waited for, shown to people: "load-test".
 * expects:       webhooks of configured sources that count as well; see the bridge's HTTP API.
 * labels:        names and values to find the wait by.
 * onFailure:     "proceed" (default): every outcome reaches the pipeline. "abort": the bridge aborts the input.
 * bridge:        the bridge's URL; else the variable BRIDGE_URL.
 * target:        this Jenkins as the bridge knows it; else the variable BRIDGE_TARGET.
 * credentialsId: a "Secret text", the token of a client with the roles register and read; else the variable
 *                BRIDGE_CREDENTIALS_ID, else "bridge-token".
 * label:         of an agent with sh and curl, taken for a moment where the pipeline holds none.
 * grace:         how long after the timeout an answer may still come: the bridge's delivery_window; "24h".
 */
Map call(Map args) {
    Map hook = [
        name: asText(args.name ?: 'webhook'),
        bridge: asText(args.bridge ?: env.BRIDGE_URL).replaceAll('/+$', ''),
        target: asText(args.target ?: env.BRIDGE_TARGET),
        credentialsId: asText(args.credentialsId ?: env.BRIDGE_CREDENTIALS_ID ?: 'bridge-token'),
        label: asText(args.label),
        timeoutS: Bridge.seconds(args.timeout),
        graceS: Bridge.seconds(args.grace ?: '24h'),
    ]
    String wrong = wrongIn(args, hook)
    if (wrong) {
        error("registerWebhook: ${wrong}")
    }
    // An id of its own for each call: in parallel branches, loops and retries, and after a restart of Jenkins, which keeps
    // the hook. Nothing is counted, so nothing can be counted twice.
    hook.inputId = "${hook.name.replaceAll('[^A-Za-z0-9._~-]', '-')}-${UUID.randomUUID()}".toString()
    Map wait = new Bridge(this, hook).register([
        target: hook.target,
        address: [
            build_url: env.BUILD_URL,
            input_id: hook.inputId,
            parameters: Answer.EXPRESSIONS,
            on_failure: args.onFailure ?: 'proceed',
        ],
        timeout: args.timeout,
        expects: args.expects ?: [],
        labels: args.labels ?: [:],
    ], hook.inputId)
    hook.id = wait.id
    hook.url = wait.callback_url
    return hook
}

/** Say what keeps a wait from being asked for; empty for nothing. */
private String wrongIn(Map args, Map hook) {
    List known = [
        'timeout', 'name', 'expects', 'labels', 'onFailure', 'bridge', 'target', 'credentialsId', 'label', 'grace',
    ]
    for (name in args.keySet()) {
        if (!known.contains(name)) {
            return "${name} is not known; known are ${known.join(', ')}"
        }
    }
    if (!hook.timeoutS || !hook.graceS) {
        return 'timeout (and grace) take "90s", "15m", "8h", "7d" or seconds; timeout is mandatory'
    }
    if (!(hook.bridge ==~ 'https?://[^\\s]+')) {
        return "bridge, or the variable BRIDGE_URL, is to be the bridge's URL"
    }
    if (!hook.target) {
        return 'target, or the variable BRIDGE_TARGET, is to be the name that the bridge has for this Jenkins'
    }
    return env.BUILD_URL ? '' : 'this build has no BUILD_URL: set the Jenkins URL under Manage Jenkins, System'
}

private String asText(def value) {
    return value == null ? '' : "${value}"
}
