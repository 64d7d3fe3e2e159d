"""CodepipelineAddress: what waits: a job, a partner's job, a manual approval, or a work that our agent took.

Contract: a job's id is a UUID in lower case, a third-party job's 1 to 512 characters; an approval's token is a UUID in lower
          case; names of pipelines, stages and actions are 1 to 100 of [A-Za-z0-9.@_-].
Source:   AWS service model 2015-07-09 (JobId, ThirdPartyJobId, ClientId, ApprovalToken, PipelineName).
"""

import re
from hashlib import sha256
from typing import Annotated, Any, Self

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, WithJsonSchema, model_validator

from bridge.core.consumer import Address, AddressError

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NAME = re.compile(r"[A-Za-z0-9.@_-]{1,100}")
_WORK = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise ValueError("expected a UUID in lower case")
    return text


def _secret_uuid(given: SecretStr) -> SecretStr:
    _uuid(given.get_secret_value())
    return given


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError('expected 1 to 100 letters, digits, ".", "@", "_" and "-"')
    return text


def _work(text: str) -> str:
    if not _WORK.fullmatch(text):
        raise ValueError("expected the id of a work of the agent")
    return text


def _pattern(pattern: re.Pattern[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern.pattern}$"})


JobId = Annotated[str, Field(min_length=1, max_length=512)]
ClientId = Annotated[str, AfterValidator(_uuid), _pattern(_UUID)]
ApprovalToken = Annotated[
    SecretStr,
    AfterValidator(_secret_uuid),
    WithJsonSchema({"type": "string", "pattern": f"^{_UUID.pattern}$", "format": "password", "writeOnly": True}),
]
Name = Annotated[str, AfterValidator(_name), _pattern(_NAME)]
WorkId = Annotated[str, AfterValidator(_work), _pattern(_WORK)]


class Approval(BaseModel):
    """One manual approval action. Without its token, whatever waits there when the outcome is known is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    pipeline: Name
    stage: Name
    action: Name
    token: ApprovalToken | None = Field(
        default=None, description="from the approval's notification: then only that very execution is answered"
    )

    def canonical(self) -> str:
        """Return the place as JSON, with a hash in place of the token."""
        place = ["approval", self.pipeline, self.stage, self.action]
        if self.token is not None:
            place.append(sha256(self.token.get_secret_value().encode()).hexdigest())
        return orjson.dumps(place).decode()


class CodepipelineAddress(Address):
    """One of: a job, acknowledged by whoever took it before the remote system is called; an approval; a work of the agent."""

    model_config = ConfigDict(hide_input_in_errors=True)

    job_id: JobId | None = Field(
        default=None, description="as CodePipeline gave it: a UUID in lower case, unless client_id is given"
    )
    client_id: ClientId | None = Field(
        default=None, description="of a third-party job: its connected customer, whose token the bridge keeps"
    )
    approval: Approval | None = Field(default=None, description="a manual approval")
    work: WorkId | None = Field(default=None, description="a job that the bridge's own agent took, by the agent's id")

    @model_validator(mode="after")
    def _is_one_place(self) -> Self:
        if sum(place is not None for place in (self.job_id, self.approval, self.work)) != 1:
            raise ValueError("exactly one of job_id, approval and work is needed")
        if self.client_id is not None and self.job_id is None:
            raise ValueError("client_id belongs to a job_id")
        return self

    @property
    def third_party_client(self) -> str | None:
        return self.client_id

    def canonical(self, settings: Any) -> str:  # noqa: ARG002 - the port's shape
        """Return the job's id, `work:` and the work's id, or the approval's place.

        Raises:
            AddressError: it is no job's id.
        """
        if self.work is not None:
            return f"work:{self.work}"
        if self.approval is not None:
            return self.approval.canonical()
        if self.job_id is None or not (self.client_id or _UUID.fullmatch(self.job_id)):
            raise AddressError("/job_id", "expected a UUID in lower case")
        return self.job_id
