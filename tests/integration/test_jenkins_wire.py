"""What goes over the wire and what never does: verbs, paths, slow answers, and the look back after each answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.core.event import EventData, Outcome
from bridge.core.resolution import Progressed
from bridge.testing.emulator import FaultKind
from bridge.testing.jenkins import Build, Input, Loop, Parameter
from tests.support.fakes import eventually
from tests.support.jenkins_client import RawClient, raw_client
from tests.support.jenkins_stage import Stage, stage

RUN = "/job/app/1"
GO = f"{RUN}/input/Go"
LOOK = f"GET {RUN}/api/json"
EMPTY = f"POST {GO}/proceedEmpty"
OURS = frozenset({"proceed", "proceedEmpty", "abort"})
OUTCOMES = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT)


@pytest.fixture
async def jenkins() -> AsyncIterator[Stage]:
    async with stage() as one:
        yield one


@pytest.fixture
async def person(jenkins: Stage) -> AsyncIterator[RawClient]:
    async with raw_client(jenkins.jenkins) as client:
        yield client


def waiting(one: Stage, *declared: Parameter) -> Build:
    return one.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=declared)])


def verbs(one: Stage) -> set[str]:
    return {entry.path.rpartition("/")[2] for entry in one.posts}


# --- verbs and paths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [{"json": '{"parameter":[],"proceed":"Proceed"}'}, {}], ids=["in the json", "none"])
async def test_jenkins_case_06_submit_without_proceed_aborts(
    jenkins: Stage, person: RawClient, form: dict[str, str]
) -> None:
    """302 as for a success, and the build is over: what a worker must never send."""
    build = waiting(jenkins)
    assert (await person.post(f"{GO}/submit", form=form)).status == 302
    assert build.result == "ABORTED"


@pytest.mark.parametrize("declared", [(), (Parameter(name="P"),), (Parameter(name="P", type="base64File"),)])
@pytest.mark.parametrize("on_failure", ["abort", "proceed"])
@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_jenkins_case_06_ours_never_submits(
    jenkins: Stage, declared: tuple[Parameter, ...], on_failure: str, outcome: Outcome
) -> None:
    """Whatever is answered, it is one of the three verbs that say what they do."""
    build = waiting(jenkins, *declared)
    await jenkins.send(build, outcome, on_failure=on_failure, data=EventData(body={"P": "v"}))
    assert await jenkins.ending() == "done"
    assert verbs(jenkins) <= OURS
    is_abort = outcome is not Outcome.SUCCEEDED and on_failure == "abort"
    assert build.result == ("ABORTED" if is_abort else "SUCCESS")


@pytest.mark.parametrize("path", [f"{GO};x/proceedEmpty", "/job/app;a=b/1/input/Go/proceedEmpty", "/nowhere;"])
@pytest.mark.parametrize("auth", [None, ("bridge", "wrong")], ids=["nobody", "wrong token"])
async def test_jenkins_case_36_a_semicolon_is_400_before_anything(
    jenkins: Stage, person: RawClient, path: str, auth: tuple[str, str] | None
) -> None:
    """Before the credential is looked at, and whether anything is there or not."""
    waiting(jenkins)
    answer = await person.post(path, auth=auth)
    assert (answer.status, "Semicolons are not allowed in the request URI" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("address", "pointer"),
    [
        ({"build_url": "{url}/job/app;a=b/1/"}, "build_url"),
        ({"build_url": "{url}/job/app/1;x/"}, "build_url"),
        ({"input_id": "Go;x"}, "input_id"),
    ],
)
async def test_jenkins_case_36_an_address_with_one_is_refused_without_a_call(
    jenkins: Stage, address: dict[str, str], pointer: str
) -> None:
    """No input can have such an id, and no job's URL has one."""
    url = jenkins.jenkins.url
    given = {"build_url": f"{url}/job/app/1/", "input_id": "Go"} | address
    await jenkins.rig.send({name: value.format(url=url) for name, value in given.items()})
    report = await jenkins.final()
    assert report.reason == "refused"
    assert report.note.startswith(f"address/{pointer}: ")
    assert jenkins.calls == []


@pytest.mark.parametrize(("get_status", "no_json"), [(500, 400), (405, 500)])
async def test_jenkins_case_37_input_submit_tells_refusals_not_apart(get_status: int, no_json: int) -> None:
    """Every refusal is 500, whatever it is for; what an older plugin is asked through wfapi is not answered through it."""
    async with stage(wfapi_get_status=get_status, wfapi_missing_json_status=no_json, input_listing=False) as one:
        build = one.jenkins.start_build(
            "job/app", inputs=[Input(id="Go", parameters=(Parameter(name="P"),), submitter="alice,bridge")]
        )
        one.jenkins.add_user("bob", token="bob-token")  # noqa: S106 - of an emulator
        submit = f"{RUN}/wfapi/inputSubmit?inputId="
        async with raw_client(one.jenkins) as person:
            refused = [
                await person.answer(f"{submit}Other", []),
                await person.answer(f"{submit}Go", [{"name": "Q", "value": "v"}]),
                await person.answer(f"{submit}Go", [], auth=("bob", "bob-token")),
            ]
            assert [each.status for each in refused] == [500] * 3
            assert (await person.get(f"{submit}Go")).status == get_status
            assert (await person.post(f"{submit}Go")).status == no_json
        assert len(build.pending) == 1
        one.jenkins.log.clear()
        await one.send(build, data=EventData(body={"P": "v"}))
        assert await one.ending() == "done"
        assert [entry.path for entry in one.posts] == [f"{GO}/proceed"]
        assert f"GET {RUN}/wfapi/pendingInputActions" in one.calls


@pytest.mark.parametrize("verb", ["proceed", "proceedEmpty", "submit", "abort"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_jenkins_case_38_a_link_scanner_answers_nothing(
    jenkins: Stage, person: RawClient, method: str, verb: str
) -> None:
    """405 with Allow, the input still pending, and ours answers it afterwards."""
    build = waiting(jenkins)
    answer = await person.send(method, f"{GO}/{verb}?proceed=x")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert (len(build.pending), jenkins.answers) == (1, [])
    await jenkins.send(build)
    assert await jenkins.ending() == "done"
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]


@pytest.mark.parametrize("context", ["", "/jenkins", "/a/b"])
@pytest.mark.parametrize(
    "job",
    ["job/app", "job/team/job/sub%20folder/job/%C3%BC", "job/mb/job/feature%252Fx%2523y", "job/a+b/job/c@d!$&'()*,=:"],
)
async def test_jenkins_case_16_folders_branches_and_a_context_path(context: str, job: str) -> None:
    """Every path below base_url is the one of BUILD_URL, byte for byte."""
    async with stage(context=context) as one:
        build = one.jenkins.start_build(job, inputs=["Go"])
        await one.rig.send({"build_url": f"{one.jenkins.url}/{job}/1/", "input_id": "Go"})
        assert await one.ending() == "done"
        path = f"{context}/{job}/1"
        assert one.calls == [f"GET {path}/api/json", f"POST {path}/input/Go/proceedEmpty", f"GET {path}/api/json"]
        assert build.result == "SUCCESS"


# --- slow answers -----------------------------------------------------------------------------------------------------


async def test_jenkins_case_31_executions_that_load_slowly_are_awaited() -> None:
    """Jenkins blocks while it loads the build: the listing comes late, and then one answer is enough."""
    async with stage() as one:
        build = waiting(one)
        one.jenkins.set_executions(build, "loading")
        await one.send(build)
        await eventually(lambda: one.calls == [LOOK])
        one.jenkins.set_executions(build, "loaded")
        assert await one.ending() == "done"
        assert one.calls == [LOOK, EMPTY, LOOK]


async def test_jenkins_case_31_executions_that_do_not_load_in_time_are_asked_again() -> None:
    """500 after the block: nothing was sent, nothing is given up."""
    async with stage(loading_block_s=0.05) as one:
        build = waiting(one)
        one.jenkins.set_executions(build, "loading")
        await one.send(build)
        await eventually(lambda: one.calls.count(LOOK) >= 2)
        assert one.posts == []
        one.jenkins.set_executions(build, "loaded")
        assert await one.ending() == "done"
        assert one.answers == ["proceeded job/app/1/input/Go"]


async def test_jenkins_case_31_executions_that_cannot_be_loaded_are_waited_for() -> None:
    """404 though the input is pending: not there yet, until Jenkins has them."""
    async with stage() as one:
        build = waiting(one)
        one.jenkins.set_executions(build, "unloadable")
        await one.send(build)
        await eventually(lambda: one.calls.count(LOOK) >= 3)
        one.jenkins.set_executions(build, "loaded")
        assert await one.ending() == "done"
        assert one.answers == ["proceeded job/app/1/input/Go"]


async def test_jenkins_case_31_an_answer_that_takes_effect_after_our_timeout_is_the_only_one() -> None:
    """Jenkins loads the build while our POST waits: we hang up, it is applied later, and the repeat looks first."""
    async with stage(settings={"timeout": 1}) as one:
        build = one.jenkins.start_build("job/app", inputs=["Go", "Next"])
        one.jenkins.fault(FaultKind.SLOW_BEFORE, method="POST", delay_s=0.3)
        await one.send(build)
        await eventually(lambda: len(one.posts) == 1)
        one.jenkins.set_executions(build, "loading")
        await eventually(lambda: "later" in one.rig.told())
        assert one.answers == []
        one.jenkins.set_executions(build, "loaded")
        await eventually(lambda: Progressed.DOUBTFUL in [report.result for report in one.rig.reports])
        assert one.answers == ["proceeded job/app/1/input/Go"]
        assert (len(one.posts), [each.id for each in build.pending]) == (1, ["Next"])


# --- the look back ----------------------------------------------------------------------------------------------------


async def test_jenkins_case_03_a_look_back_costs_one_request(jenkins: Stage) -> None:
    """Two requests to the effect, one after it, for a hundred inputs at once as for one."""
    builds = [jenkins.jenkins.start_build("job/app", inputs=["Go"]) for _ in range(100)]
    await asyncio.gather(*(jenkins.send(build, wait=f"w{build.number}") for build in builds))
    for build in builds:
        assert await jenkins.ending(f"w{build.number}") == "done"
    assert len(jenkins.calls) == 3 * len(builds)
    assert len(jenkins.answers) == len(builds)


@pytest.mark.parametrize("after", ["end", "deleted", "job gone"])
async def test_jenkins_case_03_a_build_that_is_gone_after_the_answer_is_done(jenkins: Stage, after: str) -> None:
    """200, and the look back finds the build over, or nothing at all: taken is taken."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.fault(FaultKind.SLOW_BEFORE, method="GET", path=f"{RUN}/api/json", skip=1, delay_s=0.3)
    await jenkins.send(build)
    await eventually(lambda: jenkins.calls == [LOOK, EMPTY, LOOK])
    if after != "end":
        jenkins.jenkins.delete_build(build)
    if after == "job gone":
        del jenkins.jenkins.world.jobs[("app",)]
    assert await jenkins.ending() == "done"
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]


FAILING: list[dict[str, Any]] = [
    {"kind": FaultKind.STATUS, "status": 500},
    {"kind": FaultKind.STATUS, "status": 503},
    {"kind": FaultKind.STATUS, "status": 429, "headers": {"Retry-After": "0"}},
    {"kind": FaultKind.STATUS, "status": 401},
    {"kind": FaultKind.STATUS, "status": 403},
    {"kind": FaultKind.STATUS, "status": 302, "headers": {"Location": "https://sso.example/"}},
    {"kind": FaultKind.HTML, "status": 200},
    {"kind": FaultKind.RESET_BEFORE, "times": 2},  # a GET may be repeated below us
    {"kind": FaultKind.SLOW, "delay_s": 1.5},
]
WAYS = ["500", "503", "429", "401", "403", "redirect", "login page", "reset", "time-out"]


@pytest.mark.parametrize("fault", FAILING, ids=WAYS)
async def test_jenkins_case_03_a_look_back_that_fails_is_a_doubt_and_nothing_worse(fault: dict[str, Any]) -> None:
    """Taken, and who looks back sees nothing: the next attempt looks again and asks who remembers the send."""
    async with stage(settings={"timeout": 1}) as one:
        build = one.jenkins.start_build("job/app", inputs=["Go", "Next"])
        one.jenkins.fault(**fault, method="GET", path=f"{RUN}/api/json", skip=1)
        await one.send(build)
        await eventually(lambda: Progressed.DOUBTFUL in [report.result for report in one.rig.reports])
        assert one.answers == ["proceeded job/app/1/input/Go"]
        assert (len(one.posts), one.rig.dead) == (1, [])


@pytest.mark.parametrize("fault", FAILING, ids=WAYS)
async def test_jenkins_case_04_a_look_back_that_fails_sends_no_repeats_twice(fault: dict[str, Any]) -> None:
    """An id that repeats is pending again at once: 200 was the answer, and that is that."""
    async with stage(settings={"timeout": 1}) as one:
        build = one.jenkins.start_build("job/app", inputs=[Loop(times=3, body=(Input(id="Go"),))])
        one.jenkins.fault(**fault, method="GET", path=f"{RUN}/api/json", skip=1)
        await one.send(build, repeats=True, sent={"is_cleared": True})
        report = await one.final()
        assert (report.ending, report.note) == ("done", "not read back")
        assert one.answers == ["proceeded job/app/1/input/Go"]
        assert [each.occurrence for each in build.pending] == [2]


async def test_jenkins_case_04_repeats_lost_in_a_crash_is_doubtful_and_not_sent_again() -> None:
    """200, a restart, and the id pending: the lost one or the next, so nobody answers it for us."""
    async with stage(lose_answers=1) as one:
        build = one.jenkins.start_build("job/app", inputs=[Loop(times=3, body=(Input(id="Go"),))])
        await one.send(build, repeats=True, sent={"is_cleared": True})
        await eventually(lambda: Progressed.DOUBTFUL in [report.result for report in one.rig.reports])
        assert len(one.posts) == 1
        assert [each.occurrence for each in build.pending] == [1]


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
async def test_jenkins_case_03_each_answer_lost_in_a_crash_is_given_again(outcome: Outcome) -> None:
    """Three crashes in a row, with parameters, or for an abort: the pipeline has its one answer in the end."""
    async with stage(lose_answers=3) as one:
        build = waiting(one, Parameter(name="P"))
        await one.send(build, outcome, data=EventData(body={"P": "v"}))
        assert await one.ending() == "done"
        kinds = [effect.kind for effect in one.jenkins.effects]
        assert kinds.count("input.lost") == 3
        assert len(one.answers) == 4
        assert len(build.returned) == 1
        assert build.result == ("SUCCESS" if outcome is Outcome.SUCCEEDED else "ABORTED")


async def test_jenkins_case_20_an_answer_during_quiet_down_that_a_restart_loses_is_given_again(jenkins: Stage) -> None:
    """200 and the build stands still; Jenkins dies before it moved; the look back comes after and finds it pending."""
    build = waiting(jenkins)
    jenkins.jenkins.quiet_down()
    jenkins.jenkins.fault(FaultKind.SLOW_BEFORE, method="GET", path=f"{RUN}/api/json", skip=1, delay_s=0.3)
    await jenkins.send(build)
    await eventually(lambda: jenkins.calls == [LOOK, EMPTY, LOOK])
    jenkins.jenkins.crash()
    assert await jenkins.ending() == "done"
    assert len(jenkins.answers) == 2
    assert build.result == "SUCCESS"
