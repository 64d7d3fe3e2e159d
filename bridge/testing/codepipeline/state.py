"""What the service remembers: executions, actions, jobs, approvals. Plain mutable records; the rules stand elsewhere."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bridge.testing.codepipeline.spec import ActionSpec, Kind, PipelineSpec


class JobState(StrEnum):
    CREATED = "Created"
    """Made, not to be had yet: the delay before a follow-up."""
    QUEUED = "Queued"
    DISPATCHED = "Dispatched"
    """Handed out by a poll (Lambda: the function was invoked), not acknowledged."""
    IN_PROGRESS = "InProgress"
    TIMED_OUT = "TimedOut"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def is_final(self) -> bool:
        return self in (JobState.TIMED_OUT, JobState.SUCCEEDED, JobState.FAILED)


class ActionStatus(StrEnum):
    IN_PROGRESS = "InProgress"
    ABANDONED = "Abandoned"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ExecutionStatus(StrEnum):
    IN_PROGRESS = "InProgress"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUPERSEDED = "Superseded"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed a request."""

    account_id: str
    arn: str


@dataclass(slots=True, eq=False)
class Pipeline:
    spec: PipelineSpec
    account_id: str
    created_at: datetime
    updated_at: datetime
    version: int = 1
    executions: list["PipelineExecution"] = field(default_factory=list)
    """Oldest first."""


@dataclass(slots=True, eq=False)
class PipelineExecution:
    """One run of a pipeline. `stage`: index of the stage it is in, or was in when it ended."""

    id: str
    pipeline: Pipeline
    spec: PipelineSpec
    version: int
    status: ExecutionStatus = ExecutionStatus.IN_PROGRESS
    stage: int = 0
    actions: list["ActionExecution"] = field(default_factory=list)

    @property
    def action(self) -> "ActionExecution":
        """The action started last: the only one in a pipeline of one action."""
        return self.actions[-1]

    @property
    def job(self) -> "Job":
        """The current job of `action`."""
        return self.action.job


@dataclass(slots=True, eq=False)
class Approval:
    token: str
    expires_at: datetime
    is_answered: bool = False


@dataclass(slots=True, eq=False)
class ActionExecution:
    """One run of one action."""

    id: str
    execution: PipelineExecution
    stage_name: str
    spec: ActionSpec
    started_at: datetime
    updated_at: datetime
    number: int
    """Grows with every action started: the order of the history."""
    status: ActionStatus = ActionStatus.IN_PROGRESS
    summary: str | None = None
    external_execution_id: str | None = None
    percent_complete: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    updated_by: str | None = None
    output_variables: dict[str, str] = field(default_factory=dict)
    current_revision: dict[str, str | float] | None = None
    jobs: list["Job"] = field(default_factory=list)
    approval: Approval | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def kind(self) -> Kind:
        return self.spec.action_type.kind

    @property
    def is_open(self) -> bool:
        return self.status is ActionStatus.IN_PROGRESS

    @property
    def account_id(self) -> str:
        return self.execution.pipeline.account_id

    @property
    def job(self) -> "Job":
        """The current job; raises LookupError for an approval."""
        if not self.jobs:
            raise LookupError(f"action {self.name} has no jobs")
        return self.jobs[-1]

    @property
    def token(self) -> str | None:
        """The approval's token, also after its answer; None for other actions."""
        return None if self.approval is None else self.approval.token


@dataclass(slots=True, eq=False)
class Job:
    """One job: good for one result."""

    id: str
    action: ActionExecution
    continuation_token: str | None
    """The token it was made with; None for the first job of an action."""
    created_at: datetime
    state: JobState = JobState.CREATED
    nonces: list[str] = field(default_factory=list)
    """All nonces ever handed out, oldest first."""
    reissued: set[str] = field(default_factory=set)
    """Those handed out after it was acknowledged, by the knob `redeliver_acknowledged`."""
    winners: list[str] = field(default_factory=list)
    """Those that acknowledged it."""
    dispatched_at: datetime | None = None
    closed_at: datetime | None = None
