"""What a result does to a job of the CodePipeline emulator, with boto3 as the client."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bridge.testing.codepipeline import CodepipelineEmulator
from tests.support.codepipeline_boto3 import Boto, boto

DAY_S = 86_400


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


async def test_a_result_without_token_ends_the_action(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A success without continuation token is final whatever its percentage, and shows in the pipeline's state."""
    emulator.register_action_type(
        "Build/Custom/Bridge/1",
        entity_url_template="https://r.example/{Config:Suite}",
        execution_url_template="https://r.example/{Config:Suite}/{ExternalExecutionId}",
    )
    execution = emulator.start_execution(pipeline="demo", action="Wait", configuration={"Suite": "load"})
    job = await aws.take()
    details = {"summary": "approved by ana", "externalExecutionId": "demo/42", "percentComplete": 30}
    assert await aws("put_job_success_result", jobId=job["id"], executionDetails=details) == {}
    latest = await aws.latest()
    assert latest.pop("lastStatusChange") is not None
    assert latest == {
        "actionExecutionId": execution.action.id,
        "status": "Succeeded",
        "summary": "approved by ana",
        "externalExecutionId": "demo/42",
        "externalExecutionUrl": "https://r.example/load/demo/42",
        "percentComplete": 30,
    }
    state = await aws("get_pipeline_state", name="demo")
    assert state["stageStates"][0]["latestExecution"] == {"pipelineExecutionId": execution.id, "status": "Succeeded"}
    assert state["stageStates"][0]["actionStates"][0]["entityUrl"] == "https://r.example/load"
    assert execution.status == "Succeeded"


async def test_an_effect_names_the_action_and_what_was_said(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """The effect of a result has the job's id as subject, and in its detail all that tells one action from another."""
    execution = emulator.start_execution(pipeline="demo", action="Wait")
    job = await aws.take()
    await aws.succeed(job, executionDetails={"summary": "ok"}, outputVariables={"Approver": "ana"})
    (effect,) = emulator.effects
    assert (effect.kind, effect.subject) == ("job.succeeded", job["id"])
    assert effect.detail == {
        "pipeline": "demo",
        "stage": "Build",
        "action": "Wait",
        "actionExecutionId": execution.action.id,
        "pipelineExecutionId": execution.id,
        "summary": "ok",
        "externalExecutionId": None,
        "percentComplete": None,
        "continuationToken": None,
        "outputVariables": {"Approver": "ana"},
        "currentRevision": None,
    }


async def test_a_second_result_is_refused(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A job id is good for one result: success or failure after it is InvalidJobState and has no effect."""
    emulator.start_execution()
    job = await aws.take()
    await aws.succeed(job)
    assert await aws.refusal("put_job_success_result", jobId=job["id"]) == "InvalidJobStateException"
    failure = {"type": "JobFailed", "message": "no"}
    refused = await aws.refusal("put_job_failure_result", jobId=job["id"], failureDetails=failure)
    assert refused == "InvalidJobStateException"
    assert kinds(emulator) == ["job.succeeded"]


async def test_a_failure_ends_action_and_pipeline(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A failure shows its type and message, keeps the external id, and fails the pipeline."""
    execution = emulator.start_execution()
    job = await aws.take()
    failure = {"type": "PermissionError", "message": "denied", "externalExecutionId": "demo/42"}
    assert await aws("put_job_failure_result", jobId=job["id"], failureDetails=failure) == {}
    latest = await aws.latest()
    assert latest["status"] == "Failed"
    assert latest["errorDetails"] == {"code": "PermissionError", "message": "denied"}
    assert latest["externalExecutionId"] == "demo/42"
    assert execution.status == "Failed"
    assert kinds(emulator) == ["job.failed"]
    assert await aws.refusal("put_job_success_result", jobId=job["id"]) == "InvalidJobStateException"
    assert emulator.effects[0].detail["failureType"] == "PermissionError"
    assert emulator.effects[0].detail["failureMessage"] == "denied"


async def test_a_token_closes_the_job_and_makes_another(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """After a success with token there is a new job: new id, new nonce, same token; the old id is closed."""
    execution = emulator.start_execution()
    first = await aws.take()
    assert "continuationToken" not in first["data"]
    details = {"summary": "waiting", "externalExecutionId": "demo/42", "percentComplete": 1}
    await aws.succeed(first, continuationToken="v1:8f2c", executionDetails=details)
    assert await aws.refusal("put_job_success_result", jobId=first["id"]) == "InvalidJobStateException"
    latest = await aws.latest()
    assert (latest["status"], latest["percentComplete"]) == ("InProgress", 1)
    second = await aws.take()
    assert second["data"]["continuationToken"] == "v1:8f2c"
    assert second["id"] != first["id"]
    assert second["nonce"] != first["nonce"]
    context = "pipelineContext"
    assert second["data"][context]["action"] == first["data"][context]["action"]
    await aws.succeed(second)
    assert kinds(emulator) == ["job.continued", "job.succeeded"]
    assert {effect.detail["actionExecutionId"] for effect in emulator.effects} == {execution.action.id}
    assert execution.status == "Succeeded"
    assert (await aws.latest())["externalExecutionId"] == "demo/42"


async def test_the_follow_up_job_comes_after_the_delay(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """With a delay of 60 s the follow-up is handed out no earlier than 60 s after the result."""
    emulator.set_knobs(follow_up_delay_s=60)
    emulator.start_execution()
    await aws.succeed(await aws.take(), continuationToken="t")
    emulator.advance(59)
    assert await aws.poll() == []
    emulator.advance(1)
    (job,) = await aws.poll()
    assert job["data"]["continuationToken"] == "t"


async def test_an_action_stopped_in_the_delay_has_no_follow_up(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A pipeline abandoned between two jobs hands out no further one."""
    emulator.set_knobs(follow_up_delay_s=60)
    execution = emulator.start_execution()
    await aws.succeed(await aws.take(), continuationToken="t")
    emulator.stop_execution(execution.id)
    emulator.advance(61)
    assert await aws.poll() == []
    assert execution.status == "Stopped"


@pytest.mark.parametrize(
    ("knob", "expected"),
    [("continues", ["job.continued"]), ("completes", ["job.succeeded"]), ("refused", "ValidationException")],
)
async def test_hundred_percent_with_a_token(
    emulator: CodepipelineEmulator, aws: Boto, knob: str, expected: list[str] | str
) -> None:
    """What 100 % together with a token means is a switch."""
    emulator.set_knobs(hundred_percent=knob)
    emulator.start_execution()
    job = await aws.take()
    members: dict[str, Any] = {"continuationToken": "t", "executionDetails": {"percentComplete": 100}}
    if isinstance(expected, str):
        assert await aws.refusal("put_job_success_result", jobId=job["id"], **members) == expected
        await aws.succeed(job)
    else:
        await aws.succeed(job, **members)
        assert kinds(emulator) == expected


async def test_put_before_acknowledge_is_a_switch(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A result for a job that nobody acknowledged is refused, or taken with the switch."""
    emulator.start_execution()
    (job,) = await aws.poll()
    assert await aws.refusal("put_job_success_result", jobId=job["id"]) == "InvalidJobStateException"
    emulator.set_knobs(put_before_acknowledge=True)
    await aws.succeed(job)
    assert kinds(emulator) == ["job.succeeded"]
    assert await aws("acknowledge_job", jobId=job["id"], nonce=job["nonce"]) == {"status": "Succeeded"}


async def test_finished_ids_are_forgotten_if_asked(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """With a limit, the id of a finished job is unknown after it; without one it is known for ever."""
    emulator.start_execution()
    job = await aws.take()
    await aws.succeed(job)
    emulator.advance(400 * DAY_S)
    assert await aws.refusal("put_job_success_result", jobId=job["id"]) == "InvalidJobStateException"
    emulator.set_knobs(finished_known_s=3600)
    assert await aws.refusal("put_job_success_result", jobId=job["id"]) == "JobNotFoundException"
    assert await aws.refusal("get_job_details", jobId=job["id"]) == "JobNotFoundException"


async def test_output_variables(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Variables go only without a token, up to 122 880 bytes; a refusal leaves the job open."""
    emulator.start_execution()
    job = await aws.take()
    with_token = {"jobId": job["id"], "continuationToken": "t", "outputVariables": {"A": "1"}}
    assert await aws.refusal("put_job_success_result", **with_token) == "ValidationException"
    too_large = {"A": "ä" * 61_440}
    refused = await aws.refusal("put_job_success_result", jobId=job["id"], outputVariables=too_large)
    assert refused == "OutputVariablesSizeExceededException"
    largest = {"A": "x" * 122_879}
    await aws.succeed(job, outputVariables=largest)
    answer = await aws("list_action_executions", pipelineName="demo")
    assert answer["actionExecutionDetails"][0]["output"]["outputVariables"] == largest
