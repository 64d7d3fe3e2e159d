"""What CircleCI's lists say, as far as it matters here; other fields, and statuses that nobody knows yet, are no fault.

Contract: Job and Workflow of the OpenAPI document, with what was seen live: `started_at` and `stopped_at` may be missing,
          `approval_request_id` equals the job's `id` where it is there, a workflow's `status` may be null.
Source:   OpenAPI 3.0.3 "CircleCI API v2" (2025-02); public listings of 2020 and 2024
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from bridge.core.outcome import Later

LAG = timedelta(seconds=5)
"""What is missing, or over, in one answer may be different in the next: lists are a second or two behind."""
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


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Job(_Wire):
    """One job of a workflow. An approval: blocked, on_hold, then success (approved), canceled or not_run."""

    id: str
    name: str
    type: str
    status: str | None = None
    approval_request_id: str | None = None
    dependencies: list[str] | None = None
    approved_by: str | None = None
    canceled_by: str | None = None
    stopped_at: AwareDatetime | None = None

    @property
    def is_on_hold(self) -> bool:
        return self.status == "on_hold"

    @property
    def has_ended(self) -> bool:
        return self.status in JOB_ENDED


class Workflow(_Wire):
    """One run of one workflow; without a status where nobody asked for it."""

    id: str
    name: str = ""
    status: str | None = None
    tag: str | None = None
    created_at: AwareDatetime | None = None
    stopped_at: AwareDatetime | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in WORKFLOW_ENDED

    @property
    def age_key(self) -> float:
        """Sorts the newest first."""
        return -self.created_at.timestamp() if self.created_at else 0.0

    def is_over(self, now: datetime) -> bool:
        """Return True when it ended so long ago that the list of its jobs knows it too."""
        return self.has_ended and not _is_within(LAG, self.stopped_at, now)

    def is_young(self, now: datetime) -> bool:
        """Return True while others of its pipeline may still be appearing."""
        return _is_within(2 * LAG, self.created_at, now)


@dataclass(frozen=True, slots=True)
class Found:
    """One approval job, and where it is."""

    workflow: Workflow
    job: Job


@dataclass(frozen=True, slots=True)
class Run:
    """A workflow with its jobs."""

    workflow: Workflow
    jobs: Sequence[Job]

    def approvals(self, name: str | None) -> list[Found]:
        return [Found(self.workflow, job) for job in self.jobs if job.type == "approval" and job.name == name]

    def is_whole(self, now: datetime) -> bool:
        """Return True when no approval will be listed that is not listed yet.

        Whether one is listed before it is held is undocumented. If not, a job that depends on it names an id that is not
        listed, or the workflow goes on without showing any blocked approval.
        """
        ids = {job.id for job in self.jobs}
        is_closed = all(needed in ids for job in self.jobs for needed in job.dependencies or ())
        shows_blocked = any(job.type == "approval" and job.status == "blocked" for job in self.jobs)
        is_at_rest = self.workflow.status == "on_hold" or self.workflow.is_over(now)
        return bool(ids) and is_closed and (shows_blocked or is_at_rest)


class Trigger(_Wire):
    """What started a pipeline, and who."""

    type: str | None = None
    actor: dict[str, Any] | None = None

    @property
    def login(self) -> Any:
        return (self.actor or {}).get("login")


class Pipeline(_Wire):
    """One pipeline of a project, as listed."""

    id: str
    number: int | None = None
    created_at: AwareDatetime
    trigger: Trigger = Trigger()
    vcs: dict[str, Any] | None = None


class PipelineState(_Wire):
    """One pipeline, asked for by its id. state: `created errored setup-pending setup pending`, or whatever else is said."""

    state: str | None = None
    number: int | None = None
    project_slug: str | None = None


P = TypeVar("P", bound=BaseModel)


def parse(kind: type[P], item: Any) -> P:
    """Read one item.

    Raises:
        Later: it is none; the text holds nothing of it.
    """
    try:
        return kind.model_validate(item)
    except ValidationError:
        raise Later(f"not CircleCI's answer: no {kind.__name__.lower()}") from None


def items_of(page: dict[str, Any]) -> list[Any]:
    """Return the items of one page.

    Raises:
        Later: it is none.
    """
    items = page.get("items")
    if not isinstance(items, list):
        raise Later("not CircleCI's answer: no items")
    return items


def _is_within(span: timedelta, moment: datetime | None, now: datetime) -> bool:
    return moment is not None and timedelta(0) <= now - moment < span
