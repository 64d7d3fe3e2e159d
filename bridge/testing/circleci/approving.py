"""Answers of approve and cancel: what the contract leaves open is read from the knobs."""

from aiohttp import web

from bridge.testing.circleci.engine import ApprovalState
from bridge.testing.circleci.gate import ApiError
from bridge.testing.circleci.knobs import Knobs
from bridge.testing.circleci.model import Job, User, Workflow
from bridge.testing.circleci.world import World
from bridge.testing.emulator import json_response

_ACCEPTED = "Accepted."


def answer(status: int, refusal: str) -> web.Response:
    """Return the answer of a knob: a confirmation below 400.

    Raises:
        ApiError: from 400 on, with *refusal* as its message.
    """
    if status >= 400:  # noqa: PLR2004 - a status
        raise ApiError(status, refusal)
    return json_response({"message": _ACCEPTED}, status=status)


class Approvals:
    """Approve and cancel, with the statuses of the knobs."""

    def __init__(self, world: World, knobs: Knobs) -> None:
        self._engine = world.engine
        self._knobs = knobs

    def approve(self, workflow: Workflow, approval: str, by: User) -> web.Response:
        """Approve the job that *approval* names, if it is pending."""
        job = next((job for job in workflow.jobs if job.is_approval and job.approval_request_id == approval), None)
        if job is None:
            raise ApiError(404, "Approval request not found")
        match self._engine.approval_state(workflow, job):
            case ApprovalState.PENDING:
                self._engine.approve(workflow, job, by)
                return answer(202, "")
            case ApprovalState.BLOCKED:
                return self._too_early(job, by)
            case ApprovalState.IN_PROGRESS:
                return answer(self._knobs.on_approve_in_progress, "Job is already being approved.")
            case ApprovalState.APPROVED:
                return answer(self._knobs.on_already_approved, "Job is already approved.")
            case ApprovalState.OVER:
                return answer(self._knobs.on_approve_over, "Job is not waiting for approval.")

    def _too_early(self, job: Job, by: User) -> web.Response:
        match self._knobs.on_not_on_hold_yet:
            case "202_lost":
                return answer(202, "")
            case "202_kept":
                job.kept_for = by
                return answer(202, "")
            case status:
                return answer(int(status), "Job is not on hold.")

    def cancel_workflow(self, workflow: Workflow, by: User) -> web.Response:
        """Cancel *workflow*; 202 also while it is being canceled."""
        if workflow.has_ended:
            return answer(self._knobs.on_cancel_finished_workflow, "Workflow has already finished.")
        self._engine.cancel_workflow(workflow, by)
        return answer(202, "")

    def cancel_job(self, workflow: Workflow, job: Job, by: User) -> web.Response:
        """Cancel *job*: 200, also for an approval on hold."""
        if job.has_ended or workflow.has_ended:
            return answer(self._knobs.on_cancel_finished_job, "Job has already finished.")
        if job.status == "blocked":
            match self._knobs.on_cancel_blocked_job:
                case "200_lost":
                    return answer(200, "")
                case "200_canceled":
                    pass
                case status:
                    return answer(int(status), "Job is not running.")
        self._engine.cancel_job(workflow, job, by)
        return json_response({"message": "Job cancelled successfully."})
