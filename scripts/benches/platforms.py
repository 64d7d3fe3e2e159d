"""The emulated platforms that the line is measured with: what waits there, and when an answer reached it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from bridge.testing.circleci import TOKEN as CIRCLECI_TOKEN
from scripts.benches.common import ROOT
from tests.support.bridge_process import Api
from tests.support.campaign import Waiting

_AT_ONCE = 8


@dataclass(slots=True)
class Platform:
    """One running emulator. url: its server's."""

    url: str

    name = ""
    section = ""
    environ = {}  # type: ignore[var-annotated] # noqa: RUF012 - each has its own

    @property
    def settings(self) -> dict[str, Any]:
        """What its section says, with the secrets in it."""
        raise NotImplementedError

    async def place(self, session: aiohttp.ClientSession) -> tuple[dict[str, Any], str]:
        """Make something wait; return its address and the name that the platform's log has for it."""
        raise NotImplementedError

    def arrival(self, entry: dict[str, Any]) -> str | None:
        """Return the place that the logged request *entry* answered, None for another request."""
        raise NotImplementedError

    async def prepare(self, session: aiohttp.ClientSession) -> None:
        """Set the emulator up for a bench."""

    async def open(self, session: aiohttp.ClientSession, client: Api, count: int) -> list[Waiting]:
        """Make *count* things wait, each with a wait registered for it."""
        await self.prepare(session)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one() -> Waiting:
            async with limit:
                address, subject = await self.place(session)
                made = await client.register(self.name, address)
                return Waiting(made["id"], made["callback_url"], subject)

        return list(await asyncio.gather(*(one() for _ in range(count))))

    async def arrivals(self, session: aiohttp.ClientSession) -> dict[str, float]:
        """Return when each place's answer came first, in seconds since 1970."""
        async with session.get(f"{self.url}/_emulator/log") as response:
            log = await response.json()
        found: dict[str, float] = {}
        for entry in log:
            if (subject := self.arrival(entry)) is not None:
                found.setdefault(subject, datetime.fromisoformat(entry["at"]).timestamp())
        return found


class JenkinsPlatform(Platform):
    """Builds at an input without parameters: a listing, the answer, and a look back for each."""

    name = "jenkins"
    section = '[targets.jenkins]\nconsumer = "jenkins"\nbase_url = "{url}"\nusername = "bridge"\ntoken_env = "TEST_TOKEN"\nconcurrency = 32\n'
    environ = {"TEST_TOKEN": "jenkins-token"}  # noqa: RUF012 - read only

    @property
    def settings(self) -> dict[str, Any]:
        return {"base_url": self.url, "username": "bridge", "token": self.environ["TEST_TOKEN"]}

    async def place(self, session: aiohttp.ClientSession) -> tuple[dict[str, Any], str]:
        body = {"job": "job/app", "inputs": ["Go"]}
        async with session.post(f"{self.url}/_emulator/builds", json=body) as response:
            run = (await response.json())["path"]
        return {"build_url": f"{self.url}/{run}/", "input_id": "Go"}, f"{run}/input/Go"

    def arrival(self, entry: dict[str, Any]) -> str | None:
        if entry["method"] != "POST":
            return None
        return str(entry["path"].strip("/").rpartition("/")[0])


class CodepipelinePlatform(Platform):
    """Jobs of a custom action: one signed call for each."""

    name = "codepipeline"
    section = (
        '[targets.codepipeline]\nconsumer = "codepipeline"\nregion = "eu-west-1"\nendpoint_url = "{url}"\n'
        'access_key_id_env = "TEST_ACCESS_KEY"\nsecret_access_key_env = "TEST_SECRET_KEY"\nconcurrency = 32\n'
    )
    environ = {"TEST_ACCESS_KEY": "AKIDEXAMPLE", "TEST_SECRET_KEY": "secret"}  # noqa: RUF012 - read only

    @property
    def settings(self) -> dict[str, Any]:
        keys = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret"}
        return {"region": "eu-west-1", "endpoint_url": self.url, **keys}

    async def prepare(self, session: aiohttp.ClientSession) -> None:
        async with session.patch(f"{self.url}/_emulator/knobs", json={"put_before_acknowledge": True}) as response:
            response.raise_for_status()

    async def place(self, session: aiohttp.ClientSession) -> tuple[dict[str, Any], str]:
        body = {"pipeline": "release", "action": "Wait"}
        async with session.post(f"{self.url}/_emulator/executions", json=body) as response:
            job = (await response.json())["actions"][0]["jobs"][0]["id"]
        return {"job_id": job}, job

    def arrival(self, entry: dict[str, Any]) -> str | None:
        if not entry["headers"].get("x-amz-target", "").endswith("Result"):
            return None
        return str(json.loads(entry["body"])["jobId"])


class CircleciPlatform(Platform):
    """Approvals on hold in a known workflow: its jobs, the approval, and a look back for each."""

    name = "circleci"
    section = (
        '[targets.circleci]\nconsumer = "circleci"\nbase_url = "{url}"\ntoken_env = "TEST_TOKEN"\nconcurrency = 32\n'
    )
    environ = {"TEST_TOKEN": CIRCLECI_TOKEN}  # noqa: RUF012 - read only

    @property
    def settings(self) -> dict[str, Any]:
        return {"base_url": self.url, "token": CIRCLECI_TOKEN}

    async def place(self, session: aiohttp.ClientSession) -> tuple[dict[str, Any], str]:
        workflows = [{"name": "build", "jobs": [{"name": "hold", "type": "approval"}]}]
        body = {"project": "gh/acme/app", "workflows": workflows}
        async with session.post(f"{self.url}/_emulator/pipelines", json=body) as response:
            (workflow,) = (await response.json())["workflows"]
        return {"workflow_id": workflow["id"], "approval": "hold"}, workflow["id"]

    def arrival(self, entry: dict[str, Any]) -> str | None:
        if entry["method"] != "POST":
            return None
        return str(entry["path"].split("/")[4])


PLATFORMS: dict[str, type[Platform]] = {
    kind.name: kind for kind in (JenkinsPlatform, CodepipelinePlatform, CircleciPlatform)
}


@asynccontextmanager
async def emulated(name: str, folder: Path) -> AsyncIterator[Platform]:
    """Run the emulator *name* as a process of its own."""
    with (folder / f"{name}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"bridge.testing.{name}", cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        yield PLATFORMS[name]((await process.stdout.readline()).decode().strip())
    finally:
        process.kill()
        await process.wait()
