"""AWS CodePipeline: puts the result of a job.

Contract: GetJobDetails       {jobId}                                   {jobDetails}; JobNotFoundException
          PutJobSuccessResult {jobId, executionDetails, outputVariables}  200, empty: the job has ended. Never a
                              continuationToken: with one it would not be the end
          PutJobFailureResult {jobId, failureDetails}                   200, empty: the job has ended
               InvalidJobStateException: it had ended before; JobNotFoundException; ValidationException;
               OutputVariablesSizeExceededException. The wire stands in calls.py, errors in judging.py
Source:   AWS service model 2015-07-09 (botocore 1.43); AWS CodePipeline User Guide, "Create and add a custom action"
          (2023-06); API Reference, PutJobSuccessResult.

Law: a job takes one result. Nothing tells a job that we ended from one that ended otherwise, so what InvalidJobStateException
means depends on us: in doubt an earlier Put was applied, else the job ended without us. There is nothing to read back: a Put
with an answer is done, and no call of a job worker shows a job's state.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Self

from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator

from bridge.consumers.codepipeline.address import CodepipelineAddress
from bridge.consumers.codepipeline.calls import Calls
from bridge.consumers.codepipeline.judging import DENIED, condition, error_code, screen
from bridge.consumers.codepipeline.places import Answer, Job, NoAgent, Place
from bridge.consumers.codepipeline.results import GET_DETAILS, trial
from bridge.core.consumer import Consumer
from bridge.core.outcome import Ending, Health, Sight
from bridge.core.ports import Clock, Http
from bridge.core.resolution import Resolution
from bridge.core.settings import Duration, TargetSettings

__all__ = ["Codepipeline", "CodepipelineAddress", "CodepipelineSettings"]


class CodepipelineSettings(TargetSettings):
    """One Region of one account. Its principal needs codepipeline:PutJobSuccessResult, PutJobFailureResult and GetJobDetails."""

    region: str = Field(
        pattern=r"^[a-z]{2,8}(-[a-z]{1,12}){1,3}-[0-9]{1,2}$",
        description="such as `eu-west-1`; jobs belong to one Region",
    )
    endpoint_url: HttpUrl | None = Field(
        default=None, description="the host alone, in place of the Region's own: a VPC endpoint, or an emulator"
    )
    access_key_id: SecretStr | None = Field(
        default=None,
        description="without it the AWS chain is asked: variables, profiles, web identity, container, instance",
    )
    secret_access_key: SecretStr | None = Field(default=None, description="belongs to access_key_id")
    session_token: SecretStr | None = Field(default=None, description="of temporary keys; these are not renewed")
    timeout: Duration = Field(default=timedelta(seconds=10), description="for one call; 3 s of it to connect")

    @field_validator("endpoint_url")
    @classmethod
    def _is_a_host(cls, url: HttpUrl | None) -> HttpUrl | None:
        if url and (url.path not in (None, "", "/") or url.query or url.fragment or url.username or url.password):
            raise ValueError("expected the host alone, such as https://codepipeline.eu-west-1.amazonaws.com")
        return url

    @model_validator(mode="after")
    def _has_both_halves(self) -> Self:
        if (self.access_key_id is None) is not (self.secret_access_key is None):
            raise ValueError("secret_access_key: access_key_id and secret_access_key are given together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token: needs its access_key_id and secret_access_key")
        return self

    @property
    def base_url(self) -> str:
        """The one host that is called."""
        if self.endpoint_url is not None:
            return str(self.endpoint_url).rstrip("/")
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return f"https://codepipeline.{self.region}.{suffix}"

    def given_credential(self) -> tuple[str, str, str | None] | None:
        """Return key id, secret and session token, where they are configured."""
        if self.access_key_id is None or self.secret_access_key is None:
            return None
        token = self.session_token.get_secret_value() if self.session_token else None
        return self.access_key_id.get_secret_value(), self.secret_access_key.get_secret_value(), token


class Codepipeline(Consumer[CodepipelineSettings, CodepipelineAddress]):
    """Puts the result of the job that a wait names: success, or failure for every other outcome."""

    def __init__(self, settings: CodepipelineSettings, http: Http, *, clock: Clock | None = None) -> None:
        super().__init__(settings, http, clock=clock)
        self._calls = Calls(http, settings)
        self._denied: set[str] = set()
        """Operations that our policy lacks, as last seen."""

    async def open(self) -> None:
        self._calls.prepare()

    async def health(self) -> Health:
        """Ask about no job. After a denial ask with the operations that were denied: none else can tell when it is mended."""
        for operation in sorted(self._denied) or [GET_DETAILS]:
            reply = await self._calls.send(operation, trial(operation))
            health = condition(reply, now=self.clock.now())
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
        return Job(self._ask, address.canonical(self.settings))

    async def _ask(self, operation: str, members: Mapping[str, Any], *, is_put: bool) -> Answer:
        """Send one call; raises as screen() and Calls.send()."""
        reply = await self._calls.send(operation, members)
        if error_code(reply) in DENIED:
            self._denied.add(operation)
        code = screen(reply, now=self.clock.now(), is_put=is_put)
        body = reply.json()
        return Answer(code, body if isinstance(body, dict) else {})
