"""Polling: asks for the jobs of one action type, no more at once than there is room for.

A poll answers at once, so it is repeated: at the configured pace with jitter; after a job that ended with a token quickly at first,
because the next job of that work is about to come. Without room, store or broker nothing is asked for: a job that is not
acknowledged is handed out again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import random as system_random

import structlog

from bridge.agents.codepipeline import alarms
from bridge.agents.codepipeline.caring import Caring
from bridge.agents.codepipeline.desk import Desk
from bridge.agents.codepipeline.gateway import Gateway, NoActionType, NoClient, NoJob
from bridge.agents.codepipeline.job import Job
from bridge.agents.codepipeline.settings import CodepipelineAgentSettings
from bridge.agents.codepipeline.taking import Busy, NotOurs, Taking
from bridge.coordinator.store import works
from bridge.coordinator.store.engine import Database
from bridge.core.errors import HttpFault, StoreUnavailable
from bridge.core.outcome import CredentialRefused, Later
from bridge.core.retry import LATER
from bridge.ops import metrics
from bridge.ops.faults import places

SOON_S = (0.0, 1.0, 2.0, 4.0)
"""After a job that ended with a token: how long a next job takes to come is not documented."""
MOST_PASSED = 100
NO_TYPE_S = 300.0
_FAULTS = (Later, HttpFault, CredentialRefused, StoreUnavailable)
_log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]


class Poller:
    """One agent's. begin: runs the care of one work beside everything else."""

    def __init__(
        self,
        agent: str,
        settings: CodepipelineAgentSettings,
        *,
        db: Database,
        desk: Desk,
        gateway: Gateway,
        taking: Taking,
        begin: Callable[[Awaitable[None]], None],
        random: Callable[[], float] = system_random,
    ) -> None:
        self._agent = agent
        self._settings = settings
        self._db = db
        self._desk = desk
        self._gateway = gateway
        self._taking = taking
        self._begin = begin
        self._random = random
        self._is_soon = asyncio.Event()
        self._soon: list[float] = []
        self._failures = 0
        self._passed = 0
        """New jobs that there was no room for: they are in the way of the next ones of our works."""
        self._taken: set[str] = set()
        """The jobs that this process is at, by id."""

    def poke(self) -> None:
        """Poll soon: a next job is about to come."""
        self._soon = list(SOON_S)
        self._is_soon.set()

    async def run(self, caring: Caring) -> None:
        """Poll until cancelled."""
        while True:
            pause_s = await self._guarded(caring)
            self._is_soon.clear()
            try:
                async with asyncio.timeout(pause_s):
                    await self._is_soon.wait()
            except TimeoutError:
                continue

    async def _guarded(self, caring: Caring) -> float:
        """Poll once; return how long to wait."""
        try:
            await self.poll(caring)
        except NoActionType:
            alarms.raise_alarm(self._agent, alarms.NO_ACTION_TYPE, action_type="/".join(self._settings.takes()[1:5]))
            return NO_TYPE_S * (0.5 + self._random())
        except _FAULTS as fault:
            return self._failed(fault, fault.after if isinstance(fault, Later) else None)
        except Exception as fault:  # noqa: BLE001 - a bug met once must not end the polling
            _log.error("polling_failed", agent=self._agent, fault=type(fault).__name__, at=places(fault))
            return self._failed(fault, None)
        self._failures = 0
        return self._soon.pop(0) if self._soon else self._settings.poll.total_seconds() * (0.5 + self._random())

    def _failed(self, fault: Exception, after: timedelta | None) -> float:
        self._failures += 1
        _log.warning("poll_failed", agent=self._agent, fault=type(fault).__name__, failures=self._failures)
        own = LATER.delay(self._failures, random=lambda: 0.5 + self._random() / 2, at_least=after)
        return max(own.total_seconds(), 0.5)

    async def poll(self, caring: Caring) -> None:
        """Ask for as many jobs as there is room for, and take what comes.

        Raises:
            NoActionType, Later, HttpFault, CredentialRefused, StoreUnavailable: nothing came.
        """
        async with self._db.read() as tx:
            opened, between = await works.counts(tx, self._agent)
        metrics.show_works(self._agent, at_remote=opened, between=between)
        room = max(self._settings.slots - opened, 0)
        if room + between == 0 or not self._desk.is_up:
            return
        jobs = await self._gateway.poll(room + between + self._passed)
        for job in jobs:
            if job.id in self._taken:  # another copy of it; it comes again if this one fails
                continue
            self._taken.add(job.id)
            self._begin(self._take(job, caring, may_begin=room > 0))
            if job.token is None:
                room -= 1
        self._passed = min(self._passed + max(-room, 0), MOST_PASSED) if between and room < 0 else 0

    async def _take(self, job: Job, caring: Caring, *, may_begin: bool) -> None:
        """Take one job and care for its work; whatever is wrong with it touches no other."""
        try:
            await self._take_one(job, caring, may_begin=may_begin)
        finally:
            self._taken.discard(job.id)

    async def _take_one(self, job: Job, caring: Caring, *, may_begin: bool) -> None:
        try:
            if self._settings.is_third_party:
                job = await self._gateway.details(job.id, job.client_id)
            taken = await self._taking.take(job, may_begin=may_begin)
        except NotOurs:
            alarms.raise_alarm(self._agent, alarms.UNKNOWN_TOKEN)
        except NoClient:
            alarms.raise_alarm(self._agent, alarms.NO_CLIENT, client_id=job.client_id)
        except (NoJob, Busy, *_FAULTS) as fault:  # nobody acknowledged it, so it is handed out again
            _log.warning("job_not_taken", agent=self._agent, fault=type(fault).__name__)
        else:
            if taken is not None:
                await caring.care(taken.claim, job, is_fresh=taken.is_fresh)
