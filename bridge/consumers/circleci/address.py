"""CircleciAddress: what waits: an approval job, with what a negative outcome does to it; or a setup pipeline."""

from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Self
from uuid import UUID

import orjson
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bridge.core.consumer import Address
from bridge.core.expression import Expression, check_expressions
from bridge.core.resolution import Resolution

MAX_PARAMETERS, MAX_NAME, MAX_VALUE = 100, 128, 512
"""Pipeline parameters: how many, and the characters of a name and of a value."""


class Action(StrEnum):
    """What is done to an approval on hold."""

    APPROVE = "approve"
    CANCEL_JOB = "cancel-job"
    CANCEL_WORKFLOW = "cancel-workflow"


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("expected a UUID") from None


Id = Annotated[str, AfterValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
Name = Annotated[str, Field(min_length=1, max_length=512)]
ParameterName = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class CircleciAddress(Address):
    """An approval job, by its name in a workflow (`$CIRCLE_WORKFLOW_ID`), or in a pipeline, whose reruns are then followed.

    Or, with `continuation_key`, a setup pipeline: it is continued whatever the outcome, which a parameter tells.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    continuation_key: SecretStr | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="`<< pipeline.continuation_key >>` of a setup pipeline, good once and for six hours: continues it, in "
        "place of an approval",
    )
    configuration: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, validate_default=True, description="with a continuation key: the configuration to continue with"
    )
    parameters: dict[ParameterName, Expression] | None = Field(
        default=None,
        max_length=MAX_PARAMETERS,
        description="with a continuation key: JMESPath over the event for each pipeline parameter, which the configuration "
        "declares; without it `outcome` alone is sent",
    )
    workflow_id: Id | None = Field(
        default=None, description="the workflow; a rerun is another one. Where it is given, it alone says where to look"
    )
    pipeline_id: Id | None = Field(
        default=None,
        description="the workflow's pipeline, where no workflow id is known. With a continuation key: lets the bridge look "
        "whether a continuation whose answer was lost has been made",
    )
    workflow_name: Name | None = Field(
        default=None, description="the pipeline's workflow to look in; without it, only one may hold such an approval"
    )
    approval: Name | None = Field(
        default=None,
        validate_default=True,
        description="the approval job's name as CircleCI shows it: expanded, where a matrix made it. Needed without a "
        "continuation key",
    )
    on_failure: Action = Field(
        default=Action.CANCEL_JOB,
        description="for every outcome but `succeeded`: `cancel-job` (jobs that require it `canceled` then run), "
        "`cancel-workflow`, or `approve` (the next job asks the bridge for the result)",
    )

    @field_validator("configuration", "approval")
    @classmethod
    def _is_needed(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Each of the two forms has one more field that it cannot do without."""
        if "continuation_key" not in info.data:  # it is wrong itself
            return value
        is_continuation = info.data["continuation_key"] is not None
        if value is None and is_continuation == (info.field_name == "configuration"):
            raise PydanticCustomError("missing", "Field required")
        return value

    @model_validator(mode="after")
    def _is_one_form(self) -> Self:
        if self.continuation_key is None:
            if self.configuration is not None or self.parameters is not None:
                raise ValueError("configuration and parameters belong to a continuation_key")
            if self.workflow_id is None and self.pipeline_id is None:
                raise ValueError("workflow_id or pipeline_id is needed")
        elif self.approval or self.workflow_id or self.workflow_name or "on_failure" in self.model_fields_set:
            raise ValueError("continuation_key takes configuration, parameters and pipeline_id, and nothing else")
        return self

    def canonical(self, settings: Any) -> str:  # noqa: ARG002 - the port's shape
        """Return the workflow, else the pipeline and the workflow's name, and the approval, as JSON; or a hash of the key.

        Raises:
            AddressError: an expression cannot be read.
        """
        if self.continuation_key is not None:
            check_expressions((self.parameters or {}).items())
            return f"continuation:{sha256(self.continuation_key.get_secret_value().encode()).hexdigest()}"
        place = [self.workflow_id] if self.workflow_id else [self.pipeline_id, self.workflow_name]
        return orjson.dumps([*place, self.approval]).decode()

    def action(self, resolution: Resolution) -> Action:
        """Return what *resolution* does to the approval."""
        return Action.APPROVE if resolution.succeeded else self.on_failure
