"""What a test says about pipelines: configs as data. A job's name is given as the platform would expand it (matrix, reuse)."""

from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

REQUIRE_STATUSES = frozenset({"success", "failed", "canceled", "unauthorized", "not_run"})
"""What `requires` may ask of an upstream job; `terminal` stands for all of them."""


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobSpec(_Spec):
    """One job of a workflow."""

    name: str = Field(min_length=1)
    type: str = "build"
    """`approval`, or anything else (`build`, `release`, `no-op`), which runs."""
    requires: dict[str, frozenset[str]] = {}
    """Upstream name -> statuses that satisfy it. Also taken: `["a", {"b": "failed"}, {"c": ["canceled", "failed"]}]`."""
    duration_s: float | None = Field(default=0.0, ge=0)
    """How long it runs; None: until it is finished by a control call."""
    result: str = "success"
    """The status it ends with by itself: success, failed, timedout, infrastructure_fail, …"""
    restricted_to: frozenset[str] | None = None
    """Logins whose rights pass its restricted context; None: it has no restricted context."""
    hold_delay_s: float | None = Field(default=None, ge=0)
    """An approval's time between ready and on_hold; None: the knob of that name."""

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("requires", mode="before")
    @classmethod
    def _flexible(cls, value: Any) -> Any:
        items = [value] if isinstance(value, (str, dict)) else list(value)
        pairs = [pair for item in items for pair in ([(item, "success")] if isinstance(item, str) else item.items())]
        return {name: _statuses(wanted) for name, wanted in pairs}


def _statuses(wanted: Any) -> frozenset[str]:
    words = {wanted} if isinstance(wanted, str) else set(wanted)
    if "terminal" in words:
        return REQUIRE_STATUSES
    if not words or not words <= REQUIRE_STATUSES:
        raise ValueError(f"requires: statuses are {sorted(REQUIRE_STATUSES)} and terminal")
    return frozenset(words)


class WorkflowSpec(_Spec):
    """One workflow of a config."""

    name: str = Field(min_length=1)
    jobs: list[JobSpec] = []
    tag: Literal["setup"] | None = None
    max_auto_reruns: int = Field(default=0, ge=0, le=5)

    @model_validator(mode="after")
    def _sound(self) -> "WorkflowSpec":
        names = [job.name for job in self.jobs]
        if len(set(names)) < len(names):
            raise ValueError("job names are unique in a workflow: give them as the platform expands them")
        unknown = {upstream for job in self.jobs for upstream in job.requires} - set(names)
        if unknown:
            raise ValueError(f"requires names no job of this workflow: {sorted(unknown)}")
        try:
            TopologicalSorter({job.name: set(job.requires) for job in self.jobs}).prepare()
        except CycleError:
            raise ValueError("requires has a cycle") from None
        return self


ErrorType = Literal["config", "config-fetch", "timeout", "permission", "other", "trigger-rule", "plan"]


class PipelineError(_Spec):
    """Why a pipeline is `errored`."""

    type: ErrorType = "config"
    message: str = "Config is invalid."


class ProjectSpec(_Spec):
    """A project and the config it runs when it is triggered over the API."""

    slug: str
    """`gh/org/repo`, `bb/org/repo` or `circleci/<org id>/<project id>`."""
    workflows: list[WorkflowSpec] = []
    parameters: dict[str, Literal["string", "integer", "boolean", "enum"]] = {}
    """Declared pipeline parameters."""
    definition_id: str | None = None
    """The only pipeline definition that pipeline/run takes; None: any."""
    family: Literal["vcs", "trigger_parameters"] | None = None
    """How pipelines of it describe their trigger; None: by the slug (`circleci/…` is trigger_parameters)."""
    provider: Literal["gitlab", "github_app"] = "gitlab"
    """Who feeds a trigger_parameters project."""


class PipelineSpec(_Spec):
    """One pipeline to start now."""

    project: str
    workflows: list[WorkflowSpec] = []
    continuation: list[WorkflowSpec] = []
    """Workflows that a continuation adds when its configuration text is not JSON of ours."""
    errors: list[PipelineError] = []
    """Not empty: the pipeline is `errored` and runs nothing."""
    parameters: dict[str, str | int | bool] = {}
    trigger_type: str = "webhook"
    """webhook, api, explicit, scheduled_pipeline; custom_webhook never passes a restricted context."""
    by: str = "octocat"
    """The login that started it."""
    branch: str | None = "main"
    tag: str | None = None

    @property
    def is_setup(self) -> bool:
        return any(workflow.tag == "setup" for workflow in self.workflows)
