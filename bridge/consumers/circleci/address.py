"""CircleciAddress: which approval job waits, and what a negative outcome does to it."""

from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

import orjson
from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from bridge.core.consumer import Address
from bridge.core.resolution import Resolution


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


class CircleciAddress(Address):
    """One approval job, by its name in a workflow (`$CIRCLE_WORKFLOW_ID`), or in a pipeline, whose reruns are then followed."""

    workflow_id: Id | None = Field(
        default=None, description="the workflow; a rerun is another one. Where it is given, it alone says where to look"
    )
    pipeline_id: Id | None = Field(default=None, description="the workflow's pipeline, where no workflow id is known")
    workflow_name: Name | None = Field(
        default=None, description="the pipeline's workflow to look in; without it, only one may hold such an approval"
    )
    approval: Name = Field(description="the approval job's name as CircleCI shows it: expanded, where a matrix made it")
    on_failure: Action = Field(
        default=Action.CANCEL_JOB,
        description="for every outcome but `succeeded`: `cancel-job` (jobs that require it `canceled` then run), "
        "`cancel-workflow`, or `approve` (the next job asks the bridge for the result)",
    )

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        if self.workflow_id is None and self.pipeline_id is None:
            raise ValueError("workflow_id or pipeline_id is needed")
        return self

    def canonical(self, settings: Any) -> str:  # noqa: ARG002 - the port's shape
        """Return the workflow, else the pipeline and the workflow's name, and the approval, as JSON."""
        place = [self.workflow_id] if self.workflow_id else [self.pipeline_id, self.workflow_name]
        return orjson.dumps([*place, self.approval]).decode()

    def action(self, resolution: Resolution) -> Action:
        """Return what *resolution* does to the approval."""
        return Action.APPROVE if resolution.succeeded else self.on_failure
