"""Manual approvals: an action that waits for a person, with a token of its own for each time it waits."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.testing.codepipeline.errors import ServiceError, invalid_approval_token
from bridge.testing.codepipeline.pipelines import Pipelines
from bridge.testing.codepipeline.spec import Kind, PipelineSpec
from bridge.testing.codepipeline.state import ActionExecution, ActionStatus, Approval, Caller, Pipeline
from bridge.testing.codepipeline.world import World


@dataclass(frozen=True, slots=True)
class Answer:
    """A result for an approval. `status`: Approved or Rejected."""

    pipeline: str
    stage: str
    action: str
    token: str
    status: str
    summary: str


class Approvals:
    """Opens approvals, takes their results and lets them expire."""

    def __init__(self, world: World, pipelines: Pipelines) -> None:
        self._world = world
        self._pipelines = pipelines

    def open(self, action: ActionExecution, at: datetime) -> None:
        """Make the token of *action*; outside PARALLEL an older execution that waits here is superseded."""
        limit = action.spec.timeout_s or self._world.knobs.approval_timeout_s
        action.approval = Approval(self._world.ids.uuid(), at + timedelta(seconds=limit))
        self._world.agenda.add(action.approval.expires_at, lambda when: self._expire(action, when))
        if action.execution.spec.mode == "PARALLEL":
            return
        for older in _runs(action.execution.pipeline, action.stage_name, action.name):
            if older is not action and older.is_open:
                self._pipelines.supersede(older.execution, at)

    def put(self, caller: Caller, answer: Answer) -> datetime:
        """Apply *answer* and return its time.

        Raises PipelineNotFoundException, StageNotFoundException, ActionNotFoundException, InvalidApprovalTokenException
        and ApprovalAlreadyCompletedException.
        """
        pipeline = self._pipelines.find(caller.account_id, answer.pipeline)
        _refuse_unknown(pipeline.spec, answer.stage, answer.action)
        action, approval = self._with_token(_runs(pipeline, answer.stage, answer.action), answer.token)
        now = self._world.now()
        approval.is_answered = True
        action.summary, action.updated_by = answer.summary, caller.arn
        self._record(action, answer, caller)
        is_approved = answer.status == "Approved"
        self._pipelines.finish(action, ActionStatus.SUCCEEDED if is_approved else ActionStatus.FAILED, now)
        return now

    def _with_token(self, runs: list[ActionExecution], token: str) -> tuple[ActionExecution, Approval]:
        found = next((action for action in runs if action.token == token), None)
        if found is None or found.approval is None:
            raise invalid_approval_token()
        is_current = found.execution.spec.mode == "PARALLEL" or found is runs[-1]
        if found.approval.is_answered and is_current:
            raise ServiceError(self._world.knobs.repeated_approval, "The approval action has already been completed")
        if not found.is_open or not is_current:
            raise invalid_approval_token()
        return found, found.approval

    def _expire(self, action: ActionExecution, at: datetime) -> None:
        if action.is_open:
            action.error_code, action.error_message = "TimedOut", "The approval was not answered in its time"
            self._pipelines.finish(action, ActionStatus.FAILED, at)

    def _record(self, action: ActionExecution, answer: Answer, caller: Caller) -> None:
        self._world.record(
            "approval.put",
            answer.token,
            pipeline=action.execution.spec.name,
            stage=action.stage_name,
            action=action.name,
            actionExecutionId=action.id,
            pipelineExecutionId=action.execution.id,
            status=answer.status,
            summary=answer.summary,
            by=caller.arn,
        )


def _runs(pipeline: Pipeline, stage_name: str, action_name: str) -> list[ActionExecution]:
    """Return every time an approval of *pipeline* waited or waits, oldest first."""
    return [
        action
        for execution in pipeline.executions
        for action in execution.actions
        if action.approval is not None and (action.stage_name, action.name) == (stage_name, action_name)
    ]


def _refuse_unknown(spec: PipelineSpec, stage_name: str, action_name: str) -> None:
    stage = next((stage for stage in spec.stages if stage.name == stage_name), None)
    if stage is None:
        raise ServiceError("StageNotFoundException", f"Pipeline '{spec.name}' has no stage '{stage_name}'")
    action = next((action for action in stage.actions if action.name == action_name), None)
    if action is None or action.action_type.kind is not Kind.APPROVAL:
        raise ServiceError("ActionNotFoundException", f"Stage '{stage_name}' has no approval '{action_name}'")
