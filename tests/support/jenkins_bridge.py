"""A whole bridge in this process, with one Jenkins target `ci`: its API, its callback URLs, its worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from bridge.app import serve
from bridge.config import load_config
from bridge.testing.jenkins import JenkinsEmulator

_CONFIG = """
[http]
listen = "127.0.0.1:0"
[broker]
url = "sqlite:///{folder}/bridge.db"
[store]
url = "sqlite:///{folder}/bridge.db"
[callbacks]
keys = [{{ id = "test", env = "TEST_KEY" }}]
[clients.test]
token_env = "TEST_API_TOKEN"
roles = ["register", "read", "operate"]
targets = ["*"]
[targets.ci]
consumer = "jenkins"
base_url = "{jenkins}/"
public_urls = ["https://jenkins.example.com/"]
username = "bridge"
token_env = "TEST_JENKINS_TOKEN"
"""
_ENVIRON = {
    "TEST_KEY": "a-callback-key-of-the-tests-0123456789",
    "TEST_API_TOKEN": "api-token",
    "TEST_JENKINS_TOKEN": "jenkins-token",
}
_DONE = ("resolved", "undeliverable", "cancelled")


@dataclass
class Answer:
    """One answer as received."""

    status: int
    body: Any


@dataclass
class JenkinsBridge:
    """Calls a running bridge."""

    url: str
    session: aiohttp.ClientSession

    async def register(self, address: dict[str, Any], **more: Any) -> Answer:
        return await self._call("POST", "/v1/waits", json={"target": "ci", "address": address, "timeout": "5m"} | more)

    async def call_back(self, created: Answer, suffix: str = "", **body: Any) -> Answer:
        """Post to the callback URL that *created* has; body: as aiohttp takes it."""
        path = urlsplit(created.body["callback_url"]).path
        return await self._call("POST", path + suffix, **body)

    async def wait(self, created: Answer) -> dict[str, Any]:
        answer = await self._call("GET", f"/v1/waits/{created.body['id']}")
        shown: dict[str, Any] = answer.body
        return shown

    async def ended(self, created: Answer, within_s: float = 30.0) -> dict[str, Any]:
        """Return the wait once nothing more happens to it."""
        async with asyncio.timeout(within_s):
            while (shown := await self.wait(created))["state"] not in _DONE:  # noqa: ASYNC110 - the API has no push
                await asyncio.sleep(0.05)
        return shown

    async def ready(self) -> None:
        async with asyncio.timeout(20):
            while (await self._call("GET", "/readyz")).status != HTTPStatus.OK:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)

    async def _call(self, method: str, path: str, **body: Any) -> Answer:
        headers = {"Authorization": f"Bearer {_ENVIRON['TEST_API_TOKEN']}"} if path.startswith("/v1") else {}
        async with self.session.request(method, self.url + path, headers=headers, **body) as response:
            return Answer(response.status, await response.json(content_type=None))


@asynccontextmanager
async def jenkins_bridge(jenkins: JenkinsEmulator, folder: Path) -> AsyncIterator[JenkinsBridge]:
    """Run a bridge for *jenkins*, which is served already, on SQLite in *folder*."""
    path = folder / "bridge.toml"
    path.write_text(_CONFIG.format(folder=folder, jenkins=jenkins.url))
    stop = asyncio.Event()
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    run = asyncio.create_task(serve(load_config(path, environ=_ENVIRON), stop=stop, started=started.set_result))
    try:
        await asyncio.wait((run, started), return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            run.result()
        async with aiohttp.ClientSession() as session:
            bridge = JenkinsBridge(started.result(), session)
            await bridge.ready()
            yield bridge
    finally:
        stop.set()
        await run
