"""Gateway: the calls of a job worker for one action type, custom, third-party or Lambda alike.

Contract: PollForJobs              {actionTypeId, maxBatchSize, queryParam}    {jobs: [{id, nonce, accountId, data}]}
          AcknowledgeJob           {jobId, nonce}                              {status}; InvalidNonce, JobNotFound
          GetJobDetails            {jobId}                                     {jobDetails: {id, accountId, data}}
          PutJobSuccessResult      {jobId, continuationToken, executionDetails}  200: this job is over, another follows
          PollForThirdPartyJobs    {actionTypeId, maxBatchSize}                {jobs: [{clientId, jobId}]}
          GetThirdPartyJobDetails, AcknowledgeThirdPartyJob, PutThirdPartyJobSuccessResult: the same with clientToken
Source:   AWS service model 2015-07-09.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bridge.agents.codepipeline.job import Job
from bridge.agents.codepipeline.settings import CodepipelineAgentSettings
from bridge.consumers.codepipeline.judging import Code
from bridge.consumers.codepipeline.places import Answer, Ask
from bridge.core.outcome import Later

IN_PROGRESS = "InProgress"
INVALID_NONCE = "InvalidNonceException"
_NO_TYPE = "ActionTypeNotFoundException"
_NO_CLIENT = ("InvalidClientTokenException", "InvalidClientToken")

ClientToken = Callable[[str], Awaitable[str | None]]
"""Returns the client token of a client id, None: there is none."""


class NoActionType(Exception):
    """The action type is not registered in this account and Region: for people to mend."""


class NoClient(Exception):
    """There is no client token, or a wrong one: not even a failure can be put."""


class NoJob(Exception):
    """No such job in this account and Region, or it ended long ago."""


class Gateway:
    """One agent's. Whatever it raises beside its own three: Later, CredentialRefused, Unreachable, Unanswered."""

    def __init__(self, ask: Ask, settings: CodepipelineAgentSettings, client_token: ClientToken) -> None:
        self._ask = ask
        self._settings = settings
        self._client_token = client_token
        self._infix = "ThirdParty" if settings.is_third_party else ""

    async def poll(self, limit: int) -> list[Job]:
        """Return at most *limit* jobs that nobody has acknowledged. A third-party one has its ids alone: ask details().

        Raises:
            NoActionType: there are none of that type here.
        """
        members = {"actionTypeId": self._settings.action_type.model_dump(), "maxBatchSize": limit}
        query = {"queryParam": self._settings.query} if self._settings.query else {}
        answer = await self._ask(f"PollFor{self._infix}Jobs", {**members, **query}, is_put=False)
        if answer.code == _NO_TYPE:
            raise NoActionType
        jobs = [job for job in _checked(answer).get("jobs", []) if isinstance(job, dict)]
        if self._settings.is_third_party:
            return [
                Job.read({}, job_id=str(job.get("jobId", "")), client_id=str(job.get("clientId", ""))) for job in jobs
            ]
        return [job for job in map(Job.read, jobs) if job.id]

    async def details(self, job_id: str, client_id: str | None) -> Job:
        """Return the job with its data; a third-party one with its nonce.

        Raises:
            NoJob, NoClient: what is said there.
        """
        return await details_of(self._ask, self._client_token, job_id, client_id)

    async def acknowledge(self, job_id: str, nonce: str, client_id: str | None) -> str:
        """Return the job's state afterwards; INVALID_NONCE: somebody acknowledged it before.

        Raises:
            NoJob, NoClient: what is said there.
        """
        members = {"jobId": job_id, "nonce": nonce, **await self._token(client_id)}
        answer = await self._ask(f"Acknowledge{self._infix}Job", members, is_put=True)
        if answer.code == INVALID_NONCE:
            return INVALID_NONCE
        return str(_checked(answer).get("status", ""))

    async def continue_with(self, job_id: str, token: str, client_id: str | None, details: Mapping[str, Any]) -> str:
        """End the job, not the work; return the error's code, empty where it was done."""
        members = {"jobId": job_id, "continuationToken": token, "executionDetails": dict(details)}
        return await self._put("Success", members, client_id)

    async def fail(self, job_id: str, client_id: str | None, details: Mapping[str, Any]) -> str:
        """End job and work; return the error's code, empty where it was done."""
        return await self._put("Failure", {"jobId": job_id, "failureDetails": dict(details)}, client_id)

    async def _put(self, kind: str, members: Mapping[str, Any], client_id: str | None) -> str:
        token = await self._token(client_id)
        answer = await self._ask(f"Put{self._infix}Job{kind}Result", {**members, **token}, is_put=True)
        if answer.code in _NO_CLIENT:
            raise NoClient
        return answer.code

    async def _token(self, client_id: str | None) -> dict[str, str]:
        return await _token_of(self._client_token, client_id)


async def details_of(ask: Ask, client_token: ClientToken, job_id: str, client_id: str | None) -> Job:
    """Return a job with its data, of whatever agent; see Gateway.details()."""
    operation = "GetJobDetails" if client_id is None else "GetThirdPartyJobDetails"
    answer = await ask(operation, {"jobId": job_id, **await _token_of(client_token, client_id)}, is_put=False)
    return Job.read(_checked(answer).get("jobDetails", {}), job_id=job_id, client_id=client_id)


async def _token_of(client_token: ClientToken, client_id: str | None) -> dict[str, str]:
    if client_id is None:
        return {}
    token = await client_token(client_id)
    if token is None:
        raise NoClient
    return {"clientToken": token}


def _checked(answer: Answer) -> Mapping[str, Any]:
    """Return what was answered, where it was done."""
    if not answer.code:
        return answer.body
    if answer.code == Code.UNKNOWN:
        raise NoJob
    if answer.code in _NO_CLIENT:
        raise NoClient
    raise Later(f"AWS answered {answer.code}")
