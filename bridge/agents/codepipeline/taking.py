"""Taking: from a job that is handed out to a claimed work. The record comes before anything else is done with the job.

A job without a token is new work, known by its action's execution. One with a token of ours is the next job of a work; its
generation tells a late copy of an earlier job from the one that is awaited. Any other token is not ours: the job is left alone.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog

from bridge.agents.codepipeline.claims import Claims
from bridge.agents.codepipeline.job import Job, read_token
from bridge.coordinator.store.works import Acknowledged, Claim, Putting, Work
from bridge.core.ports import Clock
from bridge.core.signing import new_wait_id

PATIENCE_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """A work to be cared for. is_fresh: no call for this job was made before, so that it can be nobody's but by this one."""

    claim: Claim
    is_fresh: bool


class Busy(Exception):
    """The work is being changed by somebody else, for longer than we wait."""


class NotOurs(Exception):
    """The job carries a token that is not of a work of this target."""


class Taking:
    """One agent's. acknowledged: what a job is when it comes: a Lambda function's is begun already."""

    def __init__(
        self, agent: str, target: str, *, claims: Claims, clock: Clock, acknowledged: Acknowledged = Acknowledged.NO
    ) -> None:
        self._agent = agent
        self._target = target
        self._claims = claims
        self._clock = clock
        self._acknowledged = acknowledged

    async def take(self, job: Job, *, may_begin: bool = True) -> Taken | None:
        """Record *job*; None: nothing is to be done for it now. may_begin: whether new work may be begun.

        Raises:
            NotOurs: it was left alone.
            Busy: it was not recorded, and is to be taken again.
            StoreUnavailable: it was not recorded, so it must not be acknowledged.
        """
        if job.token is None:
            return await self._begin(job, may_begin=may_begin)
        named = read_token(job.token)
        work = await self._claims.find(named[0]) if named else None
        if named is None or work is None or work.target != self._target:
            raise NotOurs
        return await self._go_on(work, named[1], job)

    async def _begin(self, job: Job, *, may_begin: bool) -> Taken | None:
        known = await self._claims.find_by_key(self._target, job.key)
        if known is not None:
            return await self._again(known, job) if known.generation == 0 else None
        if not may_begin:
            return None
        new = Work(
            id=new_wait_id(),
            agent=self._agent,
            target=self._target,
            key=job.key,
            created_at=self._clock.now(),
            context=dict(job.context),
            client_id=job.client_id,
            job_id=job.id,
            nonce=job.nonce,
            acknowledged=self._acknowledged,
        )
        claim = await self._claims.record(new)
        return Taken(claim, is_fresh=True) if claim else None

    async def _go_on(self, work: Work, generation: int, job: Job) -> Taken | None:
        if generation == work.generation:
            return await self._again(work, job)
        if generation == work.generation + 1 and work.putting is Putting.TOKEN:  # so the Put had its effect
            return await self._attach(work, job, generation=generation)
        return None

    async def _again(self, work: Work, job: Job) -> Taken | None:
        """Take the job of *work* where none is open; the one that is ours already only with a nonce that may help."""
        if work.ended_at is not None or (work.job_id == job.id and work.acknowledged is not Acknowledged.NO):
            return None
        if work.job_id in (None, job.id):
            return await self._attach(work, job)
        _log.warning("job_unexpected", work=work.id)
        return None

    async def _attach(self, seen: Work, job: Job, **changes: Any) -> Taken | None:
        """Make *job* the work's open one, if the work is still as *seen*.

        It may be held for the length of a call: the Put that made this very job, as a rule. A copy that comes late is told from
        one that is early by looking again: it must not keep the work from those who have something to do with it.
        """
        for pause_s in PATIENCE_S:
            if claim := await self._claims.take(seen.id, as_seen=seen):
                is_fresh = seen.job_id != job.id
                now_open = {"job_id": job.id, "nonce": job.nonce, "acknowledged": self._acknowledged, "putting": None}
                await self._claims.save(claim, **{**now_open, **changes})
                return Taken(claim, is_fresh)
            await asyncio.sleep(pause_s)
            now = await self._claims.find(seen.id)
            if now is not None and _place(now) != _place(seen):
                return await self.take(job)
        raise Busy


def _place(work: Work) -> tuple[Any, ...]:
    return work.generation, work.job_id, work.acknowledged, work.putting, work.ended_at
