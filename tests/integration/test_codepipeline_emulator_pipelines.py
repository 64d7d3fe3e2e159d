"""Stages, stops, timeouts and what is shown of them in the CodePipeline emulator, with boto3 as the client."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bridge.testing.codepipeline import ActionSpec, CodepipelineEmulator, PipelineSpec, StageSpec
from tests.support.codepipeline_boto3 import Boto, boto

DAY_S = 86_400
OTHER = "other-secret"


@pytest_asyncio.fixture
async def emulator() -> AsyncIterator[CodepipelineEmulator]:
    served = CodepipelineEmulator()
    async with served.serve():
        yield served


@pytest_asyncio.fixture
async def aws(emulator: CodepipelineEmulator) -> AsyncIterator[Boto]:
    async with boto(emulator.base_url) as client:
        yield client


def kinds(emulator: CodepipelineEmulator) -> list[str]:
    return [effect.kind for effect in emulator.effects]


async def test_the_next_stage_starts_when_all_actions_have_succeeded(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Actions of a stage run side by side, and the next stage waits for all of them."""
    first = StageSpec(name="One", actions=(ActionSpec(name="A"), ActionSpec(name="B")))
    second = StageSpec(name="Two", actions=(ActionSpec(name="C"),))
    execution = emulator.start_execution(PipelineSpec(name="long", stages=(first, second)))
    jobs = await aws.poll()
    names = [job["data"]["pipelineContext"]["action"]["name"] for job in jobs]
    assert names == ["A", "B"]
    for job in jobs:
        assert await aws.poll() == []
        await aws("acknowledge_job", jobId=job["id"], nonce=job["nonce"])
        await aws.succeed(job)
    state = await aws("get_pipeline_state", name="long")
    statuses = [stage["latestExecution"]["status"] for stage in state["stageStates"]]
    assert statuses == ["Succeeded", "InProgress"]
    await aws.succeed(await aws.take())
    assert execution.status == "Succeeded"


async def test_a_custom_action_times_out(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """After 24 h over all its jobs the action fails, a late result is InvalidJobState, Acknowledge says TimedOut."""
    execution = emulator.start_execution()
    await aws.succeed(await aws.take(), continuationToken="t")
    emulator.advance(DAY_S - 1)
    (job,) = await aws.poll()
    assert execution.status == "InProgress"
    emulator.advance(1)
    assert execution.status == "Failed"
    assert await aws("acknowledge_job", jobId=job["id"], nonce=job["nonce"]) == {"status": "TimedOut"}
    assert await aws.refusal("put_job_success_result", jobId=job["id"]) == "InvalidJobStateException"
    assert (await aws.latest())["status"] == "Failed"
    assert kinds(emulator) == ["job.continued"]


async def test_an_action_may_have_a_timeout_of_its_own(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """An action's own timeout comes before the knob."""
    execution = emulator.start_execution(timeout_s=5)
    job = await aws.take()
    emulator.advance(5)
    assert await aws.refusal("put_job_success_result", jobId=job["id"]) == "InvalidJobStateException"
    assert execution.job.state == "TimedOut"


async def test_an_abandoned_pipeline(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """After stop and abandon a result is InvalidJobState, Acknowledge tells to stop, no poll has the job."""
    execution = emulator.start_execution()
    (job,) = await aws.poll()
    emulator.stop_execution(execution.id, abandon=True)
    assert await aws("acknowledge_job", jobId=job["id"], nonce=job["nonce"]) == {"status": "Failed"}
    assert await aws.refusal("put_job_success_result", jobId=job["id"]) == "InvalidJobStateException"
    emulator.advance(3600)
    assert await aws.poll() == []
    assert (await aws.latest())["status"] == "Abandoned"
    assert execution.status == "Stopped"


async def test_stop_and_wait(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Stopped without abandoning, the running action may end, and no further stage starts."""
    stages = (
        StageSpec(name="One", actions=(ActionSpec(name="A"),)),
        StageSpec(name="Two", actions=(ActionSpec(name="B"),)),
    )
    execution = emulator.start_execution(PipelineSpec(name="long", stages=stages))
    job = await aws.take()
    emulator.stop_execution(execution.id, abandon=False)
    assert execution.status == "Stopping"
    await aws.succeed(job)
    assert execution.status == "Stopped"
    assert await aws.poll() == []


async def test_the_current_revision_is_shown(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """The currentRevision of a result is the action's current revision."""
    emulator.start_execution()
    job = await aws.take()
    await aws.succeed(job, currentRevision={"revision": "abc", "changeIdentifier": "c1", "created": 1_700_000_000})
    state = await aws("get_pipeline_state", name="demo")
    revision = state["stageStates"][0]["actionStates"][0]["currentRevision"]
    assert (revision["revisionId"], revision["revisionChangeId"]) == ("abc", "c1")
    assert revision["created"].timestamp() == 1_700_000_000


async def test_accounts_do_not_see_one_another(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Jobs and pipelines of another account are neither handed out nor found."""
    emulator.set_credential("AKIDOTHER", secret=OTHER, account_id="444455556666")
    theirs = emulator.start_execution(pipeline="demo", account_id="444455556666")
    assert await aws.poll() == []
    assert await aws.refusal("get_job_details", jobId=theirs.job.id) == "JobNotFoundException"
    assert await aws.refusal("get_pipeline_state", name="demo") == "PipelineNotFoundException"
    async with boto(emulator.base_url, access_key="AKIDOTHER", signing_key=OTHER) as other:
        (job,) = await other.poll()
        assert job["accountId"] == "444455556666"


async def test_list_action_executions(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """The history has the newest first, in pages, and can be asked for one pipeline execution."""
    started = [emulator.start_execution() for _ in range(3)]
    ids = [execution.action.id for execution in reversed(started)]
    first = await aws("list_action_executions", pipelineName="demo", maxResults=2)
    rest = await aws("list_action_executions", pipelineName="demo", nextToken=first["nextToken"])
    listed = first["actionExecutionDetails"] + rest["actionExecutionDetails"]
    assert [entry["actionExecutionId"] for entry in listed] == ids
    assert "nextToken" not in rest
    for wanted in (
        {"pipelineExecutionId": started[1].id},
        {"latestInPipelineExecution": {"pipelineExecutionId": started[1].id, "startTimeRange": "Latest"}},
    ):
        only = await aws("list_action_executions", pipelineName="demo", filter=wanted)
        assert [entry["actionExecutionId"] for entry in only["actionExecutionDetails"]] == [started[1].action.id]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"nextToken": "elsewhere"}, "InvalidNextTokenException"),
        ({"nextToken": "7"}, "InvalidNextTokenException"),
        (
            {"filter": {"pipelineExecutionId": "11111111-abcd-1111-abcd-111111abcdef"}},
            "PipelineExecutionNotFoundException",
        ),
        ({"pipelineName": "none"}, "PipelineNotFoundException"),
    ],
)
async def test_what_list_action_executions_refuses(
    emulator: CodepipelineEmulator, aws: Boto, members: dict[str, Any], code: str
) -> None:
    """A bad page, an unknown execution and an unknown pipeline have an error each."""
    emulator.start_execution()
    assert await aws.refusal("list_action_executions", **({"pipelineName": "demo"} | members)) == code
