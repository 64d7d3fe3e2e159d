"""A raw HTTP client for the CircleCI emulator: no retries, no redirects, nothing of the bridge."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from bridge.testing.circleci import TOKEN, CircleciEmulator

HOLD: dict[str, Any] = {"name": "hold", "type": "approval"}
GATED: list[dict[str, Any]] = [
    {"name": "build", "jobs": ["test", {**HOLD, "requires": ["test"]}, {"name": "deploy", "requires": ["hold"]}]}
]
"""One workflow: test, then an approval, then deploy."""


@dataclass(frozen=True)
class Answer:
    """One answer as received."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.text)


class RawClient:
    """Sends one request a call, with the default token unless headers are given."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.send("GET", path, **more)

    async def post(self, path: str, **more: Any) -> Answer:
        return await self.send("POST", path, **more)

    async def send(self, method: str, path: str, **more: Any) -> Answer:
        """Send to *path* under `/api/v2`, or to a control path as it is."""
        more.setdefault("headers", {"Circle-Token": TOKEN})
        where = path if path.startswith("/_emulator") else f"/api/v2{path}"
        async with self.session.request(method, self.url + where, **more) as response:
            return Answer(response.status, response.headers.copy(), await response.text())

    async def jobs(self, workflow: str) -> dict[str, Any]:
        """Return the jobs of the first page by name."""
        return {job["name"]: job for job in (await self.get(f"/workflow/{workflow}/job")).json["items"]}


@asynccontextmanager
async def served(circleci: CircleciEmulator) -> AsyncIterator[RawClient]:
    """Serve *circleci* and yield a client of it."""
    async with circleci.serve() as url, aiohttp.ClientSession() as session:
        yield RawClient(session, url)
