"""Circleback: a whole bridge between an emulated CircleCI's projects A and B. B has a webhook and no key."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.testing.circleci import TOKEN, CircleciEmulator
from bridge.testing.circleci.model import Pipeline, Workflow
from bridge.testing.circleci.payloads import EVENTS
from bridge.testing.emulator import LoggedRequest
from tests.support.circleci_client import HOLD
from tests.support.in_process import Bridge, bridge

A, B = "gh/acme/a", "gh/acme/b"
ENDED = "workflow.completed"
SECRET = "webhook-secret-of-b"  # noqa: S105 - of these tests only
ENVIRON = {"T_CIRCLECI": TOKEN, "T_CIRCLECI_HOOK": SECRET, "T_SEAL": "s" * 32}
HELD: list[dict[str, Any]] = [
    {
        "name": "build",
        "jobs": [
            HOLD,
            {"name": "deploy", "requires": ["hold"]},
            {"name": "tell", "requires": [{"hold": ["canceled"]}]},
        ],
    }
]
"""A: an approval, what runs after it, and what runs when it is canceled."""
RUNNING: list[dict[str, Any]] = [{"name": "build", "jobs": ["unit", {"name": "e2e", "duration_s": None}]}]
"""B: a job that ends at once, and one that is finished by hand."""


@dataclass
class Circleback:
    """Both projects, and the bridge."""

    circleci: CircleciEmulator
    bridge: Bridge

    def a(self, workflows: Sequence[Any] = HELD) -> Pipeline:
        return self.circleci.start_pipeline(A, workflows)

    def b(self, workflows: Sequence[Any] = RUNNING, **more: Any) -> Pipeline:
        return self.circleci.start_pipeline(B, workflows, **more)

    async def wait_for(
        self,
        a: Workflow,
        b: Pipeline,
        *,
        within: str = "1h",
        keys: dict[str, str] | None = None,
        kind: str | None = ENDED,
        **address: Any,
    ) -> str:
        """Register A's approval under B's pipeline (and further *keys*); return the wait's id. kind: None for any event."""
        expected = {"source": "circleci-b", "keys": {"pipeline_id": b.id, **(keys or {})}} | (
            {"type": kind} if kind else {}
        )
        place = {"workflow_id": a.id, "approval": "hold", **address}
        made = await self.bridge.api.register("circleci", place, timeout=within, expects=[expected])
        return str(made["id"])

    async def ended(self, wait: str, state: str = "resolved") -> dict[str, Any]:
        shown: dict[str, Any] = await self.bridge.api.wait_until(wait, state)
        return shown

    async def verdicts(self, number: int, kind: str = ENDED) -> list[str]:
        """Return the verdicts of the events of *kind*, oldest first, once *number* have one that stands."""
        async with asyncio.timeout(10):
            while True:
                _, listed = await self.bridge.api.call("GET", "/v1/events?source=circleci-b&limit=500")
                ends = [event["verdict"] for event in listed["items"] if event["type"] == kind]
                if len(ends) >= number and not {"early", "no_match"} & set(ends):
                    return ends[::-1]
                await asyncio.sleep(0.02)

    async def told(self) -> None:
        """Wait until every webhook was taken, or given up."""
        await self.circleci.wait_until(lambda: all(one.is_over for one in self.circleci.webhooks.deliveries))

    @property
    def statuses(self) -> list[int | None]:
        """What each attempt to deliver a webhook was answered, by delivery."""
        return [attempt.status for one in self.circleci.webhooks.deliveries for attempt in one.attempts]

    @property
    def posts(self) -> list[LoggedRequest]:
        return [entry for entry in self.circleci.log if entry.method == "POST"]

    def effects(self, *kinds: str) -> list[tuple[str, str]]:
        """Return kind and subject of what was approved and canceled; or of *kinds*."""
        wanted = kinds or ("approval.approved", "approval.canceled", "workflow.canceled")
        return [(one.kind, one.subject) for one in self.circleci.effects if one.kind in wanted]


@asynccontextmanager
async def circleback(
    folder: Path,
    *,
    events: Collection[str] = EVENTS,
    asks: bool = False,
    store: str = "",
    webhook: bool = True,
    **knobs: Any,
) -> AsyncIterator[Circleback]:
    """Run it, by the emulator's clock.

    Args:
        folder: for its files.
        events: that B's webhook sends.
        asks: the bridge may ask CircleCI for B's pipelines.
        store: its URL, in place of a file's.
        webhook: False: B has none.
        knobs: of the emulator.
    """
    circleci = CircleciEmulator(**knobs)
    async with circleci.serve() as url:
        sections = (
            f'[targets.circleci]\nconsumer = "circleci"\nbase_url = "{url}"\ntoken_env = "T_CIRCLECI"\n'
            '[sources.circleci-b]\nkind = "circleci"\nsecret_env = ["T_CIRCLECI_HOOK"]\n'
            + ('pipelines = "circleci"\n' if asks else "")
            + '[secrets]\nkeys = [{ id = "test", env = "T_SEAL" }]\n'
        )
        async with bridge(folder, store=store, more=sections, environ=ENVIRON, clock=circleci) as running:
            if webhook:
                circleci.add_webhook(f"{running.url}/hooks/circleci-b", secret=SECRET, events=events, project=B)
            yield Circleback(circleci, running)
