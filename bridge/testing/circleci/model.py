"""Pipelines, workflows and jobs as they are now, and what follows from their statuses: no I/O, no clock.

A job: blocked -> running -> success | failed | …; an approval: blocked -> on_hold -> success | canceled; either -> not_run
when its dependencies can never be met. A workflow's status is derived from its jobs.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from uuid import NAMESPACE_URL, uuid4, uuid5

from bridge.testing.circleci.knobs import Knobs
from bridge.testing.circleci.specs import JobSpec, PipelineError, ProjectSpec, WorkflowSpec

JOB_ENDED = frozenset(
    {
        "success",
        "failed",
        "canceled",
        "unauthorized",
        "not_run",
        "timedout",
        "infrastructure_fail",
        "terminated-unknown",
        "retried",
    }
)
WORKFLOW_ENDED = frozenset({"success", "failed", "error", "canceled", "unauthorized", "not_run"})
_FAILED = frozenset({"failed", "timedout", "infrastructure_fail", "terminated-unknown"})
_PROVIDERS = {"github": "gh", "bitbucket": "bb"}


def new_id() -> str:
    return str(uuid4())


def fixed_id(*names: str) -> str:
    """Return the same UUID for the same *names*."""
    return str(uuid5(NAMESPACE_URL, "/".join(names)))


def api_slug(slug: str) -> str:
    """Return *slug* as the API spells it: `gh/…`, `bb/…`, `circleci/…`."""
    provider, _, rest = slug.partition("/")
    return f"{_PROVIDERS.get(provider, provider)}/{rest}"


def webhook_slug(slug: str) -> str:
    """Return *slug* as webhooks spell it: `github/…`, `bitbucket/…`, `circleci/…`."""
    provider, _, rest = slug.partition("/")
    long = {short: name for name, short in _PROVIDERS.items()}
    return f"{long.get(provider, provider)}/{rest}"


@dataclass(frozen=True, slots=True)
class User:
    """A person or a bot."""

    id: str
    login: str
    name: str


@dataclass(slots=True)
class Job:
    """One job of one workflow. A job that is ready but still blocked is an approval in its `hold_delay_s`."""

    id: str
    spec: JobSpec
    requires: Mapping[str, frozenset[str]]
    """Upstream job id -> statuses that satisfy it."""
    created_at: datetime
    approval_request_id: str = ""
    status: str = "blocked"
    shown: str = ""
    number: int | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    approved_by: User | None = None
    canceled_by: User | None = None
    is_ready: bool = False
    is_approving: bool = False
    """An approve was accepted and has no effect yet."""
    kept_for: User | None = None
    """Who asked for it too early, with `202_kept`."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def is_approval(self) -> bool:
        return self.spec.type == "approval"

    @property
    def has_ended(self) -> bool:
        return self.status in JOB_ENDED


@dataclass(slots=True)
class Workflow:
    """One run of one workflow. `history`: a copy of itself after each change, oldest first, for lagging reads."""

    id: str
    spec: WorkflowSpec
    pipeline: "Pipeline"
    created_at: datetime
    started_by: User
    jobs: list[Job]
    status: str = "running"
    shown: str = ""
    stopped_at: datetime | None = None
    canceled_by: User | None = None
    is_canceling: bool = False
    auto_rerun_number: int = 0
    history: "list[tuple[datetime, Workflow]]" = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def has_ended(self) -> bool:
        return self.status in WORKFLOW_ENDED

    def job(self, name: str) -> Job:
        """Return the job of that (expanded) name.

        Raises:
            LookupError: there is none.
        """
        for job in self.jobs:
            if job.name == name:
                return job
        raise LookupError(f"workflow {self.name} has no job {name}; it has {[job.name for job in self.jobs]}")

    def remember(self, now: datetime) -> None:
        """Keep a copy of this moment for lagging reads."""
        past = copy.copy(self)
        past.jobs = [copy.copy(job) for job in self.jobs]
        past.history = []
        self.history.append((now, past))

    def as_of(self, moment: datetime) -> "Workflow | None":
        """Return the workflow as it was at *moment*; None: it did not exist."""
        return next((past for at, past in reversed(self.history) if at <= moment), None)


@dataclass(slots=True)
class Project:
    """A project with its counters."""

    spec: ProjectSpec
    pipelines: "list[Pipeline]" = field(default_factory=list)
    last_job_number: int = 0

    @property
    def slug(self) -> str:
        return self.spec.slug

    @property
    def id(self) -> str:
        return fixed_id("project", self.slug)

    @property
    def name(self) -> str:
        return self.slug.rpartition("/")[2]

    @property
    def organization(self) -> str:
        return self.slug.split("/")[1]

    @property
    def family(self) -> str:
        return self.spec.family or ("trigger_parameters" if self.slug.startswith("circleci/") else "vcs")

    def next_job_number(self) -> int:
        self.last_job_number += 1
        return self.last_job_number


@dataclass(slots=True)
class Pipeline:
    """One pipeline. `workflows` is empty until they appear."""

    id: str
    number: int
    project: Project
    created_at: datetime
    started_by: User
    trigger_type: str
    state: str = "pending"
    updated_at: datetime | None = None
    errors: list[PipelineError] = field(default_factory=list)
    parameters: dict[str, str | int | bool] = field(default_factory=dict)
    branch: str | None = None
    tag: str | None = None
    workflows: list[Workflow] = field(default_factory=list)
    continuation: list[WorkflowSpec] = field(default_factory=list)
    continuation_key: str = ""
    is_continued: bool = False

    @property
    def revision(self) -> str:
        return fixed_id("revision", self.id).replace("-", "") + "0badcafe"

    def workflow(self, name: str | None = None) -> Workflow:
        """Return the newest workflow (of that name).

        Raises:
            LookupError: there is none (yet).
        """
        for workflow in reversed(self.workflows):
            if name in (None, workflow.name):
                return workflow
        raise LookupError(f"pipeline {self.id} has no workflow {name or ''} (yet)")


class Readiness(Enum):
    """What the dependencies of a blocked job say."""

    WAIT = auto()
    READY = auto()
    NEVER = auto()


def readiness(job: Job, jobs: Mapping[str, Job]) -> Readiness:
    """Return what the upstream *jobs* (by id) allow: one that ended otherwise than asked makes the job impossible."""
    upstream = [(jobs[needed], statuses) for needed, statuses in job.requires.items()]
    if any(other.has_ended and require_word(other.status) not in statuses for other, statuses in upstream):
        return Readiness.NEVER
    return Readiness.READY if all(other.has_ended for other, _ in upstream) else Readiness.WAIT


def require_word(status: str) -> str:
    """Return a job's final status as `requires` speaks of it."""
    return "failed" if status in _FAILED else status


def workflow_status(workflow: Workflow, knobs: Knobs) -> str:
    """Return the status that follows from the jobs of *workflow*."""
    if all(job.has_ended for job in workflow.jobs):
        return _final_status(workflow, knobs)
    statuses = {job.status for job in workflow.jobs}
    if statuses & _FAILED:
        return "failing"
    is_held = "on_hold" in statuses
    is_running = any(job.status in ("running", "queued") or _is_about_to_hold(job) for job in workflow.jobs)
    return "on_hold" if is_held and (not is_running or knobs.held_and_running == "on_hold") else "running"


def _is_about_to_hold(job: Job) -> bool:
    return job.status == "blocked" and job.is_ready


def _final_status(workflow: Workflow, knobs: Knobs) -> str:
    words = {require_word(job.status) for job in workflow.jobs}
    if workflow.canceled_by is not None:
        return "canceled"
    for word in ("failed", "unauthorized"):
        if word in words:
            return word
    if "canceled" in words:
        return knobs.canceled_job_ends_workflow
    return "not_run" if words == {"not_run"} and knobs.is_server else "success"


def ancestors(job: Job, jobs: Mapping[str, Job]) -> Iterable[Job]:
    """Yield every job upstream of *job*, some of them twice."""
    for needed in job.requires:
        yield jobs[needed]
        yield from ancestors(jobs[needed], jobs)
