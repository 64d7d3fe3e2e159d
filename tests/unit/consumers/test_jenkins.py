"""The Jenkins consumer's pure tables: what it reads, what it sends, what an answer means."""

from typing import Any

import orjson
import pytest

from bridge.consumers.jenkins import conclude, healthy_as, judge, plan, remarked
from bridge.consumers.jenkins.address import JenkinsAddress, Place
from bridge.consumers.jenkins.listing import Pending, Run, Seen, read_job, read_older, standing, standing_without_run
from bridge.consumers.jenkins.parameters import Declared
from bridge.core.event import Outcome
from bridge.core.outcome import AlreadyDone, Done, Ending, Gone, Health, Later, NotYet, Refused, Sight, Standing
from bridge.core.request import Call, Reply
from bridge.testing.fleet import Specimen
from tests.support.fakes import a_resolution

PLACE = Place("/job/app", 7, "Go")
PAGE = Reply(200, {"content-type": "text/html"}, b"<html>Sign in</html>")
STEPS = "org.jenkinsci.plugins.workflow.support.steps.input"


def reply(document: Any, status: int = 200) -> Reply:
    return Reply(status, {}, orjson.dumps(document))


def address(**more: Any) -> JenkinsAddress:
    return JenkinsAddress.model_validate({"build_url": "https://j.example/job/app/7/", "input_id": "go", **more})


# ---- reading


def execution(id_: str, *, settled: bool = False, parameters: Any = ()) -> dict[str, Any]:
    return {
        "_class": f"{STEPS}.InputStepExecution",
        "id": id_,
        "settled": settled,
        "input": {"parameters": list(parameters)},
    }


def build(*executions: dict[str, Any], **more: Any) -> dict[str, Any]:
    action = {"_class": f"{STEPS}.InputAction", "executions": list(executions), "waitingForInput": bool(executions)}
    return {"_class": "WorkflowRun", "building": True, "result": None, "actions": [{}, None, action], **more}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (build(execution("Go")), Standing.WAITING),
        (build(execution("Other"), execution("Go")), Standing.WAITING),
        (build(execution("Other")), Standing.ABSENT),
        (build(execution("go")), Standing.ABSENT),
        (build(), Standing.ABSENT),
        (build(execution("Go", settled=True)), Standing.ANSWERED),
        (build(execution("Go", settled=True), execution("Go")), Standing.ANSWERED),
        (build(actions=[{"_class": f"{STEPS}.InputAction"}]), Standing.ABSENT),
        (build(actions=[{}, None, {"_class": "CauseAction"}]), Standing.NOT_THERE),
        (build(actions=[]), Standing.NOT_THERE),
        (build(actions=None), Standing.NOT_THERE),
        (build(execution("Go"), result="UNSTABLE"), Standing.WAITING),
        (build(execution("Go"), building=False, result="ABORTED"), Standing.GONE),
        (build(building=False, result="SUCCESS"), Standing.GONE),
        (build(building=False, result="FAILURE", actions=[]), Standing.GONE),
    ],
)
def test_standing_reads_the_listing(document: dict[str, Any], expected: Standing) -> None:
    """The action means that an input was reached, its executions what is pending now; a build is over when it says so."""
    assert standing(Run.read(reply(document)), "Go", "s1").standing is expected


def test_what_waits_is_seen_with_its_parameters() -> None:
    """Of several with one id the first is the one that Jenkins would answer."""
    choice = {"_class": "x", "name": "C", "type": "ChoiceParameterDefinition", "choices": ["a", "b"]}
    text = {"name": "T", "type": "TextParameterDefinition"}
    document = build(execution("Go", parameters=[choice, text]), execution("Go"))
    sight = standing(Run.read(reply(document)), "Go", "s1")
    declared = (Declared("C", "ChoiceParameterDefinition", ("a", "b")), Declared("T", "TextParameterDefinition"))
    assert sight.seen == Seen(declared, "s1")


@pytest.mark.parametrize(
    "given", [PAGE, reply([]), reply({}), reply(None), reply({"building": True}, 302), reply(build(), 400)]
)
def test_what_is_not_jenkins_says_nothing(given: Reply) -> None:
    """A proxy's page, a redirect or another document is later, not "not there"."""
    with pytest.raises(Later):
        Run.read(given)


@pytest.mark.parametrize("given", [PAGE, reply({}), reply(None), reply([], 302), reply([{}])])
def test_a_page_lists_no_inputs(given: Reply) -> None:
    """A proxy's page does not say that nothing is pending."""
    with pytest.raises(Later):
        read_older(given)


@pytest.mark.parametrize("given", [PAGE, reply([]), reply({}, 302)])
def test_a_page_is_no_job(given: Reply) -> None:
    """A proxy's page does not say that a build was deleted."""
    with pytest.raises(Later):
        read_job(given)


def test_an_older_plugin_is_asked_through_wfapi() -> None:
    """Its inputs and parameters read the same; 404 is the absence of that plugin."""
    inputs = [
        {"type": "ChoiceParameterDefinition", "name": "C", "definition": {"choices": ["a"]}},
        {"type": "StringParameterDefinition", "name": "S", "definition": {"defaultVal": "x"}},
    ]
    given = reply([{"id": "Go", "inputs": inputs, "message": "?"}, {"id": "Empty"}])
    declared = (Declared("C", "ChoiceParameterDefinition", ("a",)), Declared("S", "StringParameterDefinition"))
    assert read_older(given) == [Pending("Go", declared), Pending("Empty")]
    assert read_older(Reply(404, {}, b"<html>Not found</html>")) is None


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({"nextBuildNumber": 7, "lastBuild": {"number": 6}}, Standing.NOT_THERE),
        ({"nextBuildNumber": 1, "lastBuild": None}, Standing.NOT_THERE),
        ({"nextBuildNumber": 9, "lastBuild": {"number": 8}}, Standing.GONE),
        ({"nextBuildNumber": 8, "lastBuild": {"number": 7}}, Standing.GONE),
        ({"nextBuildNumber": 8, "lastBuild": {"number": 6}}, Standing.ABSENT),
        ({"lastBuild": {"number": 6}}, Standing.NOT_THERE),
    ],
)
def test_a_missing_build_is_queued_or_deleted(job: dict[str, Any], expected: Standing) -> None:
    """A later build is there: ours was deleted. Only the number is taken: it is being made, or was the newest."""
    assert standing_without_run(read_job(reply(job)), 7).standing is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (reply({"authenticated": True, "anonymous": False, "name": "bridge"}), Health.UP),
        (reply({"authenticated": True, "name": "Bridge"}), Health.UP),
        (reply({"authenticated": True, "name": "somebody"}), Health.CREDENTIAL),
        (reply({"authenticated": False, "anonymous": True, "name": "anonymous"}), Health.CREDENTIAL),
        (reply({}, 401), Health.CREDENTIAL),
        (reply({}, 403), Health.CREDENTIAL),
        (PAGE, Health.DOWN),
        (reply({"name": "bridge"}), Health.DOWN),
        (reply([]), Health.DOWN),
        (reply({}, 302), Health.DOWN),
        (reply({}, 404), Health.DOWN),
        (reply({}, 500), Health.DOWN),
    ],
)
def test_health_is_up_only_under_our_name(given: Reply, expected: Health) -> None:
    """A refused token is told from a proxy's page and from a Jenkins that is away."""
    assert healthy_as("bridge", given) is expected


# ---- sending


@pytest.mark.parametrize(
    ("outcome", "on_failure", "declared", "verb"),
    [
        (Outcome.SUCCEEDED, "abort", (), "proceedEmpty"),
        (Outcome.SUCCEEDED, "abort", (Declared("A"),), "proceed"),
        (Outcome.SUCCEEDED, "proceed", (), "proceedEmpty"),
        (Outcome.FAILED, "abort", (Declared("A"),), "abort"),
        (Outcome.CANCELLED, "abort", (), "abort"),
        (Outcome.TIMED_OUT, "abort", (), "abort"),
        (Outcome.FAILED, "proceed", (), "proceedEmpty"),
        (Outcome.CANCELLED, "proceed", (Declared("A"),), "proceed"),
        (Outcome.TIMED_OUT, "proceed", (Declared("OUTCOME"),), "proceed"),
    ],
)
def test_plan_is_one_post_and_never_submit(
    outcome: Outcome, on_failure: str, declared: tuple[Declared, ...], verb: str
) -> None:
    """The form is sent exactly where parameters are declared; a failure aborts unless the address says otherwise."""
    call = plan(address(on_failure=on_failure), PLACE, a_resolution(outcome=outcome), declared)
    assert (call.method, call.path) == ("POST", f"/job/app/7/input/Go/{verb}")
    assert (call.form is not None) == (verb == "proceed")


def test_a_parameter_that_nobody_declares_is_told() -> None:
    """A mistyped name in the address is seen in the timeline."""
    given = address(parameters={"A": "'x'", "TYPO": "'y'"})
    call = plan(given, PLACE, a_resolution(), (Declared("A"),))
    assert remarked(Done(), call, given, (Declared("A"),)) == Done("not declared by the input, so not sent: TYPO")
    assert remarked(Gone("x"), call, given, (Declared("A"),)) == Gone("x")
    assert remarked(Done(), Call.post("/x/abort"), given, (Declared("A"),)) == Done()


# ---- what an answer means

ALREADY = "This input has been already given"
NEED = "You need to be alice to submit this."
TAKEN = Reply(200, {"x-content-type-options": "nosniff"}, b"")
EMPTY = Reply(200, {}, b"")
OOPS = Reply(500, {}, b"<h1>Oops!</h1>")
MISSING = Reply(404, {}, b"<h1>Oops!</h1>")
LOGIN = Reply(302, {"location": "https://sso.example/"}, b"")
EMPTY_PAGE = Reply(200, {"content-type": "text/html;charset=utf-8", "x-content-type-options": "nosniff"}, b"")
WORDS = Reply(200, {"x-content-type-options": "nosniff"}, b"ok")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Reply(400, {"x-error": ALREADY}, b""), AlreadyDone(ALREADY)),
        (Reply(400, {"x-error": NEED}, b""), Refused(NEED)),
        (Reply(400, {}, b"Nothing is submitted"), Refused("Jenkins answered 400")),
        (Reply(405, {}, b""), Refused("Jenkins answered 405")),
        (Reply(409, {}, b""), Refused("Jenkins answered 409")),
        (Reply(413, {}, b""), Refused("Jenkins answered 413")),
        (TAKEN, None),
        (PAGE, None),
        (LOGIN, None),
        (MISSING, None),
        (OOPS, None),
    ],
)
def test_judge_says_what_is_clear_without_another_look(given: Reply, expected: Ending | None) -> None:
    """A refusal with its text, or somebody else's answer; the rest needs the build."""
    assert judge(given) == expected


WAITING, ABSENT, GONE = Standing.WAITING, Standing.ABSENT, Standing.GONE


@pytest.mark.parametrize(
    ("given", "after", "expected"),
    [
        (TAKEN, ABSENT, Done),
        (TAKEN, GONE, Done),
        (TAKEN, Standing.ANSWERED, Done),
        (TAKEN, Standing.NOT_THERE, Later),
        (MISSING, ABSENT, AlreadyDone),
        (MISSING, Standing.ANSWERED, AlreadyDone),
        (MISSING, GONE, Gone),
        (MISSING, Standing.NOT_THERE, NotYet),
        (MISSING, WAITING, Later),
        (OOPS, ABSENT, AlreadyDone),
        (OOPS, GONE, AlreadyDone),
        (OOPS, WAITING, Refused),
        (PAGE, ABSENT, AlreadyDone),
        (PAGE, WAITING, Later),
        (EMPTY_PAGE, WAITING, Later),
        (EMPTY_PAGE, ABSENT, AlreadyDone),
        (WORDS, WAITING, Later),
        (WORDS, ABSENT, AlreadyDone),
        (LOGIN, ABSENT, AlreadyDone),
        (LOGIN, WAITING, Later),
        (LOGIN, Standing.NOT_THERE, Later),
    ],
)
def test_conclude_reads_the_answer_with_the_build(given: Reply, after: Standing, expected: type[Ending]) -> None:
    """What is pending was not answered; what is not, is; only a 404 tells that it was not by us."""
    ending = conclude(Call.post("/", form={}), given, Seen((), "s1"), sighted(after), is_repeated=False)
    assert type(ending) is expected
    assert not getattr(ending, "is_doubtful", False)


def sighted(where: Standing, session: str = "s1") -> Sight:
    return Sight(where, "note", Seen((), session) if where is not GONE else None)


def test_only_a_form_is_refused_for_a_500() -> None:
    """Without parameters none of them can be illegal: Jenkins is unwell."""
    ending = conclude(Call.post("/"), OOPS, Seen(), sighted(WAITING), is_repeated=False)
    assert ending == Later("answered 500, and the input is still pending")


@pytest.mark.parametrize(
    ("given", "before", "after", "expected"),
    [
        (TAKEN, "s1", "s1", Done("taken; another input of this id is pending")),
        (TAKEN, "s1", "s2", Later("taken, and still pending: the answer was lost")),
        (TAKEN, "", "s2", Later("taken, and still pending: the answer was lost")),
        (TAKEN, "s1", "", Later("taken, and still pending: the answer was lost")),
        (TAKEN, "", "", Later("taken, and still pending: the answer was lost")),
        (EMPTY, "s1", "s1", Later("taken, and still pending: the answer was lost")),
    ],
)
def test_an_input_still_pending_after_200_was_lost_in_a_crash_or_is_the_next(
    given: Reply, before: str, after: str, expected: Ending
) -> None:
    """Without a restart in between nothing can be lost: what is pending is another occurrence, and gets no answer."""
    ending = conclude(Call.post("/"), given, Seen((), before), sighted(WAITING, after), is_repeated=False)
    assert ending == expected


@pytest.mark.parametrize(
    ("given", "after", "expected"),
    [
        (TAKEN, sighted(WAITING), Done()),
        (TAKEN, sighted(WAITING, ""), Done()),
        (EMPTY, sighted(WAITING), Done()),
        (TAKEN, sighted(WAITING, "s2"), Later("taken, and lost in a crash", is_doubtful=True)),
        (TAKEN, Later("away", is_doubtful=True), Done("not read back")),
        (OOPS, Later("away", is_doubtful=True), Later("away", is_doubtful=True)),
        (
            TAKEN,
            sighted(Standing.NOT_THERE),
            Later("lost in a crash: the build is before its input again", is_doubtful=True),
        ),
        (MISSING, sighted(WAITING), Later("answered 404, and the input is still pending", is_doubtful=True)),
        (PAGE, sighted(WAITING), Later("answered 200, and the input is still pending", is_doubtful=True)),
    ],
)
def test_an_id_that_repeats_is_never_free_to_be_sent_again(
    given: Reply, after: Sight | Later, expected: Ending
) -> None:
    """What is pending may be the next occurrence: done, or in doubt, and nothing between."""
    assert conclude(Call.post("/"), given, Seen((), "s1"), after, is_repeated=True) == expected


def test_an_answer_that_cannot_be_read_back_is_in_doubt() -> None:
    """The next attempt looks before it sends."""
    later = Later("away", is_doubtful=True)
    assert conclude(Call.post("/"), TAKEN, Seen(), later, is_repeated=False) == later


# ---- without a look before


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (build(building=False, result="SUCCESS"), Gone("the build is over: SUCCESS")),
        (build(), NotYet("no input of this id is pending")),
        (build(execution("Go", settled=True)), AlreadyDone("answered a moment ago")),
    ],
)
async def test_resume_looks_by_itself_and_sends_nothing_to_what_does_not_wait(
    document: dict[str, Any], expected: Ending
) -> None:
    """Whoever did not look gets the same answer as whoever did."""
    settings = {"base_url": "https://j.example/", "username": "bridge", "token": "t"}
    consumer, http = Specimen("jenkins", settings, address().model_dump()).make(reply(document))
    assert await consumer.resume_seen(address(), a_resolution(), None) == expected
    assert [call.method for call in http.calls] == ["GET"]


async def test_a_listing_that_fails_is_told_as_it_is() -> None:
    """Jenkins itself answers 500 when it could not load the build: later, with nothing sent and no doubt."""
    settings = {"base_url": "https://j.example/", "username": "bridge", "token": "t"}
    consumer, _ = Specimen("jenkins", settings, address().model_dump()).make(OOPS)
    with pytest.raises(Later) as caught:
        await consumer.look_closely(address())
    assert caught.value == Later("the platform answered 500")
