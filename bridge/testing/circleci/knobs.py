"""Every switch of the emulator. What the contract page marks as inferred has one here, with every plausible answer.

A status knob is the HTTP status answered; from 400 on nothing happens at the platform, below it the words say what does.
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Status: TypeAlias = Annotated[int, Field(ge=200, le=599)]
Seconds: TypeAlias = Annotated[float, Field(ge=0)]
PageSize: TypeAlias = Annotated[int, Field(ge=1)]
Order: TypeAlias = Literal["created", "newest-first", "shuffled"]


class RateLimit(BaseModel):
    """At most `limit` requests in a window of `window_s`, which starts with its first request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(ge=0)
    window_s: float = Field(gt=0)


class Knobs(BaseModel):
    """All switches with their defaults; assignments are checked."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    # --- time
    hold_delay_s: Seconds = 0.0
    """From an approval's last met dependency to on_hold; it is `blocked` meanwhile."""
    approve_effect_delay_s: Seconds = 0.0
    """From the 202 to `success`."""
    cancel_effect_delay_s: Seconds = 0.0
    """From the answer to `canceled`, of jobs and workflows: jobs are marked only once really stopped."""
    pipeline_appear_delay_s: Seconds = 0.0
    """From the pipeline to its workflows."""
    read_lag_s: Seconds = 0.0
    """How far lists (pipelines, workflows, jobs) are behind."""
    detail_lag_s: Seconds = 0.0
    """How far `GET /workflow/{id}` and job detail are behind."""
    hold_expires_days: float = Field(default=90, gt=0)
    """After it a workflow on hold is canceled by the platform."""

    # --- lists
    page_size_jobs: PageSize = 100
    page_size_workflows: PageSize = 100
    page_size_pipelines: PageSize = 20
    last_page_token: Literal["null", "missing", "empty"] = "null"  # noqa: S105 - no secret
    order_workflows: Order = "newest-first"
    order_jobs: Order = "created"

    # --- approve
    on_not_on_hold_yet: Literal["202_lost", "202_kept"] | Status = 400
    """The approval is blocked. 202_lost: no effect ever; 202_kept: applied once it is on hold."""
    on_approve_in_progress: Status = 202
    """An approve was accepted and has no effect yet."""
    on_already_approved: Status = 202
    on_approve_over: Status = 400
    """The approval or its workflow was canceled, is being canceled, or has ended."""
    on_no_permission: Literal[403, 404] = 403
    """The token may read but not write."""

    # --- cancel, rerun
    on_cancel_finished_workflow: Status = 202
    on_cancel_finished_job: Status = 400
    on_cancel_blocked_job: Literal["200_lost", "200_canceled"] | Status = 400
    canceled_job_ends_workflow: Literal["canceled", "failed", "success"] = "canceled"
    """Status of a workflow in which nothing is worse than a canceled job."""
    on_rerun_refused: Status = 400
    """After 100 reruns, 90 days, or from_failed of a workflow that did not fail."""
    max_reruns: int = 100

    # --- trigger and continue
    on_undeclared_parameter: Literal["errored"] | Status = 404
    """errored: 201, and the pipeline has the error `Unexpected argument(s)`."""
    on_run: Literal["201", "200_not_triggered"] = "201"
    """200_not_triggered: `pipeline/run` answers 200 with a message and creates nothing (skip-ci)."""
    on_continue_twice: Status = 409
    on_continue_expired: Status = 409
    on_continue_not_in_setup: Status = 409
    on_continue_unknown_key: Status = 404
    on_continue_conflict: Status = 400
    """A parameter of the continuation was already given at the trigger."""
    continuation_key_hours: float = 6

    # --- shapes
    approval_shape: Literal["modern", "legacy"] = "modern"
    """legacy: started_at null, no job_number, no stopped_at."""
    approval_request_id: Literal["same", "never", "once-held", "distinct"] = "same"
    """same as the job's id; once-held: missing while blocked; distinct: another id, the only one that approve takes."""
    approval_listed: Literal["always", "once-held"] = "always"
    approval_job_detail: Literal[404, 200] = 404
    shown_workflow_status: str = ""
    """Shown instead of the status of every workflow that has not ended; `null`: null; empty: the true one."""
    shown_job_status: str = ""
    """Shown instead of the status of every job that has not ended; empty: the true one."""
    held_and_running: Literal["running", "on_hold"] = "running"
    """A workflow's status while one job is on hold and another runs."""
    timestamps: Literal["millis", "seconds"] = "millis"
    on_malformed_id: Literal[404, 400] = 404
    error_body: Literal["message", "error", "empty", "text", "html", "truncated"] = "message"

    # --- who calls
    auth_mode: Literal["by_design", "strict"] = "by_design"
    """Without a good token: 404 everywhere but `/me`, or 401 everywhere."""
    accepts_bearer: bool = True
    """False: an older server, which knows Circle-Token and Basic only."""
    is_server: bool = False
    """A server installation: no `pipeline/run`; a workflow of which nothing ran ends `not_run`."""

    # --- limits
    rate_limit: RateLimit | None = None
    rate_limit_legacy: RateLimit | None = None
    """A second limit beside it, which the X- family tells instead of the first: both count."""
    rate_limit_headers: Literal["both", "standard", "legacy", "none"] = "both"
    retry_after: Literal["seconds", "date", "missing"] = "seconds"
    retry_after_s: float | None = None
    """Said instead of the true rest of the window, e.g. an absurd 86400."""

    # --- outbound webhooks
    webhook_copies: int = Field(default=1, ge=1)
    """Deliveries of each event, all with the same id."""
    webhook_extra_canceled: bool = False
    """A canceled workflow of which N jobs were stopped sends N+1 events: own ids, growing durations."""
    webhook_approval_jobs: bool = True
    """Approval jobs emit job-completed."""
    webhook_delay_s: Seconds = 0.0
    webhook_timeout_s: float = Field(default=10.0, gt=0)
    webhook_retry_delays_s: list[Seconds] = [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]
    webhook_signatures: list[Annotated[str, Field(pattern=r"^v[0-9]+$")]] = ["v1"]
    """Versions in the header, in order; every one but v1 carries another value."""
    webhook_job_has_workflow: Literal["always", "vcs-only"] = "always"
    """vcs-only: job-completed of a trigger_parameters project has no `workflow`, as in the documented sample."""
    webhook_job_body_type: Literal["job-completed", "workflow-completed"] = "job-completed"
    """`type` in the body of job-completed; the documented sample of the trigger_parameters family says workflow-completed."""
    webhook_empty_url: bool = False
    webhook_extra_fields: bool = False

    def change(self, **changes: Any) -> None:
        """Set several at once, all or none.

        Raises:
            pydantic.ValidationError: a name is unknown or a value not one of its answers.
        """
        checked = Knobs.model_validate({**self.model_dump(), **changes})
        for name in changes:
            setattr(self, name, getattr(checked, name))
