"""Finishing: the final result, put on whichever job of the work is open. The agent's own consumer, run by the target's worker.

Law: a result is put by whoever holds the work's claim, and that it is being put is written down before. So a renewal and the
end never both reach one job, and a claim that a death left says what may have been put: it is put again, and a job that has
ended then ended by it.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import SecretStr

from bridge.agents.codepipeline.artifacts import Artifacts
from bridge.agents.codepipeline.claims import ClaimLost, Claims
from bridge.agents.codepipeline.course import DONE, GONE, REFUSED
from bridge.agents.codepipeline.gateway import ClientToken
from bridge.consumers.codepipeline import Codepipeline, CodepipelineAddress, CodepipelineSettings
from bridge.consumers.codepipeline.places import Answer, Job, Place, ThirdPartyJob
from bridge.consumers.codepipeline.results import FailureType
from bridge.coordinator.store.works import Acknowledged, Claim, Putting, Work
from bridge.core.errors import StoreUnavailable, Unreachable
from bridge.core.event import BRIDGE, WAIT_EXPIRED, Event, EventData, Outcome
from bridge.core.outcome import (
    AlreadyDone,
    CredentialRefused,
    Done,
    Ending,
    Gone,
    Later,
    NotYet,
    Refused,
    Sight,
    Standing,
)
from bridge.core.ports import Clock, Http
from bridge.core.resolution import Resolution

NO_JOB = NotYet("no job of the work is open")
HELD = NotYet("the work is being renewed")
_NO_WORK = "no such work"
_ENDED: Mapping[str, Callable[[str], Ending]] = {DONE: AlreadyDone, GONE: Gone, REFUSED: Refused}

JobPlace = Callable[[Work], Awaitable[Place]]
"""Returns the place of a work's open job: custom, Lambda or third-party; raises Refused where it cannot be answered."""


class WorkingCodepipeline(Codepipeline):
    """Codepipeline, and the works of this process's agents."""

    def __init__(self, settings: CodepipelineSettings, http: Http, *, clock: Clock | None = None) -> None:
        super().__init__(settings, http, clock=clock)
        self._claims: Claims | None = None
        self._client_token: ClientToken
        self._artifacts: Artifacts

    def serve(self, claims: Claims, client_token: ClientToken, artifacts: Artifacts) -> None:
        """Answer for the works from now on; before the worker runs."""
        self._claims = claims
        self._artifacts = artifacts
        self._client_token = client_token

    async def ask(self, operation: str, members: Mapping[str, Any], *, is_put: bool) -> Answer:
        """Send one call for the agent; see Ask."""
        return await self._ask(operation, members, is_put=is_put)

    def place(self, address: CodepipelineAddress) -> Place:
        if address.work is None or self._claims is None:
            return super().place(address)
        return WorkPlace(address.work, self._claims, self._job, self._artifacts, self.clock)

    async def _job(self, work: Work) -> Place:
        if work.client_id is None:
            return Job(self.ask, work.job_id or "")
        token = await self._client_token(work.client_id)
        if token is None:
            raise Refused("no token is set for this third-party client: set it, then replay")
        return ThirdPartyJob(self.ask, work.job_id or "", SecretStr(token))


class WorkPlace:
    """One work."""

    def __init__(self, work_id: str, claims: Claims, job: JobPlace, artifacts: Artifacts, clock: Clock) -> None:
        self._id = work_id
        self._claims = claims
        self._job = job
        self._artifacts = artifacts
        self._clock = clock

    async def look(self) -> Sight:
        """Say where the work stands by our own record; only of a job whose result is in doubt AWS is asked."""
        work = await self._found()
        if work.ended_at is not None:
            return Sight(Standing.ANSWERED if work.ending == DONE else Standing.WAITING)  # resume() says how it ended
        if not work.is_held:
            return Sight(Standing.NOT_THERE, NO_JOB.reason)
        return await (await self._job(work)).look() if work.putting is Putting.FINAL else Sight(Standing.WAITING)

    async def resume(self, resolution: Resolution, sight: Sight | None) -> Ending:  # noqa: ARG002 - our own record says more
        """Put the final result on the open job; without one the next job is awaited."""
        try:
            if claim := await self._claims.take(self._id, putting=Putting.FINAL):
                return await self._put(claim, resolution, is_in_doubt=False)
            work = await self._found()
            if work.ended_at is not None:
                return _ENDED.get(work.ending or "", Gone)("ended before")
            if work.putting is not Putting.FINAL:
                return HELD if work.is_held else NO_JOB
            if (claim := await self._claims.take(self._id)) is None:
                return HELD
            return await self._put(claim, resolution, is_in_doubt=True)
        except ClaimLost:
            return HELD
        except StoreUnavailable:
            raise Later("the store is away", is_doubtful=True) from None

    async def _put(self, claim: Claim, resolution: Resolution, *, is_in_doubt: bool) -> Ending:
        work = claim.work
        seen = Sight(Standing.WAITING) if is_in_doubt else None
        try:
            ending = await self._apply(claim, named(resolution, work.remote_id), seen)
        except Gone as gone:
            ending = gone
        except (Later, Unreachable, CredentialRefused, Refused) as fault:
            is_clean = not (is_in_doubt or (isinstance(fault, Later) and fault.is_doubtful))
            await self._claims.let_go(claim, due_at=None, putting=None if is_clean else Putting.FINAL)
            raise
        except Exception:
            await self._claims.let_go(claim, due_at=None)
            raise
        if isinstance(ending, Gone) and work.acknowledged is Acknowledged.DOUBT and not is_in_doubt:
            # It was not ours to put on: it may come again, or another of the work.
            await self._claims.let_go(
                claim, due_at=None, putting=None, job_id=None, nonce=None, acknowledged=Acknowledged.NO
            )
            return NO_JOB
        how = {Gone: GONE, Refused: REFUSED}.get(type(ending), DONE)
        await self._claims.let_go(claim, due_at=None, putting=None, ended_at=self._clock.now(), ending=how)
        return ending

    async def _apply(self, claim: Claim, resolution: Resolution, seen: Sight | None) -> Ending:
        """Write the output artifacts, then put the result: with it the pipeline goes on, and reads them."""
        place = await self._job(claim.work)
        try:
            if await self._artifacts.publish(claim.work, resolution):
                await self._claims.save(claim)
        except Refused as refused:  # a failure then: without its artifacts the pipeline must not go on, nor hang
            ending = await place.resume(failed(resolution, refused.reason), seen)
            return Refused(f"a failure was put instead: {refused.reason}") if isinstance(ending, Done) else ending
        return await place.resume(resolution, seen)

    async def _found(self) -> Work:
        try:
            work = await self._claims.find(self._id)
        except StoreUnavailable:
            raise Later("the store is away") from None
        if work is None:
            raise Refused(_NO_WORK)
        return work


def named(resolution: Resolution, remote_id: str | None) -> Resolution:
    """Return *resolution* with the remote's id as external execution id, unless its body names another."""
    fields = resolution.body if isinstance(resolution.body, dict) else {}
    if remote_id is None or fields.get("external_execution_id"):
        return resolution
    event = resolution.event or _timer(resolution)
    data = event.data.model_copy(update={"body": {**fields, "external_execution_id": remote_id}})
    return resolution.model_copy(update={"event": event.model_copy(update={"data": data})})


def failed(resolution: Resolution, why: str) -> Resolution:
    """Return the failure that is put when the output artifacts cannot be written."""
    fields = resolution.body if isinstance(resolution.body, dict) else {}
    said = {**fields, "summary": why, "failure_type": FailureType.PERMISSION_ERROR.value}
    event = resolution.event or _timer(resolution)
    data = event.data.model_copy(update={"body": said})
    return resolution.model_copy(update={"outcome": Outcome.FAILED, "event": event.model_copy(update={"data": data})})


def _timer(resolution: Resolution) -> Event:
    """Return an event for what a timer decided: it says nothing of its own."""
    return Event.new(source=BRIDGE, type=WAIT_EXPIRED, time=resolution.decided_at, data=EventData())
