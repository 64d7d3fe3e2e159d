package callbackbridge

import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

/**
 * The bridge as a pipeline sees it: two calls of its API, made by curl on an agent.
 *
 * Needs no approval in the Groovy sandbox, and holds nothing that a restart of Jenkins would lose.
 */
class Bridge implements Serializable {
    private static final long serialVersionUID = 1

    /**
     * One call, as a shell script: prints the status (000 for none), then the body.
     *
     * The token reaches curl on its standard input, so it stands in no process list. It is quoted as curl's config wants
     * it. A lost answer may be asked for again: a registration has its Idempotency-Key.
     */
    private static final String CALL = '''\
set +x
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
status=$({
    printf 'header = "Authorization: Bearer %s"\\n' "$(printf %s "$BRIDGE_TOKEN" | sed 's/["\\\\]/\\\\&/g')"
    cat <<'END_OF_CALL'
@CONFIG@
END_OF_CALL
} | curl --config - --silent --show-error --connect-timeout 10 --max-time 90 --retry 6 --retry-connrefused \\
    --output "$answer" --write-out '%{http_code}') || true
printf '%s\\n' "$status"
cat "$answer"
'''

    final def steps
    final Map hook

    /** steps: the script that calls, for the pipeline's steps. hook: its bridge, credentialsId and label are used. */
    Bridge(def steps, Map hook) {
        this.steps = steps
        this.hook = hook
    }

    /** Open a wait; return what the bridge says of it: id, callback_url, expires_at. The build fails when it is refused. */
    Map register(Map request, String idempotencyKey) {
        Map answer = ask('/v1/waits', [
            "header = ${quoted('Content-Type: application/json')}",
            "header = ${quoted('Idempotency-Key: ' + idempotencyKey)}",
            "data = ${quoted(JsonOutput.toJson(request))}",
        ])
        if (answer.status != 201 || !answer.json?.callback_url) {
            fail('the wait was not registered', answer)
        }
        return answer.json
    }

    /** Return the result of a wait, as the map that a pipeline gets; null while it is not decided. */
    Map result(String id) {
        Map answer = ask("/v1/waits/${id}/result", [])
        if (answer.status == 202) {
            return null
        }
        if (answer.status != 200 || !answer.json?.data) {
            fail('the result could not be fetched', answer)
        }
        return answer.json.data
    }

    Map ask(String path, List lines) {
        List config = ["url = ${quoted(hook.bridge + path)}", "header = ${quoted('Accept: application/json')}"] + lines
        String printed = onAgent(CALL.replace('@CONFIG@', config.join('\n')))
        int end = printed.indexOf('\n')
        return [status: Integer.parseInt(printed.substring(0, end).trim()), json: parse(printed.substring(end + 1))]
    }

    String onAgent(String script) {
        if (steps.env.NODE_NAME) {
            return printedBy(script)
        }
        String printed = ''
        steps.node(hook.label) {
            printed = printedBy(script)
        }
        return printed
    }

    String printedBy(String script) {
        String printed = ''
        steps.withCredentials([steps.string(credentialsId: hook.credentialsId, variable: 'BRIDGE_TOKEN')]) {
            printed = steps.sh(script: script, returnStdout: true, encoding: 'UTF-8', label: 'callback-bridge')
        }
        return printed
    }

    void fail(String what, Map answer) {
        steps.error("callback-bridge: ${what}: ${reason(answer)}")
    }

    /** Say why in the bridge's own words: an error of its API holds neither secrets nor what was sent. */
    @NonCPS
    private static String reason(Map answer) {
        if (answer.status == 0) {
            return 'it does not answer; curl says why above'
        }
        if (!answer.json?.title) {
            return "answered ${answer.status}, and not in the bridge's words; is the URL right?"
        }
        String text = "${answer.status} ${answer.json.title}"
        for (problem in (answer.json.errors ?: [])) {
            text += "; ${problem.pointer}: ${problem.detail}"
        }
        return text
    }

    /** Return text as a quoted value of curl's config. */
    @NonCPS
    private static String quoted(String text) {
        return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'
    }

    /** Return the value of a JSON object or array, null for anything else. */
    @NonCPS
    static def parse(String text) {
        try {
            return plain(new JsonSlurper().parseText(text))
        } catch (ignored) {
            return null
        }
    }

    /** Return a copy in collections that survive a restart: those of JsonSlurper do not. */
    @NonCPS
    private static def plain(def value) {
        if (value instanceof Map) {
            Map copy = [:]
            for (name in value.keySet()) {
                copy.put(name, plain(value.get(name)))
            }
            return copy
        }
        if (value instanceof List) {
            List copy = []
            for (item in value) {
                copy.add(plain(item))
            }
            return copy
        }
        return value
    }

    /** Return the seconds of `90s`, `15m`, `8h`, `7d` or a number; 0 for what is none of them. */
    @NonCPS
    static int seconds(def duration) {
        String text = "${duration}"
        if (text ==~ /[0-9]{1,9}/) {
            return Integer.parseInt(text)
        }
        if (!(text ==~ /[0-9]{1,6}[smhd]/)) {
            return 0
        }
        Map units = [s: 1, m: 60, h: 3600, d: 86400]
        int end = text.length() - 1
        return Integer.parseInt(text.substring(0, end)) * units.get(text.substring(end))
    }
}
