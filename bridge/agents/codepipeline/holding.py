"""Holding: a work whose remote is at it. Its job is kept open until the wait is decided, and ended with a token in time.

Law: that a token is being put is written down before. Found there again, the same call is made: a job that has ended then ended by it.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from bridge.agents.codepipeline import alarms
from bridge.agents.codepipeline.course import DONE, FAULTS, GONE, Course
from bridge.agents.codepipeline.desk import Desk
from bridge.agents.codepipeline.gateway import Gateway, NoClient
from bridge.agents.codepipeline.job import token_of
from bridge.agents.codepipeline.settings import CodepipelineAgentSettings
from bridge.consumers.codepipeline.judging import Code
from bridge.consumers.codepipeline.results import MAX_SUMMARY, FailureType, cut
from bridge.coordinator.store.works import Acknowledged, Putting, Work
from bridge.core.errors import Unreachable
from bridge.core.outcome import CredentialRefused, Later
from bridge.core.ports import Clock
from bridge.core.wait import Progress, State, Wait


class Holding:
    """One agent's. continued: called after each job that ended with a token, so that the next one is looked for."""

    def __init__(
        self,
        settings: CodepipelineAgentSettings,
        *,
        desk: Desk,
        gateway: Gateway,
        clock: Clock,
        continued: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._gateway = gateway
        self._clock = clock
        self._continued = continued

    async def hold(self, course: Course) -> bool:
        work, now = course.work, self._clock.now()
        wait = await self._desk.wait_of(work)
        if wait is None or wait.state is State.RESOLVED:
            return await course.end(DONE if wait else GONE)
        if wait.state is State.CANCELLED:
            return await self._give_back(course)
        if now >= self.renew_at(work) or (wait.state is State.OPEN and self._has_news(work, wait, now)):
            return await self._go_on(course, wait)
        if wait.state is State.RESOLVING:
            return await self._hand_over(course, wait)
        return await course.rest(self.renew_at(work))

    def _has_news(self, work: Work, wait: Wait, now: datetime) -> bool:
        """Return True when the job is to be ended with a token: the first always, so that its link appears; then for progress."""
        if work.generation == 0:
            return True
        is_late = work.put_at is None or now - work.put_at >= self._settings.progress
        return is_late and wait.progress != Progress() and work.progress != asdict(wait.progress)

    def renew_at(self, work: Work) -> datetime:
        return (work.put_at or work.created_at) + self._settings.renew_after

    async def _hand_over(self, course: Course, wait: Wait) -> bool:
        """The wait is decided and its job is here: let go first, so that the worker finds it free."""
        await course.rest(self.renew_at(course.work))
        await self._desk.send_again(wait)
        return False

    async def _go_on(self, course: Course, wait: Wait | None) -> bool:
        """End the job with a token. In doubt the same call is made again: a job that has ended then ended by it."""
        work = course.work
        is_in_doubt = work.putting is Putting.TOKEN
        if not is_in_doubt:
            await course.save(putting=Putting.TOKEN)
        token = token_of(work.id, work.generation + 1)
        progress = wait.progress if wait else Progress()
        try:
            code = await self._gateway.continue_with(work.job_id or "", token, work.client_id, _shown(work, progress))
        except FAULTS as fault:
            if not is_in_doubt and _is_harmless(fault):
                await course.save(putting=None)
            raise
        match code:
            case "":
                return await self._continued_with(course, progress)
            case Code.ENDED if is_in_doubt:
                return await self._continued_with(course, progress)
            case Code.ENDED if work.acknowledged is Acknowledged.DOUBT:  # it was not ours to put on; it may come again
                return await course.rest(None, job_id=None, nonce=None, putting=None, acknowledged=Acknowledged.NO)
            case Code.ENDED | Code.UNKNOWN:
                return await course.end(GONE, putting=None)
            case _:
                return await self._refused(course, code)

    async def _continued_with(self, course: Course, progress: Progress) -> bool:
        await course.rest(
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

    async def _refused(self, course: Course, code: str) -> bool:
        """AWS does not take what we made: our bug. The pipeline must not hang for it."""
        alarms.raise_alarm(course.work.agent, alarms.REFUSED, work=course.work.id, code=code)
        await course.save(putting=None)
        await self._desk.decide_failed(
            course.work.wait_id or "",
            failure_type=FailureType.SYSTEM_UNAVAILABLE.value,
            summary=f"AWS answered {code} to a report of progress",
        )
        return await course.rest(None)

    async def settle(self, course: Course) -> bool:
        """Finish what somebody began to put. A final result is the worker's, which comes again, unless the wait was taken back."""
        wait = await self._desk.wait_of(course.work)
        if course.work.putting is Putting.TOKEN:
            return await self._go_on(course, wait)
        if wait is not None and wait.state is State.CANCELLED:
            return await self._give_back(course)
        return await course.rest(None)

    async def _give_back(self, course: Course) -> bool:
        """The wait was taken back, which sends nothing: end its job here."""
        work = course.work
        await course.save(putting=Putting.FINAL)
        details = {"type": FailureType.JOB_FAILED.value, "message": "the wait was taken back", **_execution_id(work)}
        await self._gateway.fail(work.job_id or "", work.client_id, details)
        return await course.end(DONE, putting=None)  # also where it had ended: repeated, that is as good


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
