"""The Jenkins shared library in docs/: played by a real Groovy, against the Jenkins emulator and a real bridge."""

import asyncio
import json
import re
from typing import Any

import pytest

from tests.support.bridge_process import TOKEN
from tests.support.groovy.stage import FORBIDDEN, LIBRARY, Commands, Everything, Played, Remote, Story, play

README = (LIBRARY / "README.md").read_text()
SHOWN = re.findall(r"^```groovy\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[0]
RESULT: dict[str, Any] = {
    "outcome": "succeeded",
    "summary": 'p99 "flat" at 90 ms, größer',
    "url": "https://testfarm.example.com/runs/4711",
    "rps": 412,
    "ratio": 0.25,
    "steps": [{"name": "ramp\tup\nhold", "ok": True, "note": None}, "𝄞 \\ ' $HOME `id`", []],
}
BAD = {"outcome": "failed", "summary": "p99 rose to 900 ms", "url": "https://testfarm.example.com/runs/4712"}
LONG = {"summary": "much", "log": "line é\n" * 60_000}
DENSE = '"' * 12_000
"""Nearly as much as travels with the answer, of what grows most in a form."""
CALL = """sh "set +x; curl -fsS -d '{\\"callback\\":\\"${hook.url}\\"}' https://testfarm.example.com/runs" """


def pipeline(register: str = "timeout: '8h'", wait: str = "hook") -> str:
    """Return a pipeline that registers, calls the remote system and waits; Jenkins restarts in between."""
    return f"""
        def hook
        node {{
            hook = registerWebhook({register})
            {CALL}
        }}
        hook = throughDisk(hook)
        return waitForWebhook({wait})
    """


ISSUE = r"""
node {
    def hook = registerWebhook(timeout: '8h')
    sh "curl -X POST -d '{\"callback\":\"${hook.url}\"}' https://testfarm.example.com/runs"
    def result = waitForWebhook(hook)
    return result
}
"""
TWICE = f"""
def results = [:]
def branch = {{ name ->
    def hook
    node {{
        hook = registerWebhook(timeout: '8h', name: 'load test')
        {CALL}
    }}
    results[name] = [hook: hook, result: waitForWebhook(hook)]
}}
parallel(one: {{ branch('one') }}, two: {{ branch('two') }})
return results
"""
ODD_LABEL = 'é " \\ \nEND_OF_CALL\n $HOME'
ODD_LABEL_IN_GROOVY = r"é \" \\ \nEND_OF_CALL\n $HOME"
ODD_TOKEN = "quo\"te\\back $HOME `id` %s 'x'"  # noqa: S105 - nobody's


# --- remote systems


def sends(result: Any = None, suffix: str = "") -> Any:
    """Call back once the pipeline waits."""

    async def remote(farm: Remote) -> None:
        await farm.reached()
        await farm.call_back(result, suffix)

    return remote


async def hurries(farm: Remote) -> None:
    """Call back before the call is answered, and let the bridge find that nothing waits yet."""
    await farm.call_back(RESULT)
    await farm.in_vain()


async def answers_both_at_last(farm: Remote) -> None:
    """Call back once both branches wait, each with its own callback URL as the result."""
    await farm.reached(2)
    await farm.call_back({"run": farm.callback})


async def never(farm: Remote) -> None:
    """Forget the call."""


def by_hand(verb: str, **parameters: str) -> Any:
    """Let a person answer."""

    async def remote(farm: Remote) -> None:
        await farm.answer_by_hand(verb, **parameters)

    return remote


FORM = {"OUTCOME": "succeeded", "SUMMARY": "", "URL": "", "PAYLOAD": ""}
STORIES = {
    "readme": Story(SHOWN + "\nreturn throughDisk(result)", sends(RESULT)),
    "issue": Story(ISSUE, sends(RESULT)),
    "bare": Story(pipeline(), sends()),
    "text": Story(pipeline(), sends("123")),
    "failure": Story(pipeline(), sends(BAD)),
    "cancelled": Story(pipeline(), sends(None, "/cancelled")),
    "fails-the-build": Story(pipeline("timeout: '8h', name: 'load-test'", "hook, failOnError: true"), sends(BAD)),
    "succeeds-all-the-same": Story(pipeline(wait="hook, failOnError: true"), sends(RESULT)),
    "aborts": Story(pipeline("timeout: '8h', onFailure: 'abort'"), sends(BAD)),
    "early": Story(pipeline(), hurries, early=True),
    "parallel": Story(TWICE, answers_both_at_last),
    "timed-out": Story(pipeline("timeout: 1"), never),
    "long": Story(pipeline("timeout: '8h', label: 'linux'"), sends(LONG)),
    "dense": Story(pipeline(), sends(DENSE)),
    "proceed": Story(pipeline(), by_hand("proceed", **FORM)),
    "proceed-as-failed": Story(pipeline(), by_hand("proceed", **FORM | {"OUTCOME": "failed", "SUMMARY": "seen"})),
    "proceed-without-form": Story(pipeline(), by_hand("proceedEmpty")),
    "person-aborts": Story(pipeline(wait="hook, submitter: 'bridge,ana', message: 'Is it done?'"), by_hand("abort")),
    "wrong-token": Story(pipeline(), token="not-a-token-of-ours"),  # noqa: S106 - nobody's
    "no-node": Story("return registerWebhook(timeout: '8h', label: 'linux', expects: [], labels: [team: 'shop'])"),
    "too-long": Story(pipeline("timeout: '90d'")),
    "wrong-choice": Story(pipeline("timeout: '8h', onFailure: 'explode'")),
    "mistyped": Story(pipeline("timuout: '8h'")),
    "endless": Story(pipeline("name: 'x'")),
    "no-bridge": Story(pipeline(), environ={"BRIDGE_URL": "bridge.example.com"}),
    "no-target": Story(pipeline(), environ={"BRIDGE_TARGET": ""}),
    "no-url": Story(pipeline(), environ={"BUILD_URL": ""}),
    "login-page": Story(
        pipeline(rf"""timeout: '8h', name: "Ana's \\ 'test'", labels: [team: '{ODD_LABEL_IN_GROOVY}']"""),
        environ={"BRIDGE_URL": "STAGE/login/login-page/"},
        token=ODD_TOKEN,
    ),
    "deaf": Story(pipeline(), environ={"CURL_FAILS": "yes"}),
}


@pytest.fixture(scope="module")
def everything(groovy: str, curl: str, tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """Everything, played once: a JVM is slow to start."""
    return asyncio.run(play(STORIES, tmp_path_factory.mktemp("library"), Commands(groovy, curl)))


@pytest.fixture(scope="module")
def played(everything: Everything) -> dict[str, Played]:
    return everything.played


def ended(played: Played) -> Any:
    """Return what a pipeline that went well returned."""
    assert (played.result, played.error) == ("SUCCESS", "")
    return played.returned


def result(outcome: str = "succeeded", summary: str = "", url: str = "", data: Any = None) -> dict[str, Any]:
    """Return the map that a pipeline gets."""
    return {"outcome": outcome, "summary": summary, "url": url, "data": data}


GOOD_RESULT = result("succeeded", RESULT["summary"], RESULT["url"], RESULT)
BAD_RESULT = result("failed", BAD["summary"], BAD["url"], BAD)


# --- the result


@pytest.mark.parametrize("name", ["readme", "issue", "early", "succeeds-all-the-same"])
def test_a_result_reaches_the_pipeline(played: dict[str, Played], name: str) -> None:
    """Outcome, summary, link and data arrive unharmed, whatever characters are in them, with one answer to one input."""
    assert ended(played[name]) == GOOD_RESULT
    assert [call for call in played[name].calls if call.startswith("POST")] == [
        f"POST input/{played[name].inputs[0]['id'].capitalize()}/proceed"
    ]


def test_a_callback_may_come_before_the_input(played: dict[str, Played]) -> None:
    """The bridge looked in vain before the remote system's call was over; the result came all the same."""
    assert ended(played["early"]) == GOOD_RESULT
    assert played["early"].calls.count("GET api/json") > played["bare"].calls.count("GET api/json")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bare", result()),
        ("text", result(data="123")),
        ("failure", BAD_RESULT),
        ("cancelled", result("cancelled")),
        ("timed-out", result("timed_out", "timed out")),
        ("dense", result(data=DENSE)),
        ("long", result(summary="much", data=LONG)),
    ],
)
def test_every_outcome_is_the_same_map(played: dict[str, Played], name: str, expected: dict[str, Any]) -> None:
    """A failure, a cancellation, a timeout, nothing, text that looks like a number, and much data: four keys."""
    assert ended(played[name]) == expected


def test_only_what_is_too_long_is_fetched(played: dict[str, Played]) -> None:
    """One call registers; a second one is made for data that would not fit into a form, on an agent with the label."""
    asked = {name: one.arguments.count("--config") for name, one in played.items() if one.result == "SUCCESS"}
    assert {name for name, count in asked.items() if count != 1} == {"long", "parallel"}
    assert (asked["long"], asked["parallel"]) == (2, 2)
    assert played["long"].nodes == ["", "linux"]


def test_the_build_fails_where_that_is_wished(played: dict[str, Played]) -> None:
    """`failOnError` fails the build with the summary."""
    assert (played["fails-the-build"].result, played["fails-the-build"].error) == (
        "FAILURE",
        "load-test: failed: p99 rose to 900 ms",
    )


def test_the_bridge_may_abort(played: dict[str, Played]) -> None:
    """`onFailure: 'abort'` aborts the input, and nothing of the library hides that."""
    assert played["aborts"].result == "ABORTED"
    assert [call.rpartition("/")[2] for call in played["aborts"].calls if "POST" in call] == ["abort"]


# --- people


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("proceed", result(summary="answered in Jenkins")),
        ("proceed-without-form", result(summary="answered in Jenkins")),
        ("proceed-as-failed", result("failed", "seen")),
    ],
)
def test_a_person_may_answer(played: dict[str, Played], name: str, expected: dict[str, Any]) -> None:
    """Proceed goes on with the outcome that was chosen, `succeeded` unless another was; the map is the same."""
    assert ended(played[name]) == expected


def test_a_persons_abort_is_an_abort(played: dict[str, Played]) -> None:
    """The build is aborted; who may answer and what is shown are the author's."""
    assert played["person-aborts"].result == "ABORTED"
    (asked,) = played["person-aborts"].inputs
    assert (asked["submitter"], asked["message"]) == ("bridge,ana", "Is it done?")


# --- the input


def test_branches_get_their_own_results(played: dict[str, Played]) -> None:
    """Two branches of one name in one build have two inputs, and each gets the result of its own callback."""
    branches = ended(played["parallel"])
    hooks = [branch["hook"] for branch in branches.values()]
    assert len({hook["inputId"] for hook in hooks}) == 2
    assert sorted(played["parallel"].callbacks) == sorted(hook["url"] for hook in hooks)
    assert [branch["result"]["data"] for branch in branches.values()] == [{"run": hook["url"]} for hook in hooks]


def test_ids_are_legal_whatever_the_name(played: dict[str, Played]) -> None:
    """No two inputs of all builds share an id; a name is in it as far as Jenkins takes its characters."""
    ids = [asked["id"] for one in played.values() for asked in one.inputs]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch("(webhook|load-test)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one) for one in ids)


def test_an_input_has_an_end_of_its_own(played: dict[str, Played]) -> None:
    """A `timeout` around it ends when no answer can come any more: the wait's time and the bridge's delivery window."""
    assert {asked["timeout_s"] for asked in played["timed-out"].inputs} == {1 + 24 * 3600}
    assert {asked["timeout_s"] for asked in played["bare"].inputs} == {(8 + 24) * 3600}


# --- the registration


def test_a_registration_needs_no_node(played: dict[str, Played]) -> None:
    """Where the pipeline holds no agent, one with the label is taken for the call."""
    hook = ended(played["no-node"])
    assert played["no-node"].nodes == ["linux"]
    assert set(hook) >= {"id", "url", "inputId"}


NOT_REGISTERED = "callback-bridge: the wait was not registered: "
REFUSALS = {
    "wrong-token": NOT_REGISTERED + "401 A known token is needed",
    "too-long": NOT_REGISTERED + "422 The request is not valid; /timeout: must be at most",
    "wrong-choice": NOT_REGISTERED + "422 The address is not valid; /address/on_failure: ",
    "login-page": NOT_REGISTERED + "answered 200, and not in the bridge's words",
    "deaf": NOT_REGISTERED + "it does not answer; curl says why above",
    "mistyped": "registerWebhook: timuout is not known; known are timeout, name",
    "endless": 'registerWebhook: timeout (and grace) take "90s", "15m"',
    "no-bridge": "registerWebhook: bridge, or the variable BRIDGE_URL, is to be",
    "no-target": "registerWebhook: target, or the variable BRIDGE_TARGET, is to be",
    "no-url": "registerWebhook: this build has no BUILD_URL",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_fails_the_build_and_says_why(played: dict[str, Played], name: str) -> None:
    """Nothing is waited for, and the remote system is not called."""
    assert played[name].result == "FAILURE"
    assert played[name].error.startswith(REFUSALS[name])
    assert (played[name].inputs, played[name].callbacks) == ([], [])


def test_no_token_is_shown(played: dict[str, Played]) -> None:
    """Neither a log nor an error nor a process list holds a token, right or wrong; a callback URL is in none of ours."""
    for name, one in played.items():
        for token in (TOKEN, STORIES[name].token):
            assert token not in one.log + one.error + one.arguments
        own = "\n".join(line for line in one.arguments.splitlines() if "--config" in line)
        assert "/cb/" not in own
        assert name == "issue" or "/cb/" not in one.log


def test_what_is_sent_is_what_was_meant(played: dict[str, Played]) -> None:
    """Quotes, backslashes, line ends and shell syntax reach the bridge as they are, in the token and in the request."""
    ((headers, body),) = played["login-page"].asked
    assert headers["Authorization"] == f"Bearer {ODD_TOKEN}"
    assert headers["Idempotency-Key"].startswith("Ana-s----test--")
    request = json.loads(body)
    address = request.pop("address")
    assert (address["input_id"], address["on_failure"]) == (headers["Idempotency-Key"], "proceed")
    assert request == {"target": "jenkins-prod", "timeout": "8h", "expects": [], "labels": {"team": ODD_LABEL}}


# --- the sandbox


def test_the_library_needs_no_approval(everything: Everything) -> None:
    """It calls what the Groovy sandbox permits, and steps of a stock Jenkins; closures are bodies of steps."""
    assert everything.findings == []


def test_what_is_forbidden_is_found(everything: Everything) -> None:
    """The lint finds each thing in a library that does all of them."""
    lines = (FORBIDDEN / "Forbidden.groovy").read_text().splitlines()
    expected = [
        f"Forbidden.groovy:{number} {one}"
        for number, line in enumerate(lines, 1)
        if "// finds: " in line
        for one in line.partition("// finds: ")[2].split("; ")
    ]
    assert sorted(everything.findings_in_forbidden) == sorted(expected)
