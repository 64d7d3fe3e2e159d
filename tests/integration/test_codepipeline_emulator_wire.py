"""What the CodePipeline emulator says on the wire: bodies, errors, signatures, faults; raw where boto3 would hide it."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from botocore.exceptions import ConnectionClosedError

from bridge.testing.codepipeline import CodepipelineEmulator
from tests.support.codepipeline_boto3 import BRIDGE, CONTENT_TYPE, Boto, boto, raw, send, signed

UNKNOWN = "11111111-abcd-1111-abcd-111111abcdef"
POLL = {"actionTypeId": BRIDGE}
OTHER = "other-key"


@pytest_asyncio.fixture
async def emulator() -> AsyncIterator[CodepipelineEmulator]:
    served = CodepipelineEmulator()
    async with served.serve():
        yield served


@pytest_asyncio.fixture
async def aws(emulator: CodepipelineEmulator) -> AsyncIterator[Boto]:
    async with boto(emulator.base_url) as client:
        yield client


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_results_answer_with_an_empty_body(
    emulator: CodepipelineEmulator, aws: Boto, http: aiohttp.ClientSession
) -> None:
    """A result is answered 200 with no body at all, the other calls with JSON."""
    emulator.start_execution()
    job = await aws.take()
    details = await raw(http, emulator.base_url, "GetJobDetails", {"jobId": job["id"]})
    assert details[0] == 200
    assert details[1]["Content-Type"] == CONTENT_TYPE
    assert json.loads(details[2])["jobDetails"]["id"] == job["id"]
    status, _, body = await raw(http, emulator.base_url, "PutJobSuccessResult", {"jobId": job["id"]})
    assert (status, body) == (200, b"")


async def test_times_are_numbers(emulator: CodepipelineEmulator, http: aiohttp.ClientSession) -> None:
    """Timestamps are seconds since 1970, as numbers."""
    emulator.start_execution()
    _, _, body = await raw(http, emulator.base_url, "GetPipelineState", {"name": "demo"})
    assert abs(json.loads(body)["created"] - emulator.now.timestamp()) < 10


async def test_an_error_has_a_type_and_a_message(emulator: CodepipelineEmulator, http: aiohttp.ClientSession) -> None:
    """A modelled error is 400 with the code in __type; namespace and the spelling of message are switches."""
    status, headers, body = await raw(http, emulator.base_url, "GetJobDetails", {"jobId": UNKNOWN})
    assert (status, headers["Content-Type"]) == (400, CONTENT_TYPE)
    assert json.loads(body) == {"__type": "JobNotFoundException", "message": f"Job {UNKNOWN} was not found"}
    emulator.set_knobs(error_namespace="com.amazonaws.codepipeline", error_text_key="Message")
    _, _, body = await raw(http, emulator.base_url, "GetJobDetails", {"jobId": UNKNOWN})
    assert json.loads(body) == {
        "__type": "com.amazonaws.codepipeline#JobNotFoundException",
        "Message": f"Job {UNKNOWN} was not found",
    }


async def test_boto3_reads_a_namespace_and_a_capital(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """The real client classifies both spellings alike."""
    emulator.set_knobs(error_namespace="com.amazonaws.codepipeline", error_text_key="Message")
    error = await aws.error("get_job_details", jobId=UNKNOWN)
    assert error.response["Error"] == {"Code": "JobNotFoundException", "Message": f"Job {UNKNOWN} was not found"}


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        ("GetPipeline", {}, "UnknownOperationException"),
        ("GetJobDetails", b"{", "SerializationException"),
        ("GetJobDetails", b"[]", "SerializationException"),
        ("GetJobDetails", {"jobId": 5}, "SerializationException"),
        ("PollForJobs", POLL | {"maxBatchSize": "1"}, "SerializationException"),
        ("PollForJobs", POLL | {"maxBatchSize": True}, "SerializationException"),
        ("GetJobDetails", b"", "ValidationException"),
        ("GetJobDetails", {"jobId": None}, "ValidationException"),
    ],
)
async def test_what_is_no_request(
    emulator: CodepipelineEmulator, http: aiohttp.ClientSession, operation: str, body: Any, code: str
) -> None:
    """An unknown operation, a body that is not JSON and a wrong type have errors of their own."""
    status, _, answer = await raw(http, emulator.base_url, operation, body)
    assert (status, json.loads(answer)["__type"]) == (400, code)


async def test_null_is_absent_and_unknown_members_are_passed_over(
    emulator: CodepipelineEmulator, aws: Boto, http: aiohttp.ClientSession
) -> None:
    """An optional member that is null counts as absent, one that nobody knows does no harm."""
    emulator.start_execution()
    job = await aws.take()
    body = {"jobId": job["id"], "continuationToken": None, "later": 1}
    status, _, _ = await raw(http, emulator.base_url, "PutJobSuccessResult", body)
    assert status == 200
    assert [effect.kind for effect in emulator.effects] == ["job.succeeded"]


async def test_another_content_type_is_no_operation(
    emulator: CodepipelineEmulator, http: aiohttp.ClientSession
) -> None:
    """Only JSON 1.1 is spoken."""
    headers, content = signed(emulator.base_url, "PollForJobs", POLL)
    headers["Content-Type"] = "application/x-amz-json-1.0"
    _, _, body = await send(http, emulator.base_url, headers, content)
    assert json.loads(body)["__type"] == "UnknownOperationException"


@pytest.mark.parametrize(
    ("call", "members"),
    [
        ("acknowledge_job", {"jobId": "11111111-ABCD-1111-abcd-111111abcdef", "nonce": "1"}),
        ("acknowledge_job", {"jobId": UNKNOWN, "nonce": ""}),
        ("acknowledge_job", {"jobId": UNKNOWN, "nonce": "1" * 51}),
        ("acknowledge_job", {"jobId": UNKNOWN}),
        ("put_job_success_result", {"continuationToken": ""}),
        ("put_job_success_result", {"continuationToken": "x" * 2049}),
        ("put_job_success_result", {"executionDetails": {"summary": ""}}),
        ("put_job_success_result", {"executionDetails": {"summary": "x" * 2049}}),
        ("put_job_success_result", {"executionDetails": {"externalExecutionId": "x" * 1501}}),
        ("put_job_success_result", {"executionDetails": {"percentComplete": 101}}),
        ("put_job_success_result", {"executionDetails": {"percentComplete": -1}}),
        ("put_job_success_result", {"currentRevision": {"revision": "r"}}),
        ("put_job_success_result", {"currentRevision": {"revision": "r" * 1501, "changeIdentifier": "c"}}),
        ("put_job_success_result", {"currentRevision": {"revision": "r", "changeIdentifier": "c" * 101}}),
        ("put_job_success_result", {"outputVariables": {"a b": "1"}}),
        ("put_job_success_result", {"outputVariables": {"": "1"}}),
        ("put_job_failure_result", {"failureDetails": {"type": "Broken", "message": "m"}}),
        ("put_job_failure_result", {"failureDetails": {"type": "JobFailed", "message": ""}}),
        ("put_job_failure_result", {"failureDetails": {"type": "JobFailed", "message": "m" * 5001}}),
        ("put_job_failure_result", {}),
        ("poll_for_jobs", POLL | {"maxBatchSize": 0}),
        ("poll_for_jobs", POLL | {"queryParam": {"A": "1", "B": "2"}}),
        ("poll_for_jobs", {"actionTypeId": BRIDGE | {"provider": "p" * 36}}),
        ("poll_for_jobs", {"actionTypeId": BRIDGE | {"version": "1.0"}}),
        ("poll_for_jobs", {"actionTypeId": BRIDGE | {"category": "Wait"}}),
        ("get_third_party_job_details", {"jobId": "x" * 513, "clientToken": "t"}),
        ("get_third_party_job_details", {"jobId": "x", "clientToken": "t" * 257}),
        ("get_pipeline_state", {"name": "a b"}),
        ("list_action_executions", {"pipelineName": "demo", "maxResults": 101}),
    ],
)
async def test_limits(emulator: CodepipelineEmulator, aws: Boto, call: str, members: dict[str, Any]) -> None:
    """Whatever breaks a limit, a pattern or an enumeration is a ValidationException and leaves the job open."""
    emulator.start_execution()
    job = await aws.take()
    if call.startswith("put_job"):
        members = {"jobId": job["id"]} | members
    assert await aws.refusal(call, **members) == "ValidationException"
    assert emulator.effects == []
    await aws.succeed(job)


async def test_the_largest_of_everything_is_taken(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """The limits themselves are still good."""
    emulator.start_execution()
    details = {"summary": "s" * 2048, "externalExecutionId": "e" * 1500, "percentComplete": 0}
    revision = {"revision": "r" * 1500, "changeIdentifier": "c" * 100, "revisionSummary": "s" * 2048}
    await aws.succeed(
        await aws.take(), continuationToken="t" * 2048, executionDetails=details, currentRevision=revision
    )
    job = await aws.take()
    failure = {"type": "SystemUnavailable", "message": "m" * 5000, "externalExecutionId": "e" * 1500}
    await aws("put_job_failure_result", jobId=job["id"], failureDetails=failure)


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize(
    ("client", "code"),
    [
        ({"signing_key": OTHER}, "InvalidSignatureException"),
        ({"region": "us-east-1"}, "InvalidSignatureException"),
        ({"access_key": "AKIDNOBODY"}, "UnrecognizedClientException"),
        ({"token": "unasked"}, "UnrecognizedClientException"),
        ({"access_key": "AKIDEXPIRED", "signing_key": OTHER}, "ExpiredTokenException"),
    ],
)
async def test_credentials_that_are_not_believed(
    emulator: CodepipelineEmulator, client: dict[str, str], code: str, status: int
) -> None:
    """Each way of not being believed has its code; the status of all of them is a switch."""
    emulator.set_knobs(credential_error_status=status)
    emulator.set_credential("AKIDEXPIRED", secret=OTHER)
    emulator.expire_credential("AKIDEXPIRED")
    async with boto(emulator.base_url, **client) as other:
        error = await other.error("poll_for_jobs", **POLL)
    assert error.response["Error"]["Code"] == code
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert emulator.log[-1].status == status


async def test_access_denied_is_for_an_operation(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """An operation can be denied while others are not."""
    emulator.set_knobs(denied_operations=("GetJobDetails",))
    assert await aws.refusal("get_job_details", jobId=UNKNOWN) == "AccessDeniedException"
    assert await aws.poll() == []


async def test_session_credentials_expire_with_time(emulator: CodepipelineEmulator) -> None:
    """Session credentials need their token, and end at their time."""
    ends = emulator.now + timedelta(hours=1)
    emulator.set_credential("ASIA1", secret=OTHER, session_token="session", expires_at=ends)  # noqa: S106 - a dummy
    async with boto(emulator.base_url, access_key="ASIA1", signing_key=OTHER, token="session") as session:  # noqa: S106
        assert await session.poll() == []
        emulator.advance(3600)
        assert await session.refusal("poll_for_jobs", **POLL) == "ExpiredTokenException"


async def test_advancing_time_leaves_signatures_good(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Signatures are dated by real time, whatever time it is in the emulator."""
    emulator.advance(86_400)
    assert await aws.poll() == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Authorization": None}, "MissingAuthenticationTokenException"),
        ({"Authorization": "Bearer x"}, "IncompleteSignatureException"),
        ({"X-Amz-Target": "CodePipeline_20150709.GetJobDetails"}, "InvalidSignatureException"),
        ({"X-Amz-Date": "20200101T000000Z"}, "InvalidSignatureException"),
    ],
)
async def test_what_was_signed_must_be_what_came(
    emulator: CodepipelineEmulator, http: aiohttp.ClientSession, change: dict[str, str | None], code: str
) -> None:
    """A request without signature, or changed after it was signed, is not believed."""
    headers, content = signed(emulator.base_url, "PollForJobs", POLL)
    sent = {name: value for name, value in (headers | change).items() if value is not None}
    _, _, body = await send(http, emulator.base_url, sent, content)
    assert json.loads(body)["__type"] == code


async def test_a_changed_body_is_not_believed(emulator: CodepipelineEmulator, http: aiohttp.ClientSession) -> None:
    """The signature covers the body."""
    headers, _ = signed(emulator.base_url, "PollForJobs", POLL)
    _, _, body = await send(http, emulator.base_url, headers, json.dumps(POLL | {"maxBatchSize": 2}).encode())
    assert json.loads(body)["__type"] == "InvalidSignatureException"


async def test_signatures_can_be_switched_off(emulator: CodepipelineEmulator, http: aiohttp.ClientSession) -> None:
    """Without the check, a request by hand needs no signature."""
    emulator.set_knobs(verify_signatures=False)
    headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": "CodePipeline_20150709.PollForJobs"}
    status, _, body = await send(http, emulator.base_url, headers, json.dumps(POLL).encode())
    assert (status, json.loads(body)) == (200, {"jobs": []})


async def test_throttling_is_400_for_one_operation(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A fault can be meant for one operation, a number of times, and has no effect; other calls go on."""
    emulator.start_execution()
    job = await aws.take()
    emulator.fail("ThrottlingException", operation="PutJobSuccessResult", times=2)
    for _ in range(2):
        error = await aws.error("put_job_success_result", jobId=job["id"])
        assert error.response["Error"] == {"Code": "ThrottlingException", "Message": "Rate exceeded"}
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert await aws.poll() == []
    assert emulator.effects == []
    await aws.succeed(job)


async def test_an_operation_is_not_meant_by_part_of_its_name(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A fault for PutJobSuccessResult does not hit the third-party operation, and the other way round."""
    emulator.fail("ThrottlingException", operation="AcknowledgeJob")
    named = {"jobId": "bm9uZQ==", "clientToken": "t"}
    assert await aws.refusal("acknowledge_third_party_job", nonce="1", **named) == "JobNotFoundException"
    assert await aws.refusal("acknowledge_job", jobId=UNKNOWN, nonce="1") == "ThrottlingException"


async def test_a_result_whose_answer_is_lost(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Reset after the effect: the repeat is InvalidJobState although the result was taken."""
    emulator.start_execution()
    job = await aws.take()
    emulator.fault("reset-after", path=r"PutJobSuccessResult$")
    with pytest.raises(ConnectionClosedError):
        await aws.succeed(job)
    assert [effect.kind for effect in emulator.effects] == ["job.succeeded"]
    assert await aws.refusal("put_job_success_result", jobId=job["id"]) == "InvalidJobStateException"


async def test_a_result_that_never_arrived(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Reset before the effect: nothing was taken and the repeat is good."""
    emulator.start_execution()
    job = await aws.take()
    emulator.fault("reset-before", path=r"PutJobSuccessResult$")
    with pytest.raises(ConnectionClosedError):
        await aws.succeed(job)
    assert emulator.effects == []
    await aws.succeed(job)


@pytest.mark.parametrize(("kind", "status"), [("status", 500), ("status", 503), ("html", 503), ("status-after", 502)])
async def test_what_a_proxy_answers(
    emulator: CodepipelineEmulator, http: aiohttp.ClientSession, kind: str, status: int
) -> None:
    """5xx and a proxy's page come as asked."""
    emulator.fault(kind, path="PollForJobs$", status=status)
    answered, headers, _ = await raw(http, emulator.base_url, "PollForJobs", POLL)
    assert answered == status
    assert headers["Content-Type"].startswith("text/html" if kind == "html" else "text/plain")


async def test_the_log_has_target_and_body(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """What a client sent can be read from the log, a member that it left out included."""
    started = datetime.now(UTC)
    emulator.start_execution()
    await aws.succeed(await aws.take())
    entry = emulator.log[-1]
    assert entry.headers["x-amz-target"] == "CodePipeline_20150709.PutJobSuccessResult"
    assert set(json.loads(entry.body)) == {"jobId"}
    assert (entry.status, entry.at >= started) == (200, True)
