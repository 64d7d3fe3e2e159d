"""What a pipeline is made of: action types, actions, stages, artifacts; and who may call. Input of the control API."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_NAME = r"^[A-Za-z0-9.@\-_]+$"
_ACCOUNT = r"^[0-9]{12}$"

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=_NAME)]
AccountId = Annotated[str, Field(pattern=_ACCOUNT)]
ConfigurationKey = Annotated[str, Field(min_length=1, max_length=50)]
ConfigurationValue = Annotated[str, Field(min_length=1, max_length=1000)]
ClientId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
ClientToken = Annotated[str, Field(min_length=1, max_length=256)]

type_key = tuple[str, str, str, str]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kind(StrEnum):
    """How an action is worked on."""

    CUSTOM = "custom"
    THIRD_PARTY = "third-party"
    LAMBDA = "lambda"
    APPROVAL = "approval"


_KINDS = {
    ("Invoke", "AWS", "Lambda"): Kind.LAMBDA,
    ("Approval", "AWS", "Manual"): Kind.APPROVAL,
}


class ActionTypeId(_Spec):
    """The four words that name an action type. Text `Build/Custom/Bridge/1` is taken too."""

    category: Literal["Source", "Build", "Deploy", "Test", "Invoke", "Approval", "Compute"]
    owner: Literal["AWS", "ThirdParty", "Custom"]
    provider: Annotated[str, Field(min_length=1, max_length=35, pattern=r"^[0-9A-Za-z_-]+$")]
    version: Annotated[str, Field(min_length=1, max_length=9, pattern=r"^[0-9A-Za-z_-]+$")] = "1"

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return dict(zip(("category", "owner", "provider", "version"), value.split("/", 3), strict=False))
        return value

    @property
    def key(self) -> type_key:
        return (self.category, self.owner, self.provider, self.version)

    @property
    def id(self) -> "ActionTypeId":
        return ActionTypeId(category=self.category, owner=self.owner, provider=self.provider, version=self.version)

    @property
    def kind(self) -> Kind:
        """Raises ValueError for a provider of AWS that is not emulated."""
        if self.owner == "AWS":
            kind = _KINDS.get((self.category, self.owner, self.provider))
            if kind is None:
                raise ValueError(f"action type {'/'.join(self.key)} is not emulated")
            return kind
        return Kind.CUSTOM if self.owner == "Custom" else Kind.THIRD_PARTY


APPROVAL = ActionTypeId(category="Approval", owner="AWS", provider="Manual")
LAMBDA = ActionTypeId(category="Invoke", owner="AWS", provider="Lambda")
CUSTOM = ActionTypeId(category="Build", owner="Custom", provider="Bridge")
THIRD_PARTY = ActionTypeId(category="Build", owner="ThirdParty", provider="Bridge")


class ActionType(ActionTypeId):
    """An action type as registered in a Region."""

    queryable: ConfigurationKey | None = None
    """The configuration property that a poll must name in queryParam."""
    entity_url_template: str = ""
    """Link of the action; `{Config:Name}` is filled from the configuration."""
    execution_url_template: str = ""
    """Link of the run; `{ExternalExecutionId}` is filled from the last result, `{Config:Name}` as above."""
    job_timeout_s: Annotated[float, Field(ge=60, le=43_200)] | None = None
    """Third party only, per job."""
    polling_accounts: Annotated[tuple[AccountId, ...], Field(max_length=1000)] = ()
    """Third party only: accounts that may poll; none named: all."""


class Artifact(_Spec):
    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-zA-Z0-9_\-]+$")]
    revision: Annotated[str, Field(min_length=1, max_length=1500)] | None = None
    bucket: str = "codepipeline-artifacts"
    key: str = ""
    """The object's key; empty: made from pipeline, artifact and execution."""


class ActionSpec(_Spec):
    """One action of a stage."""

    name: Name = "Wait"
    action_type: ActionTypeId = CUSTOM
    configuration: Annotated[dict[ConfigurationKey, ConfigurationValue], Field(max_length=50)] = {}
    input_artifacts: Annotated[tuple[Artifact, ...], Field(max_length=5)] = ()
    output_artifacts: Annotated[tuple[Artifact, ...], Field(max_length=5)] = ()
    encryption_key: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    client_id: ClientId | None = None
    """Third party only: the connection of the action; its token is registered apart."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """In place of the knob for this kind of action."""
    custom_data: str = ""
    """Approval only: shown in the notification."""
    external_entity_link: str = ""
    """Approval only: shown in the notification."""

    @model_validator(mode="after")
    def _complete(self) -> "ActionSpec":
        if self.action_type.kind is Kind.THIRD_PARTY and self.client_id is None:
            raise ValueError("a third-party action needs client_id")
        return self


class StageSpec(_Spec):
    name: Name = "Build"
    actions: Annotated[tuple[ActionSpec, ...], Field(min_length=1, max_length=50)]
    """They run side by side; the next stage starts when all have succeeded."""


class PipelineSpec(_Spec):
    """A pipeline. Stages are not locked: its executions run side by side in either mode."""

    name: Name
    mode: Literal["SUPERSEDED", "PARALLEL"] = "SUPERSEDED"
    """SUPERSEDED: an execution that reaches an approval ends an older one that waits there."""
    stages: Annotated[tuple[StageSpec, ...], Field(min_length=1)]
    account_id: AccountId | None = None
    """None: the emulator's account."""


class Credential(_Spec):
    """A key that signs requests."""

    secret: Annotated[str, Field(min_length=1)]
    session_token: str | None = None
    expires_at: datetime | None = None
    """In the emulator's time."""
    account_id: AccountId | None = None
    principal: str = "user/bridge"
    """The part of the caller's ARN after the account."""


def parse_action_type(value: "ActionTypeId | str | dict[str, Any]") -> ActionType:
    """Return the action type that a caller wrote as text, as a dict or as a value."""
    if isinstance(value, ActionType):
        return value
    if isinstance(value, ActionTypeId):
        return ActionType(**value.model_dump())
    return ActionType.model_validate(value)


def fill_url(template: str, configuration: dict[str, str], external_execution_id: str | None = None) -> str | None:
    """Return the link that *template* gives; None while a part of it is missing."""
    values = {f"Config:{name}": value for name, value in configuration.items()}
    if external_execution_id is not None:
        values["ExternalExecutionId"] = external_execution_id
    wanted = re.findall(r"\{((?:Config:)?[^{}]+)\}", template)
    if not template or any(name not in values for name in wanted):
        return None
    return re.sub(r"\{((?:Config:)?[^{}]+)\}", lambda match: values[match[1]], template)
