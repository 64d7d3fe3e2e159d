"""Which approval is meant, what is sent, and what a status means: pure, so that their tests are tables."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from http import HTTPStatus

from bridge.consumers.circleci.address import Action, CircleciAddress
from bridge.consumers.circleci.listing import LAG, Found, Run, Workflow
from bridge.consumers.circleci.reading import JSON
from bridge.core.outcome import AlreadyDone, CredentialRefused, Done, Ending, Gone, Later, NotYet, Refused
from bridge.core.request import Call, segment
from bridge.core.resolution import Resolution

MAX_RUNS = 20
"""Workflows of one pipeline whose jobs are listed."""
MAX_NAMES = 10


def plan(found: Found, action: Action) -> Call:
    """Return the one call that does *action*; it has no body."""
    workflow = f"/api/v2/workflow/{segment(found.workflow.id)}"
    match action:
        case Action.APPROVE:
            path = f"{workflow}/approve/{segment(found.job.approval_request_id or found.job.id)}"
        case Action.CANCEL_JOB:
            path = f"/api/v2/jobs/{segment(found.job.id)}/cancel"
        case Action.CANCEL_WORKFLOW:
            path = f"{workflow}/cancel"
    return Call.post(path, headers=JSON)


def judge(found: Found, action: Action, now: datetime) -> Ending | None:
    """Say what the approval's status means for *action*; None: it is on hold and can be answered."""
    job = found.job
    if job.is_on_hold:
        return None
    match job.status:
        case "success":
            return AlreadyDone(f"approved by {job.approved_by or 'somebody'}")
        case "canceled" if action is not Action.APPROVE:
            return AlreadyDone(f"canceled by {job.canceled_by or 'somebody'}")
        case status if job.has_ended:
            return Gone(f"the approval is {status}")
        case status if found.workflow.is_over(now):
            return Gone(f"the workflow is {found.workflow.status}, the approval {status}")
        case status:
            return NotYet(f"the approval is {status}")


def judge_sent(after: Found, action: Action, status: int, now: datetime) -> Ending:
    """Say what became of *action*, which was answered with *status*. after: the approval as last read back.

    Raises:
        CredentialRefused: 403 and nothing changed; the worker asks whether our token is good.
    """
    is_taken = _is_success(status)
    ending = judge(after, action, now)
    if ending is not None and after.job.has_ended:
        is_ours = is_taken and after.job.status == _effect(action)
        return Done(ending.reason) if is_ours else ending
    if is_taken:
        return Later(f"{action} was accepted and has no effect yet", is_doubtful=True)
    if status == HTTPStatus.FORBIDDEN:
        raise CredentialRefused(status)
    if status == HTTPStatus.NOT_FOUND:  # although the same token lists it
        return Refused(f"CircleCI answered {status} to {action}: the token may read and not write")
    return NotYet(f"CircleCI answered {status} to {action}, and the approval is still {after.job.status}")


def unread(fault: Exception, action: Action, status: int, *, is_last: bool) -> Ending:
    """Say what became of *action*, answered with *status*, when *fault* kept it from being read back.

    is_last: nobody will look again, so an answer that says yes has to do.
    """
    if is_last and _is_success(status):
        return Done(f"{action} was accepted, and not read back: {fault}")
    return Later(
        str(fault),
        getattr(fault, "after", None),
        is_doubtful=True,  # the next attempt must know that something was sent
        is_throttled=getattr(fault, "is_throttled", False),
    )


def candidates(listed: Sequence[Workflow], name: str | None) -> tuple[list[Workflow], list[Workflow]]:
    """Return the workflows to look in, newest first: those that have not ended, and those that have.

    A setup workflow holds no approval of its pipeline; it is the others that wait.

    Raises:
        Refused: too many have not ended.
    """
    meant = sorted((one for one in listed if one.tag != "setup" and name in (None, one.name)), key=_newest)
    active = [one for one in meant if not one.has_ended]
    if len(active) > MAX_RUNS:
        raise Refused(f"{len(active)} workflows of the pipeline have not ended: give the workflow's id")
    return active, [one for one in meant if one.has_ended][:MAX_RUNS]


def select(runs: Sequence[Run], address: CircleciAddress, now: datetime) -> Found | Ending:
    """Return the one approval that *address* means: the only one on hold, else that of a workflow's newest run."""
    found = [each for run in runs for each in run.approvals(address.approval)]
    if not found:
        return unknown(runs, address, now)
    on_hold = [each for each in found if each.job.is_on_hold]
    if len(on_hold) == 1:
        return on_hold[0]
    meant = on_hold or [each for each in found if not each.workflow.has_ended] or found
    workflows = {each.workflow.name for each in meant}
    if on_hold or len(workflows) > 1:
        where = names(workflows)
        return Refused(f"ambiguous: {len(meant)} approvals {address.approval!r}, in {where}; give the workflow's id")
    return min(meant, key=lambda each: each.workflow.age_key)


def answered(runs: Sequence[Run], address: CircleciAddress, action: Action, resolution: Resolution) -> Found | None:
    """Return the approval that got *action* since the decision.

    Only asked in doubt: if it was us, another approval of the same name must not get the answer too.
    """
    since = resolution.decided_at - LAG  # two machines' clocks
    for run in runs:
        for found in run.approvals(address.approval):
            stopped_at = found.job.stopped_at
            if found.job.status == _effect(action) and stopped_at is not None and stopped_at >= since:
                return found
    return None


def unknown(runs: Sequence[Run], address: CircleciAddress, now: datetime) -> Ending:
    """Say what it means that no approval has the name: a mistake, once it is certain that none will appear."""
    jobs = [job for run in runs for job in run.jobs]
    seen = names(job.name for job in jobs if job.type == "approval")
    text = f"no approval {address.approval!r}; approvals seen: {seen}"
    if any(job.name == address.approval for job in jobs):
        return Refused(f"{text}; the job of that name is none")
    is_pinned = address.workflow_id is not None or address.workflow_name is not None
    may_appear = not is_pinned and any(run.workflow.is_young(now) for run in runs)
    if all(run.is_whole(now) for run in runs) and not may_appear:
        return Refused(text)
    if all(run.workflow.is_over(now) for run in runs):
        return Gone(f"the workflow is {runs[0].workflow.status}; {text}")
    return NotYet(text)


def unlisted(resolution: Resolution, now: datetime) -> Ending:
    """Say what a 404 with a good token means: what was made a moment ago may be missing for another one."""
    if now - resolution.decided_at < LAG:
        return NotYet("CircleCI does not know the workflow or pipeline yet")
    return Refused("no such workflow or pipeline, or the token has no access to it")


def names(all_names: Iterable[str]) -> str:
    """Return *all_names* for people: sorted, at most MAX_NAMES."""
    distinct = sorted(set(all_names))
    more = [f"and {len(distinct) - MAX_NAMES} more"] if len(distinct) > MAX_NAMES else []
    return ", ".join([*distinct[:MAX_NAMES], *more]) or "none"


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _effect(action: Action) -> str:
    """Return the status of an approval that got *action*."""
    return "success" if action is Action.APPROVE else "canceled"


def _newest(workflow: Workflow) -> float:
    return workflow.age_key
