"""The cases of the Jenkins contract that a target with an API token sees, by number, against the emulator over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.brokers.memory import MemoryBroker
from bridge.brokers.sqlite import SqliteBroker
from bridge.core.event import EventData, Outcome
from bridge.core.ports import Broker
from bridge.core.resolution import Progressed
from bridge.testing.emulator import FaultKind
from bridge.testing.jenkins import Build, Input, Loop, Parallel, Parameter, Sleep
from tests.support.fakes import eventually
from tests.support.jenkins_client import raw_client
from tests.support.jenkins_stage import Stage, stage

NEGATIVE = (Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT)
RUN = "/job/app/1"
LOOK = f"GET {RUN}/api/json"
EMPTY = f"POST {RUN}/input/Go/proceedEmpty"
STEP = 'ä\n&+%25"\'<>=;\t{"a":[1]}'


@pytest.fixture(params=["memory", "sqlite"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Broker:
    return MemoryBroker() if request.param == "memory" else SqliteBroker(tmp_path / "bridge.db")


@pytest.fixture
async def jenkins(broker: Broker) -> AsyncIterator[Stage]:
    async with stage(broker=broker) as one:
        yield one


def returned(build: Build) -> Any:
    return build.returned[-1].answer.returned


async def test_jenkins_case_01_one_post_with_a_token_answers_the_input(jenkins: Stage) -> None:
    """A listing, one empty POST and one look back; the build runs on and the report says done."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    await jenkins.send(build)
    assert await jenkins.ending() == "done"
    assert jenkins.calls == [LOOK, EMPTY, LOOK]
    assert jenkins.posts[0].body == ""
    assert (build.result, jenkins.answers) == ("SUCCESS", ["proceeded job/app/1/input/Go"])
    assert jenkins.jenkins.effects[2].detail["user"] == "bridge"
    assert jenkins.rig.dead == []


async def test_jenkins_case_02_an_input_not_reached_is_waited_for(jenkins: Stage) -> None:
    """While the build runs and has reached no input nothing is posted; it is answered once when it is there."""
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", held=True)])
    await jenkins.send(build)
    await eventually(lambda: jenkins.calls.count(LOOK) >= 4)
    assert jenkins.posts == []
    jenkins.jenkins.reach(build, "Go")
    assert await jenkins.ending() == "done"
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]
    assert jenkins.rig.told() == ["not-yet", "", "done"]


async def test_jenkins_case_02_a_later_input_is_waited_for_behind_an_earlier_one(jenkins: Stage) -> None:
    """Another input of the build is pending or answered: this one is not there yet, and no other is touched."""
    build = jenkins.jenkins.start_build("job/app", inputs=["First", Input(id="Go", held=True)])
    await jenkins.send(build)
    await eventually(lambda: jenkins.calls.count(LOOK) >= 3)
    async with raw_client(jenkins.jenkins) as person:
        await person.post(f"{RUN}/input/First/proceedEmpty")
    jenkins.jenkins.reach(build, "Go")
    assert await jenkins.ending() == "done"
    assert jenkins.answers == ["proceeded job/app/1/input/First", "proceeded job/app/1/input/Go"]


async def test_jenkins_case_02_the_deadline_ends_it(jenkins: Stage) -> None:
    """An input that is never reached ends as not reached at the end of the delivery window."""
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", held=True)])
    now = jenkins.rig.consumer.clock.now()
    await jenkins.send(build, sent={"deliver_until": now + timedelta(seconds=0.3)})
    report = await jenkins.final()
    assert (report.result, report.reason) == (Progressed.UNDELIVERABLE, "not_reached")
    assert report.note == "no input of this id is pending"
    assert jenkins.posts == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": FaultKind.RESET_AFTER},
        {"kind": FaultKind.STATUS_AFTER, "status": 502},
        {"kind": FaultKind.STATUS_AFTER, "status": 504},
        {"kind": FaultKind.SLOW, "delay_s": 1.5},
    ],
    ids=["reset", "502", "504", "time-out"],
)
@pytest.mark.parametrize("behind", ["", "Next"], ids=["the build ends", "the build goes on"])
async def test_jenkins_case_03_a_lost_answer_is_never_repeated(fault: dict[str, Any], behind: str) -> None:
    """The input was answered and nobody heard: the repeat looks, sends nothing, and asks who remembers."""
    async with stage(settings={"timeout": 1}) as one:
        build = one.jenkins.start_build("job/app", inputs=["Go", *([behind] if behind else [])])
        one.jenkins.fault(**fault, method="POST")
        await one.send(build)
        await eventually(lambda: Progressed.DOUBTFUL in [report.result for report in one.rig.reports])
        assert one.answers == ["proceeded job/app/1/input/Go"]
        assert len(one.posts) == 1
        assert [report.result for report in one.rig.reports] == [
            Progressed.ATTEMPT,  # announced before the first send: the coordinator says "already done" from it
            Progressed.ATTEMPT,
            Progressed.DOUBTFUL,
        ]
        assert one.rig.dead == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": FaultKind.RESET_BEFORE},
        {"kind": FaultKind.STATUS, "status": 504},
        {"kind": FaultKind.STATUS, "status": 302, "headers": {"Location": "https://sso.example/"}},
        {"kind": FaultKind.STATUS, "status": 404},
        {"kind": FaultKind.STATUS, "status": 200},
        {"kind": FaultKind.STATUS, "status": 500},
        {"kind": FaultKind.HTML, "status": 200},
    ],
    ids=["reset", "504", "redirect", "404", "somebody's empty 200", "500", "login page"],
)
async def test_jenkins_case_03_a_request_without_effect_is_made_good(fault: dict[str, Any]) -> None:
    """Nothing was answered: the look back finds the input pending, and it is sent again."""
    async with stage() as one:
        build = one.jenkins.start_build("job/app", inputs=["Go"])
        one.jenkins.fault(**fault, method="POST")
        await one.send(build)
        assert await one.ending() == "done"
        assert one.answers == ["proceeded job/app/1/input/Go"]
        assert len(one.posts) == 2


async def test_jenkins_case_03_an_answer_taken_and_lost_in_a_crash_is_given_again() -> None:
    """200 came, then Jenkins died before it was saved: the look back finds the input pending after a new start."""
    async with stage(lose_answers=1) as one:
        build = one.jenkins.start_build("job/app", inputs=["Go"])
        await one.send(build)
        assert await one.ending() == "done"
        assert [effect.kind for effect in one.jenkins.effects if effect.kind.startswith("input.")] == [
            "input.reached",
            "input.proceeded",
            "input.lost",
            "input.proceeded",
        ]
        assert one.rig.told() == ["", "later", "done"]


async def test_jenkins_case_03_a_look_back_that_fails_is_looked_at_again(jenkins: Stage) -> None:
    """200 came and the look back did not: in doubt, the next attempt looks and sends nothing."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.fault(FaultKind.STATUS, method="GET", path=f"{RUN}/api/json", skip=1, status=503)
    await jenkins.send(build)
    await eventually(lambda: Progressed.DOUBTFUL in [report.result for report in jenkins.rig.reports])
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]


async def test_jenkins_case_03_a_redelivery_of_what_is_pending_is_sent(jenkins: Stage) -> None:
    """In doubt an id that is still pending was not answered."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    await jenkins.send(build, sent={"is_resent": True})
    assert await jenkins.ending() == "done"
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]


async def test_jenkins_case_04_the_next_occurrence_gets_no_answer(jenkins: Stage) -> None:
    """A loop reaches the id again at once: the look back does not take it for the one that was answered."""
    build = jenkins.jenkins.start_build("job/app", inputs=[Loop(times=3, body=(Input(id="Go"),))])
    await jenkins.send(build)
    report = await jenkins.final()
    assert (report.ending, report.note) == ("done", "taken; another input of this id is pending")
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]
    assert [each.occurrence for each in build.pending] == [2]


async def test_jenkins_case_04_repeats_without_its_mark_sends_nothing(jenkins: Stage) -> None:
    """The worker asks for the mark once the input is there; only a cleared copy is sent, once."""
    build = jenkins.jenkins.start_build("job/app", inputs=[Loop(times=2, body=(Input(id="Go"),))])
    await jenkins.send(build, repeats=True)
    await eventually(lambda: [report.result for report in jenkins.rig.reports] == [Progressed.MARK])
    assert jenkins.posts == []
    await jenkins.send(build, repeats=True, sent={"is_cleared": True})
    assert await jenkins.ending() == "done"
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]


@pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE, FaultKind.STATUS])
async def test_jenkins_case_04_repeats_in_doubt_sends_nothing_again(kind: FaultKind) -> None:
    """What waits now may be the next occurrence, whether the first was answered or not."""
    async with stage() as one:
        build = one.jenkins.start_build("job/app", inputs=[Loop(times=2, body=(Input(id="Go"),))])
        one.jenkins.fault(kind, method="POST", status=302)
        await one.send(build, repeats=True, sent={"is_cleared": True})
        await eventually(lambda: Progressed.DOUBTFUL in [report.result for report in one.rig.reports])
        assert len(one.posts) == 1
        assert len(one.answers) == (kind is FaultKind.RESET_AFTER)


async def test_jenkins_case_04_repeats_tries_illegal_parameters_once(jenkins: Stage) -> None:
    """500 and an input of this id still pending: it may be the next one, so there is no second try."""
    body = (Input(id="Go", parameters=(Parameter(name="R", type="run"),)),)
    build = jenkins.jenkins.start_build("job/app", inputs=[Loop(times=2, body=body)])
    await jenkins.send(build, repeats=True, data=EventData(body={"R": "no/such#7"}), sent={"is_cleared": True})
    assert (await jenkins.final()).reason == "refused"
    assert len(jenkins.posts) == 1


PARAMETERS = (
    Parameter(name="NOTES", type="text"),
    Parameter(name="VERSION"),
    Parameter(name="FORCE", type="boolean"),
    Parameter(name="STAGE", type="choice", choices=("dev", "prod")),
    Parameter(name="MISSING", default="never used"),
    Parameter(name="Payload", type="text"),
    Parameter(name="OUTCOME"),
    Parameter(name="summary"),
    Parameter(name="URL"),
)


async def test_jenkins_case_05_the_step_gets_exactly_these_values(jenkins: Stage) -> None:
    """Text with everything that a form, JSON or a URL could damage arrives as it was; what is missing is absent."""
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=PARAMETERS)])
    body = {"NOTES": STEP, "VERSION": 1.5, "FORCE": "yes", "STAGE": "prod", "extra": {"b": ["ü"]}}
    said = EventData(body=body, summary="12 of 12 passed", url="https://farm.example/runs/7?a=1&b=2")
    await jenkins.send(build, data=said)
    assert await jenkins.ending() == "done"
    assert returned(build) == {
        "NOTES": STEP,
        "VERSION": "1.5",
        "FORCE": True,
        "STAGE": "prod",
        "Payload": json.dumps(body, ensure_ascii=False, separators=(",", ":")),
        "OUTCOME": "succeeded",
        "summary": "12 of 12 passed",
        "URL": "https://farm.example/runs/7?a=1&b=2",
    }
    assert jenkins.calls == [LOOK, f"POST {RUN}/input/Go/proceed", LOOK]
    assert jenkins.posts[0].headers["content-type"] == "application/x-www-form-urlencoded"


async def test_jenkins_case_05_expressions_say_what_goes_in(jenkins: Stage) -> None:
    """With `parameters` only what they compute is sent, and of that what the input declares; the rest is told."""
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=PARAMETERS)])
    expressions = {"VERSION": "body.build.version", "OUTCOME": "join('-', [outcome, type])", "TYPO": "body"}
    said = EventData(body={"NOTES": "by name", "build": {"version": STEP}})
    await jenkins.send(build, data=said, parameters=expressions)
    report = await jenkins.final()
    assert (report.ending, report.note) == ("done", "not declared by the input, so not sent: TYPO")
    assert returned(build) == {"VERSION": STEP, "OUTCOME": "succeeded-done"}


@pytest.mark.parametrize("outcome", NEGATIVE)
async def test_jenkins_case_05_proceed_on_failure_brings_the_outcome(jenkins: Stage, outcome: Outcome) -> None:
    """The pipeline reads what became of it; a timer's end has a summary and no body."""
    declared = (Parameter(name="OUTCOME"), Parameter(name="SUMMARY"), Parameter(name="PAYLOAD", type="text"))
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=declared)])
    await jenkins.send(build, outcome, data=EventData(body={"a": 1}, summary="no"), on_failure="proceed")
    assert await jenkins.ending() == "done"
    timed_out = outcome is Outcome.TIMED_OUT
    assert returned(build) == {
        "OUTCOME": outcome.value,
        "SUMMARY": "timed out" if timed_out else "no",
        "PAYLOAD": "" if timed_out else '{"a":1}',
    }


async def test_jenkins_case_05_a_single_value_is_bare(jenkins: Stage) -> None:
    """One entry: the step returns the value itself."""
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=(Parameter(name="V"),))])
    await jenkins.send(build, data=EventData(body={"V": "7"}))
    assert await jenkins.ending() == "done"
    assert returned(build) == "7"


async def test_jenkins_case_07_an_illegal_choice_is_refused_without_a_post(jenkins: Stage) -> None:
    """The listing tells the choices: nothing is sent, the input stays pending, and nobody tries for ever."""
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=PARAMETERS)])
    await jenkins.send(build, data=EventData(body={"STAGE": "moon"}))
    report = await jenkins.final()
    assert (report.reason, report.note) == ("refused", "parameter STAGE: not one of its choices")
    assert jenkins.posts == []
    assert len(build.pending) == 1


async def test_jenkins_case_07_what_jenkins_does_not_take_is_refused_after_one_repeat(jenkins: Stage) -> None:
    """500, and the input still pending: once more, then it is refused."""
    declared = (Parameter(name="R", type="run"),)
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=declared)])
    await jenkins.send(build, data=EventData(body={"R": "no/such#7"}))
    report = await jenkins.final()
    assert report.reason == "refused"
    assert "500" in report.note
    assert jenkins.calls == [LOOK, f"POST {RUN}/input/Go/proceed", LOOK, f"POST {RUN}/input/Go/proceed", LOOK]
    assert len(build.pending) == 1


async def test_jenkins_case_08_an_input_answered_in_between_is_already_done(jenkins: Stage) -> None:
    """A person was faster than our POST: 404, the look back does not find it, and that is a result."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go", "Next"])
    jenkins.jenkins.fault(FaultKind.SLOW_BEFORE, method="POST", delay_s=0.5)
    await jenkins.send(build)
    await eventually(lambda: bool(jenkins.posts))
    async with raw_client(jenkins.jenkins) as person:
        assert (await person.post(f"{RUN}/input/Go/proceedEmpty")).status == 200
    assert await jenkins.ending() == "already-done"
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]
    assert jenkins.calls.count(EMPTY) == 2  # the person's and ours


async def test_jenkins_case_08_an_answer_known_to_be_ours_is_not_waited_for(jenkins: Stage) -> None:
    """The same resolution again: in doubt, with the input gone, it is told at once and never "not yet" for ever."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go", "Next"])
    await jenkins.send(build)
    await jenkins.final()
    await jenkins.send(build, wait="w2", sent={"is_resent": True})
    await eventually(lambda: bool(jenkins.rig.told("w2")))
    assert jenkins.rig.told("w2") == ["doubtful"]
    assert len(jenkins.posts) == 1


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
async def test_jenkins_case_09_already_given_is_done_by_another(outcome: Outcome) -> None:
    """In the moment between an answer and the end of its step Jenkins says so itself."""
    async with stage(settle_s=30) as one:
        build = one.jenkins.start_build("job/app", inputs=["Go"])
        one.jenkins.fault(FaultKind.SLOW_BEFORE, method="POST", delay_s=0.5)
        await one.send(build, outcome)
        await eventually(lambda: bool(one.posts))
        async with raw_client(one.jenkins) as person:
            assert (await person.post(f"{RUN}/input/Go/proceedEmpty")).status == 200
        report = await one.final()
        assert (report.ending, report.note) == ("already-done", "This input has been already given")
        assert one.answers == ["proceeded job/app/1/input/Go"]
        assert one.posts[0].status == 400


async def test_jenkins_case_09_a_settled_input_is_not_answered() -> None:
    """The listing shows that it was answered a moment ago: nothing is sent."""
    async with stage(settle_s=30) as one:
        build = one.jenkins.start_build("job/app", inputs=["Go"])
        async with raw_client(one.jenkins) as person:
            await person.post(f"{RUN}/input/Go/abort")
        await one.send(build)
        assert await one.ending() == "already-done"
        assert one.answers == ["aborted job/app/1/input/Go"]


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome.SUCCEEDED, "You need to be alice to submit this."),
        (Outcome.FAILED, "You need to be 'alice' (or have Job/Cancel permissions) to cancel this."),
    ],
)
async def test_jenkins_case_10_not_a_submitter_is_refused_with_jenkinss_words(outcome: Outcome, text: str) -> None:
    """400 with X-Error: told as it is, once."""
    async with stage() as one:
        permissions = frozenset({"Overall/Read", "Job/Read", "Job/Build"})
        one.jenkins.add_user("bridge", token="jenkins-token", permissions=permissions)  # noqa: S106 - of an emulator
        build = one.jenkins.start_build("job/app", inputs=[Input(id="Go", submitter="alice")])
        await one.send(build, outcome)
        report = await one.final()
        assert (report.reason, report.note) == ("refused", text)
        assert len(one.posts) == 1
        assert len(build.pending) == 1


async def test_jenkins_case_11_a_wrong_token_keeps_the_resolution() -> None:
    """401: one try, then health calls only; with the right token the input is answered."""
    async with stage() as one:
        build = one.jenkins.start_build("job/app", inputs=["Go"])
        one.jenkins.add_user("bridge", token="rotated")  # noqa: S106 - of an emulator
        await one.send(build)
        await eventually(lambda: one.rig.worker.status.is_breaker_open)
        await eventually(lambda: one.calls.count("GET /whoAmI/api/json") >= 3)
        assert one.calls.count(LOOK) == 1
        one.jenkins.add_user("bridge", token="jenkins-token")  # noqa: S106 - of an emulator
        assert await one.ending() == "done"
        assert one.rig.dead == []


async def test_jenkins_case_12_a_restart_delays_the_answer(jenkins: Stage) -> None:
    """503 for a while, also for health calls: one answer after it, and nobody gave up a credential."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.restart(requests=12)
    await jenkins.send(build)
    assert await jenkins.ending() == "done"
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]
    assert [entry.status for entry in jenkins.jenkins.log[:12]] == [503] * 12
    assert jenkins.rig.dead == []


async def test_jenkins_case_12_a_restart_between_the_listing_and_the_answer(jenkins: Stage) -> None:
    """503 for the POST itself: nothing was answered, so it is sent again."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.fault(FaultKind.STATUS, method="POST", status=503, times=2)
    await jenkins.send(build)
    assert await jenkins.ending() == "done"
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]


async def test_jenkins_case_12_a_closed_port_delays_the_answer() -> None:
    """The process is down: every input is answered once when it is back."""
    async with stage(settings={"concurrency": 1}) as one:
        builds = [one.jenkins.start_build("job/app", inputs=["Go"]) for _ in range(5)]
        one.jenkins.fault(FaultKind.REFUSE, delay_s=0.5)
        for number, build in enumerate(builds):
            await one.send(build, wait=f"w{number}")
        for number in range(5):
            await one.final(f"w{number}")
        assert sorted(one.answers) == [f"proceeded job/app/{number}/input/Go" for number in range(1, 6)]
        assert one.rig.dead == []


async def test_jenkins_case_15_a_token_needs_no_crumb_and_no_cookie(jenkins: Stage) -> None:
    """No crumb is fetched, and a cookie that a proxy sets does not come back."""
    builds = [jenkins.jenkins.start_build("job/app", inputs=["Go"]) for _ in range(2)]
    cookie = jenkins.jenkins.log_in("bridge")
    headers = {"Set-Cookie": "; ".join(f"{name}={value}" for name, value in cookie.items())}
    jenkins.jenkins.fault(FaultKind.STATUS, status=503, headers=headers)
    for build in builds:
        await jenkins.send(build, wait=f"w{build.number}")
        assert await jenkins.ending(f"w{build.number}") == "done"
    assert not any("crumb" in entry.path.lower() for entry in jenkins.jenkins.log)
    assert not any("cookie" in entry.headers or "jenkins-crumb" in entry.headers for entry in jenkins.jenkins.log)
    assert all(entry.headers["authorization"].startswith("Basic ") for entry in jenkins.jenkins.log)


async def test_jenkins_case_16_an_escaped_branch_goes_out_byte_for_byte() -> None:
    """`%252F` of BUILD_URL stands on the wire, below the base URL's own context path, whatever name the URL had."""
    async with stage(context="/ci", settings={"public_urls": ["https://jenkins.example.com/"]}) as one:
        build = one.jenkins.start_build("job/mb/job/feature%252Fx", inputs=["Go"])
        await one.rig.send({"build_url": "https://jenkins.example.com/job/mb/job/feature%252Fx/1/", "input_id": "Go"})
        assert await one.ending() == "done"
        assert one.calls[1] == "POST /ci/job/mb/job/feature%252Fx/1/input/Go/proceedEmpty"
        assert all("/ci/job/mb/job/feature%252Fx/1/" in call for call in one.calls)
        assert build.result == "SUCCESS"


async def test_jenkins_case_16_another_host_is_refused_without_a_call(jenkins: Stage) -> None:
    """An address of elsewhere never gets our credential."""
    await jenkins.rig.send({"build_url": "https://elsewhere.example/job/app/1/", "input_id": "Go"})
    report = await jenkins.final()
    assert (report.reason, report.ending) == ("refused", "refused")
    assert report.note.startswith("address/build_url: ")
    assert jenkins.calls == []


async def test_jenkins_case_17_the_id_is_made_as_jenkins_makes_it(jenkins: Stage) -> None:
    """`deploy` in the address is `Deploy` on the wire."""
    build = jenkins.jenkins.start_build("job/app", inputs=["deploy"])
    await jenkins.send(build, input_id="deploy")
    assert await jenkins.ending() == "done"
    assert [entry.path for entry in jenkins.posts] == [f"{RUN}/input/Deploy/proceedEmpty"]


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
@pytest.mark.parametrize("inputs", [["Go"], [Sleep(seconds=60)]], ids=["had an input", "had none"])
async def test_jenkins_case_18_a_build_that_is_over_is_gone_at_once(
    jenkins: Stage, inputs: list[Any], outcome: Outcome
) -> None:
    """Stopped before the answer: nothing is sent, and the dead letter says why."""
    build = jenkins.jenkins.start_build("job/app", inputs=inputs)
    jenkins.jenkins.stop(build)
    await jenkins.send(build, outcome)
    report = await jenkins.final()
    assert (report.reason, report.note) == ("gone", "the build is over: ABORTED")
    assert jenkins.posts == []
    await eventually(lambda: jenkins.rig.dead == ["gone"])


async def test_jenkins_case_18_a_build_that_ends_in_between_is_gone(jenkins: Stage) -> None:
    """The build is stopped between the listing and the POST: 404, and the look back says that it is over."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.fault(FaultKind.SLOW_BEFORE, method="POST", delay_s=0.5)
    await jenkins.send(build)
    await eventually(lambda: bool(jenkins.posts))
    jenkins.jenkins.stop(build)
    assert (await jenkins.final()).reason == "gone"
    assert jenkins.answers == []


async def test_jenkins_case_18_a_deleted_build_is_gone(jenkins: Stage) -> None:
    """404 for the build, and its job has a later one."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.delete_build(build)
    await jenkins.send(build)
    report = await jenkins.final()
    assert (report.reason, report.note) == ("gone", "the build was deleted")


async def test_jenkins_case_18_a_build_that_has_not_started_is_waited_for(jenkins: Stage) -> None:
    """404 for the build, and its job has not come so far."""
    jenkins.jenkins.start_build("job/app", inputs=[])
    await jenkins.send("job/app/2")
    await eventually(lambda: jenkins.calls.count("GET /job/app/2/api/json") >= 3)
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    assert await jenkins.ending() == "done"
    assert (build.number, build.result) == (2, "SUCCESS")
    assert jenkins.rig.told() == ["not-yet", "", "done"]


async def test_jenkins_case_18_a_build_that_starts_while_its_job_is_asked_is_no_deleted_one(jenkins: Stage) -> None:
    """The build was not there and its job then knew it: it is looked at again before anything is said."""
    jenkins.jenkins.start_build("job/app", inputs=[])
    jenkins.jenkins.fault(FaultKind.SLOW_BEFORE, method="GET", path="/job/app/api/json", delay_s=0.5)
    await jenkins.send("job/app/2")
    await eventually(lambda: "GET /job/app/api/json" in jenkins.calls)
    jenkins.jenkins.start_build("job/app", inputs=["Go"])
    assert await jenkins.ending() == "done"
    assert jenkins.rig.told() == ["", "done"]


async def test_jenkins_case_19_a_job_that_is_not_visible_is_no_not_yet() -> None:
    """No Job/Read looks like no such job: it ends at once and says both."""
    async with stage() as one:
        build = one.jenkins.start_build("job/app", inputs=["Go"])
        seen = {"app": frozenset({"Overall/Read"})}
        one.jenkins.add_user("bridge", token="jenkins-token", jobs=seen)  # noqa: S106 - of an emulator
        await one.send(build)
        report = await one.final()
        assert (report.reason, report.note) == ("gone", "there is no such job, or our user has no Job/Read on it")


async def test_jenkins_case_19_a_proxys_404_ends_nothing(jenkins: Stage) -> None:
    """404 for everything, health calls too, is not Jenkins's: the resolution is kept."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.fault(FaultKind.STATUS, status=404, times=6)
    await jenkins.send(build)
    assert await jenkins.ending() == "done"


async def test_jenkins_case_20_quiet_down_is_no_failure(jenkins: Stage) -> None:
    """200, and the build does not move: the input is settled, so it is done and not repeated."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.quiet_down()
    await jenkins.send(build)
    assert await jenkins.ending() == "done"
    assert build.building
    assert len(jenkins.posts) == 1


@pytest.mark.parametrize("outcome", NEGATIVE)
async def test_jenkins_case_21_every_other_outcome_aborts(jenkins: Stage, outcome: Outcome) -> None:
    """One empty POST to abort, parameters or none, and the build ends as aborted."""
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=PARAMETERS)])
    await jenkins.send(build, outcome, data=EventData(body={"STAGE": "moon"}))
    assert await jenkins.ending() == "done"
    assert jenkins.calls == [LOOK, f"POST {RUN}/input/Go/abort", LOOK]
    assert (build.result, jenkins.answers) == ("ABORTED", ["aborted job/app/1/input/Go"])


@pytest.mark.parametrize("outcome", NEGATIVE)
async def test_jenkins_case_21_unless_the_address_says_proceed(jenkins: Stage, outcome: Outcome) -> None:
    """The pipeline goes on and reads the outcome elsewhere."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    await jenkins.send(build, outcome, on_failure="proceed")
    assert await jenkins.ending() == "done"
    assert build.result == "SUCCESS"


async def test_jenkins_case_22_the_other_pending_input_stays(jenkins: Stage) -> None:
    """Two wait in parallel: only the named one is answered."""
    branches = Parallel(branches=((Input(id="A"),), (Input(id="B"),)))
    build = jenkins.jenkins.start_build("job/app", inputs=[branches])
    await jenkins.send(build, input_id="b")
    assert await jenkins.ending() == "done"
    assert [each.id for each in build.pending] == ["A"]
    assert jenkins.answers == ["proceeded job/app/1/input/B"]


async def test_jenkins_case_22_two_resolutions_at_once(jenkins: Stage) -> None:
    """Each gets its own outcome, in whatever order they come."""
    branches = Parallel(branches=((Input(id="A"),), (Input(id="B", parameters=(Parameter(name="V"),)),)))
    build = jenkins.jenkins.start_build("job/app", inputs=[branches])
    await asyncio.gather(
        jenkins.send(build, wait="a", input_id="A"),
        jenkins.send(build, wait="b", input_id="B", data=EventData(body={"V": "7"})),
    )
    assert [await jenkins.ending("a"), await jenkins.ending("b")] == ["done", "done"]
    assert sorted(jenkins.answers) == ["proceeded job/app/1/input/A", "proceeded job/app/1/input/B"]
    assert {each.id: each.answer.returned for each in build.returned} == {"A": None, "B": "7"}


async def test_jenkins_case_23_declared_parameters_are_never_passed_over(jenkins: Stage) -> None:
    """The input declares parameters and nothing fills them: `proceed` with an empty form, not `proceedEmpty`."""
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=(Parameter(name="V"),))])
    await jenkins.send(build, data=EventData(body="text"))
    assert await jenkins.ending() == "done"
    assert [entry.path for entry in jenkins.posts] == [f"{RUN}/input/Go/proceed"]
    assert returned(build) is None


async def test_jenkins_case_30_a_file_is_one_part_and_a_text_is_inline(jenkins: Stage) -> None:
    """Bytes go in as they were; the text beside them keeps its letters."""
    declared = (Parameter(name="CORE", type="base64File"), Parameter(name="NOTE", type="base64File"), *PARAMETERS[:1])
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=declared)])
    files = {"CORE": {"filename": 'a "b".bin', "size": 4, "content": "/wABDQ==", "encoding": "base64"}}
    said = EventData.model_validate({"body": {"NOTE": "täxt", "NOTES": STEP}, "files": files})
    await jenkins.send(build, data=said)
    assert await jenkins.ending() == "done"
    assert returned(build) == {"CORE": "/wABDQ==", "NOTE": "dMOkeHQ=", "NOTES": STEP}
    assert jenkins.posts[0].headers["content-type"].startswith("multipart/form-data; boundary=")


@pytest.mark.parametrize("parameters", [(), PARAMETERS], ids=["bare", "parameterised"])
async def test_jenkins_case_32_an_older_plugin_is_asked_another_way(parameters: tuple[Parameter, ...]) -> None:
    """Its inputs are not listed with the build: wfapi shows them, before and after."""
    async with stage(input_listing=False) as one:
        build = one.jenkins.start_build("job/app", inputs=[Input(id="Go", held=True, parameters=parameters)])
        await one.send(build, data=EventData(body={"STAGE": "prod"}))
        await eventually(lambda: one.calls.count(LOOK) >= 2)
        one.jenkins.reach(build, "Go")
        assert await one.ending() == "done"
        verb = "proceed" if parameters else "proceedEmpty"
        assert [entry.path for entry in one.posts] == [f"{RUN}/input/Go/{verb}"]
        assert build.result == "SUCCESS"


async def test_jenkins_case_32_without_wfapi_the_build_tells() -> None:
    """Its 404 is not read as "no input"."""
    async with stage(pipeline_rest_api=False) as one:
        build = one.jenkins.start_build("job/app", inputs=[Input(id="Go", held=True)])
        await one.send(build)
        await eventually(lambda: one.calls.count(LOOK) >= 3)
        one.jenkins.reach(build, "Go")
        assert await one.ending() == "done"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_jenkins_case_33_a_login_page_is_neither_an_answer_nor_a_listing(jenkins: Stage, method: str) -> None:
    """A proxy's 200 with HTML says nothing: the input is answered once the page is gone."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.fault(FaultKind.HTML, method=method, status=200, times=3)
    await jenkins.send(build)
    assert await jenkins.ending() == "done"
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]


async def test_jenkins_no_secret_is_told_or_put_into_a_url(jenkins: Stage) -> None:
    """The token stands in one header only, and an X-Error that repeats it is told without it."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    error = {"X-Error": "You need to be jenkins-token to submit this."}
    jenkins.jenkins.fault(FaultKind.STATUS, method="POST", status=400, headers=error)
    await jenkins.send(build)
    assert (await jenkins.final()).note == "You need to be *** to submit this."
    assert not any("jenkins-token" in entry.path + entry.query + entry.body for entry in jenkins.jenkins.log)
