"""A Jenkins and the real worker that talks to it, over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bridge.core.event import EventData, Outcome
from bridge.core.ports import Broker
from bridge.core.resolution import Report
from bridge.testing.emulator import LoggedRequest
from bridge.testing.jenkins import Build, JenkinsEmulator
from tests.support.worker_rig import WorkerRig, worker_rig

TOKEN = "jenkins-token"  # noqa: S105 - of an emulator
USER = "bridge"


@dataclass
class Stage:
    """One Jenkins, one worker."""

    jenkins: JenkinsEmulator
    rig: WorkerRig

    async def send(
        self,
        build: Build | str,
        outcome: Outcome = Outcome.SUCCEEDED,
        *,
        wait: str = "w1",
        data: EventData | None = None,
        sent: dict[str, Any] | None = None,
        **address: Any,
    ) -> None:
        """Send *outcome* to the input `Go` of *build*, or of what is at that path. sent: fields of the resolution."""
        url = self.jenkins.url_of(build) if isinstance(build, Build) else f"{self.jenkins.url}/{build}/"
        place = {"build_url": url, "input_id": "Go", **address}
        await self.rig.send(place, outcome, wait=wait, data=data, **(sent or {}))

    async def final(self, wait: str = "w1") -> Report:
        return await self.rig.final(wait)

    async def ending(self, wait: str = "w1") -> str:
        return (await self.rig.final(wait)).ending

    @property
    def posts(self) -> list[LoggedRequest]:
        return [entry for entry in self.jenkins.log if entry.method == "POST"]

    @property
    def calls(self) -> list[str]:
        """Every request, `GET /job/app/1/api/json`, without the query."""
        return [f"{entry.method} {entry.path}" for entry in self.jenkins.log]

    @property
    def answers(self) -> list[str]:
        """What the inputs got, oldest first: `proceeded job/app/1/input/Go`."""
        kinds = ("input.proceeded", "input.aborted")
        return [
            f"{effect.kind.partition('.')[2]} {effect.subject}"
            for effect in self.jenkins.effects
            if effect.kind in kinds
        ]


@asynccontextmanager
async def stage(
    *,
    settings: dict[str, Any] | None = None,
    context: str = "",
    broker: Broker | None = None,
    **switches: Any,
) -> AsyncIterator[Stage]:
    """Run a Jenkins and the worker of its target. settings: more of the target's section; switches: of the Jenkins."""
    jenkins = JenkinsEmulator(context=context, **switches)
    async with jenkins.serve():
        given = {"base_url": f"{jenkins.url}/", "username": USER, "token": TOKEN, **(settings or {})}
        async with worker_rig("jenkins", given, broker=broker) as rig:
            yield Stage(jenkins, rig)
