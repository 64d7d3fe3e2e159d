"""Pipelines, workflows and jobs as API v2 shows them.

Contract: OpenAPI "CircleCI API v2": Pipeline, Workflow, Job, Job details; `started_at` of a job is null before it starts,
although the document declares a date-time (seen in public listings of 2020).
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from bridge.testing.circleci.knobs import Knobs, Order
from bridge.testing.circleci.model import Job, Pipeline, User, Workflow, webhook_slug

T = TypeVar("T", Workflow, Job, Pipeline)


def timestamp(moment: datetime | None, knobs: Knobs) -> str | None:
    if moment is None:
        return None
    precision = "milliseconds" if knobs.timestamps == "millis" else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def user_json(user: User) -> dict[str, Any]:
    return {"id": user.id, "login": user.login, "name": user.name}


def repository_url(pipeline: Pipeline) -> str:
    host = {"gh": "github.com", "bb": "bitbucket.org"}.get(pipeline.project.slug.split("/")[0], "gitlab.com")
    return f"https://{host}/{pipeline.project.organization}/{pipeline.project.name}"


def pipeline_json(pipeline: Pipeline, knobs: Knobs) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": pipeline.id,
        "errors": [error.model_dump() for error in pipeline.errors],
        "project_slug": pipeline.project.slug,
        "updated_at": timestamp(pipeline.updated_at, knobs),
        "number": pipeline.number,
        "state": pipeline.state,
        "created_at": timestamp(pipeline.created_at, knobs),
        "trigger": {
            "type": pipeline.trigger_type,
            "received_at": timestamp(pipeline.created_at, knobs),
            "actor": {"login": pipeline.started_by.login, "avatar_url": None},
        },
    }
    if pipeline.project.family == "vcs":
        body["vcs"] = _vcs(pipeline)
    else:
        body["trigger_parameters"] = trigger_parameters(pipeline, knobs)
    return body


def _vcs(pipeline: Pipeline) -> dict[str, Any]:
    provider = {"gh": "GitHub", "bb": "Bitbucket"}.get(pipeline.project.slug.split("/")[0], "GitHub")
    url = repository_url(pipeline)
    reference = {"tag": pipeline.tag} if pipeline.tag else {"branch": pipeline.branch}
    return {
        "provider_name": provider,
        "origin_repository_url": url,
        "target_repository_url": url,
        "revision": pipeline.revision,
        "commit": {"subject": "Description of change", "body": "More details about the change"},
        **reference,
    }


def trigger_parameters(pipeline: Pipeline, knobs: Knobs) -> dict[str, Any]:
    """Return what describes the trigger of a GitLab or GitHub App pipeline, in the API and in webhooks."""
    provider = pipeline.project.spec.provider
    reference = f"refs/tags/{pipeline.tag}" if pipeline.tag else f"refs/heads/{pipeline.branch}"
    url = repository_url(pipeline)
    return {
        "git": {
            "tag": pipeline.tag or "",
            "branch": pipeline.branch or "",
            "ref": reference,
            "checkout_sha": pipeline.revision,
            "checkout_url": f"{url}.git",
        },
        "circleci": {
            "event_time": timestamp(pipeline.created_at, knobs),
            "event_type": "push",
            "trigger_type": provider,
            "actor_id": pipeline.started_by.id,
        },
        provider: {"web_url": url, "repo_name": pipeline.project.name, "ref": reference, "type": "push"},
        "webhook": {"body": ""},
    }


def created_json(pipeline: Pipeline, knobs: Knobs) -> dict[str, Any]:
    """Return the answer to a trigger."""
    return {
        "id": pipeline.id,
        "state": pipeline.state,
        "number": pipeline.number,
        "created_at": timestamp(pipeline.created_at, knobs),
    }


def workflow_json(workflow: Workflow, knobs: Knobs) -> dict[str, Any]:
    pipeline = workflow.pipeline
    body: dict[str, Any] = {
        "id": workflow.id,
        "name": workflow.name,
        "status": _workflow_status(workflow, knobs),
        "created_at": timestamp(workflow.created_at, knobs),
        "stopped_at": timestamp(workflow.stopped_at, knobs),
        "pipeline_id": pipeline.id,
        "pipeline_number": pipeline.number,
        "project_slug": pipeline.project.slug,
        "started_by": workflow.started_by.id,
        "tag": workflow.spec.tag,
    }
    if workflow.canceled_by is not None:
        body["canceled_by"] = workflow.canceled_by.id
    if workflow.spec.max_auto_reruns:
        body |= {
            "auto_rerun_number": workflow.auto_rerun_number,
            "max_auto_reruns": workflow.spec.max_auto_reruns,
        }
    return body


def _workflow_status(workflow: Workflow, knobs: Knobs) -> str | None:
    shown = workflow.shown or ("" if workflow.has_ended else knobs.shown_workflow_status)
    return None if shown == "null" else shown or workflow.status


def job_status(job: Job, knobs: Knobs) -> str:
    return job.shown or ("" if job.has_ended else knobs.shown_job_status) or job.status


def job_json(workflow: Workflow, job: Job, knobs: Knobs) -> dict[str, Any]:
    """Return one item of a workflow's jobs."""
    body: dict[str, Any] = {
        "dependencies": list(job.requires),
        "id": job.id,
        "started_at": timestamp(job.started_at, knobs),
        "name": job.name,
        "project_slug": workflow.pipeline.project.slug,
        "status": job_status(job, knobs),
        "type": job.spec.type,
        "requires": {upstream: sorted(statuses) for upstream, statuses in job.requires.items()},
        "stopped_at": timestamp(job.stopped_at, knobs),
    }
    if job.number is not None:
        body["job_number"] = job.number
    if job.approved_by is not None:
        body["approved_by"] = job.approved_by.id
    if job.canceled_by is not None:
        body["canceled_by"] = job.canceled_by.id
    return body | _approval_part(job, knobs) if not job.is_approval else _approval(body, job, knobs)


def _approval(body: dict[str, Any], job: Job, knobs: Knobs) -> dict[str, Any]:
    body |= _approval_part(job, knobs)
    if knobs.approval_shape == "legacy":
        body["started_at"] = None
        for name in ("job_number", "stopped_at", "requires"):
            body.pop(name, None)
    return body


def _approval_part(job: Job, knobs: Knobs) -> dict[str, Any]:
    is_hidden = knobs.approval_request_id == "never" or (
        knobs.approval_request_id == "once-held" and job.status == "blocked"
    )
    return {} if is_hidden or not job.is_approval else {"approval_request_id": job.approval_request_id}


def job_detail_json(workflow: Workflow, job: Job, knobs: Knobs) -> dict[str, Any]:
    """Return `GET /project/{slug}/job/{number}`."""
    project = workflow.pipeline.project
    started = timestamp(job.started_at, knobs)
    body: dict[str, Any] = {
        "web_url": f"https://app.circleci.com/jobs/{webhook_slug(project.slug)}/{job.number}",
        "project": {
            "id": project.id,
            "slug": project.slug,
            "name": project.name,
            "external_url": repository_url(workflow.pipeline),
        },
        "parallel_runs": [{"index": 0, "status": job.status}],
        "started_at": started,
        "latest_workflow": {"id": workflow.id, "name": workflow.name},
        "name": job.name,
        "executor": {"resource_class": "small", "type": "docker"},
        "parallelism": 1,
        "status": job_status(job, knobs),
        "number": job.number,
        "pipeline": {"id": workflow.pipeline.id},
        "duration": _duration_ms(job),
        "created_at": timestamp(job.created_at, knobs),
        "messages": [],
        "contexts": [],
        "organization": {"name": project.organization},
        "queued_at": started,
        "stopped_at": timestamp(job.stopped_at, knobs),
    }
    if job.approved_by is not None:
        body["approved_by"] = job.approved_by.id
    return body


def _duration_ms(job: Job) -> int | None:
    if job.started_at is None or job.stopped_at is None:
        return None
    return int((job.stopped_at - job.started_at).total_seconds() * 1000)


def listed(items: Sequence[T], order: Order) -> list[T]:
    """Return *items* (oldest first) in the order of the knob; `shuffled` is stable, so that pages fit together."""
    match order:
        case "created":
            return list(items)
        case "newest-first":
            return list(reversed(items))
        case "shuffled":
            return sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest())
