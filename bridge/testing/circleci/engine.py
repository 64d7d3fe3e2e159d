"""What makes workflows move: dependencies, holds, approvals, cancels, reruns. All time comes from the agenda."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from bridge.testing.circleci.agenda import Agenda
from bridge.testing.circleci.knobs import Knobs
from bridge.testing.circleci.model import (
    WORKFLOW_ENDED,
    Job,
    Pipeline,
    Readiness,
    User,
    Workflow,
    ancestors,
    new_id,
    readiness,
    workflow_status,
)
from bridge.testing.circleci.specs import WorkflowSpec

_DAY_S = 86_400
_RERUN_DAYS = 90


class Refused(Exception):
    """A change that the platform does not make."""


class ApprovalState(StrEnum):
    """Where an approval stands when somebody approves or cancels it."""

    BLOCKED = "blocked"
    PENDING = "pending"
    IN_PROGRESS = "in-progress"
    APPROVED = "approved"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Fact:
    """Something happened at the platform."""

    kind: str
    subject: str
    at: datetime
    workflow: Workflow | None = None
    job: Job | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class Engine:
    """Moves workflows. tell: called with each fact at its moment, before anything that follows from it."""

    def __init__(self, agenda: Agenda, knobs: Knobs, tell: Callable[[Fact], None]) -> None:
        self._agenda = agenda
        self._knobs = knobs
        self._tell = tell
        self.workflows: dict[str, Workflow] = {}
        self.jobs: dict[str, tuple[Workflow, Job]] = {}

    # --- start

    def start(self, pipeline: Pipeline, spec: WorkflowSpec, by: User, *, kept: Sequence[Job] = ()) -> Workflow:
        """Create one workflow of *pipeline* and let it run. kept: ended jobs of an earlier run, taken over under new ids."""
        now = self._agenda.now
        ids = {job.name: new_id() for job in spec.jobs}
        jobs = [
            Job(
                id=ids[job.name],
                spec=job,
                requires={ids[name]: statuses for name, statuses in job.requires.items()},
                created_at=now,
            )
            for job in spec.jobs
        ]
        for job in jobs:
            job.approval_request_id = new_id() if self._knobs.approval_request_id == "distinct" else job.id
        _take_over(jobs, kept)
        workflow = Workflow(new_id(), spec, pipeline, now, by, jobs)
        pipeline.workflows.append(workflow)
        self.workflows[workflow.id] = workflow
        self.jobs.update({job.id: (workflow, job) for job in jobs})
        self.settle(workflow)
        return workflow

    # --- follow

    def settle(self, workflow: Workflow) -> None:
        """Start, hold or give up every blocked job that can be, then derive the status of *workflow*."""
        if workflow.has_ended:
            return
        jobs = {job.id: job for job in workflow.jobs}
        while any([self._unblock(workflow, job, jobs) for job in workflow.jobs]):  # noqa: C419 - every job gets its turn
            pass
        if workflow.has_ended:  # what was unblocked ended it already
            return
        workflow.status = workflow_status(workflow, self._knobs)
        if workflow.has_ended:
            self._finish(workflow)
        workflow.remember(self._agenda.now)

    def _unblock(self, workflow: Workflow, job: Job, jobs: dict[str, Job]) -> bool:
        if job.status != "blocked" or job.is_ready:
            return False
        match readiness(job, jobs):
            case Readiness.WAIT:
                return False
            case Readiness.NEVER:
                self._stop(job, "not_run")
            case Readiness.READY:
                job.is_ready = True
                self._begin(workflow, job, jobs)
        return True

    def _begin(self, workflow: Workflow, job: Job, jobs: dict[str, Job]) -> None:
        if job.is_approval:
            delay = self._knobs.hold_delay_s if job.spec.hold_delay_s is None else job.spec.hold_delay_s
            if delay:
                self._agenda.after(delay, lambda: self._hold(workflow, job))
            else:
                self._hold(workflow, job)
        elif not _may_run(workflow, job, jobs):
            self._stop(job, "unauthorized")
            self._tell_finished(workflow, job)
        else:
            self._run(workflow, job)

    def _hold(self, workflow: Workflow, job: Job) -> None:
        if job.status != "blocked":
            return
        job.status, job.started_at = "on_hold", self._agenda.now
        job.number = workflow.pipeline.project.next_job_number()
        self._agenda.after(self._knobs.hold_expires_days * _DAY_S, lambda: self._expire(workflow, job))
        if job.kept_for is not None:
            self._approve_later(workflow, job, job.kept_for)
        self.settle(workflow)

    def _expire(self, workflow: Workflow, job: Job) -> None:
        if job.status == "on_hold" and not workflow.has_ended:
            self.cancel_workflow(workflow, workflow.started_by)

    def _run(self, workflow: Workflow, job: Job) -> None:
        job.status, job.started_at = "running", self._agenda.now
        job.number = workflow.pipeline.project.next_job_number()
        if job.spec.duration_s is not None:
            self._agenda.after(job.spec.duration_s, lambda: self.end(workflow, job, job.spec.result))

    def end(self, workflow: Workflow, job: Job, status: str, *, by: User | None = None) -> bool:
        """End *job* with *status*; return False when it has ended before."""
        if job.has_ended:
            return False
        self._stop(job, status)
        if status == "canceled":
            job.canceled_by = by
        self._tell_finished(workflow, job)
        self.settle(workflow)
        return True

    def _stop(self, job: Job, status: str) -> None:
        job.status, job.stopped_at = status, self._agenda.now

    def _tell_finished(self, workflow: Workflow, job: Job) -> None:
        self._say("job.finished", job.id, workflow, job, name=job.name, status=job.status)

    def _finish(self, workflow: Workflow) -> None:
        workflow.stopped_at = self._agenda.now
        self._say("workflow.finished", workflow.id, workflow, name=workflow.name, status=workflow.status)
        if workflow.status == "failed" and workflow.auto_rerun_number < workflow.spec.max_auto_reruns:
            again = self.start(workflow.pipeline, workflow.spec, workflow.started_by)
            again.auto_rerun_number = workflow.auto_rerun_number + 1
            again.remember(self._agenda.now)

    # --- approve and cancel

    def approval_state(self, workflow: Workflow, job: Job) -> ApprovalState:
        """Say where the approval *job* stands."""
        if job.status == "success":
            return ApprovalState.APPROVED
        if job.has_ended or workflow.has_ended or workflow.is_canceling:
            return ApprovalState.OVER
        if job.status == "blocked":
            return ApprovalState.BLOCKED
        return ApprovalState.IN_PROGRESS if job.is_approving else ApprovalState.PENDING

    def approve(self, workflow: Workflow, job: Job, by: User) -> None:
        """Approve a pending *job*; the effect comes after `approve_effect_delay_s`.

        Raises:
            Refused: it is not pending.
        """
        if not job.is_approval or self.approval_state(workflow, job) is not ApprovalState.PENDING:
            raise Refused(f"job {job.name} is not an approval on hold: it is {job.status}")
        self._approve_later(workflow, job, by)

    def _approve_later(self, workflow: Workflow, job: Job, by: User) -> None:
        job.is_approving = True
        delay = self._knobs.approve_effect_delay_s
        if delay:
            self._agenda.after(delay, lambda: self._approved(workflow, job, by))
        else:
            self._approved(workflow, job, by)

    def _approved(self, workflow: Workflow, job: Job, by: User) -> None:
        if job.status != "on_hold":
            return
        job.approved_by = by
        self._say("approval.approved", job.id, workflow, job, name=job.name, workflow=workflow.name, by=by.login)
        self.end(workflow, job, "success")

    def cancel_job(self, workflow: Workflow, job: Job, by: User) -> None:
        """Cancel a running, held or blocked *job*; what ends well without it goes on."""
        self._after_cancel_delay(lambda: self._job_canceled(workflow, job, by))

    def _job_canceled(self, workflow: Workflow, job: Job, by: User) -> None:
        if job.has_ended:
            return
        kind = "approval.canceled" if job.is_approval else "job.canceled"
        self._say(kind, job.id, workflow, job, name=job.name, workflow=workflow.name, by=by.login)
        self.end(workflow, job, "canceled", by=by)

    def cancel_workflow(self, workflow: Workflow, by: User) -> bool:
        """Cancel what runs, is held or is blocked; return False when that is done or under way already."""
        if workflow.has_ended or workflow.is_canceling:
            return False
        workflow.is_canceling, workflow.canceled_by = True, by
        self._say("workflow.canceled", workflow.id, workflow, name=workflow.name, by=by.login)
        for job in workflow.jobs:
            if job.status == "blocked":
                self._stop(job, "not_run")
        self._after_cancel_delay(lambda: self._jobs_canceled(workflow, by))
        self.settle(workflow)
        return True

    def _jobs_canceled(self, workflow: Workflow, by: User) -> None:
        for job in workflow.jobs:
            self.end(workflow, job, "canceled", by=by)

    def _after_cancel_delay(self, action: Callable[[], None]) -> None:
        if self._knobs.cancel_effect_delay_s:
            self._agenda.after(self._knobs.cancel_effect_delay_s, action)
        else:
            action()

    # --- rerun

    def rerun(
        self, workflow: Workflow, by: User, *, from_failed: bool = False, job_ids: Sequence[str] = ()
    ) -> Workflow:
        """Start *workflow* again in the same pipeline, under the same name.

        Raises:
            Refused: too many reruns, too old, or from_failed of one that did not fail.
        """
        self._check_rerun(workflow, from_failed=from_failed)
        kept = _kept(workflow, from_failed=from_failed, job_ids=set(job_ids))
        again = self.start(workflow.pipeline, workflow.spec, by, kept=kept)
        self._say("workflow.rerun", again.id, again, name=again.name, of=workflow.id, by=by.login)
        return again

    def _check_rerun(self, workflow: Workflow, *, from_failed: bool) -> None:
        runs = [other for other in workflow.pipeline.workflows if other.name == workflow.name]
        if len(runs) > self._knobs.max_reruns:
            raise Refused("too many reruns")
        if self._agenda.now - workflow.created_at > timedelta(days=_RERUN_DAYS):
            raise Refused("the workflow is too old")
        if from_failed and workflow.status not in WORKFLOW_ENDED - {"success"}:
            raise Refused("the workflow did not fail")

    def _say(
        self, _kind: str, _subject: str, _workflow: Workflow | None = None, _job: Job | None = None, **detail: Any
    ) -> None:
        self._tell(Fact(_kind, _subject, self._agenda.now, _workflow, _job, detail))


def _may_run(workflow: Workflow, job: Job, jobs: dict[str, Job]) -> bool:
    """Say whether the rights it runs with pass its restricted context: the last approver's upstream, else the starter's."""
    if job.spec.restricted_to is None:
        return True
    if workflow.pipeline.trigger_type == "custom_webhook":
        return False
    approved = [
        (other.stopped_at, other.approved_by) for other in ancestors(job, jobs) if other.approved_by is not None
    ]
    latest = max((moment for moment, _ in approved if moment is not None), default=None)
    approver = next((who for moment, who in approved if moment == latest), None)
    return (approver or workflow.started_by).login in job.spec.restricted_to


def _kept(workflow: Workflow, *, from_failed: bool, job_ids: set[str]) -> list[Job]:
    """Return the ended jobs that a rerun does not repeat."""
    if from_failed:
        return [job for job in workflow.jobs if job.status == "success"]
    if not job_ids:
        return []
    jobs = {job.id: job for job in workflow.jobs}
    return [
        job
        for job in workflow.jobs
        if job.has_ended and job.id not in job_ids and not job_ids & {other.id for other in ancestors(job, jobs)}
    ]


def _take_over(jobs: Sequence[Job], kept: Sequence[Job]) -> None:
    earlier = {job.name: job for job in kept}
    for job in jobs:
        old = earlier.get(job.name)
        if old is not None:
            job.status, job.number, job.approved_by = old.status, old.number, old.approved_by
            job.started_at, job.stopped_at, job.is_ready = old.started_at, old.stopped_at, True
