"""Pipelines and their executions: which action runs when, and how an execution ends."""

from collections.abc import Callable
from datetime import datetime

from bridge.testing.codepipeline.errors import ServiceError
from bridge.testing.codepipeline.spec import PipelineSpec
from bridge.testing.codepipeline.state import (
    ActionExecution,
    ActionStatus,
    ExecutionStatus,
    Pipeline,
    PipelineExecution,
)
from bridge.testing.codepipeline.world import World

Open = Callable[[ActionExecution, datetime], None]
Close = Callable[[ActionExecution, datetime], None]


class Pipelines:
    """Owns executions; `open_action` begins the work of an action, `close_action` takes its open job away."""

    def __init__(self, world: World, open_action: Open, close_action: Close) -> None:
        self._world = world
        self._open_action = open_action
        self._close_action = close_action
        self._pipelines: dict[tuple[str, str], Pipeline] = {}
        self._executions: dict[str, PipelineExecution] = {}

    @property
    def executions(self) -> list[PipelineExecution]:
        """All of them, oldest first."""
        return list(self._executions.values())

    def define(self, spec: PipelineSpec) -> Pipeline:
        """Make a pipeline, or give an existing one its next version."""
        account = spec.account_id or self._world.account_id
        now = self._world.now()
        known = self._pipelines.get((account, spec.name))
        if known is None:
            return self._pipelines.setdefault((account, spec.name), Pipeline(spec, account, now, now))
        if known.spec != spec:
            known.spec, known.version, known.updated_at = spec, known.version + 1, now
        return known

    def find(self, account_id: str, name: str) -> Pipeline:
        """Return a pipeline of *account_id*; raises PipelineNotFoundException."""
        pipeline = self.known(account_id, name)
        if pipeline is None:
            raise ServiceError(
                "PipelineNotFoundException",
                f"Account '{account_id}' does not have a pipeline with name '{name}'",
            )
        return pipeline

    def known(self, account_id: str, name: str) -> Pipeline | None:
        return self._pipelines.get((account_id, name))

    def execution(self, execution_id: str) -> PipelineExecution:
        """Raises LookupError."""
        try:
            return self._executions[execution_id]
        except KeyError:
            raise LookupError(f"no execution {execution_id}") from None

    def start(self, pipeline: Pipeline) -> PipelineExecution:
        """Start an execution at the first stage."""
        execution = PipelineExecution(self._world.ids.uuid(), pipeline, pipeline.spec, pipeline.version)
        self._executions[execution.id] = execution
        pipeline.executions.append(execution)
        self._start_stage(execution, self._world.now())
        return execution

    def finish(self, action: ActionExecution, status: ActionStatus, at: datetime) -> None:
        """End an open action; its execution goes on to the next stage or ends with it."""
        action.status, action.updated_at = status, at
        self._move_on(action.execution, at)

    def stop(self, execution: PipelineExecution, *, abandon: bool, at: datetime) -> None:
        """Stop an execution: at once, or when its running actions have ended. Of an ended one nothing changes."""
        if execution.status not in (ExecutionStatus.IN_PROGRESS, ExecutionStatus.STOPPING):
            return
        execution.status = ExecutionStatus.STOPPING
        if abandon:
            self._abandon(execution, ExecutionStatus.STOPPED, at)

    def supersede(self, execution: PipelineExecution, at: datetime) -> None:
        """End an execution because a newer one has taken its place."""
        self._abandon(execution, ExecutionStatus.SUPERSEDED, at)

    def _abandon(self, execution: PipelineExecution, status: ExecutionStatus, at: datetime) -> None:
        for action in execution.actions:
            if action.is_open:
                action.status, action.updated_at = ActionStatus.ABANDONED, at
                self._close_action(action, at)
        execution.status = status

    def _start_stage(self, execution: PipelineExecution, at: datetime) -> None:
        stage = execution.spec.stages[execution.stage]
        started = [
            ActionExecution(
                self._world.ids.uuid(), execution, stage.name, spec, at, at, number=self._world.ids.number()
            )
            for spec in stage.actions
        ]
        execution.actions += started
        for action in started:
            self._open_action(action, at)

    def _move_on(self, execution: PipelineExecution, at: datetime) -> None:
        statuses = [action.status for action in execution.actions]
        if ActionStatus.IN_PROGRESS in statuses:
            return
        if execution.status is ExecutionStatus.STOPPING:
            execution.status = ExecutionStatus.STOPPED
        elif ActionStatus.FAILED in statuses:
            execution.status = ExecutionStatus.FAILED
        elif execution.stage + 1 == len(execution.spec.stages):
            execution.status = ExecutionStatus.SUCCEEDED
        else:
            execution.stage += 1
            self._start_stage(execution, at)
