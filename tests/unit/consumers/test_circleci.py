from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from bridge.consumers.circleci import Circleci, CircleciSettings
from bridge.consumers.circleci.address import Action, CircleciAddress
from bridge.consumers.circleci.judging import (
    MAX_RUNS,
    answered,
    candidates,
    judge,
    judge_sent,
    names,
    plan,
    select,
    unknown,
    unlisted,
    unread,
)
from bridge.consumers.circleci.listing import JOB_ENDED, Found, Job, Run, Workflow
from bridge.core.consumer import Consumer
from bridge.core.errors import HttpFault, Unanswered, Unreachable
from bridge.core.event import Outcome
from bridge.core.outcome import AlreadyDone, CredentialRefused, Done, Ending, Gone, Health, Later, NotYet, Refused
from bridge.core.request import Call, Reply
from tests.support.fakes import START, FakeClock, FakeHttp, a_resolution

W = "5034460f-c7c4-4c43-9457-de07e2029e7b"
P = "0b35cb7d-6d0f-4c2e-a2ef-d5a1c7f1ba43"
J = "949f1c2a-2c3f-4f6e-9b1e-0c6f2f9a5b11"
TOKEN = "t0k3n-0f-a-test"  # noqa: S105 - a test's own
LONG_AGO = START - timedelta(hours=1)
JUST_NOW = START - timedelta(seconds=1)


def address(**more: Any) -> CircleciAddress:
    return CircleciAddress.model_validate({"workflow_id": W, "approval": "hold", **more})


def pipeline_address(**more: Any) -> CircleciAddress:
    return CircleciAddress.model_validate({"pipeline_id": P, "approval": "hold", **more})


def job(status: str | None = "on_hold", **more: Any) -> Job:
    return Job.model_validate({"id": J, "name": "hold", "type": "approval", "status": status, **more})


def workflow(status: str | None = "running", **more: Any) -> Workflow:
    return Workflow.model_validate({"id": W, "name": "build", "status": status, "created_at": LONG_AGO, **more})


def found(status: str | None = "on_hold", of: str | None = "running", **more: Any) -> Found:
    return Found(workflow(of), job(status, **more))


def run(*jobs: Job, status: str | None = "running", **more: Any) -> Run:
    return Run(workflow(status, **more), jobs)


# --- address and settings


@pytest.mark.parametrize(
    "given",
    [W, W.upper(), W.replace("-", ""), f"urn:uuid:{W}", f"{{{W}}}"],
)
def test_an_id_has_one_spelling(given: str) -> None:
    """Two spellings of one UUID are the same place, so that a second wait for it is refused."""
    assert address(workflow_id=given).canonical(None) == address().canonical(None) == f'["{W}","hold"]'


def test_the_canonical_place() -> None:
    """The workflow where it is given, whatever else is; else the pipeline and the workflow's name."""
    assert address(pipeline_id=P, workflow_name="build").canonical(None) == address().canonical(None)
    assert pipeline_address().canonical(None) == f'["{P}",null,"hold"]'
    assert pipeline_address(workflow_name="build").canonical(None) == f'["{P}","build","hold"]'
    assert address(on_failure="approve").canonical(None) == address().canonical(None)


@pytest.mark.parametrize(
    ("given", "where", "words"),
    [
        ({"approval": "hold"}, (), "workflow_id or pipeline_id is needed"),
        ({"workflow_id": W, "approval": "hold", "configuration": "c"}, (), "belong to a continuation_key"),
        ({"workflow_id": W, "approval": "hold", "parameters": {}}, (), "belong to a continuation_key"),
        ({"continuation_key": "k3y"}, ("configuration",), "Field required"),
        ({"continuation_key": "k3y", "configuration": ""}, ("configuration",), "at least 1 character"),
        ({"continuation_key": "", "configuration": "c"}, ("continuation_key",), "at least 1 item"),
        ({"continuation_key": "k3y", "configuration": "c", "approval": "hold"}, (), "and nothing else"),
        ({"continuation_key": "k3y", "configuration": "c", "workflow_id": W}, (), "and nothing else"),
        ({"continuation_key": "k3y", "configuration": "c", "workflow_name": "w"}, (), "and nothing else"),
        ({"continuation_key": "k3y", "configuration": "c", "on_failure": "cancel-job"}, (), "and nothing else"),
        ({"continuation_key": "k3y", "configuration": "c", "parameters": {"p": ""}}, ("parameters", "p"), "at least 1"),
        (
            {"continuation_key": "k3y", "configuration": "c", "parameters": {"p" * 129: "body"}},
            ("parameters", "p" * 129, "[key]"),
            "at most 128 characters",
        ),
        (
            {
                "continuation_key": "k3y",
                "configuration": "c",
                "parameters": {str(number): "body" for number in range(101)},
            },
            ("parameters",),
            "at most 100 items",
        ),
        ({"workflow_id": "", "approval": "hold"}, ("workflow_id",), "expected a UUID"),
        ({"workflow_id": "../me", "approval": "hold"}, ("workflow_id",), "expected a UUID"),
        ({"pipeline_id": "12", "approval": "hold"}, ("pipeline_id",), "expected a UUID"),
        ({"workflow_id": W}, ("approval",), "Field required"),
        ({"workflow_id": W, "approval": ""}, ("approval",), "at least 1 character"),
        ({"workflow_id": W, "approval": "hold", "on_failure": "abort"}, ("on_failure",), "cancel-job"),
        ({"workflow_id": W, "approval": "hold", "job": "x"}, ("job",), "Extra inputs"),
    ],
)
def test_a_wrong_address_is_told(given: dict[str, str], where: tuple[str, ...], words: str) -> None:
    """Each mistake names its field and what was expected."""
    with pytest.raises(ValidationError) as caught:
        CircleciAddress.model_validate(given)
    (error,) = caught.value.errors(include_url=False)
    assert error["loc"] == where
    assert words in error["msg"]


def settings(**more: Any) -> CircleciSettings:
    return CircleciSettings.model_validate({"consumer": "circleci", "token": TOKEN, **more})


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "https://circleci.com/"),
        ({"base_url": "https://circleci.com"}, "https://circleci.com/"),
        ({"base_url": "https://ci.example.com/"}, "https://ci.example.com/"),
        ({"base_url": "http://ci.example.com:8080"}, "http://ci.example.com:8080/"),
    ],
)
def test_the_host_is_configured_alone(given: dict[str, str], url: str) -> None:
    """The cloud by default; a server's host, with or without a trailing slash."""
    assert str(settings(**given).base_url) == url


@pytest.mark.parametrize("url", ["https://circleci.com/api/v2", "https://u:p@circleci.com", "https://circleci.com?a=b"])
def test_more_than_a_host_is_refused(url: str) -> None:
    """The path is ours: one that is configured too would be there twice."""
    with pytest.raises(ValidationError, match="expected the host alone"):
        settings(base_url=url)


@pytest.mark.parametrize(
    ("auth", "headers"),
    [("circle-token", {"Circle-Token": TOKEN}), ("bearer", {"Authorization": f"Bearer {TOKEN}"})],
)
def test_the_token_goes_where_it_is_configured(auth: str, headers: dict[str, str]) -> None:
    """One header, never both, and never a query."""
    assert Circleci.auth.headers(settings(auth=auth)) == headers


# --- plan


@pytest.mark.parametrize(
    ("outcome", "on_failure", "action"),
    [
        (Outcome.SUCCEEDED, "cancel-workflow", Action.APPROVE),
        (Outcome.FAILED, "cancel-job", Action.CANCEL_JOB),
        (Outcome.CANCELLED, "cancel-workflow", Action.CANCEL_WORKFLOW),
        (Outcome.TIMED_OUT, "approve", Action.APPROVE),
    ],
)
def test_what_is_done(outcome: Outcome, on_failure: str, action: Action) -> None:
    """`on_failure` is for every outcome but success."""
    assert address(on_failure=on_failure).action(a_resolution(outcome=outcome)) is action


@pytest.mark.parametrize(
    ("action", "more", "path"),
    [
        (Action.APPROVE, {}, f"/api/v2/workflow/{W}/approve/{J}"),
        (Action.APPROVE, {"approval_request_id": "r/1"}, f"/api/v2/workflow/{W}/approve/r%2F1"),
        (Action.CANCEL_JOB, {"approval_request_id": "r/1"}, f"/api/v2/jobs/{J}/cancel"),
        (Action.CANCEL_WORKFLOW, {}, f"/api/v2/workflow/{W}/cancel"),
    ],
)
def test_plan(action: Action, more: dict[str, str], path: str) -> None:
    """The approval's request id is for approve alone; there is no body."""
    assert plan(found(**more), action) == Call.post(path, headers={"Accept": "application/json"})


# --- judge


CANCELS = (Action.CANCEL_JOB, Action.CANCEL_WORKFLOW)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize(
    ("it", "ending"),
    [
        (found("on_hold"), None),
        (found("on_hold", of="failing"), None),
        (found("on_hold", of="canceled"), None),
        (found("success", approved_by="ana"), AlreadyDone("approved by ana")),
        (found("success"), AlreadyDone("approved by somebody")),
        (found("not_run"), Gone("the approval is not_run")),
        (found("unauthorized"), Gone("the approval is unauthorized")),
        (found("blocked"), NotYet("the approval is blocked")),
        (found("queued", of="queued"), NotYet("the approval is queued")),
        (found("frobnicated", of=None), NotYet("the approval is frobnicated")),
        (found(None), NotYet("the approval is None")),
        (found("blocked", of="error"), Gone("the workflow is error, the approval blocked")),
    ],
)
def test_judge(it: Found, action: Action, ending: Ending | None) -> None:
    """The approval's own status decides, whatever is to be done; only then the workflow's."""
    assert judge(it, action, START) == ending


@pytest.mark.parametrize(
    ("action", "ending"),
    [(Action.APPROVE, Gone("the approval is canceled")), *[(each, AlreadyDone("canceled by ana")) for each in CANCELS]],
)
def test_a_canceled_approval_is_what_a_negative_outcome_wants(action: Action, ending: Ending) -> None:
    """Gone for success and for a policy that approves; done for one that cancels."""
    assert judge(found("canceled", canceled_by="ana"), action, START) == ending


@pytest.mark.parametrize("status", sorted(JOB_ENDED))
def test_no_ended_approval_is_waited_for(status: str) -> None:
    """Every final status of a job ends the wait."""
    assert isinstance(judge(found(status), Action.APPROVE, START), Gone | AlreadyDone)


@pytest.mark.parametrize("status", ["success", "failed", "error", "canceled", "unauthorized", "not_run"])
def test_a_workflow_that_has_just_ended_may_be_ahead_of_its_jobs(status: str) -> None:
    """The list of jobs lags, so a blocked approval of a workflow that ended a second ago is looked at again."""
    ended = Found(workflow(status, stopped_at=JUST_NOW), job("blocked"))
    assert isinstance(judge(ended, Action.APPROVE, START), NotYet)
    ended = Found(workflow(status, stopped_at=LONG_AGO), job("blocked"))
    assert isinstance(judge(ended, Action.APPROVE, START), Gone)


@pytest.mark.parametrize(
    ("after", "action", "status", "ending"),
    [
        ("success", Action.APPROVE, 202, Done("approved by somebody")),
        ("success", Action.APPROVE, 409, AlreadyDone("approved by somebody")),
        ("success", Action.APPROVE, 403, AlreadyDone("approved by somebody")),
        ("canceled", Action.APPROVE, 202, Gone("the approval is canceled")),
        ("canceled", Action.CANCEL_JOB, 200, Done("canceled by somebody")),
        ("canceled", Action.CANCEL_JOB, 400, AlreadyDone("canceled by somebody")),
        ("success", Action.CANCEL_JOB, 200, AlreadyDone("approved by somebody")),
        ("not_run", Action.CANCEL_WORKFLOW, 202, Gone("the approval is not_run")),
        ("on_hold", Action.APPROVE, 202, Later("approve was accepted and has no effect yet", is_doubtful=True)),
        ("blocked", Action.APPROVE, 202, Later("approve was accepted and has no effect yet", is_doubtful=True)),
        ("on_hold", Action.APPROVE, 400, NotYet("CircleCI answered 400 to approve, and the approval is still on_hold")),
        ("on_hold", Action.APPROVE, 302, NotYet("CircleCI answered 302 to approve, and the approval is still on_hold")),
        (
            "on_hold",
            Action.APPROVE,
            404,
            Refused("CircleCI answered 404 to approve: the token may read and not write"),
        ),
    ],
)
def test_judge_sent(after: str, action: Action, status: int, ending: Ending) -> None:
    """What was read back decides; the answer only where nothing changed, and whose doing it was."""
    assert judge_sent(found(after), action, status, START) == ending


@pytest.mark.parametrize("fault", [Unanswered("broke"), Later("busy"), CredentialRefused(403), Refused("no end")])
@pytest.mark.parametrize(
    ("status", "is_last", "kind"), [(202, False, Later), (502, True, Later), (403, True, Later), (202, True, Done)]
)
def test_unread(fault: Exception, status: int, *, is_last: bool, kind: type[Ending]) -> None:
    """What could not be read back is looked at again; once nobody will, an answer that said yes counts."""
    ending = unread(fault, Action.APPROVE, status, is_last=is_last)
    assert type(ending) is kind
    assert str(fault) in ending.reason
    assert isinstance(ending, Done) or (isinstance(ending, Later) and ending.is_doubtful)


def test_a_403_is_the_workers_to_judge() -> None:
    """It asks for our health before it blames the resolution."""
    with pytest.raises(CredentialRefused):
        judge_sent(found("on_hold"), Action.APPROVE, 403, START)


# --- which workflows, which approval


def test_candidates() -> None:
    """Newest first, those that have not ended apart; no setup workflow, and only the named one where one is."""
    old, new, lint, setup = (
        workflow("canceled", id="old"),
        workflow("on_hold", id="new", created_at=JUST_NOW),
        workflow(None, id="lint", name="lint"),
        workflow("running", id="setup", tag="setup"),
    )
    assert candidates([old, setup, lint, new], None) == ([new, lint], [old])
    assert candidates([old, setup, lint, new], "build") == ([new], [old])
    assert candidates([setup], None) == ([], [])


def test_too_many_running_workflows_are_told() -> None:
    """No silent end of a list: more than can be looked at is refused, and of ended ones only the newest are."""
    many = [workflow(id=str(number)) for number in range(MAX_RUNS + 1)]
    with pytest.raises(Refused, match="21 workflows"):
        candidates(many, None)
    active, ended = candidates([workflow("success", id=str(number)) for number in range(MAX_RUNS + 1)], None)
    assert (len(active), len(ended)) == (0, MAX_RUNS)


def of(name: str, approval: str, status: str = "running", **more: Any) -> Run:
    return run(job(approval), name=name, status=status, **more)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([of("a", "blocked")], 0),
        ([of("a", "on_hold"), of("b", "blocked")], 0),
        ([of("a", "success"), of("b", "on_hold")], 1),
        ([of("a", "canceled", "canceled"), of("a", "on_hold")], 1),
        ([of("a", "canceled", "canceled"), of("a", "blocked")], 1),
        ([of("a", "canceled", "canceled"), of("b", "blocked")], 1),
        ([of("a", "canceled", "canceled", created_at=JUST_NOW), of("a", "success", "failed")], 0),
        ([of("a", "success", "failed"), of("a", "canceled", "canceled", created_at=JUST_NOW)], 1),
        ([of("a", "on_hold", "canceled"), of("a", "blocked", created_at=JUST_NOW)], 0),
    ],
)
def test_select(runs: Sequence[Run], expected: int) -> None:
    """The only one on hold; else of one workflow's runs the newest, those that have not ended first."""
    chosen = select(runs, pipeline_address(), START)
    assert chosen == runs[expected].approvals("hold")[0]


@pytest.mark.parametrize(
    "runs",
    [
        [of("a", "on_hold"), of("b", "on_hold")],
        [of("a", "on_hold"), of("a", "on_hold", created_at=JUST_NOW)],
        [of("a", "blocked"), of("b", "blocked")],
        [of("a", "canceled", "canceled"), of("b", "success", "success")],
    ],
)
def test_select_refuses_what_is_ambiguous(runs: Sequence[Run]) -> None:
    """Nobody can say which is meant; the answer names the workflows."""
    chosen = select(runs, pipeline_address(), START)
    assert isinstance(chosen, Refused)
    assert chosen.reason.startswith("ambiguous: 2 approvals 'hold'")


@pytest.mark.parametrize(
    ("approval", "action", "is_it"),
    [
        (job("success", stopped_at=START), Action.APPROVE, True),
        (job("success", stopped_at=START - timedelta(seconds=4)), Action.APPROVE, True),
        (job("success", stopped_at=LONG_AGO), Action.APPROVE, False),
        (job("success"), Action.APPROVE, False),
        (job("success", stopped_at=START), Action.CANCEL_JOB, False),
        (job("canceled", stopped_at=START), Action.CANCEL_JOB, True),
        (job("canceled", stopped_at=START), Action.APPROVE, False),
        (job("success", stopped_at=START, name="other"), Action.APPROVE, False),
        (job("success", stopped_at=START, type="build"), Action.APPROVE, False),
    ],
)
def test_answered(approval: Job, action: Action, *, is_it: bool) -> None:
    """In doubt, what was answered as we would have, since the decision, counts as ours."""
    runs = [run(job("on_hold", id="other")), run(approval)]
    ours = Found(runs[1].workflow, approval) if is_it else None
    assert answered(runs, pipeline_address(), action, a_resolution()) == ours


# --- no such approval


TEST = job("running", id="test", name="test", type="build")
OTHER = job("on_hold", id="go", name="go")
BEHIND = job("blocked", id="deploy", name="deploy", type="build", dependencies=["hidden"])


@pytest.mark.parametrize(
    ("it", "where", "kind"),
    [
        (run(), {}, NotYet),
        (run(status="error"), {}, Gone),
        (run(status="error", stopped_at=JUST_NOW), {}, NotYet),
        (run(TEST), {}, NotYet),
        (run(TEST, job("blocked", id="go", name="go")), {}, Refused),
        (run(TEST, OTHER), {}, NotYet),
        (run(OTHER, status="on_hold"), {}, Refused),
        (run(OTHER, BEHIND, status="on_hold"), {}, NotYet),
        (run(TEST, status="success"), {}, Refused),
        (run(TEST, status="success", stopped_at=JUST_NOW), {}, NotYet),
        (run(BEHIND, status="canceled"), {}, Gone),
        (run(job("running", type="build")), {}, Refused),
        (run(OTHER, status="on_hold", created_at=JUST_NOW), {}, Refused),
        (run(OTHER, status="on_hold", created_at=JUST_NOW), {"workflow_id": None, "pipeline_id": P}, NotYet),
        (run(OTHER, status="on_hold"), {"workflow_id": None, "pipeline_id": P}, Refused),
        (
            run(OTHER, status="on_hold", created_at=JUST_NOW),
            {"workflow_id": None, "pipeline_id": P, "workflow_name": "build"},
            Refused,
        ),
    ],
)
def test_unknown(it: Run, where: dict[str, Any], kind: type[Ending]) -> None:
    """A name is a mistake once it is certain that no such approval will be listed; gone when the workflow is over."""
    assert isinstance(unknown([it], address(**where), START), kind)


def test_the_approvals_seen_are_told() -> None:
    """Sorted and once each, not the other jobs; too many are counted."""
    ending = unknown([run(OTHER, TEST, status="on_hold"), run(OTHER, status="on_hold")], address(), START)
    assert ending.reason == "no approval 'hold'; approvals seen: go"
    assert names(f"{number:02}" for number in range(12)) == ", ".join(f"{n:02}" for n in range(10)) + ", and 2 more"
    assert names([]) == "none"


@pytest.mark.parametrize(("age_s", "kind"), [(0, NotYet), (4, NotYet), (5, Refused), (3600, Refused)])
def test_unlisted(age_s: float, kind: type[Ending]) -> None:
    """404 with a good token is waited out while reads may lag behind, and no longer."""
    resolution = a_resolution(decided_at=START - timedelta(seconds=age_s))
    assert isinstance(unlisted(resolution, START), kind)


# --- the consumer over answers from a script


def reply(body: Any = None, status: int = 200, **headers: str) -> Reply:
    return Reply(status, headers, body if isinstance(body, bytes) else orjson.dumps(body))


def jobs(status: str, **more: Any) -> Reply:
    return reply({"items": [{"id": J, "name": "hold", "type": "approval", "status": status, **more}]})


def consumer(*script: Reply | Exception) -> tuple[Circleci, FakeHttp]:
    http = FakeHttp(*script)
    return Circleci(settings(), http, clock=FakeClock()), http


async def ended(one: Consumer[Any, Any], where: CircleciAddress, **more: Any) -> Ending:
    """Return what resume_seen() returned or raised."""
    try:
        return await one.resume_seen(where, a_resolution(**more), None)
    except (Later, NotYet, Gone, Refused) as ending:
        return ending


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.consumers.circleci.READ_BACK_S", (0.0, 0.0))


async def test_read_back_is_bounded() -> None:
    """Accepted and without effect at every look: later, and the repeat is in doubt."""
    one, http = consumer(jobs("on_hold"), reply({}, 202), jobs("on_hold"))
    assert await ended(one, address()) == Later("approve was accepted and has no effect yet", is_doubtful=True)
    assert [call.method for call in http.calls] == ["GET", "POST", "GET", "GET", "GET"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Unreachable("no connection"), Later("no connection", is_doubtful=True)),
        (Unanswered("broke"), Later("broke", is_doubtful=True)),
        (reply(b"busy", 503), Later("the platform answered 503", is_doubtful=True)),
        (
            reply(b"", 429, **{"retry-after": "3"}),
            Later("the platform answered 429", timedelta(seconds=3), is_doubtful=True, is_throttled=True),
        ),
        (reply(b"<html>"), Later("not CircleCI's answer (200)", is_doubtful=True)),
        (reply({"items": [{}]}), Later("not CircleCI's answer: no job", is_doubtful=True)),
    ],
)
async def test_a_fault_while_reading_back_is_a_doubt(fault: Reply | HttpFault, expected: Ending) -> None:
    """Something was sent, so the repeat must look for it first."""
    one, _ = consumer(jobs("on_hold"), reply({}, 202), fault)
    assert await ended(one, address()) == expected


async def test_a_failing_read_back_makes_no_failure_of_a_done() -> None:
    """Refused while reading back, or at the end of the window: neither a refusal nor `not reached`."""
    one, _ = consumer(jobs("on_hold"), reply({}, 202), reply({}, 403))
    assert await ended(one, address()) == Later("the platform answered 403", is_doubtful=True)
    one, _ = consumer(jobs("on_hold"), reply({}, 202), reply(b"busy", 503))
    assert isinstance(await ended(one, address(), deliver_until=START), Done)


async def test_what_vanishes_after_the_post_is_a_doubt() -> None:
    """404 with a good token while reading back ends nothing."""
    one, _ = consumer(jobs("on_hold"), reply({}, 202), reply({}, 404), reply({"id": "me"}))
    ending = await ended(one, address())
    assert isinstance(ending, Later)
    assert ending.is_doubtful


async def test_a_fault_before_the_post_is_none() -> None:
    """Nothing was sent: the list of the next attempt says all."""
    one, _ = consumer(reply({"items": None}))
    assert await ended(one, address()) == Later("not CircleCI's answer: no items")


async def test_a_403_meets_one_look() -> None:
    """Somebody approved meanwhile: that counts, and not the refusal."""
    one, http = consumer(jobs("on_hold"), reply({}, 403), jobs("success", approved_by="ana"))
    assert await ended(one, address()) == AlreadyDone("approved by ana")
    one, http = consumer(jobs("on_hold"), reply({}, 403), jobs("on_hold"))
    with pytest.raises(CredentialRefused):
        await ended(one, address())
    assert [call.method for call in http.calls] == ["GET", "POST", "GET"]


async def test_a_list_without_end_is_told() -> None:
    """A token that leads on for ever is cut off, and the resolution refused: nothing is overlooked silently."""
    one, http = consumer(reply({"items": [], "next_page_token": "again"}))
    assert await ended(one, address()) == Refused("the list of jobs has more than 100 pages")
    assert [dict(call.query) for call in http.calls[:2]] == [{}, {"page-token": "again"}]
    assert len(http.calls) == 100


async def test_a_page_that_is_refused_is_no_absence() -> None:
    """400 or 404 to a page token says nothing about the workflow."""
    one, _ = consumer(reply({"items": [], "next_page_token": "x"}), reply({}, 404))
    assert await ended(one, address()) == Later("not CircleCI's answer (404)")


async def test_a_listed_workflow_without_jobs_is_waited_for() -> None:
    """One list knows it and the other does not yet: no refusal."""
    listed = reply({"items": [{"id": W, "name": "build", "status": "running"}]})
    one, _ = consumer(listed, reply({}, 404), reply({"id": "me"}))
    assert await ended(one, pipeline_address()) == NotYet("a workflow's jobs are not listed yet")


async def test_a_404_is_the_tokens_fault_or_not() -> None:
    """Only `/me` tells: 401 is our credential, success an absent workflow, all else nothing."""
    one, _ = consumer(reply({}, 404), reply({"id": "me"}))
    assert isinstance(await ended(one, address(), decided_at=LONG_AGO), Refused)
    one, _ = consumer(reply({}, 404), reply(b"<html>"))
    assert await ended(one, address()) == Later("CircleCI answered 404, and the health call failed")
    for status in (401, 403):
        one, _ = consumer(reply({}, 404), reply({}, status))
        with pytest.raises(CredentialRefused):
            await ended(one, address())


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (reply({"id": "me", "login": "bot", "name": "Bot"}), Health.UP),
        (reply(b"<html>Sign in</html>"), Health.DOWN),
        (reply({}, 404), Health.DOWN),
    ],
)
async def test_health(answer: Reply, health: Health) -> None:
    """A proxy's page is not CircleCI."""
    one, http = consumer(answer)
    assert await one.health() is health
    assert [(call.method, call.path) for call in http.calls] == [("GET", "/api/v2/me")]


async def test_a_workflow_to_cancel_has_ended_before_it_is_done() -> None:
    """Its approval is canceled first and its other jobs later: it is read back until the workflow says so."""
    stopping, stopped = ({"id": W, "status": status} for status in ("running", "canceled"))
    one, http = consumer(
        jobs("on_hold"), reply({}, 202), jobs("canceled"), reply(stopping), jobs("canceled"), reply(stopped)
    )
    ending = await ended(one, address(on_failure="cancel-workflow"), outcome=Outcome.FAILED)
    assert ending == Done("canceled by somebody")
    assert len(http.calls) == 6


async def test_without_a_doubt_what_others_approved_is_not_ours() -> None:
    """A person approved the old run a moment ago, and its rerun is on hold: nothing of ours was sent, so that is answered."""
    listed = [
        {"id": name, "name": "build", "status": status, "created_at": created_at.isoformat()}
        for name, status, created_at in (("old", "failing", LONG_AGO), ("new", "on_hold", JUST_NOW))
    ]
    approved = jobs("success", stopped_at=START.isoformat())
    one, http = consumer(reply({"items": listed}), jobs("on_hold"), approved, reply({}, 202), jobs("success"))
    assert await ended(one, pipeline_address()) == Done("approved by somebody")
    assert http.calls[3].path == f"/api/v2/workflow/new/approve/{J}"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_list_is_the_workers_to_judge(status: int) -> None:
    """It asks for our health before it blames the resolution, and the breaker opens at the first refused credential."""
    one, _ = consumer(reply({}, status))
    with pytest.raises(CredentialRefused):
        await ended(one, address())


@pytest.mark.parametrize(("status", "kind"), [("error", Gone), ("running", NotYet)])
async def test_a_blocked_approval_is_asked_for_its_workflow(status: str, kind: type[Ending]) -> None:
    """Jobs of a workflow that is over may stay blocked for ever: only the workflow tells."""
    one, http = consumer(jobs("blocked"), reply({"id": W, "status": status}))
    assert isinstance(await ended(one, address()), kind)
    assert [call.path for call in http.calls] == [f"/api/v2/workflow/{W}/job", f"/api/v2/workflow/{W}"]
