"""Caring: from a claimed work to the next moment at which nothing is to be done for it.

    recorded ─▶ acknowledged ─▶ wait opened ─▶ remote started ─▶ token put, no job open
                                                                      │ next job, by its token
                     ┌───────────── renewed: token put ◀── held ◀─────┘
                     ▼                    (holding.py)      │ the wait is decided
                no job open                                 ▼ finishing.py puts the final result

Law: each step is written down before the next begins, and each may be made twice. A death between two leaves the claim to end by
itself and the row to be due; whoever cares next goes on from the row, with what GetJobDetails gives back.
"""

from collections.abc import Callable
from random import random as system_random

import structlog

from bridge.agents.codepipeline import alarms
from bridge.agents.codepipeline.artifacts import Artifacts
from bridge.agents.codepipeline.claims import ClaimLost, Claims
from bridge.agents.codepipeline.course import FAULTS, GONE, Course
from bridge.agents.codepipeline.desk import Desk
from bridge.agents.codepipeline.gateway import IN_PROGRESS, INVALID_NONCE, Gateway, NoClient, NoJob
from bridge.agents.codepipeline.holding import Holding
from bridge.agents.codepipeline.job import Job
from bridge.agents.codepipeline.settings import CodepipelineAgentSettings
from bridge.agents.codepipeline.starting import NotStarted, Started, Starter
from bridge.consumers.codepipeline.results import FailureType
from bridge.coordinator.registry import Registered
from bridge.coordinator.store.works import Acknowledged, Claim, Work
from bridge.core.errors import HttpFault, StoreUnavailable
from bridge.core.outcome import Later
from bridge.core.ports import Clock
from bridge.core.retry import LATER, RetryPolicy
from bridge.core.wait import State
from bridge.ops.faults import places

_log = structlog.get_logger(__name__)


class Caring:
    """One agent's."""

    def __init__(
        self,
        settings: CodepipelineAgentSettings,
        *,
        claims: Claims,
        desk: Desk,
        gateway: Gateway,
        starter: Starter,
        artifacts: Artifacts,
        clock: Clock,
        holding: Holding,
        is_stopping: Callable[[], bool] = lambda: False,
        policy: RetryPolicy = LATER,
        random: Callable[[], float] = system_random,
    ) -> None:
        self._settings = settings
        self._claims = claims
        self._desk = desk
        self._gateway = gateway
        self._starter = starter
        self._artifacts = artifacts
        self._clock = clock
        self._holding = holding
        self._is_stopping = is_stopping
        self._policy = policy
        self._random = random

    async def care(self, claim: Claim, job: Job | None = None, *, is_fresh: bool = False) -> None:
        """Do all that can be done now, and let go of *claim*. What fails is due again; nothing is raised."""
        course = Course(self._claims, self._clock, claim, job, is_fresh)
        try:
            while await self._step(course):
                pass
        except FAULTS as fault:
            await self._postpone(course, fault)
        except (ClaimLost, StoreUnavailable) as fault:  # the claim is another's, or ends by itself
            _log.warning("work_left", work=claim.work.id, fault=type(fault).__name__)
        except Exception as fault:  # noqa: BLE001 - a bug met by one work must not touch the others
            _log.error("caring_failed", work=claim.work.id, fault=type(fault).__name__, at=places(fault))
            await self._postpone(course, fault)

    async def _step(self, course: Course) -> bool:
        """Make the next step; False: the claim is let go of."""
        work = course.work
        if self._is_stopping():  # between two steps: the next process goes on from here
            return await course.rest(self._clock.now())
        if work.job_id is None:  # the next job brings it back
            return await course.rest(None)
        if work.putting is not None:
            return await self._holding.settle(course)
        if work.acknowledged is Acknowledged.NO:
            return await self._acknowledge(course)
        if work.started_at is None:
            return await self._start(course)
        return await self._holding.hold(course)

    # --- acknowledge ----------------------------------------------------------------------------------------------

    async def _acknowledge(self, course: Course) -> bool:
        work = course.work
        job = await self._with_nonce(course)
        if job is None:
            return await course.end(GONE)
        try:
            status = await self._gateway.acknowledge(job.id, job.nonce or "", work.client_id)
        except NoJob:
            return await course.end(GONE)
        match status:
            case _ if status == IN_PROGRESS:
                await course.save(acknowledged=Acknowledged.YES, tries=0)
            case _ if status == INVALID_NONCE and not course.is_fresh:  # an earlier call of ours got no answer
                await course.save(acknowledged=Acknowledged.DOUBT, tries=0)
            case _ if status == INVALID_NONCE:
                return await self._yield(course)
            case _:  # it ended before anybody worked on it
                _log.info("job_over", work=work.id, status=status)
                return await course.end(GONE)
        return True

    async def _with_nonce(self, course: Course) -> Job | None:
        """Return the job with a nonce; a third-party one's stands in its details."""
        work = course.work
        if work.nonce:
            return Job(work.job_id or "", work.nonce, work.client_id)
        return await self._details(course)

    async def _yield(self, course: Course) -> bool:
        """Another worker has the job: do nothing for it, and forget what was for it alone."""
        _log.info("job_is_anothers", work=course.work.id)
        if course.work.started_at is None and course.work.generation == 0:
            await self._claims.forget(course.claim)
        else:
            await self._claims.let_go(course.claim, due_at=None, job_id=None, nonce=None)
        return False

    async def _details(self, course: Course) -> Job | None:
        """Return the job's data: as handed out, else asked for; None: there is no such job any more."""
        if course.job is None:
            try:
                course.job = await self._gateway.details(course.work.job_id or "", course.work.client_id)
            except NoJob:
                return None
        return course.job

    # --- start ----------------------------------------------------------------------------------------------------

    async def _start(self, course: Course) -> bool:
        job = await self._details(course)
        if job is None:
            return await course.end(GONE)
        if not course.work.context and job.context:
            await course.save(context=dict(job.context))
        made = await self._desk.open_wait(course.work, self._settings.timeout)
        if made.wait.state is not State.OPEN:  # it was decided while we were away: nothing is to be started any more
            await course.save(wait_id=made.wait.id, started_at=self._clock.now())
            return True
        await course.save(wait_id=made.wait.id)
        match await self._try_start(course.work, job, made):
            case Started(remote_id):
                named = remote_id or made.wait.id
                await course.save(remote_id=named, started_at=self._clock.now(), tries=0)
                return True
            case NotStarted(kind, message):
                await self._desk.decide_failed(made.wait.id, failure_type=kind.value, summary=message)
                return await course.rest(self._holding.renew_at(course.work), started_at=self._clock.now())

    async def _try_start(self, work: Work, job: Job, made: Registered) -> Started | NotStarted:
        try:
            return await self._starter.start(work, job, made, await self._artifacts.links(job))
        except (Later, HttpFault):
            if self._clock.now() - work.created_at < self._settings.start.give_up:
                raise
            return NotStarted(
                FailureType.SYSTEM_UNAVAILABLE, "the work could not be started: the remote is unreachable"
            )

    async def _postpone(self, course: Course, fault: Exception) -> None:
        work = course.work
        if isinstance(fault, NoClient):
            alarms.raise_alarm(work.agent, alarms.NO_CLIENT, work=work.id, client_id=work.client_id)
        after = fault.after if isinstance(fault, Later) else None
        delay = self._policy.delay(work.tries + 1, random=self._random, at_least=after)
        _log.warning("work_postponed", work=work.id, fault=type(fault).__name__, seconds=delay.total_seconds())
        try:
            await self._claims.let_go(course.claim, due_at=self._clock.now() + delay, tries=work.tries + 1)
        except (ClaimLost, StoreUnavailable) as lost:
            _log.warning("work_left", work=work.id, fault=type(lost).__name__)
