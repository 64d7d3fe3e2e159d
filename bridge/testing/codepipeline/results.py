"""Results of jobs: success, failure, and success with a continuation token, which is not the end.

Every result closes its job id. No token: the action has succeeded. A token: a new job with that token follows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from bridge.testing.codepipeline.errors import ServiceError, invalid, invalid_job_state
from bridge.testing.codepipeline.jobs import Jobs
from bridge.testing.codepipeline.spec import Kind
from bridge.testing.codepipeline.state import ActionExecution, ActionStatus, Job, JobState
from bridge.testing.codepipeline.world import World

MAX_OUTPUT_VARIABLES_BYTES = 122_880

Finish = Callable[[ActionExecution, ActionStatus, datetime], None]


@dataclass(frozen=True, slots=True)
class Success:
    continuation_token: str | None = None
    summary: str | None = None
    external_execution_id: str | None = None
    percent_complete: int | None = None
    current_revision: dict[str, str | float] | None = None
    output_variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    type: str
    message: str
    external_execution_id: str | None = None


class Results:
    """Applies results to jobs."""

    def __init__(self, world: World, jobs: Jobs, finish: Finish) -> None:
        self._world = world
        self._jobs = jobs
        self._finish = finish

    def succeed(self, job: Job, result: Success) -> None:
        """Apply *result*; raises ValidationException, OutputVariablesSizeExceededException, InvalidJobStateException."""
        self._refuse_bad(result)
        self._refuse_unfit(job)
        now, action = self._world.now(), job.action
        _note(action, result, now)
        self._jobs.close(job, JobState.SUCCEEDED, now)
        if result.continuation_token is None or self._is_complete(result):
            self._record("job.succeeded", job, **_described(result))
            self._finish(action, ActionStatus.SUCCEEDED, now)
        else:
            self._record("job.continued", job, **_described(result))
            self._jobs.follow_up(action, result.continuation_token, now)

    def fail(self, job: Job, result: Failure) -> None:
        """Apply *result*; raises InvalidJobStateException."""
        self._refuse_unfit(job)
        now, action = self._world.now(), job.action
        action.error_code, action.error_message = result.type, result.message
        action.external_execution_id = result.external_execution_id or action.external_execution_id
        self._jobs.close(job, JobState.FAILED, now)
        self._record(
            "job.failed",
            job,
            failureType=result.type,
            failureMessage=result.message,
            externalExecutionId=result.external_execution_id,
        )
        self._finish(action, ActionStatus.FAILED, now)

    def _refuse_bad(self, result: Success) -> None:
        if result.continuation_token is not None and result.output_variables:
            raise invalid("outputVariables can be included only when there is no continuation token on the request")
        size = sum(len(name.encode()) + len(value.encode()) for name, value in result.output_variables.items())
        if size > MAX_OUTPUT_VARIABLES_BYTES:
            raise ServiceError(
                "OutputVariablesSizeExceededException",
                f"Output variables are limited to {MAX_OUTPUT_VARIABLES_BYTES} bytes",
            )
        has_both = result.continuation_token is not None and result.percent_complete == 100  # noqa: PLR2004 - percent
        if has_both and self._world.knobs.hundred_percent == "refused":
            raise invalid("percentComplete must be less than 100 when there is a continuation token on the request")

    def _refuse_unfit(self, job: Job) -> None:
        allowed = {JobState.IN_PROGRESS}
        if job.action.kind is Kind.LAMBDA:
            allowed.add(JobState.DISPATCHED)
        elif self._world.knobs.put_before_acknowledge:
            allowed |= {JobState.QUEUED, JobState.DISPATCHED}
        if job.state not in allowed:
            raise invalid_job_state(job.id, job.state)

    def _is_complete(self, result: Success) -> bool:
        is_all = result.percent_complete == 100  # noqa: PLR2004 - percent
        return is_all and self._world.knobs.hundred_percent == "completes"

    def _record(self, kind: str, job: Job, **detail: object) -> None:
        action = job.action
        self._world.record(
            kind,
            job.id,
            pipeline=action.execution.spec.name,
            stage=action.stage_name,
            action=action.name,
            actionExecutionId=action.id,
            pipelineExecutionId=action.execution.id,
            **detail,
        )


def _note(action: ActionExecution, result: Success, at: datetime) -> None:
    """Keep what the console shows; what a result does not name stays as it was."""
    action.updated_at = at
    action.summary = result.summary or action.summary
    action.external_execution_id = result.external_execution_id or action.external_execution_id
    if result.percent_complete is not None:
        action.percent_complete = result.percent_complete
    action.current_revision = result.current_revision or action.current_revision
    action.output_variables = dict(result.output_variables)


def _described(result: Success) -> dict[str, object]:
    return {
        "summary": result.summary,
        "externalExecutionId": result.external_execution_id,
        "percentComplete": result.percent_complete,
        "continuationToken": result.continuation_token,
        "outputVariables": dict(result.output_variables),
        "currentRevision": result.current_revision,
    }
