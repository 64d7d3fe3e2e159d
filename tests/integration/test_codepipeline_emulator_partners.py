"""Third-party and Lambda jobs of the CodePipeline emulator, with boto3 as the client."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bridge.testing.codepipeline import CodepipelineEmulator, PipelineExecution
from tests.support.codepipeline_boto3 import BRIDGE, PARTNER, Boto, boto

CLIENT = "0a0a0a0a-1111-2222-3333-444444444444"
SHARED = "connection-token"
LAMBDA = "Invoke/AWS/Lambda/1"


@pytest_asyncio.fixture
async def emulator() -> AsyncIterator[CodepipelineEmulator]:
    served = CodepipelineEmulator(clients={CLIENT: SHARED})
    async with served.serve():
        yield served


@pytest_asyncio.fixture
async def aws(emulator: CodepipelineEmulator) -> AsyncIterator[Boto]:
    async with boto(emulator.base_url) as client:
        yield client


def start(emulator: CodepipelineEmulator, **more: Any) -> PipelineExecution:
    return emulator.start_execution(action_type="Build/ThirdParty/Bridge/1", client_id=CLIENT, **more)


async def poll(aws: Boto) -> list[dict[str, Any]]:
    answer = await aws("poll_for_third_party_jobs", actionTypeId=PARTNER, maxBatchSize=10)
    jobs: list[dict[str, Any]] = answer["jobs"]
    return jobs


async def take(aws: Boto) -> dict[str, str]:
    """Poll, read the details and acknowledge; return what names the job in a result."""
    (job,) = await poll(aws)
    named = {"jobId": job["jobId"], "clientToken": SHARED}
    details = (await aws("get_third_party_job_details", **named))["jobDetails"]
    acknowledged = await aws("acknowledge_third_party_job", nonce=details["nonce"], **named)
    assert acknowledged == {"status": "InProgress"}
    return named


async def test_a_poll_names_job_and_client_only(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A third-party poll has neither data nor nonce, and the job's id is long base64 text."""
    execution = start(emulator)
    (job,) = await poll(aws)
    assert job == {"clientId": CLIENT, "jobId": execution.job.id}
    assert len(base64.b64decode(job["jobId"], validate=True)) > 100
    assert len(job["jobId"]) <= 512
    assert await poll(aws) == []


async def test_ids_may_be_uuids(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """The form of the id is a switch."""
    emulator.set_knobs(third_party_id="uuid")
    start(emulator)
    (job,) = await poll(aws)
    assert len(job["jobId"]) == 36


async def test_details_hold_nonce_and_data(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """The details hold the nonce, no account, and a context without ARN and execution id."""
    execution = start(emulator, configuration={"Key": "value"})
    (job,) = await poll(aws)
    answer = await aws("get_third_party_job_details", jobId=job["jobId"], clientToken=SHARED)
    details = answer["jobDetails"]
    assert set(details) == {"id", "nonce", "data"}
    assert details["id"] == job["jobId"]
    assert details["data"]["actionTypeId"] == PARTNER
    assert details["data"]["actionConfiguration"] == {"configuration": {"Key": "value"}}
    assert details["data"]["pipelineContext"] == {
        "pipelineName": "demo",
        "stage": {"name": "Build"},
        "action": {"name": "Wait", "actionExecutionId": execution.action.id},
    }


async def test_success_continuation_and_end(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A token makes a new job, a result without one ends the action."""
    execution = start(emulator)
    first = await take(aws)
    assert await aws("put_third_party_job_success_result", continuationToken="t", **first) == {}
    again = await aws.refusal("put_third_party_job_success_result", **first)
    assert again == "InvalidJobStateException"
    second = await take(aws)
    assert second["jobId"] != first["jobId"]
    details = await aws("get_third_party_job_details", **second)
    assert details["jobDetails"]["data"]["continuationToken"] == "t"
    await aws("put_third_party_job_success_result", executionDetails={"summary": "ok"}, **second)
    assert [effect.kind for effect in emulator.effects] == ["job.continued", "job.succeeded"]
    assert execution.status == "Succeeded"


async def test_failure(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A failure fails the pipeline."""
    execution = start(emulator)
    job = await take(aws)
    failure = {"type": "JobFailed", "message": "no"}
    assert await aws("put_third_party_job_failure_result", failureDetails=failure, **job) == {}
    assert execution.status == "Failed"


@pytest.mark.parametrize(
    ("call", "members"),
    [
        ("get_third_party_job_details", {}),
        ("acknowledge_third_party_job", {"nonce": "1"}),
        ("put_third_party_job_success_result", {}),
        ("put_third_party_job_failure_result", {"failureDetails": {"type": "JobFailed", "message": "no"}}),
    ],
)
async def test_every_call_needs_the_connection_s_token(
    emulator: CodepipelineEmulator, aws: Boto, call: str, members: dict[str, Any]
) -> None:
    """A wrong token is InvalidClientToken, an unknown job JobNotFound, in each of the four calls."""
    start(emulator)
    (job,) = await poll(aws)
    wrong = await aws.refusal(call, jobId=job["jobId"], clientToken="wrong", **members)
    assert wrong == "InvalidClientTokenException"
    unknown = await aws.refusal(call, jobId="bm9uZQ==", clientToken=SHARED, **members)
    assert unknown == "JobNotFoundException"
    assert emulator.effects == []


async def test_a_token_can_be_rotated(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """After a rotation the new token is taken and the old one is not."""
    start(emulator)
    job = await take(aws)
    emulator.connect_client(CLIENT, "rotated")
    refused = await aws.refusal("put_third_party_job_success_result", **job)
    assert refused == "InvalidClientTokenException"
    await aws("put_third_party_job_success_result", jobId=job["jobId"], clientToken="rotated")


async def test_a_nonce_of_another_reading_loses(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Two workers that read the details have a nonce each; the second Acknowledge is InvalidNonce."""
    start(emulator)
    (job,) = await poll(aws)
    named = {"jobId": job["jobId"], "clientToken": SHARED}
    one = (await aws("get_third_party_job_details", **named))["jobDetails"]["nonce"]
    two = (await aws("get_third_party_job_details", **named))["jobDetails"]["nonce"]
    await aws("acknowledge_third_party_job", nonce=one, **named)
    assert await aws.refusal("acknowledge_third_party_job", nonce=two, **named) == "InvalidNonceException"
    later = (await aws("get_third_party_job_details", **named))["jobDetails"]["nonce"]
    assert await aws.refusal("acknowledge_third_party_job", nonce=later, **named) == "InvalidNonceException"


async def test_a_custom_job_is_no_third_party_job(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Details of a custom job are asked for by another call: InvalidJob."""
    custom = emulator.start_execution(pipeline="own").job.id
    refused = await aws.refusal("get_third_party_job_details", jobId=custom, clientToken=SHARED)
    assert refused == "InvalidJobException"
    refused = await aws.refusal("put_third_party_job_success_result", jobId=custom, clientToken=SHARED)
    assert refused == "JobNotFoundException"
    emulator.set_knobs(third_party_id="uuid")
    partner = start(emulator).job.id
    assert await aws.refusal("get_job_details", jobId=partner) == "JobNotFoundException"


async def test_the_timeout_is_for_each_job(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Each job of a third-party action has an hour of its own, or what its action type says."""
    execution = start(emulator)
    job = await take(aws)
    emulator.advance(3599)
    await aws("put_third_party_job_success_result", continuationToken="t", **job)
    emulator.register_action_type("Build/ThirdParty/Bridge/1", job_timeout_s=60)
    job = await take(aws)
    emulator.advance(3599)
    await aws("put_third_party_job_success_result", continuationToken="t", **job)
    job = await take(aws)
    emulator.advance(60)
    assert await aws.refusal("put_third_party_job_success_result", **job) == "InvalidJobStateException"
    assert execution.status == "Failed"


async def test_who_may_poll(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Only accounts that the action type names may poll; the type must be a third party's, and registered."""
    start(emulator)
    emulator.register_action_type("Build/ThirdParty/Bridge/1", polling_accounts=("444455556666",))
    call = "poll_for_third_party_jobs"
    assert await aws.refusal(call, actionTypeId=PARTNER) == "AccessDeniedException"
    assert await aws.refusal(call, actionTypeId=BRIDGE) == "ValidationException"
    assert await aws.refusal(call, actionTypeId=PARTNER | {"version": "2"}) == "ActionTypeNotFoundException"


async def test_an_unconnected_client_cannot_be_started(emulator: CodepipelineEmulator) -> None:
    """A third-party action needs a client, and the client a token."""
    with pytest.raises(ValueError, match="client_id"):
        emulator.start_execution(action_type="Build/ThirdParty/Bridge/1")
    other = "0b0b0b0b-1111-2222-3333-444444444444"
    with pytest.raises(LookupError, match="no client token"):
        emulator.start_execution(action_type="Build/ThirdParty/Bridge/1", client_id=other)
    emulator.start_execution(action_type="Build/ThirdParty/Bridge/1", client_id=other, client_token=SHARED)


async def test_a_lambda_job_is_an_event(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """The event has id, account and data without type and context; the context is in the job's details."""
    execution = emulator.start_execution(action_type=LAMBDA, configuration={"FunctionName": "f"})
    (job,) = emulator.invocations
    event = emulator.lambda_event(job)["CodePipeline.job"]
    assert (event["id"], event["accountId"]) == (execution.job.id, "111122223333")
    assert event["data"].pop("artifactCredentials")
    assert event["data"] == {
        "actionConfiguration": {"configuration": {"FunctionName": "f"}},
        "inputArtifacts": [],
        "outputArtifacts": [],
    }
    details = (await aws("get_job_details", jobId=job.id))["jobDetails"]
    assert details["data"]["pipelineContext"]["pipelineName"] == "demo"


async def test_a_lambda_job_needs_no_acknowledge(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A result is taken at once, Acknowledge does not know the job, and a token invokes the function again."""
    execution = emulator.start_execution(action_type=LAMBDA)
    job = execution.job
    assert await aws.refusal("acknowledge_job", jobId=job.id, nonce="1") == "JobNotFoundException"
    await aws("put_job_success_result", jobId=job.id, continuationToken="t")
    _, again = emulator.invocations
    assert again.id != job.id
    assert emulator.lambda_event(again)["CodePipeline.job"]["data"]["continuationToken"] == "t"
    await aws("put_job_success_result", jobId=again.id)
    assert execution.status == "Succeeded"


async def test_a_lambda_job_has_twenty_minutes_for_each_reply(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Each result with a token starts the 20 minutes anew; silence ends the action, and so do 24 hours in all."""
    execution = emulator.start_execution(action_type=LAMBDA)
    for _ in range(3):
        emulator.advance(1199)
        await aws("put_job_success_result", jobId=execution.job.id, continuationToken="t")
    emulator.advance(1200)
    assert execution.status == "Failed"
    late = await aws.refusal("put_job_success_result", jobId=execution.job.id)
    assert late == "InvalidJobStateException"
    emulator.set_knobs(lambda_reply_timeout_s=1_000_000)
    long = emulator.start_execution(action_type=LAMBDA)
    emulator.advance(86_400)
    assert long.status == "Failed"
