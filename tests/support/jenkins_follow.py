"""A small driver of the poller `jenkins-build`: sends what it plans over HTTP, hands it what comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bridge.core.poller import Again, Finished
from bridge.core.ports import Http
from bridge.core.request import Basic
from bridge.outbound import AiohttpHttp
from bridge.pollers.jenkins_build import BuildState, JenkinsBuild
from bridge.testing.jenkins import JenkinsEmulator
from tests.support.jenkins_client import TOKEN


@dataclass(frozen=True)
class _Login:
    user: str = TOKEN[0]
    token: str = TOKEN[1]


@dataclass
class Follower:
    """One build that is followed; its state goes through JSON between two calls, as in a message.

    said: every answer so far.
    """

    http: Http
    state: BuildState
    said: list[Again[BuildState] | Finished] = field(default_factory=list)

    async def step(self) -> Again[BuildState] | Finished:
        """Ask once."""
        poller = JenkinsBuild()
        state = BuildState.model_validate_json(self.state.model_dump_json())
        said = poller.read(await self.http.send(poller.plan(state)), state)
        self.said.append(said)
        if isinstance(said, Again):
            self.state = said.state
        return said

    async def again(self) -> Again[BuildState]:
        """Ask once, where that is not the end."""
        said = await self.step()
        assert isinstance(said, Again)
        return said

    async def finished(self, within_s: float = 10.0) -> Finished:
        """Ask until it is the end, as fast as it goes."""
        async with asyncio.timeout(within_s):
            while not isinstance(said := await self.step(), Finished):
                pass
        return said


@asynccontextmanager
async def following(jenkins: JenkinsEmulator, **state: Any) -> AsyncIterator[Follower]:
    """Follow what *state* says at *jenkins*, which is served already."""
    http = AiohttpHttp(jenkins.url, Basic("user", "token").headers(_Login()))
    try:
        yield Follower(http, BuildState(**state))
    finally:
        await http.close()
