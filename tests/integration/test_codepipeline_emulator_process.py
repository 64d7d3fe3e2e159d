"""The CodePipeline emulator as a process of its own, steered over HTTP, with boto3 as the client of the service."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bridge.testing.codepipeline import CodepipelineEmulator
from tests.support.codepipeline_boto3 import PARTNER, Boto, boto

CLIENT = "0a0a0a0a-1111-2222-3333-444444444444"
OTHER = "other-key"
DEADLINE_S = 20


@pytest_asyncio.fixture
async def url() -> AsyncIterator[str]:
    """Start the emulator as a command and end it by its own process id."""
    command = ("-m", "bridge.testing.codepipeline", "--port", "0", "--knobs", '{"default_batch_size": 7}')
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.communicate()


@pytest_asyncio.fixture
async def aws(url: str) -> AsyncIterator[Boto]:
    async with boto(url) as client:
        yield client


class Control:
    """Calls under /_emulator."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def __call__(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        async with self._http.request(method, f"{self._url}/_emulator{path}", json=body) as response:
            assert response.status == status, await response.text()
            return await response.json() if response.content_type == "application/json" else None


@pytest_asyncio.fixture
async def control(url: str) -> AsyncIterator[Control]:
    async with aiohttp.ClientSession() as http:
        yield Control(http, url)


async def test_an_execution_over_http(control: Control, aws: Boto) -> None:
    """An execution is started, worked on with boto3, and read back with its jobs; effects are counted by action."""
    started = await control("POST", "/executions", {"pipeline": "demo", "action": "Wait"}, status=201)
    job = await aws.take()
    await aws.succeed(job, continuationToken="t", executionDetails={"externalExecutionId": "demo/42"})
    assert await control("GET", "/executions") == [await control("GET", f"/executions/{started['id']}")]
    (action,) = (await control("GET", f"/executions/{started['id']}"))["actions"]
    assert (action["status"], action["externalExecutionId"]) == ("InProgress", "demo/42")
    assert [(one["status"], one["continuationToken"]) for one in action["jobs"]] == [
        ("Succeeded", None),
        ("Queued", "t"),
    ]
    assert await control("GET", f"/actions/{action['actionExecutionId']}") == action
    (effect,) = await control("GET", "/effects")
    assert (effect["kind"], effect["subject"]) == ("job.continued", job["id"])
    assert effect["detail"]["actionExecutionId"] == action["actionExecutionId"]


async def test_knobs_over_http(control: Control, aws: Boto) -> None:
    """Switches come from the command line, and are read and changed while it runs."""
    assert (await control("GET", "/knobs"))["default_batch_size"] == 7
    changed = await control("PATCH", "/knobs", {"put_before_acknowledge": True})
    assert (changed["put_before_acknowledge"], changed["default_batch_size"]) == (True, 7)
    await control("POST", "/executions", {}, status=201)
    (job,) = await aws.poll()
    await aws.succeed(job)


async def test_time_over_http(control: Control, aws: Boto) -> None:
    """Time is advanced by a call, and what is due then happens."""
    await control("PATCH", "/knobs", {"follow_up_delay_s": 60})
    started = await control("POST", "/executions", {}, status=201)
    await aws.succeed(await aws.take(), continuationToken="t")
    await control("POST", "/clock", {"advance_s": 30})
    assert await aws.poll() == []
    await control("POST", "/clock", {"advance_s": 30})
    assert len(await aws.poll()) == 1
    await control("POST", "/clock", {"advance_s": 86_400})
    assert (await control("GET", f"/executions/{started['id']}"))["status"] == "Failed"


async def test_a_defined_pipeline_over_http(control: Control, aws: Boto) -> None:
    """A pipeline of two stages is defined once and started by its name; it is stopped by a call."""
    stages = [
        {"name": "Build", "actions": [{"name": "Wait"}]},
        {"name": "Gate", "actions": [{"name": "Approve", "action_type": "Approval/AWS/Manual/1", "custom_data": "?"}]},
    ]
    await control("PUT", "/pipelines/long", {"stages": stages})
    started = await control("POST", "/executions", {"pipeline": "long"}, status=201)
    await aws.succeed(await aws.take())
    _, gate = (await control("GET", f"/executions/{started['id']}"))["actions"]
    message = await control("GET", f"/actions/{gate['actionExecutionId']}/message")
    assert message["approval"]["token"] == gate["token"]
    assert message["approval"]["customData"] == "?"
    stopped = await control("POST", f"/executions/{started['id']}/stop", {"abandon": True})
    assert stopped["status"] == "Stopped"


async def test_partners_over_http(control: Control, aws: Boto) -> None:
    """Third-party types and connections are made by calls."""
    await control("POST", "/action-types", PARTNER | {"version": "2"})
    await control("PUT", f"/clients/{CLIENT}", {"client_token": "t"}, status=204)
    action = {"name": "Wait", "action_type": PARTNER | {"version": "2"}, "client_id": CLIENT}
    await control("POST", "/executions", {"action": action}, status=201)
    answer = await aws("poll_for_third_party_jobs", actionTypeId=PARTNER | {"version": "2"})
    assert [job["clientId"] for job in answer["jobs"]] == [CLIENT]


async def test_lambda_events_over_http(control: Control) -> None:
    """The events of Lambda functions can be read."""
    started = await control("POST", "/executions", {"action_type": "Invoke/AWS/Lambda/1"}, status=201)
    (event,) = await control("GET", "/invocations")
    assert event["CodePipeline.job"]["id"] == started["actions"][0]["jobs"][0]["id"]


async def test_credentials_over_http(control: Control, url: str) -> None:
    """A key is added and expired by calls."""
    await control("PUT", "/credentials/AKIDOTHER", {"secret": OTHER}, status=204)
    async with boto(url, access_key="AKIDOTHER", signing_key=OTHER) as other:
        assert await other.poll() == []
        await control("POST", "/credentials/AKIDOTHER/expire", status=204)
        assert await other.refusal("get_pipeline_state", name="demo") == "ExpiredTokenException"


async def test_errors_and_faults_over_http(control: Control, aws: Boto) -> None:
    """Errors of the service and faults of the way are asked for by operation."""
    asked = {"code": "ThrottlingException", "operation": "GetPipelineState", "times": 1}
    await control("POST", "/errors", asked, status=204)
    assert await aws.poll() == []
    assert await aws.refusal("get_pipeline_state", name="demo") == "ThrottlingException"
    await control("POST", "/faults", {"kind": "status", "path": "GetPipelineState$", "status": 503}, status=204)
    error = await aws.error("get_pipeline_state", name="demo")
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PATCH", "/knobs", {"unknown": 1}, 422),
        ("PATCH", "/knobs", {"nonce": "none"}, 422),
        ("PATCH", "/knobs", [], 422),
        ("POST", "/clock", {"advance_s": -1}, 422),
        ("POST", "/executions", {"pipeline": "a b"}, 422),
        ("POST", "/executions", {"unknown": 1}, 422),
        ("POST", "/executions", {"action_type": "Build/AWS/CodeBuild/1"}, 422),
        ("POST", "/executions", {"output_artifacts": [{"name": str(number)} for number in range(6)]}, 422),
        ("PUT", "/clients/no-uuid", {"client_token": "t"}, 422),
        ("GET", "/executions/none", None, 404),
        ("GET", "/actions/none", None, 404),
        ("POST", "/credentials/none/expire", None, 404),
        ("POST", "/executions", {"pipeline": "undefined", "mode": "QUEUED"}, 422),
    ],
)
async def test_bad_control_calls(method: str, path: str, body: Any, status: int) -> None:
    """Bad input of the control API is 422 and an unknown id 404, with a reason."""
    async with CodepipelineEmulator().serve() as url, aiohttp.ClientSession() as http:
        assert (await Control(http, url)(method, path, body, status=status))["error"]
