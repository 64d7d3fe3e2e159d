"""Sends outbound webhooks: copies, a time-out, and retries until the receiver answers 2xx or the schedule ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from bridge.testing.circleci import payloads
from bridge.testing.circleci.knobs import Knobs
from bridge.testing.circleci.model import Job, Workflow
from bridge.testing.circleci.payloads import Hook


@dataclass(slots=True)
class Attempt:
    """One POST. status: None when no answer came in time."""

    at: datetime
    status: int | None


@dataclass(slots=True, eq=False)
class Delivery:
    """One copy of one event for one hook. is_over: delivered, or given up."""

    hook: Hook
    event: str
    body: bytes
    attempts: list[Attempt] = field(default_factory=list)
    is_over: bool = False
    at_once: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def id(self) -> str:
        return str(orjson.loads(self.body)["id"])

    @property
    def is_delivered(self) -> bool:
        return bool(self.attempts) and is_success(self.attempts[-1].status)


def is_success(status: int | None) -> bool:
    return status is not None and status // 100 == 2  # noqa: PLR2004 - any 2xx


class Webhooks:
    """The registered hooks and what was sent to them. told: called after each attempt."""

    def __init__(self, knobs: Knobs, told: Callable[[], None]) -> None:
        self._knobs = knobs
        self._told = told
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[Delivery] = []
        self._session: aiohttp.ClientSession | None = None
        self.hooks: dict[str, Hook] = {}
        self.deliveries: list[Delivery] = []

    # --- what is sent

    def ping(self, hook: Hook, now: datetime) -> list[Delivery]:
        """Send the test event of *hook*."""
        return self._send(hook, payloads.PING, payloads.ping(hook, now))

    def workflow_completed(self, workflow: Workflow, *, runs: int = 1) -> list[Delivery]:
        """Send the event of an ended *workflow* to who wants it, *runs* times under different ids."""
        return [
            delivery
            for hook in self._wanting(payloads.WORKFLOW_COMPLETED, workflow)
            for run in range(runs)
            for delivery in self._send(
                hook,
                payloads.WORKFLOW_COMPLETED,
                payloads.workflow_completed(hook, workflow, self._knobs, run=run),
            )
        ]

    def job_completed(self, workflow: Workflow, job: Job) -> list[Delivery]:
        """Send the event of an ended *job* to who wants it."""
        return [
            delivery
            for hook in self._wanting(payloads.JOB_COMPLETED, workflow)
            for delivery in self._send(
                hook, payloads.JOB_COMPLETED, payloads.job_completed(hook, workflow, job, self._knobs)
            )
        ]

    def _wanting(self, event: str, workflow: Workflow) -> list[Hook]:
        return [hook for hook in self.hooks.values() if hook.wants(event, workflow.pipeline.project)]

    def _send(self, hook: Hook, event: str, body: dict[str, Any] | None) -> list[Delivery]:
        if body is None:
            return []
        copies = [Delivery(hook, event, orjson.dumps(body)) for _ in range(self._knobs.webhook_copies)]
        self.deliveries += copies
        for delivery in copies:
            self._start(delivery)
        return copies

    def flush(self) -> None:
        """Let every delivery that waits for its time go at once."""
        for delivery in self.deliveries:
            if not delivery.is_over:
                delivery.at_once.set()

    # --- how

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send while this context lasts; what was asked for before goes first."""
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            self._session = session
            waiting, self._waiting = self._waiting, []
            for delivery in waiting:
                self._start(delivery)
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                self._session = None

    def _start(self, delivery: Delivery) -> None:
        if self._session is None:
            self._waiting.append(delivery)
            return
        task = asyncio.create_task(self._deliver(delivery, self._session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Delivery, session: aiohttp.ClientSession) -> None:
        for delay_s in [self._knobs.webhook_delay_s, *self._knobs.webhook_retry_delays_s]:
            await _pause(delivery, delay_s)
            delivery.attempts.append(Attempt(datetime.now(UTC), await self._post(delivery, session)))
            delivery.is_over = delivery.is_delivered
            self._told()
            if delivery.is_over:
                return
        delivery.is_over = True
        self._told()

    async def _post(self, delivery: Delivery, session: aiohttp.ClientSession) -> int | None:
        head = payloads.headers(delivery.hook, delivery.event, delivery.body, self._knobs)
        timeout = aiohttp.ClientTimeout(total=self._knobs.webhook_timeout_s)
        try:
            async with session.post(
                delivery.hook.url, data=delivery.body, headers=head, timeout=timeout, allow_redirects=False
            ) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return None


async def _pause(delivery: Delivery, delay_s: float) -> None:
    if delay_s:
        with suppress(TimeoutError):
            await asyncio.wait_for(delivery.at_once.wait(), delay_s)
    delivery.at_once.clear()
