"""boto3 as the client of the CodePipeline emulator, in a thread, without retries; and requests signed by botocore, sent raw."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

REGION = "eu-west-1"
BRIDGE = {"category": "Build", "owner": "Custom", "provider": "Bridge", "version": "1"}
PARTNER = {"category": "Build", "owner": "ThirdParty", "provider": "Bridge", "version": "1"}
CONTENT_TYPE = "application/x-amz-json-1.1"

_CONFIG = Config(
    retries={"total_max_attempts": 1},
    connect_timeout=5,
    read_timeout=10,
    parameter_validation=False,  # what botocore would refuse itself must reach the emulator
)


class Boto:
    """One boto3 client; each call waits in a thread."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def __call__(self, operation: str, **members: Any) -> dict[str, Any]:
        """Call *operation* (`poll_for_jobs`) and return its answer without the metadata."""
        answer: dict[str, Any] = await asyncio.to_thread(getattr(self._client, operation), **members)
        answer.pop("ResponseMetadata")
        return answer

    async def refusal(self, operation: str, **members: Any) -> str:
        """Call *operation*, which must be refused, and return the error's code."""
        error = await self.error(operation, **members)
        return str(error.response["Error"]["Code"])

    async def error(self, operation: str, **members: Any) -> ClientError:
        try:
            answer = await self(operation, **members)
        except ClientError as error:
            return error
        raise AssertionError(f"{operation} was not refused but answered {answer}")

    async def poll(self, **members: Any) -> list[dict[str, Any]]:
        """Poll for jobs of the type BRIDGE, ten at most."""
        answer = await self("poll_for_jobs", **({"actionTypeId": BRIDGE, "maxBatchSize": 10} | members))
        jobs: list[dict[str, Any]] = answer["jobs"]
        return jobs

    async def take(self) -> dict[str, Any]:
        """Poll for the one job there is, acknowledge it and return it."""
        (job,) = await self.poll()
        assert await self("acknowledge_job", jobId=job["id"], nonce=job["nonce"]) == {"status": "InProgress"}
        return job

    async def succeed(self, job: dict[str, Any], **members: Any) -> None:
        await self("put_job_success_result", jobId=job["id"], **members)

    async def latest(self, pipeline: str = "demo") -> dict[str, Any]:
        """Return latestExecution of the pipeline's first action."""
        state = await self("get_pipeline_state", name=pipeline)
        latest: dict[str, Any] = state["stageStates"][0]["actionStates"][0]["latestExecution"]
        return latest


@asynccontextmanager
async def boto(
    url: str,
    *,
    access_key: str = "AKIDEXAMPLE",
    signing_key: str = "secret",
    token: str | None = None,
    region: str = REGION,
) -> AsyncIterator[Boto]:
    """Make a client of its own session, and close its connections."""
    session = boto3.Session(
        aws_access_key_id=access_key, aws_secret_access_key=signing_key, aws_session_token=token, region_name=region
    )
    client = await asyncio.to_thread(session.client, "codepipeline", endpoint_url=url, config=_CONFIG)
    try:
        yield Boto(client)
    finally:
        client.close()


def signed(
    url: str,
    operation: str,
    body: Any,
    *,
    signing_key: str = "secret",
    region: str = REGION,
    service: str = "codepipeline",
) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a call, signed by botocore."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": f"CodePipeline_20150709.{operation}"}
    request = AWSRequest("POST", f"{url}/", headers=headers, data=content)
    SigV4Auth(Credentials("AKIDEXAMPLE", signing_key), service, region).add_auth(request)
    return dict(request.headers.items()), content


async def raw(
    http: aiohttp.ClientSession, url: str, operation: str, body: Any, **signing: str
) -> tuple[int, dict[str, str], bytes]:
    """Send a signed call; return status, headers and body exactly as received."""
    headers, content = signed(url, operation, body, **signing)
    return await send(http, url, headers, content)


async def send(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str], content: bytes
) -> tuple[int, dict[str, str], bytes]:
    """POST to the service's one path; return status, headers and body exactly as received."""
    async with http.post(f"{url}/", headers=headers, data=content) as response:
        return response.status, dict(response.headers), await response.read()
