"""Stage: an emulated CircleCI, and the real worker that talks to it over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from bridge.core.event import Outcome
from bridge.testing.circleci import TOKEN, CircleciEmulator
from bridge.testing.circleci.model import Pipeline, Workflow
from bridge.testing.emulator import LoggedRequest
from tests.support.circleci_client import GATED, HOLD
from tests.support.worker_rig import WorkerRig, worker_rig

RUNNING = {"name": "test", "duration_s": None}
BEHIND_A_JOB: list[dict[str, Any]] = [
    {"name": "build", "jobs": [RUNNING, {**HOLD, "requires": ["test"]}, {"name": "deploy", "requires": ["hold"]}]}
]
"""The approval stays blocked until `test` is finished by hand."""


@dataclass
class Stage:
    """A CircleCI, and the worker that talks to it."""

    circleci: CircleciEmulator
    rig: WorkerRig

    def start(self, workflows: list[dict[str, Any]] = GATED) -> Workflow:
        return self.pipeline(workflows).workflow()

    def pipeline(self, workflows: list[dict[str, Any]] = GATED) -> Pipeline:
        return self.circleci.start_pipeline("gh/acme/app", workflows)

    async def send(self, place: Workflow | Pipeline, outcome: Outcome = Outcome.SUCCEEDED, **more: Any) -> None:
        """Send *outcome* to the approval `hold`; more: fields of the address, and `wait`."""
        key = "workflow_id" if isinstance(place, Workflow) else "pipeline_id"
        wait = more.pop("wait", "w1")
        await self.rig.send({key: place.id, "approval": "hold", **more}, outcome, wait=wait)

    async def ending(self, wait: str = "w1") -> str:
        return (await self.rig.final(wait)).ending

    @property
    def posts(self) -> list[LoggedRequest]:
        return [entry for entry in self.circleci.log if entry.method == "POST"]

    @property
    def calls(self) -> list[str]:
        return [f"{entry.method} {entry.path.removeprefix('/api/v2')}" for entry in self.circleci.log]

    def effects(self, kind: str = "approval.approved") -> list[str]:
        """Return the subjects of one kind of change."""
        return [effect.subject for effect in self.circleci.effects if effect.kind == kind]


@asynccontextmanager
async def stage(settings: dict[str, Any] | None = None, **knobs: Any) -> AsyncIterator[Stage]:
    circleci = CircleciEmulator(**knobs)
    async with (
        circleci.serve() as url,
        worker_rig("circleci", {"base_url": url, "token": TOKEN, **(settings or {})}) as rig,
    ):
        yield Stage(circleci, rig)


@pytest.fixture
def quick_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read back without the waits that the real platform needs."""
    monkeypatch.setattr("bridge.consumers.circleci.READ_BACK_S", (0.02, 0.05, 0.1))


def hold(workflow: Workflow) -> str:
    """Return the id of the approval `hold`."""
    return workflow.job("hold").id
