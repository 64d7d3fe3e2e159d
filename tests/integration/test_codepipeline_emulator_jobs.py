"""How the CodePipeline emulator hands out a custom action's jobs and takes Acknowledge, with boto3 as the client."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge.testing.codepipeline import CodepipelineEmulator
from tests.support.codepipeline_boto3 import BRIDGE, PARTNER, Boto, boto

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
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


async def test_poll_hands_out_the_data_of_a_job(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A polled job has an id, a nonce, the account and all its data, secrets of the configuration in clear."""
    execution = emulator.start_execution(
        pipeline="demo",
        action="Wait",
        stage="Test",
        configuration={"Password": "hunter2"},
        input_artifacts=[{"name": "Source", "revision": "abc"}],
        output_artifacts=[{"name": "Report", "bucket": "own", "key": "report.zip"}],
        encryption_key="arn:aws:kms:eu-west-1:111122223333:key/1",
    )
    (job,) = await aws.poll()
    assert UUID.fullmatch(job["id"])
    assert 1 <= len(job["nonce"]) <= 50
    assert job["accountId"] == "111122223333"
    data = job["data"]
    credentials = data.pop("artifactCredentials")
    assert set(credentials) == {"accessKeyId", "secretAccessKey", "sessionToken"}
    assert data == {
        "actionTypeId": BRIDGE,
        "actionConfiguration": {"configuration": {"Password": "hunter2"}},
        "pipelineContext": {
            "pipelineName": "demo",
            "stage": {"name": "Test"},
            "action": {"name": "Wait", "actionExecutionId": execution.action.id},
            "pipelineArn": "arn:aws:codepipeline:eu-west-1:111122223333:demo",
            "pipelineExecutionId": execution.id,
        },
        "inputArtifacts": [
            {
                "name": "Source",
                "revision": "abc",
                "location": {
                    "type": "S3",
                    "s3Location": {
                        "bucketName": "codepipeline-artifacts",
                        "objectKey": f"demo/Source/{execution.id[:7]}",
                    },
                },
            }
        ],
        "outputArtifacts": [
            {
                "name": "Report",
                "location": {"type": "S3", "s3Location": {"bucketName": "own", "objectKey": "report.zip"}},
            }
        ],
        "encryptionKey": {"id": "arn:aws:kms:eu-west-1:111122223333:key/1", "type": "KMS"},
    }


async def test_the_loser_of_two_polls_gets_invalid_nonce(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """With the same job in two polls, each has its nonce, the first Acknowledge wins and the other is refused."""
    emulator.set_knobs(same_job_to_two_polls=True)
    emulator.start_execution()
    (one,), (two,) = await aws.poll(), await aws.poll()
    assert one["id"] == two["id"]
    assert await aws("acknowledge_job", jobId=one["id"], nonce=one["nonce"]) == {"status": "InProgress"}
    assert await aws.refusal("acknowledge_job", jobId=two["id"], nonce=two["nonce"]) == "InvalidNonceException"
    assert await aws.poll() == []


async def test_only_the_newest_nonce_may_win_if_asked(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """With `older_nonces_win` off, handing out again makes the earlier nonce worthless."""
    emulator.set_knobs(same_job_to_two_polls=True, older_nonces_win=False)
    emulator.start_execution()
    (one,), (two,) = await aws.poll(), await aws.poll()
    assert await aws.refusal("acknowledge_job", jobId=one["id"], nonce=one["nonce"]) == "InvalidNonceException"
    assert await aws("acknowledge_job", jobId=two["id"], nonce=two["nonce"]) == {"status": "InProgress"}


async def test_one_nonce_for_all_polls_if_asked(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """With a nonce per job, two polls that get the same job get the same nonce."""
    emulator.set_knobs(same_job_to_two_polls=True, nonce="per-job")
    emulator.start_execution()
    (one,), (two,) = await aws.poll(), await aws.poll()
    assert one["nonce"] == two["nonce"]


@pytest.mark.parametrize("nonce", ["0", "x" * 50])
async def test_a_nonce_never_given_is_refused(emulator: CodepipelineEmulator, aws: Boto, nonce: str) -> None:
    """Acknowledge with a nonce that no poll gave is InvalidNonce."""
    emulator.start_execution()
    (job,) = await aws.poll()
    assert await aws.refusal("acknowledge_job", jobId=job["id"], nonce=nonce) == "InvalidNonceException"


async def test_repeating_acknowledge_with_the_winning_nonce(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """The answer to our own repeat is a switch: InvalidNonce, or the status."""
    emulator.start_execution()
    job = await aws.take()
    again = {"jobId": job["id"], "nonce": job["nonce"]}
    assert await aws.refusal("acknowledge_job", **again) == "InvalidNonceException"
    emulator.set_knobs(repeat_acknowledge="status")
    assert await aws("acknowledge_job", **again) == {"status": "InProgress"}
    await aws.succeed(job)
    assert await aws("acknowledge_job", **again) == {"status": "Succeeded"}


async def test_an_unacknowledged_job_comes_again(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A job handed out and not acknowledged is handed out again after the visibility time, and not before."""
    emulator.start_execution()
    (first,) = await aws.poll()
    emulator.advance(30)
    assert await aws.poll() == []
    emulator.advance(30)
    (again,) = await aws.poll()
    assert again["id"] == first["id"]


async def test_visibility_for_ever(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Without a visibility time a job is handed out once."""
    emulator.set_knobs(visibility_s=None)
    emulator.start_execution()
    assert len(await aws.poll()) == 1
    emulator.advance(DAY_S - 1)
    assert await aws.poll() == []


async def test_an_acknowledged_job_comes_again_only_if_asked(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """An acknowledged job stays away; with the switch it comes again with a nonce that acknowledges it once more."""
    emulator.start_execution()
    job = await aws.take()
    emulator.advance(3600)
    assert await aws.poll() == []
    emulator.set_knobs(redeliver_acknowledged=True)
    (again,) = await aws.poll()
    assert again["id"] == job["id"]
    assert await aws("acknowledge_job", jobId=again["id"], nonce=again["nonce"]) == {"status": "InProgress"}
    emulator.set_knobs(same_job_to_two_polls=True)
    assert await aws.poll() == []
    await aws.succeed(job)


async def test_batch_size(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A poll hands out maxBatchSize jobs, without it the default, the oldest first."""
    started = [emulator.start_execution(pipeline=f"p{number}").job.id for number in range(6)]
    assert [job["id"] for job in await aws.poll(maxBatchSize=3)] == started[:3]
    answer = await aws("poll_for_jobs", actionTypeId=BRIDGE)
    assert [job["id"] for job in answer["jobs"]] == started[3:4]
    emulator.set_knobs(default_batch_size=5)
    answer = await aws("poll_for_jobs", actionTypeId=BRIDGE)
    assert [job["id"] for job in answer["jobs"]] == started[4:]


async def test_query_param_is_for_types_with_a_queryable_property(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A type without queryable property takes no queryParam; one with it demands it and filters by it."""
    one = emulator.start_execution(pipeline="one", configuration={"ProjectName": "one"})
    emulator.start_execution(pipeline="two", configuration={"ProjectName": "two"})
    asked = {"actionTypeId": BRIDGE, "queryParam": {"ProjectName": "one"}}
    assert await aws.refusal("poll_for_jobs", **asked) == "ValidationException"
    emulator.register_action_type("Build/Custom/Bridge/1", queryable="ProjectName")
    assert await aws.refusal("poll_for_jobs", actionTypeId=BRIDGE) == "ValidationException"
    other = {"actionTypeId": BRIDGE, "queryParam": {"Other": "one"}}
    assert await aws.refusal("poll_for_jobs", **other) == "ValidationException"
    assert [job["id"] for job in await aws.poll(**asked)] == [one.job.id]
    assert await aws.poll(queryParam={"ProjectName": "three"}) == []
    emulator.set_knobs(query_param="filter")
    assert len(await aws.poll()) == 1


async def test_job_details(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """GetJobDetails gives the data back with fresh credentials and without the nonce."""
    emulator.start_execution(configuration={"Password": "hunter2"})
    job = await aws.take()
    details = (await aws("get_job_details", jobId=job["id"]))["jobDetails"]
    assert set(details) == {"id", "accountId", "data"}
    fresh, old = details["data"].pop("artifactCredentials"), job["data"].pop("artifactCredentials")
    assert details["data"] == job["data"]
    assert fresh["accessKeyId"] != old["accessKeyId"]
    assert set(emulator.views.credentials) == {old["accessKeyId"], fresh["accessKeyId"]}


@pytest.mark.parametrize(
    ("rule", "artifacts", "expected"),
    [("always", 0, True), ("with-artifacts", 0, False), ("with-artifacts", 1, True), ("never", 1, False)],
)
async def test_when_credentials_are_given(
    emulator: CodepipelineEmulator, aws: Boto, rule: str, artifacts: int, *, expected: bool
) -> None:
    """Whether artifact credentials come with a job is a switch."""
    emulator.set_knobs(artifact_credentials=rule)
    emulator.start_execution(output_artifacts=[{"name": "Out"}] * artifacts)
    (job,) = await aws.poll()
    assert ("artifactCredentials" in job["data"]) is expected


async def test_any_member_of_the_data_may_be_missing(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """Members named by the switch are left out: a client must do without."""
    emulator.set_knobs(omit_data=("pipelineContext", "actionConfiguration"))
    emulator.start_execution()
    (job,) = await aws.poll()
    assert not {"pipelineContext", "actionConfiguration"} & set(job["data"])


@pytest.mark.parametrize("call", ["get_job_details", "put_job_success_result"])
async def test_an_unknown_job(aws: Boto, call: str) -> None:
    """An id that was never given is JobNotFound."""
    assert await aws.refusal(call, jobId="11111111-abcd-1111-abcd-111111abcdef") == "JobNotFoundException"


async def test_an_unknown_action_type(aws: Boto) -> None:
    """A poll for a type not registered here says so in the words of the service."""
    error = await aws.error("poll_for_jobs", actionTypeId=BRIDGE | {"provider": "Else"})
    assert error.response["Error"] == {
        "Code": "ActionTypeNotFoundException",
        "Message": "ActionType (Category: 'Build', Owner: 'Custom', Provider: 'Else', Version: '1') is not available",
    }


async def test_poll_for_jobs_is_for_custom_types_only(aws: Boto) -> None:
    """A poll for a third-party type belongs to another operation."""
    assert await aws.refusal("poll_for_jobs", actionTypeId=PARTNER) == "ValidationException"
