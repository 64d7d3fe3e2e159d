"""`[agents.<name>]` of kind "codepipeline": which jobs are taken, what is started for them, and the clocks.

Limits: AWS service model 2015-07-09 (ActionTypeId, QueryParamMap); User Guide, "Quotas": a Lambda action is answered within
20 minutes, each time anew; other actions end after 24 hours, jobs of some after one.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

import jmespath
from pydantic import Field, HttpUrl, SecretStr, StringConstraints, field_validator, model_validator

from bridge.core.settings import AgentSettings, Duration, Settings

Word = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]+$")]
ConfigurationKey = Annotated[str, StringConstraints(min_length=1, max_length=50)]
QueryValue = Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=r"^[a-zA-Z0-9_-]+$")]

LAMBDA = ("Invoke", "AWS", "Lambda")
MOST_FOR_LAMBDA = timedelta(minutes=20)
_JOB_TIMEOUT = timedelta(hours=1)


class ActionType(Settings):
    """The four words that name an action type. Jobs of Invoke, AWS, Lambda are handed over by the function itself."""

    category: Literal["Source", "Build", "Deploy", "Test", "Invoke", "Approval", "Compute"]
    owner: Literal["Custom", "ThirdParty", "AWS"]
    provider: Annotated[Word, Field(max_length=35)]
    version: Annotated[Word, Field(max_length=9)] = "1"

    @model_validator(mode="after")
    def _is_taken(self) -> Self:
        if self.owner == "AWS" and (self.category, self.owner, self.provider) != LAMBDA:
            raise ValueError("of AWS's own actions only Invoke, AWS, Lambda hand out jobs")
        return self


class Start(Settings):
    """The call that starts the remote's work."""

    method: Literal["POST", "PUT"] = Field(default="POST", description="of the call")
    url: HttpUrl = Field(description="the one URL that is called, without query; no redirect is followed")
    headers: dict[str, str] = Field(default={}, description="sent with the call; nothing secret: see `token_env`")
    token_header: str | None = Field(
        default=None, description="the header that takes the token as it is; none: `Authorization: Bearer`"
    )
    configuration: tuple[ConfigurationKey, ...] = Field(
        default=(), description="the only keys of the action's configuration that are sent"
    )
    id: str = Field(default="id", description="JMESPath to the remote's id in its JSON answer; CodePipeline links it")
    give_up: Duration = Field(
        default=timedelta(minutes=10), description="a remote that cannot be started for so long fails the job"
    )

    @field_validator("url")
    @classmethod
    def _is_plain(cls, url: HttpUrl) -> HttpUrl:
        if url.query or url.fragment or url.username or url.password:
            raise ValueError("expected a URL without credentials, query and fragment")
        return url

    @field_validator("id")
    @classmethod
    def _is_jmespath(cls, path: str) -> str:
        try:
            jmespath.compile(path)
        except jmespath.exceptions.JMESPathError:
            raise ValueError("expected a JMESPath expression") from None
        return path


class CodepipelineAgentSettings(AgentSettings):
    """One action type of the target's Region and account. Its principal needs the permissions that the how-to lists."""

    action_type: ActionType = Field(description="`{ category, owner, provider, version }`")
    start: Start = Field(description="what is called for each new job")
    token: SecretStr | None = Field(default=None, description="sent to start.url")
    timeout: Duration = Field(
        default=timedelta(hours=23), description="of each wait; CodePipeline ends a custom or Lambda action after 24 h"
    )
    job_timeout: Duration | None = Field(
        default=None, description="CodePipeline's, for one job: it is renewed before. Without it 1h, for Lambda 20m"
    )
    slots: int = Field(default=100, ge=1, le=10_000, description="works open at once, of all processes together")
    poll: Duration = Field(default=timedelta(seconds=10), description="between polls while idle, on average")
    progress: Duration = Field(
        default=timedelta(minutes=1), description="at least between two progress reports of one job; each costs 3 calls"
    )
    query: dict[ConfigurationKey, QueryValue] = Field(
        default={}, max_length=1, description="a poll's queryParam, for a type with a queryable property"
    )

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if self.is_lambda and self.job_timeout is not None and self.job_timeout > MOST_FOR_LAMBDA:
            raise ValueError("job_timeout: of a Lambda job at most 20m")
        if self.query and self.action_type.owner != "Custom":
            raise ValueError("query: is for custom action types")
        return self

    @property
    def is_lambda(self) -> bool:
        """True when nothing is polled: the function hands its jobs over."""
        return self.action_type.owner == "AWS"

    @property
    def is_third_party(self) -> bool:
        return self.action_type.owner == "ThirdParty"

    @property
    def renew_after(self) -> timedelta:
        """How long a job is held at most."""
        return 0.75 * (self.job_timeout or (MOST_FOR_LAMBDA if self.is_lambda else _JOB_TIMEOUT))

    def waits_at_most(self) -> timedelta:
        return self.timeout

    def takes(self) -> tuple[str, ...]:
        query: tuple[Any, ...] = tuple(f"{name}={value}" for name, value in self.query.items())
        kind = self.action_type
        return (self.target, kind.category, kind.owner, kind.provider, kind.version, *query)
