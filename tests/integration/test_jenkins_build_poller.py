"""Starting a build and following it to its result: the calls of the poller `jenkins-build`, against the emulator over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.core.event import Outcome
from bridge.core.poller import Finished
from bridge.testing import fixtures
from bridge.testing.emulator import FaultKind
from bridge.testing.jenkins import Hold, JenkinsEmulator, Parameter, SetResult, Sleep
from tests.support.jenkins_client import RawClient, raw_client
from tests.support.jenkins_follow import following

jenkins = fixtures.jenkins

JOB = "job/team/job/nightly"
PARAMETERS = (Parameter(name="SHA"), Parameter(name="STAGE", type="choice", choices=("dev", "prod")))
REFUSED = "Jenkins put nothing into the queue"
UNFIT = "the job takes parameters and none were given, or the other way round"


@pytest.fixture
async def person(jenkins: JenkinsEmulator) -> AsyncIterator[RawClient]:
    async with raw_client(jenkins) as client:
        yield client


def posts(jenkins: JenkinsEmulator) -> list[str]:
    return [entry.path for entry in jenkins.log if entry.method == "POST"]


async def test_jenkins_case_26_a_build_is_started_with_its_parameters(jenkins: JenkinsEmulator) -> None:
    """201 with the queue item; what is left out takes its default; the end is the build's own."""
    jenkins.add_job(JOB, parameters=PARAMETERS)
    async with following(jenkins, job=JOB, parameters={"SHA": "ä&+%25\n"}) as build:
        said = await build.again()
        assert (said.state.item, said.note) == (1, "")
        end = await build.finished()
        assert (end.outcome, end.summary) == (Outcome.SUCCEEDED, "build 1: SUCCESS")
        assert (end.url, end.body["result"]) == (f"{jenkins.url}/{JOB}/1/", "SUCCESS")
    run = jenkins.find_build(f"{JOB}/1")
    assert run is not None
    assert run.parameters == {"SHA": "ä&+%25\n", "STAGE": "dev"}
    assert posts(jenkins) == [f"/{JOB}/buildWithParameters"]


async def test_jenkins_case_26_an_identical_queued_item_is_joined(jenkins: JenkinsEmulator) -> None:
    """303 with the other's item: both follow the same build, which ran once; without parameters it is 201."""
    jenkins.switches.executors_busy = True
    jenkins.add_job(JOB, parameters=PARAMETERS)
    jenkins.add_job("job/plain")
    given: dict[str, Any] = {"job": JOB, "parameters": {"SHA": "a"}}
    async with following(jenkins, **given) as one, following(jenkins, **given) as other:
        first, second = await one.again(), await other.again()
        assert first.state.item == second.state.item
        assert (first.note, second.note) == ("", "merged into an item that was queued before")
        jenkins.set_switches({"executors_busy": False})
        assert await one.finished() == await other.finished()
    jenkins.set_switches({"executors_busy": True})
    async with following(jenkins, job="job/plain") as one, following(jenkins, job="job/plain") as other:
        assert (await one.again()).state == (await other.again()).state
    assert [effect.kind for effect in jenkins.effects].count("build.started") == 1


@pytest.mark.parametrize(
    ("spec", "parameters", "status", "told"),
    [
        ({"disabled": True}, None, 409, "the job is disabled"),
        ({"disabled": True, "parameters": PARAMETERS}, {}, 409, "the job is disabled"),
        ({}, {}, 400, UNFIT),
        ({"parameters": PARAMETERS}, None, 400, UNFIT),
        (
            {"parameters": PARAMETERS},
            {"STAGE": "moon"},
            500,
            "the job does not take these parameters, or Jenkins failed",
        ),
        ({"refuses": True}, None, 302, REFUSED),
        (None, None, 404, "there is no such job, or our user has no Job/Read on it"),
    ],
    ids=["disabled", "disabled too", "unparameterised", "parameterised", "illegal", "refused", "no job"],
)
async def test_jenkins_case_26_what_is_not_started_ends_at_once(
    jenkins: JenkinsEmulator, spec: dict[str, Any] | None, parameters: dict[str, str] | None, status: int, told: str
) -> None:
    """Each refusal is told by its kind, after one call, and nothing was queued."""
    if spec is not None:
        jenkins.add_job(JOB, **spec)
    async with following(jenkins, job=JOB, parameters=parameters) as build:
        assert await build.step() == Finished(Outcome.FAILED, told)
    assert [entry.status for entry in jenkins.log] == [status]
    assert not any(effect.kind == "queue.entered" for effect in jenkins.effects)


@pytest.mark.parametrize("verb", ["build", "buildWithParameters"])
async def test_jenkins_case_26_a_get_starts_nothing(jenkins: JenkinsEmulator, person: RawClient, verb: str) -> None:
    """405 with Allow: our trigger is a POST."""
    jenkins.add_job(JOB, parameters=PARAMETERS)
    answer = await person.get(f"/{JOB}/{verb}?SHA=a")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert jenkins.effects == []


async def test_jenkins_case_26_a_start_waits_for_jenkins_and_is_made_once(jenkins: JenkinsEmulator) -> None:
    """503 of a Jenkins that is starting comes before anything: asked again; a proxy's 502 may come after: never again."""
    jenkins.add_job(JOB)
    jenkins.restart(requests=3)
    async with following(jenkins, job=JOB) as build:
        assert [(await build.again()).is_fault for _ in range(3)] == [True] * 3
        assert (await build.finished()).outcome is Outcome.SUCCEEDED
    jenkins.fault(FaultKind.STATUS_AFTER, method="POST", status=502)
    async with following(jenkins, job=JOB) as build:
        assert await build.step() == Finished(Outcome.FAILED, "answered 502: whether a build was started is not known")
    assert [effect.kind for effect in jenkins.effects].count("build.started") == 2


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_jenkins_case_26_a_refused_credential_is_a_fault_of_ours(jenkins: JenkinsEmulator, status: int) -> None:
    """Nothing was started, and nothing is given up."""
    jenkins.add_job(JOB)
    jenkins.fault(FaultKind.STATUS, method="POST", status=status)
    async with following(jenkins, job=JOB) as build:
        said = await build.again()
        assert (said.note, said.is_fault) == (f"Jenkins answered {status}", True)
        assert (await build.finished()).outcome is Outcome.SUCCEEDED


async def test_jenkins_case_27_an_item_is_followed_into_its_build(jenkins: JenkinsEmulator) -> None:
    """Waiting tells why; an item that left has no build for a moment; then it has."""
    jenkins.set_switches({"executors_busy": True, "left_without_build_s": 0.3})
    jenkins.add_job(JOB, script=[Hold(name="end")])
    async with following(jenkins, job=JOB) as build:
        item = (await build.again()).state.item
        assert (await build.again()).note == "Waiting for next available executor"
        jenkins.set_switches({"executors_busy": False})
        left = jenkins.queue_item(item or 0)
        assert left is not None
        assert left.is_left
        assert (left.build, (await build.again()).state.number) == (None, None)
        await jenkins.until(lambda: left.build is not None)
        assert (await build.again()).state.number == 1
        assert (await build.again()).note == "building"
        run = jenkins.find_build(f"{JOB}/1")
        assert run is not None
        jenkins.reach(run, "end")
        assert (await build.finished()).outcome is Outcome.SUCCEEDED


async def test_jenkins_case_27_a_cancelled_item_ends_it(jenkins: JenkinsEmulator, person: RawClient) -> None:
    """Cancelled in the queue, by a person: no build comes, and nobody waits for one."""
    jenkins.switches.executors_busy = True
    jenkins.add_job(JOB)
    async with following(jenkins, job=JOB) as build:
        await build.again()
        assert (await person.post("/queue/cancelItem?id=1")).status == 204
        assert await build.step() == Finished(Outcome.CANCELLED, "cancelled in the queue")


@pytest.mark.parametrize("how", ["expired", "restart"])
async def test_jenkins_case_27_a_forgotten_item_is_found_by_its_id(jenkins: JenkinsEmulator, how: str) -> None:
    """404 for the item: of the job's builds the one with its queueId is followed, and no other."""
    jenkins.add_job(JOB, script=[Sleep(seconds=0.2)])
    async with following(jenkins, job=JOB, item=None) as build:
        await build.again()
        jenkins.start_build(JOB, script=[SetResult(result="FAILURE")])
        if how == "expired":
            jenkins.set_switches({"queue_keep_s": -1})
        else:
            jenkins.restart()
        assert (await build.again()).state.is_lost
        assert (await build.again()).state.number == 1
        assert (await build.finished()).summary == "build 1: SUCCESS"


@pytest.mark.parametrize("survives", [True, False])
async def test_jenkins_case_27_a_restart_keeps_or_loses_what_waits(jenkins: JenkinsEmulator, *, survives: bool) -> None:
    """Waiting items are saved, or not: then no build has the id, and that is the end."""
    jenkins.set_switches({"executors_busy": True, "queue_survives_restart": survives})
    jenkins.add_job(JOB)
    async with following(jenkins, job=JOB) as build:
        await build.again()
        jenkins.restart()
        jenkins.set_switches({"executors_busy": False})
        end = await build.finished()
    told = "build 1: SUCCESS" if survives else "it left the queue and no build came of it"
    assert (end.summary, end.outcome is Outcome.SUCCEEDED) == (told, survives)
    assert posts(jenkins) == [f"/{JOB}/build"]


@pytest.mark.parametrize("result", ["SUCCESS", "UNSTABLE", "FAILURE", "ABORTED", "NOT_BUILT"])
async def test_jenkins_case_28_a_result_counts_when_the_build_is_over(jenkins: JenkinsEmulator, result: str) -> None:
    """A step sets it early and the build goes on: not finished until `building` is false."""
    run = jenkins.start_build(JOB, script=[SetResult(result=result), Hold(name="end")])
    async with following(jenkins, job=JOB, number=1) as build:
        assert (run.result, run.in_progress) == (result, True)
        assert [(await build.again()).note for _ in range(3)] == ["building"] * 3
        jenkins.reach(run, "end")
        end = await build.finished()
    assert end.summary == f"build 1: {result}"
    assert end.outcome == {
        "SUCCESS": Outcome.SUCCEEDED,
        "ABORTED": Outcome.CANCELLED,
        "NOT_BUILT": Outcome.CANCELLED,
    }.get(result, Outcome.FAILED)


async def test_jenkins_case_28_a_build_that_is_deleted_ends_it(jenkins: JenkinsEmulator) -> None:
    """404 for the build and 200 for its job: it will never have a result."""
    run = jenkins.start_build(JOB, script=[Hold(name="end")])
    async with following(jenkins, job=JOB, number=1) as build:
        await build.again()
        jenkins.delete_build(run)
        assert await build.finished() == Finished(Outcome.FAILED, "build 1 was deleted")


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": FaultKind.STATUS, "status": 503},
        {"kind": FaultKind.STATUS, "status": 401},
        {"kind": FaultKind.HTML, "status": 200},
        {"kind": FaultKind.STATUS, "status": 302, "headers": {"Location": "https://sso.example/"}},
    ],
    ids=["503", "401", "login page", "redirect"],
)
@pytest.mark.parametrize("at", ["/queue/item/", f"/{JOB}/1/api/json", f"/{JOB}/api/json"])
async def test_jenkins_case_28_what_is_not_jenkinss_answer_ends_nothing(
    jenkins: JenkinsEmulator, fault: dict[str, Any], at: str
) -> None:
    """It is told as a fault, the state stays, and the same question is asked again."""
    jenkins.add_job(JOB)
    if "api/json" in at and "/1/" not in at:
        jenkins.set_switches({"queue_keep_s": -1})
    jenkins.fault(**fault, path=at, times=2)
    async with following(jenkins, job=JOB) as build:
        assert (await build.finished()).summary == "build 1: SUCCESS"
        faults = [said for said in build.said if not isinstance(said, Finished) and said.is_fault]
    assert [said.note for said in faults] == [f"Jenkins answered {fault['status']}"] * 2
    assert posts(jenkins) == [f"/{JOB}/build"]


@pytest.mark.parametrize("at", ["/queue/item/", f"/{JOB}/1/api/json", ""])
async def test_jenkins_case_28_a_proxys_404_ends_nothing(jenkins: JenkinsEmulator, at: str) -> None:
    """Without Jenkins's own header it is searched for, and asked for again, before anything is said."""
    jenkins.switches.executors_busy = True
    jenkins.add_job(JOB)
    jenkins.fault(FaultKind.STATUS, status=404, method="GET", path=at, times=4)
    async with following(jenkins, job=JOB) as build:
        for _ in range(10):
            await build.again()
        jenkins.set_switches({"executors_busy": False})
        assert (await build.finished()).summary == "build 1: SUCCESS"
    assert (jenkins.faults, posts(jenkins)) == ([], [f"/{JOB}/build"])


async def test_jenkins_case_27_a_job_that_is_gone_ends_it(jenkins: JenkinsEmulator) -> None:
    """Neither the item nor the job: deleted, or hidden from us."""
    jenkins.switches.executors_busy = True
    jenkins.add_job(JOB)
    async with following(jenkins, job=JOB) as build:
        await build.again()
        jenkins.world.jobs.clear()
        jenkins.world.queue.items.clear()
        told = "there is no such job, or our user has no Job/Read on it"
        assert await build.finished() == Finished(Outcome.FAILED, told)


async def test_jenkins_case_29_an_internal_host_is_never_asked() -> None:
    """Location names another host and scheme: only its number is taken, and asked for below the base URL."""
    jenkins = JenkinsEmulator(context="/ci", internal_url="http://jenkins-0.internal:8080")
    async with jenkins.serve():
        jenkins.add_job("job/mb/job/feature%252Fx")
        async with following(jenkins, job="job/mb/job/feature%252Fx") as build:
            assert (await build.finished()).outcome is Outcome.SUCCEEDED
        async with raw_client(jenkins) as person:
            location = (await person.post("/job/mb/job/feature%252Fx/build")).headers["Location"]
        assert location == "http://jenkins-0.internal:8080/ci/queue/item/2/"
        assert [entry.path for entry in jenkins.log][:3] == [
            "/ci/job/mb/job/feature%252Fx/build",
            "/ci/queue/item/1/api/json",
            "/ci/job/mb/job/feature%252Fx/1/api/json",
        ]
