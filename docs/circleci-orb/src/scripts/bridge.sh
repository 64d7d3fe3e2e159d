#!/bin/sh
# The bridge's API from a job, with nothing but sh, curl, sed and awk. PARAM_CALL says which call:
#   register  opens a wait for an approval job of this workflow, and exports its callback URL to the steps that follow
#   result    fetches what became of that wait, writes it to a file, and exports the outcome
set -eu
set +x
export LC_ALL=C

fail() {
    printf 'callback-bridge: %s\n' "$*" >&2
    exit 1
}

# Print $1 as a quoted string, of JSON and of curl's config alike.
quoted() { printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"; }

# Fail when the value $2 of parameter $1 is empty or holds what no quoted string may.
check() {
    case $2 in
    '') fail "$1 is empty" ;;
    *[[:cntrl:]]*) fail "$1 holds a control character" ;;
    esac
}

# Print JSON with each ${NAME} filled in from the environment; ends with 1 where that is no word for a JSON string.
filled() {
    printf '%s\n' "$1" | awk '{
        text = $0
        made = ""
        while (match(text, /[$][{][A-Za-z_][A-Za-z0-9_]*[}]/)) {
            name = substr(text, RSTART + 2, RLENGTH - 3)
            value = ENVIRON[name]
            if (value == "" || value ~ /["\\]/) {
                print "callback-bridge: expects: the variable " name " is not set, or holds a quote or a backslash" > "/dev/stderr"
                exit 1
            }
            made = made substr(text, 1, RSTART - 1) value
            text = substr(text, RSTART + RLENGTH)
        }
        printf "%s ", made text
    }'
}

# Call the path $1; the other arguments are lines of curl's config. Leaves the body in the file $answer, the status in $status.
# The token reaches curl on its standard input, so it stands in no process list.
call() {
    path=$1
    shift
    status=$({
        printf '%s\n' "url = $(quoted "$bridge$path")" "header = $(quoted "Authorization: Bearer $token")" "$@"
    } | curl --config - --silent --show-error --connect-timeout 10 --max-time 90 --retry 6 --retry-connrefused \
        --output "$answer" --write-out '%{http_code}') || true
}

# Fail with the bridge's own words: an error of its API holds neither secrets nor what was sent.
refuse() {
    words=$(sed -n '/^{"type":"\/problems\//p' "$answer")
    case $status:$words in
    000:*) fail "$1: it does not answer" ;;
    *:) fail "$1: answered $status, and not as the bridge does" ;;
    *) fail "$1: answered $status: $words" ;;
    esac
}

register() {
    check timeout "$PARAM_TIMEOUT"
    check target "$PARAM_TARGET"
    check on_failure "$PARAM_ON_FAILURE"
    expects=$(filled "$PARAM_EXPECTS")
    check expects "$expects"
    address="{\"workflow_id\":$(quoted "$workflow"),\"approval\":$(quoted "$approval")"
    address="$address,\"on_failure\":$(quoted "$PARAM_ON_FAILURE")}"
    body="{\"target\":$(quoted "$PARAM_TARGET"),\"address\":$address,\"timeout\":$(quoted "$PARAM_TIMEOUT")"
    body="$body,\"expects\":$expects,\"labels\":{\"circleci\":$(quoted "$workflow/$approval")}}"
    call /v1/waits \
        'header = "Accept: text/plain"' \
        'header = "Content-Type: application/json"' \
        "header = $(quoted "Idempotency-Key: $workflow/$approval")" \
        "data = $(quoted "$body")"
    url=$(sed -n '1p' "$answer")
    case $status:$url in
    201:*[!A-Za-z0-9.:/_~-]*) refuse 'the wait was not registered' ;;
    201:http*/cb/*) ;;
    *) refuse 'the wait was not registered' ;;
    esac
    printf "export %s='%s'\n" "$PARAM_URL_VARIABLE" "$url" >>"$BASH_ENV"
    printf '%s\n' "$approval waits for at most $PARAM_TIMEOUT; the callback URL is in \$$PARAM_URL_VARIABLE"
}

result() {
    check file "$PARAM_FILE"
    call /v1/waits 'get' "data-urlencode = $(quoted "label=circleci:$workflow/$approval")" 'data = "limit=1"'
    [ "$status" = 200 ] || refuse 'the wait could not be looked up'
    id=$(sed -n 's/^{"items":\[{"id":"\([0-9a-z-]*\)".*/\1/p' "$answer")
    [ -n "$id" ] || fail "no wait was registered for the approval $approval of this workflow"
    await "$id"
    outcome=$(sed -n 's/^{"outcome":"\([a-z_]*\)","data":{.*}}$/\1/p' "$answer")
    [ -n "$outcome" ] || refuse 'the result could not be fetched'
    sed -n 's/^{"outcome":"[a-z_]*","data":\({.*}\)}$/\1/p' "$answer" >"$PARAM_FILE"
    summary=$(sed -nE 's/^\{"outcome":"[a-z_]*","summary":"(([^"\\]|\\.)*)".*/\1/p' "$PARAM_FILE")
    [ -z "${BASH_ENV:-}" ] || printf 'export BRIDGE_OUTCOME=%s\n' "$outcome" >>"$BASH_ENV"
    printf '%s\n' "$approval: $outcome${summary:+: $summary}"
    [ "$outcome" = succeeded ] || case $PARAM_FAIL in
    1 | true) exit 1 ;;
    esac
}

# Leave the result of wait $1 in the file $answer. It is there when the bridge has approved; a person may be faster.
await() {
    end=$(($(date +%s) + PARAM_WITHIN_S))
    while :; do
        left=$((end - $(date +%s)))
        [ "$left" -ge 0 ] || left=0
        call "/v1/waits/$1/result?wait=$((left < 60 ? left : 60))"
        case $status in
        200) return ;;
        202) [ "$left" -gt 0 ] || fail "$approval is not decided: was it approved by hand?" ;;
        *) refuse 'the result could not be fetched' ;;
        esac
    done
}

eval "token=\${$PARAM_TOKEN:-}"
bridge=${PARAM_BRIDGE_URL:-${BRIDGE_URL:-}}
bridge=${bridge%/}
approval=$PARAM_APPROVAL
workflow=${CIRCLE_WORKFLOW_ID:-}
check "the variable $PARAM_TOKEN" "$token"
check 'bridge_url, or the variable BRIDGE_URL,' "$bridge"
check approval "$approval"
check 'the variable CIRCLE_WORKFLOW_ID' "$workflow"
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
case $PARAM_CALL in
register) register ;;
result) result ;;
esac
