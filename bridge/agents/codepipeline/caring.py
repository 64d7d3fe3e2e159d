"""Caring: from a claimed work to the next moment at which nothing is to be done for it.

    recorded ─▶ acknowledged ─▶ wait opened ─▶ remote started ─▶ token put, no job open
                                                                      │ next job, by its token
                     ┌───────────── renewed: token put ◀── held ◀─────┘
                     ▼                                      │ the wait is decided
                no job open                                 ▼ finishing.py puts the final result

Law: each step is written down before the next begins, and each may be made twice. A death between two leaves the claim to end by
itself and the row to be due; whoever cares next goes on from the row, with what GetJobDetails gives back.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from random import random as system_random
from typing import Any

import structlog

from bridge.agents.codepipeline import alarms
from bridge.agents.codepipeline.artifacts import Artifacts
from bridge.agents.codepipeline.claims import ClaimLost, Claims
from bridge.agents.codepipeline.desk import Desk
from bridge.agents.codepipeline.gateway import IN_PROGRESS, INVALID_NONCE, Gateway, NoClient, NoJob
from bridge.agents.codepipeline.job import Job, token_of
from bridge.agents.codepipeline.settings import CodepipelineAgentSettings
from bridge.agents.codepipeline.starting import NotStarted, Started, Starter
from bridge.consumers.codepipeline.judging import Code
from bridge.consumers.codepipeline.results import MAX_SUMMARY, FailureType, cut
from bridge.coordinator.errors import Rejected
from bridge.coordinator.registry import Registered
from bridge.coordinator.store.works import Acknowledged, Claim, Putting, Work
from bridge.core.errors import BrokerUnavailable, HttpFault, StoreUnavailable, Unreachable, Unroutable
from bridge.core.outcome import CredentialRefused, Later
from bridge.core.ports import Clock
from bridge.core.retry import LATER, RetryPolicy
from bridge.core.wait import Progress, State, Wait
from bridge.ops.faults import places

GONE, DONE, REFUSED = "gone", "done", "refused"
_FAULTS = (Later, HttpFault, CredentialRefused, BrokerUnavailable, Unroutable, NoClient, Rejected)
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Course:
    """One run of care.

    job: as just handed out, or asked for; None: not known yet.
    is_fresh: nobody can have acknowledged the job for us before this run.
    is_new: its job was acknowledged in this run.
    """

    claim: Claim
    job: Job | None
    is_fresh: bool
    is_new: bool = False

    @property
    def work(self) -> Work:
        return self.claim.work


class Caring:
    """One agent's. continued: called after each job that ended with a token, so that the next one is looked for."""

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
        continued: Callable[[], None],
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
        self._continued = continued
        self._is_stopping = is_stopping
        self._policy = policy
        self._random = random

    async def care(self, claim: Claim, job: Job | None = None, *, is_fresh: bool = False) -> None:
        """Do all that can be done now, and let go of *claim*. What fails is due again; nothing is raised."""
        course = _Course(claim, job, is_fresh)
        try:
            while await self._step(course):
                pass
        except _FAULTS as fault:
            await self._postpone(course, fault)
        except (ClaimLost, StoreUnavailable) as fault:  # the claim is another's, or ends by itself
            _log.warning("work_left", work=claim.work.id, fault=type(fault).__name__)
        except Exception as fault:  # noqa: BLE001 - a bug met by one work must not touch the others
            _log.error("caring_failed", work=claim.work.id, fault=type(fault).__name__, at=places(fault))
            await self._postpone(course, fault)

    async def _step(self, course: _Course) -> bool:
        """Make the next step; False: the claim is let go of."""
        work = course.work
        if self._is_stopping():  # between two steps: the next process goes on from here
            return await self._rest(course, self._clock.now())
        if work.job_id is None or work.putting is Putting.FINAL:  # the next job, or its resolution, brings it back
            return await self._rest(course, None)
        if work.putting is Putting.TOKEN:
            return await self._continue(course, await self._desk.wait_of(work))
        if work.acknowledged is Acknowledged.NO:
            return await self._acknowledge(course)
        if work.started_at is None:
            return await self._start(course)
        return await self._hold(course)

    # --- acknowledge ----------------------------------------------------------------------------------------------

    async def _acknowledge(self, course: _Course) -> bool:
        work = course.work
        job = await self._with_nonce(course)
        if job is None:
            return await self._end(course, GONE)
        try:
            status = await self._gateway.acknowledge(job.id, job.nonce or "", work.client_id)
        except NoJob:
            return await self._end(course, GONE)
        match status:
            case _ if status == IN_PROGRESS:
                await self._claims.save(course.claim, acknowledged=Acknowledged.YES, tries=0)
            case _ if status == INVALID_NONCE and not course.is_fresh:  # an earlier call of ours got no answer
                await self._claims.save(course.claim, acknowledged=Acknowledged.DOUBT, tries=0)
            case _ if status == INVALID_NONCE:
                return await self._yield(course)
            case _:  # it ended before anybody worked on it
                _log.info("job_over", work=work.id, status=status)
                return await self._end(course, GONE)
        course.is_new = True
        return True

    async def _with_nonce(self, course: _Course) -> Job | None:
        """Return the job with a nonce; a third-party one's stands in its details."""
        work = course.work
        if work.nonce:
            return Job(work.job_id or "", work.nonce, work.client_id)
        return await self._details(course)

    async def _yield(self, course: _Course) -> bool:
        """Another worker has the job: do nothing for it, and forget what was for it alone."""
        _log.info("job_is_anothers", work=course.work.id)
        if course.work.started_at is None and course.work.generation == 0:
            await self._claims.forget(course.claim)
        else:
            await self._claims.let_go(course.claim, due_at=None, job_id=None, nonce=None)
        return False

    async def _details(self, course: _Course) -> Job | None:
        """Return the job's data: as handed out, else asked for; None: there is no such job any more."""
        if course.job is None:
            try:
                course.job = await self._gateway.details(course.work.job_id or "", course.work.client_id)
            except NoJob:
                return None
        return course.job

    # --- start ----------------------------------------------------------------------------------------------------

    async def _start(self, course: _Course) -> bool:
        job = await self._details(course)
        if job is None:
            return await self._end(course, GONE)
        if not course.work.context and job.context:
            await self._claims.save(course.claim, context=dict(job.context))
        made = await self._desk.open_wait(course.work, self._settings.timeout)
        if made.wait.state is not State.OPEN:  # it was decided while we were away: nothing is to be started any more
            await self._claims.save(course.claim, wait_id=made.wait.id, started_at=self._clock.now())
            return True
        await self._claims.save(course.claim, wait_id=made.wait.id)
        match await self._try_start(course.work, job, made):
            case Started(remote_id):
                named = remote_id or made.wait.id
                await self._claims.save(course.claim, remote_id=named, started_at=self._clock.now(), tries=0)
                return True
            case NotStarted(kind, message):
                await self._desk.decide_failed(made.wait.id, failure_type=kind.value, summary=message)
                return await self._rest(course, self._renew_at(course.work), started_at=self._clock.now())

    async def _try_start(self, work: Work, job: Job, made: Registered) -> Started | NotStarted:
        try:
            return await self._starter.start(work, job, made, await self._artifacts.links(job))
        except (Later, HttpFault):
            if self._clock.now() - work.created_at < self._settings.start.give_up:
                raise
            return NotStarted(
                FailureType.SYSTEM_UNAVAILABLE, "the work could not be started: the remote is unreachable"
            )

    # --- hold, renew ----------------------------------------------------------------------------------------------

    async def _hold(self, course: _Course) -> bool:
        work, now = course.work, self._clock.now()
        wait = await self._desk.wait_of(work)
        if wait is None or wait.state is State.RESOLVED:
            return await self._end(course, DONE if wait else GONE)
        if wait.state is State.CANCELLED:
            return await self._give_back(course)
        if now >= self._renew_at(work) or (wait.state is State.OPEN and self._has_news(work, wait, now)):
            return await self._continue(course, wait)
        if wait.state is State.RESOLVING:
            return await self._hand_over(course, wait)
        return await self._rest(course, self._renew_at(work))

    def _has_news(self, work: Work, wait: Wait, now: datetime) -> bool:
        """Return True when the job is to be ended with a token: the first always, so that its link appears; then for progress."""
        if work.generation == 0:
            return True
        is_late = work.put_at is None or now - work.put_at >= self._settings.progress
        return is_late and wait.progress != Progress() and work.progress != asdict(wait.progress)

    def _renew_at(self, work: Work) -> datetime:
        return (work.put_at or work.created_at) + self._settings.renew_after

    async def _hand_over(self, course: _Course, wait: Wait) -> bool:
        """The wait is decided and its job is here: let go first, so that the worker finds it free."""
        await self._rest(course, self._renew_at(course.work))
        await self._desk.send_again(wait)
        return False

    async def _continue(self, course: _Course, wait: Wait | None) -> bool:
        """End the job with a token. In doubt the same call is made again: a job that has ended then ended by it."""
        work, claim = course.work, course.claim
        is_in_doubt = work.putting is Putting.TOKEN
        if not is_in_doubt:
            await self._claims.save(claim, putting=Putting.TOKEN)
        token = token_of(work.id, work.generation + 1)
        progress = wait.progress if wait else Progress()
        try:
            code = await self._gateway.continue_with(work.job_id or "", token, work.client_id, _shown(work, progress))
        except _FAULTS as fault:
            if not is_in_doubt and _is_harmless(fault):
                await self._claims.save(claim, putting=None)
            raise
        match code:
            case "":
                return await self._continued_with(course, progress)
            case Code.ENDED if is_in_doubt:
                return await self._continued_with(course, progress)
            case Code.ENDED if work.acknowledged is Acknowledged.DOUBT:  # it was not ours to put on; it may come again
                return await self._rest(
                    course, None, job_id=None, nonce=None, putting=None, acknowledged=Acknowledged.NO
                )
            case Code.ENDED | Code.UNKNOWN:
                return await self._end(course, GONE, putting=None)
            case _:
                return await self._refused(course, code)

    async def _continued_with(self, course: _Course, progress: Progress) -> bool:
        await self._rest(
            course,
            None,
            job_id=None,
            nonce=None,
            putting=None,
            acknowledged=Acknowledged.NO,
            generation=course.work.generation + 1,
            put_at=self._clock.now(),
            progress=asdict(progress),
        )
        self._continued()
        return False

    async def _refused(self, course: _Course, code: str) -> bool:
        """AWS does not take what we made: our bug. The pipeline must not hang for it."""
        alarms.raise_alarm(course.work.agent, alarms.REFUSED, work=course.work.id, code=code)
        await self._claims.save(course.claim, putting=None)
        await self._desk.decide_failed(
            course.work.wait_id or "",
            failure_type=FailureType.SYSTEM_UNAVAILABLE.value,
            summary=f"AWS answered {code} to a report of progress",
        )
        return await self._rest(course, None)

    async def _give_back(self, course: _Course) -> bool:
        """The wait was taken back, which sends nothing: end its job here."""
        work = course.work
        await self._claims.save(course.claim, putting=Putting.FINAL)
        details = {"type": FailureType.JOB_FAILED.value, "message": "the wait was taken back", **_execution_id(work)}
        try:
            await self._gateway.fail(work.job_id or "", work.client_id, details)
        except _FAULTS:
            await self._claims.save(course.claim, putting=None)  # repeated, it may find the job ended, which is as good
            raise
        return await self._end(course, DONE, putting=None)

    # --- let go ---------------------------------------------------------------------------------------------------

    async def _rest(self, course: _Course, due_at: datetime | None, **changes: Any) -> bool:
        await self._claims.let_go(course.claim, due_at=due_at, **{"tries": 0, **changes})
        return False

    async def _end(self, course: _Course, ending: str, **changes: Any) -> bool:
        _log.info("work_ended", work=course.work.id, ending=ending)
        return await self._rest(course, None, ended_at=self._clock.now(), ending=ending, **changes)

    async def _postpone(self, course: _Course, fault: Exception) -> None:
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


def _is_harmless(fault: Exception) -> bool:
    """Return True when the call certainly had no effect."""
    if isinstance(fault, Later):
        return not fault.is_doubtful
    return isinstance(fault, Unreachable | CredentialRefused | NoClient)


def _shown(work: Work, progress: Progress) -> Mapping[str, Any]:
    """Return executionDetails of a job that goes on: never 100 %, never without a summary."""
    percent = min(max(progress.percent or 1, 1), 99)
    summary = cut(progress.message.strip() or "waiting for the result", MAX_SUMMARY)
    return {"summary": summary, "percentComplete": percent, **_execution_id(work)}


def _execution_id(work: Work) -> dict[str, str]:
    return {"externalExecutionId": work.remote_id} if work.remote_id else {}
