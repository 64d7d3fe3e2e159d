"""Places: the kinds of thing that wait on CodePipeline, each with its own look and its own answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import SecretStr

from bridge.consumers.codepipeline.judging import Code, judge, sight
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
        return sight((await self._send(Put(GET_DETAILS, {"jobId": self._job_id}))).code)

    async def resume(self, resolution: Resolution, sight: Sight | None) -> Ending:
        """Put the one result."""
        is_in_doubt = sight is not None
        put = self._plan(resolution)
        ending = await self._put(put, is_in_doubt=is_in_doubt)
        if isinstance(ending, Refused):  # nothing was applied: end the job, or its pipeline hangs until it times out
            put = substitute(self._job_id, ending.reason)
            ending = await self._put(put, is_in_doubt=is_in_doubt)
        if put.unfit and isinstance(ending, Done | AlreadyDone):
            return Refused(f"a failure was put instead: {put.unfit}")
        return ending

    async def _put(self, put: Put, *, is_in_doubt: bool) -> Ending:
        return judge((await self._send(put)).code, is_in_doubt=is_in_doubt)

    def _plan(self, resolution: Resolution) -> Put:
        return plan(self._job_id, resolution)

    async def _send(self, put: Put) -> Answer:
        return await self._ask(put.operation, put.members, is_put=put.operation != GET_DETAILS)


class ThirdPartyJob(Job):
    """A job of a partner's action: its customer's token goes into every call, and it has no output variables."""

    def __init__(self, ask: Ask, job_id: str, client_token: SecretStr) -> None:
        super().__init__(ask, job_id)
        self._client_token = client_token

    def _plan(self, resolution: Resolution) -> Put:
        return plan(self._job_id, resolution, has_variables=False)

    async def _send(self, put: Put) -> Answer:
        """Send the third-party form of *put*.

        Raises:
            Refused: with this token not even a failure can be put.
        """
        members = {**put.members, "clientToken": self._client_token.get_secret_value()}
        operation = put.operation.replace("Job", "ThirdPartyJob", 1)
        answer = await self._ask(operation, members, is_put=put.operation != GET_DETAILS)
        if answer.code == Code.CLIENT:
            raise Refused(WRONG_TOKEN)
        return answer


WRONG_TOKEN = "AWS does not take the token of this third-party client: set the right one, then replay"  # noqa: S105 - words
