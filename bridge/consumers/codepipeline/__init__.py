"""AWS CodePipeline: puts the result of a job, or answers a manual approval.

Contract: GetJobDetails       {jobId}                                   {jobDetails}; JobNotFoundException
          PutJobSuccessResult {jobId, executionDetails, outputVariables}  200, empty: the job has ended. Never a
                              continuationToken: with one it would not be the end
          PutJobFailureResult {jobId, failureDetails}                   200, empty: the job has ended
               InvalidJobStateException: it had ended before; JobNotFoundException; ValidationException;
               OutputVariablesSizeExceededException
          GetThirdPartyJobDetails, PutThirdPartyJobSuccessResult, PutThirdPartyJobFailureResult: the same with a clientToken
               and without outputVariables; InvalidClientTokenException
          approvals: approvals.py. The wire stands in calls.py, errors in judging.py
Source:   AWS service model 2015-07-09 (botocore 1.43); AWS CodePipeline User Guide, "Create and add a custom action"
          (2023-06); API Reference, PutJobSuccessResult.

Law: a job takes one result. Nothing tells a job that we ended from one that ended otherwise, so what InvalidJobStateException
means depends on us: in doubt an earlier Put was applied, else the job ended without us. There is nothing to read back: a Put
with an answer is done, and no call of a job worker shows a job's state.
"""

from collections.abc import Mapping
from typing import Any

from bridge.consumers.codepipeline.address import CodepipelineAddress
from bridge.consumers.codepipeline.approvals import ManualApproval
from bridge.consumers.codepipeline.calls import Calls
from bridge.consumers.codepipeline.judging import DENIED, condition, error_code, screen
from bridge.consumers.codepipeline.places import Answer, Job, NoAgent, Place, ThirdPartyJob
from bridge.consumers.codepipeline.results import GET_DETAILS, trial
from bridge.consumers.codepipeline.settings import CodepipelineSettings
from bridge.core.consumer import Consumer
from bridge.core.outcome import Ending, Health, Refused, Sight
from bridge.core.ports import Clock, Http
from bridge.core.request import Reply
from bridge.core.resolution import Resolution

__all__ = ["Codepipeline", "CodepipelineAddress", "CodepipelineSettings"]


class Codepipeline(Consumer[CodepipelineSettings, CodepipelineAddress]):
    """Puts the result of the job that a wait names: success, or failure for every other outcome."""

    def __init__(self, settings: CodepipelineSettings, http: Http, *, clock: Clock | None = None) -> None:
        super().__init__(settings, http, clock=clock)
        self._calls = Calls(http, settings)
        self._denied: set[str] = set()
        """Operations that our policy lacks, as last seen."""

    async def open(self) -> None:
        self._calls.keyring.prepare()

    async def health(self) -> Health:
        """Ask about no job. After a denial ask with the operations that were denied: none else can tell when it is mended."""
        if not self._denied:
            reply = await self._calls.send(GET_DETAILS, trial(GET_DETAILS))
            # Denied here, and nothing that was needed: one that only answers approvals has no business with jobs.
            return Health.UP if error_code(reply) in DENIED else condition(reply, now=self.clock.now())
        for operation in sorted(self._denied):
            health = condition(await self._calls.send(operation, trial(operation)), now=self.clock.now())
            if health is not Health.UP:
                return health
            self._denied.discard(operation)
        return Health.UP

    async def look_closely(self, address: CodepipelineAddress) -> Sight:
        """Say where *address* stands, as its place knows it."""
        return await self.place(address).look()

    async def resume_seen(self, address: CodepipelineAddress, resolution: Resolution, sight: Sight | None) -> Ending:
        """Answer at the place. The worker has looked when it is in doubt, and never else."""
        return await self.place(address).resume(resolution, sight)

    def place(self, address: CodepipelineAddress) -> Place:
        """Return what waits at *address*. The agent, which alone knows its works, overrides this for `address.work`."""
        if address.work is not None:
            return NoAgent()
        if address.approval is not None:
            return ManualApproval(self._ask_there, address.approval, author=self._calls.keyring.arn)
        job_id = address.canonical(self.settings)
        if address.client_id is not None:
            return ThirdPartyJob(self._ask, job_id, address.client_token)
        return Job(self._ask, job_id)

    async def _ask(self, operation: str, members: Mapping[str, Any], *, is_put: bool) -> Answer:
        """Send one call; raises as screen() and Calls.send()."""
        reply = await self._calls.send(operation, members)
        if error_code(reply) in DENIED:
            self._denied.add(operation)
        return self._screened(reply, is_put=is_put)

    async def _ask_there(self, operation: str, members: Mapping[str, Any], *, is_put: bool) -> Answer:
        """Send one call on a pipeline; a denial is for this pipeline, and stops nothing else.

        Raises:
            Refused: our policy does not allow it.
        """
        reply = await self._calls.send(operation, members)
        if error_code(reply) in DENIED:
            raise Refused(f"our policy does not allow {operation} on this pipeline")
        return self._screened(reply, is_put=is_put)

    def _screened(self, reply: Reply, *, is_put: bool) -> Answer:
        code = screen(reply, now=self.clock.now(), is_put=is_put)
        body = reply.json()
        return Answer(code, body if isinstance(body, dict) else {})
