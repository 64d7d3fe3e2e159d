"""Places: the kinds of thing that wait on CodePipeline, each with its own look and its own answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bridge.consumers.codepipeline.judging import judge, sight
from bridge.consumers.codepipeline.results import GET_DETAILS, Put, plan, substitute
from bridge.core.outcome import AlreadyDone, Done, Ending, Refused, Sight
from bridge.core.resolution import Resolution


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: an error's code, empty where it was done, and the members."""

    code: str
    body: Mapping[str, Any]


class Ask(Protocol):
    """Sends one call."""

    async def __call__(self, operation: str, members: Mapping[str, Any], *, is_put: bool) -> Answer:
        """Raises as screen() and Calls.send()."""
        ...


class Place(Protocol):
    """One thing that waits."""

    async def look(self) -> Sight:
        """Say where it stands, without changing anything. Endings may be raised."""
        ...

    async def resume(self, resolution: Resolution, sight: Sight | None) -> Ending:
        """Apply *resolution*. sight: what look() saw a moment ago, given when an earlier answer may have arrived."""
        ...


class NoAgent:
    """A work of the agent, seen by a worker that is none."""

    async def look(self) -> Sight:
        raise Refused(NEEDS_AGENT)

    async def resume(self, resolution: Resolution, sight: Sight | None) -> Ending:  # noqa: ARG002 - the port's shape
        return Refused(NEEDS_AGENT)


NEEDS_AGENT = "needs the agent: only its role answers for the jobs that it took"


class Job:
    """A job of a custom action or of a Lambda function."""

    def __init__(self, ask: Ask, job_id: str) -> None:
        self._ask = ask
        self._job_id = job_id

    async def look(self) -> Sight:
        """Say whether there is such a job. It is WAITING also when it has ended: only a Put tells."""
        return sight((await self._ask(GET_DETAILS, {"jobId": self._job_id}, is_put=False)).code)

    async def resume(self, resolution: Resolution, sight: Sight | None) -> Ending:
        """Put the one result."""
        is_in_doubt = sight is not None
        put = plan(self._job_id, resolution)
        ending = await self._put(put, is_in_doubt=is_in_doubt)
        if isinstance(ending, Refused):  # nothing was applied: end the job, or its pipeline hangs until it times out
            put = substitute(self._job_id, ending.reason)
            ending = await self._put(put, is_in_doubt=is_in_doubt)
        if put.unfit and isinstance(ending, Done | AlreadyDone):
            return Refused(f"a failure was put instead: {put.unfit}")
        return ending

    async def _put(self, put: Put, *, is_in_doubt: bool) -> Ending:
        answer = await self._ask(put.operation, put.members, is_put=True)
        return judge(answer.code, is_in_doubt=is_in_doubt)
