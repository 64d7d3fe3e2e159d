"""Bodies and headers of outbound webhooks.

Contract: POST <url>, JSON; content-type, user-agent `CircleCI-Webhook/1.0`, circleci-event-type, and with a secret
          circleci-signature `v1=<lower-case hex HMAC-SHA256 of the body>`. Events `workflow-completed`, `job-completed`,
          and a `ping`. Slugs are long here (`github/org/repo`), unlike those of the API (`gh/org/repo`).
Source:   CircleCI documentation "Outbound webhooks" and "Outbound webhooks reference" (2026-08); ping: seen in public code
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid3

from bridge.testing.circleci.knobs import Knobs
from bridge.testing.circleci.model import Job, Pipeline, Project, Workflow, fixed_id, require_word, webhook_slug
from bridge.testing.circleci.views import repository_url, trigger_parameters

WORKFLOW_COMPLETED = "workflow-completed"
JOB_COMPLETED = "job-completed"
PING = "ping"
EVENTS = frozenset({WORKFLOW_COMPLETED, JOB_COMPLETED})
_SENT_WORKFLOW = frozenset({"success", "failed", "error", "canceled", "unauthorized"})
_SENT_JOB = frozenset({"success", "failed", "canceled", "unauthorized"})
_GROWTH = timedelta(milliseconds=137)


@dataclass(frozen=True, slots=True)
class Hook:
    """One registered webhook. project: slug of the API; None: of every project."""

    id: str
    name: str
    url: str
    secret: str | None
    events: frozenset[str]
    project: str | None = None

    def wants(self, event: str, project: Project) -> bool:
        return event in self.events and self.project in (None, project.slug)


def signature(secret: str, body: bytes, versions: Sequence[str] = ("v1",)) -> str:
    """Return the value of circleci-signature: v1 is documented, any other version is some other digest."""
    values = {
        version: hmac.new(secret.encode(), body if version == "v1" else version.encode() + body, hashlib.sha256)
        for version in versions
    }
    return ",".join(f"{version}={digest.hexdigest()}" for version, digest in values.items())


def headers(hook: Hook, event: str, body: bytes, knobs: Knobs) -> dict[str, str]:
    """Return all headers that are sent with *body*."""
    plain = {"content-type": "application/json", "user-agent": "CircleCI-Webhook/1.0", "circleci-event-type": event}
    if hook.secret is None:
        return plain
    return plain | {"circleci-signature": signature(hook.secret, body, knobs.webhook_signatures)}


def ping(hook: Hook, now: datetime) -> dict[str, Any]:
    return _top(hook, PING, str(uuid3(NAMESPACE_URL, f"{hook.id}/{PING}/{now.isoformat()}")), now)


def workflow_completed(hook: Hook, workflow: Workflow, knobs: Knobs, *, run: int = 0) -> dict[str, Any] | None:
    """Return the event of an ended *workflow*; None for a status that has none. run: the nth of several, each longer."""
    if workflow.status not in _SENT_WORKFLOW or workflow.stopped_at is None:
        return None
    stopped_at = workflow.stopped_at + run * _GROWTH
    identifier = _event_id(hook, WORKFLOW_COMPLETED, workflow.id, workflow.status, run)
    part = _workflow(workflow, knobs) | {"stopped_at": _millis(stopped_at), "status": workflow.status}
    return {
        **_top(hook, WORKFLOW_COMPLETED, identifier, stopped_at),
        **_where(workflow.pipeline.project),
        "workflow": part,
        "pipeline": _pipeline(workflow.pipeline, knobs),
        **_more(knobs),
    }


def job_completed(hook: Hook, workflow: Workflow, job: Job, knobs: Knobs) -> dict[str, Any] | None:
    """Return the event of an ended *job*; None for a status that has none."""
    status = require_word(job.status)
    if status not in _SENT_JOB or job.stopped_at is None:
        return None
    event_id = _event_id(hook, JOB_COMPLETED, job.id, status, 0)
    body = {
        **_top(hook, knobs.webhook_job_body_type, event_id, job.stopped_at),
        **_where(workflow.pipeline.project),
        "pipeline": _pipeline(workflow.pipeline, knobs),
        "job": {
            "id": job.id,
            "name": job.name,
            "started_at": _millis(job.started_at or job.stopped_at),
            "stopped_at": _millis(job.stopped_at),
            "status": status,
            "number": job.number,
        },
        **_more(knobs),
    }
    is_left_out = knobs.webhook_job_has_workflow == "vcs-only" and workflow.pipeline.project.family != "vcs"
    if not is_left_out:
        body["workflow"] = _workflow(workflow, knobs) | {"stopped_at": _millis(workflow.stopped_at or job.stopped_at)}
    return body


def _event_id(hook: Hook, event: str, subject: str, status: str, run: int) -> str:
    """Return the event's id, made from names: a redelivery repeats it."""
    return str(uuid3(NAMESPACE_URL, f"{hook.id}/{event}/{subject}/{status}/{run}"))


def _top(hook: Hook, event: str, identifier: str, now: datetime) -> dict[str, Any]:
    return {
        "id": identifier,
        "type": event,
        "happened_at": _millis(now),
        "webhook": {"id": hook.id, "name": hook.name},
    }


def _where(project: Project) -> dict[str, Any]:
    return {
        "project": {"id": project.id, "name": project.name, "slug": webhook_slug(project.slug)},
        "organization": {"id": fixed_id("organization", project.organization), "name": project.organization},
    }


def _workflow(workflow: Workflow, knobs: Knobs) -> dict[str, Any]:
    pipeline = workflow.pipeline
    path = f"{webhook_slug(pipeline.project.slug)}/{pipeline.number}/workflows/{workflow.id}"
    return {
        "id": workflow.id,
        "name": workflow.name,
        "created_at": _millis(workflow.created_at),
        "url": "" if knobs.webhook_empty_url else f"https://app.circleci.com/pipelines/{path}",
    }


def _pipeline(pipeline: Pipeline, knobs: Knobs) -> dict[str, Any]:
    is_vcs = pipeline.project.family == "vcs"
    return {
        "id": pipeline.id,
        "number": pipeline.number,
        "created_at": _millis(pipeline.created_at),
        "trigger": {"type": pipeline.trigger_type if is_vcs else pipeline.project.spec.provider},
        **({"vcs": _vcs(pipeline)} if is_vcs else {"trigger_parameters": trigger_parameters(pipeline, knobs)}),
    }


def _vcs(pipeline: Pipeline) -> dict[str, Any]:
    url = repository_url(pipeline)
    reference = {"tag": pipeline.tag} if pipeline.tag else {"branch": pipeline.branch}
    return {
        "provider_name": webhook_slug(pipeline.project.slug).split("/")[0],
        "origin_repository_url": url,
        "target_repository_url": url,
        "revision": pipeline.revision,
        "commit": {
            "subject": "Description of change",
            "body": "More details about the change",
            "author": {"name": "Author Name", "email": "author.email@example.com"},
            "authored_at": _seconds(pipeline.created_at),
            "committer": {"name": "Committer Name", "email": "committer.email@example.com"},
            "committed_at": _seconds(pipeline.created_at),
        },
        **reference,
    }


def _more(knobs: Knobs) -> dict[str, Any]:
    return {"a_new_field": {"maps": "are open"}} if knobs.webhook_extra_fields else {}


def _millis(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
