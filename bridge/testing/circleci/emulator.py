"""CircleciEmulator: the world behind HTTP, with a clock, outbound webhooks and a control API."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
from aiohttp import web

from bridge.testing.circleci.api import Api
from bridge.testing.circleci.control import Control
from bridge.testing.circleci.engine import Fact
from bridge.testing.circleci.gate import Limiter, Token, Tokens
from bridge.testing.circleci.knobs import Knobs
from bridge.testing.circleci.model import Job, Pipeline, Project, Workflow, api_slug, new_id
from bridge.testing.circleci.payloads import EVENTS, Hook
from bridge.testing.circleci.specs import PipelineSpec, ProjectSpec
from bridge.testing.circleci.webhooks import Webhooks
from bridge.testing.circleci.world import World
from bridge.testing.emulator import Emulator

TOKEN = "circleci-token"  # noqa: S105 - the emulator's own
READ_TOKEN = "circleci-read-token"  # noqa: S105
PROJECT_TOKEN = "circleci-project-token"  # noqa: S105
BOT = "bridge-bot"
HUMAN = "ana"


class CircleciEmulator(Emulator):
    """Emulate CircleCI: API v2 and outbound webhooks.

    Knobs are keyword arguments (`CircleciEmulator(hold_delay_s=2)`) and attributes of `knobs`. Times are real ones plus what
    turn_clock() added. The bot behind the default token is `bridge-bot`.
    """

    name = "circleci"

    def __init__(self, *, token: str = TOKEN, **knobs: Any) -> None:
        super().__init__()
        self.knobs = Knobs(**knobs)
        self._skipped = timedelta()
        self.world = World(self.knobs, datetime.now(UTC), self._happened)
        self.tokens = Tokens(self.knobs)
        self.webhooks = Webhooks(self.knobs, self._announce)
        self._changed = asyncio.Event()
        self._api = Api(self.world, self.knobs, self.tokens, Limiter(self.knobs), self.advance)
        self.add_token(token)
        self.add_token(READ_TOKEN, access="read")
        self.add_token(PROJECT_TOKEN, kind="project")

    # --- set up

    def add_token(
        self,
        value: str,
        *,
        login: str = BOT,
        kind: Literal["personal", "project"] = "personal",
        access: Literal["write", "read"] = "write",
        is_valid: bool = True,
        has_new_format: bool = True,
    ) -> Token:
        """Make a token, or change it: `is_valid=False` revokes it."""
        user = self.world.user(login)
        return self.tokens.add(Token(value, user, kind, access, is_valid, has_new_format))

    def add_project(self, slug: str, **spec: Any) -> Project:
        """Add a project that can be triggered over the API; see ProjectSpec."""
        return self.world.add_project(ProjectSpec(slug=slug, **spec))

    def add_webhook(
        self,
        url: str,
        *,
        secret: str | None = None,
        events: Collection[str] = EVENTS,
        project: str | None = None,
        name: str = "bridge",
    ) -> Hook:
        """Register an outbound webhook. project: only its events; None: of every project."""
        unknown = set(events) - EVENTS
        if unknown:
            raise ValueError(f"a webhook has the events {sorted(EVENTS)}, not {sorted(unknown)}")
        hook = Hook(new_id(), name, url, secret, frozenset(events), api_slug(project) if project else None)
        self.webhooks.hooks[hook.id] = hook
        return hook

    # --- steer

    def start_pipeline(self, project: str, workflows: Sequence[Any] = (), **more: Any) -> Pipeline:
        """Start a pipeline whose workflows are given as data; see PipelineSpec and WorkflowSpec."""
        spec = PipelineSpec.model_validate({"project": project, "workflows": list(workflows), **more})
        self.advance()
        pipeline = self.world.start_pipeline(spec)
        self.advance()
        return pipeline

    def finish(self, job: Job, result: str = "success") -> None:
        """End a running job.

        Raises:
            ValueError: it does not run.
        """
        self.advance()
        if job.status not in ("running", "queued"):
            raise ValueError(f"job {job.name} does not run: it is {job.status}")
        workflow, _ = self.world.job(job.id)
        self.world.engine.end(workflow, job, result)
        self.advance()

    def approve(self, job: Job, by: str = HUMAN) -> None:
        """Approve as a person does in the user interface.

        Raises:
            Refused: it is not on hold.
        """
        self.advance()
        workflow, _ = self.world.job(job.id)
        self.world.engine.approve(workflow, job, self.world.user(by))
        self.advance()

    def cancel(self, what: Workflow | Job, by: str = HUMAN) -> None:
        """Cancel a workflow or a job as a person does; nothing happens to one that has ended."""
        self.advance()
        user = self.world.user(by)
        if isinstance(what, Workflow):
            self.world.engine.cancel_workflow(what, user)
        else:
            workflow, _ = self.world.job(what.id)
            self.world.engine.cancel_job(workflow, what, user)
        self.advance()

    def rerun(self, workflow: Workflow, by: str = HUMAN, *, from_failed: bool = False) -> Workflow:
        """Run *workflow* again: a new workflow of the same name in the same pipeline."""
        self.advance()
        again = self.world.engine.rerun(workflow, self.world.user(by), from_failed=from_failed)
        self.advance()
        return again

    def show(self, what: Workflow | Job, status: str) -> None:
        """Let reads show *status* (any string; empty: the true one again; `null` for a workflow's null)."""
        self.advance()
        what.shown = status
        workflow = what if isinstance(what, Workflow) else self.world.job(what.id)[0]
        workflow.remember(self.world.now)
        self.advance()

    def ping(self, hook: Hook) -> None:
        """Send the test event of *hook*."""
        self.webhooks.ping(hook, self.now())

    # --- time

    def now(self) -> datetime:
        return datetime.now(UTC) + self._skipped

    def turn_clock(self, seconds: float) -> None:
        """Let *seconds* pass at once; everything due in them happens at its own moment."""
        self._skipped += timedelta(seconds=seconds)
        self.advance()

    def advance(self) -> datetime:
        """Let everything happen that is due, and return the time."""
        now = self.now()
        self.world.advance(now)
        self._announce()
        return now

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait until *condition* holds; it is looked at after every change.

        Raises:
            TimeoutError: it does not hold in time.
        """
        async with asyncio.timeout(timeout_s):
            while not condition():
                await self._changed.wait()

    # --- inside

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _happened(self, fact: Fact) -> None:
        if fact.kind == "job.finished":
            self._job_ended(fact)
            return
        within = {"pipeline": fact.workflow.pipeline.id} if fact.workflow is not None else {}
        owner = {"workflow_id": fact.workflow.id} if fact.workflow is not None and fact.job is not None else {}
        self.effect(fact.kind, fact.subject, **fact.detail, **within, **owner)
        if fact.kind == "workflow.finished" and fact.workflow is not None:
            stopped = sum(job.status == "canceled" for job in fact.workflow.jobs)
            is_several = self.knobs.webhook_extra_canceled and fact.workflow.status == "canceled"
            self.webhooks.workflow_completed(fact.workflow, runs=stopped + 1 if is_several else 1)

    def _job_ended(self, fact: Fact) -> None:
        assert fact.workflow is not None  # noqa: S101 - a job's fact has both
        assert fact.job is not None  # noqa: S101
        if self.knobs.webhook_approval_jobs or not fact.job.is_approval:
            self.webhooks.job_completed(fact.workflow, fact.job)

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on loopback; yield the base URL, without a trailing slash. Webhooks are sent while this lasts."""
        async with self.webhooks.running(), super().serve(port) as url:
            clockwork = asyncio.create_task(self._run_clockwork())
            try:
                yield url
            finally:
                clockwork.cancel()
                with suppress(asyncio.CancelledError):
                    await clockwork

    async def _run_clockwork(self) -> None:
        while True:
            self.advance()
            due = self.world.agenda.next_at()
            rest_s = None if due is None else max(0.0, (due - self.now()).total_seconds())
            with suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await self._changed.wait()

    def routes(self) -> list[web.RouteDef]:
        return self._api.routes()

    def control_routes(self) -> list[web.RouteDef]:
        return Control(self).routes()

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--token", default=TOKEN, help="the personal token that is accepted")
        parser.add_argument("--knobs", type=orjson.loads, default={}, help="knobs as a JSON object")

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> "CircleciEmulator":
        return cls(token=arguments.token, **arguments.knobs)
