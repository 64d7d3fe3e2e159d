"""A bare HTTP client for the Jenkins emulator: paths go out byte for byte, no redirect is followed, no cookie is kept."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from bridge.testing.jenkins import JenkinsEmulator

TOKEN = ("bridge", "jenkins-token")
PASSWORD = ("bridge", "jenkins-password")


@dataclass(frozen=True)
class Answered:
    """One answer as received."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def is_redirect_up(self) -> bool:
        """Whether this is the 404 of a build that lacks the action."""
        return (
            self.status == 404 and "http-equiv='refresh' content='1;url=..'" in self.text and "Not found" in self.text
        )

    @property
    def is_stapler_404(self) -> bool:
        return self.status == 404 and not self.is_redirect_up and "X-Jenkins" in self.headers


class RawClient:
    """Sends single requests to one emulator. Paths begin with a slash and follow the context path."""

    def __init__(self, jenkins: JenkinsEmulator, session: aiohttp.ClientSession) -> None:
        self._jenkins = jenkins
        self._session = session

    async def send(
        self,
        method: str,
        path: str,
        *,
        auth: tuple[str, str] | None = TOKEN,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answered:
        sent = dict(headers or {})
        if auth is not None:
            sent["Authorization"] = "Basic " + b64encode(":".join(auth).encode()).decode()
        url = URL(self._jenkins.url + path, encoded=True)
        data = dict(form) if form is not None else body
        async with self._session.request(method, url, headers=sent, data=data, allow_redirects=False) as response:
            return Answered(response.status, response.headers.copy(), await response.text())

    async def get(self, path: str, **more: Any) -> Answered:
        return await self.send("GET", path, **more)

    async def post(self, path: str, **more: Any) -> Answered:
        return await self.send("POST", path, **more)

    async def answer(self, path: str, entries: Any, **more: Any) -> Answered:
        """POST the form field `json` with these entries."""
        return await self.post(path, form={"json": json.dumps({"parameter": entries})}, **more)

    async def control(self, method: str, path: str, value: Any = None) -> Answered:
        """Call `/_emulator`."""
        url = URL(f"{self._jenkins.base_url}/_emulator{path}", encoded=True)
        body = None if value is None else json.dumps(value)
        async with self._session.request(method, url, data=body) as response:
            return Answered(response.status, response.headers.copy(), await response.text())


@asynccontextmanager
async def raw_client(jenkins: JenkinsEmulator) -> AsyncIterator[RawClient]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield RawClient(jenkins, session)
