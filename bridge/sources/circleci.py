"""CircleCI outbound webhooks: a workflow or a job has ended.

Contract: POST, JSON, `circleci-signature: v1=<lower hex>[,v2=…]`, HMAC-SHA256 over the body; only v1 is known and checked
          any 2xx within 10 s; else retried later; the body's `id` stays
          a cancelled workflow may be announced many times, each with an id of its own
          a job's event has no workflow status; in the sample of GitLab it has no workflow, and the type of a workflow's
Source:   https://circleci.com/docs/outbound-webhooks/ and its reference page (read November 2026); the ping as observed
"""

import re
from datetime import datetime
from typing import Any

from pydantic import Field

from bridge.core.body import media_type, parse_json
from bridge.core.errors import BadSignature, Malformed, UnsupportedEncoding
from bridge.core.event import Event, EventData, Outcome
from bridge.core.inbound import SecretSettings, SecretSource, is_id, keys_of, line, link
from bridge.core.request import RawRequest, VerifiedRequest
from bridge.core.signing import hmac_sha256, matches_any
from bridge.core.source import Whole

WORKFLOW_COMPLETED = "workflow.completed"
JOB_COMPLETED = "job.completed"
PIPELINE_COMPLETED = "pipeline.completed"

_STATUS = {
    "success": Outcome.SUCCEEDED,
    "failed": Outcome.FAILED,
    "error": Outcome.FAILED,
    "unauthorized": Outcome.FAILED,
    "canceled": Outcome.CANCELLED,
}
_SLUGS = {"github": "gh", "bitbucket": "bb"}
_TYPE = re.compile(r"[a-z]+(?:-[a-z]+)*")


class CircleCISettings(SecretSettings):
    """A project's webhook, with the secret it was made with."""

    pipelines: str | None = Field(
        default=None,
        description="the `[targets.<name>]` whose token may read these pipelines: a wait for a pipeline is then decided when "
        "all its workflows are over; without it by the first",
    )


class CircleCI(SecretSource[CircleCISettings]):
    """Workflows decide by their status; jobs are only told of. What a pipeline came to is asked for."""

    whole = Whole(
        type=PIPELINE_COMPLETED,
        key="pipeline_id",
        keys=frozenset({"pipeline_id", "project"}),
        parts=frozenset({"workflow", "workflow_id", "job"}),
        told_by=WORKFLOW_COMPLETED,
        setting="pipelines",
    )

    def check(self, raw: RawRequest, *, now: datetime) -> None:  # noqa: ARG002 - nothing signed binds the time
        given = [entry[3:] for entry in (raw.header("circleci-signature") or "").split(",") if entry.startswith("v1=")]
        if len(given) != 1:
            raise BadSignature("no v1 signature, or several")
        expected = [hmac_sha256(secret, raw.body).hex().encode() for secret in self._secrets]
        if not matches_any([given[0].encode()], expected):
            raise BadSignature("the signature does not match")

    def normalise(self, request: VerifiedRequest) -> list[Event]:
        body = _read(request.raw)
        kind = body.get("type")
        if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
            raise Malformed("type: expected a word such as workflow-completed")
        if kind == "ping":
            return []
        event_type = kind.replace("-", ".")
        if event_type == WORKFLOW_COMPLETED and _is_of_a_job(body):
            event_type = JOB_COMPLETED
        data = describe(event_type, body)
        return [Event.new(source=self.name, type=event_type, time=request.raw.received_at, data=data)]


def _read(raw: RawRequest) -> dict[str, Any]:
    media = media_type(raw.header("content-type"))
    if not media.is_json:
        raise UnsupportedEncoding("expected application/json")
    body = parse_json(raw.body, media.parameters.get("charset", "utf-8"))
    if not isinstance(body, dict):
        raise Malformed("expected a JSON object")
    return body


def describe(event_type: str, body: dict[str, Any]) -> EventData:
    """Return what *body* says, keyed by what a wait can know of it."""
    workflow, job = _part(body, "workflow"), _part(body, "job")
    subject = job if event_type == JOB_COMPLETED else workflow
    status = subject.get("status")
    if event_type == WORKFLOW_COMPLETED and not isinstance(status, str):
        raise Malformed("workflow.status: expected a word")
    decides = event_type == WORKFLOW_COMPLETED
    return EventData.trusted(
        outcome=_STATUS.get(str(status), Outcome.NONE) if decides else Outcome.NONE,
        keys=_keys(body, workflow, job),
        summary=line(f"{subject.get('name', '')}: {status}") if isinstance(status, str) else "",
        url=link(workflow.get("url")),
        body=body,
        dedupe=_dedupe(body, "job" if subject is job else "workflow", subject, status),
    )


def _is_of_a_job(body: dict[str, Any]) -> bool:
    """Return True for a job's event under a workflow's name, as in the sample of GitLab; a workflow's own has its status."""
    return "job" in body and "status" not in _part(body, "workflow")


def _part(body: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the object *name*, empty where it is absent: some samples leave one out."""
    part = body.get(name)
    if part is not None and not isinstance(part, dict):
        raise Malformed(f"{name}: expected an object")
    return part or {}


def _keys(body: dict[str, Any], workflow: dict[str, Any], job: dict[str, Any]) -> dict[str, str]:
    pipeline, project = _part(body, "pipeline"), _part(body, "project")
    values = {
        "pipeline_id": pipeline.get("id"),
        "workflow_id": workflow.get("id"),
        "workflow": workflow.get("name"),
        "project_id": project.get("id"),
        "project": _slug(project.get("slug")),
        "job": job.get("name"),
        "sha": _part(pipeline, "vcs").get("revision"),
    }
    return keys_of(values)


def _slug(value: Any) -> Any:
    """Return a project's slug as the API spells it: webhooks say `github/…`, the API `gh/…`."""
    host, slash, rest = value.partition("/") if isinstance(value, str) else ("", "", "")
    return f"{_SLUGS.get(host, host)}/{rest}" if slash else value


def _dedupe(body: dict[str, Any], word: str, subject: dict[str, Any], status: Any) -> tuple[str, ...]:
    """Return the message's id and, because one end may be told many times, what has ended and how."""
    own, ended = body.get("id"), subject.get("id")
    if not is_id(own):
        raise Malformed("id: expected a short string")
    return (f"id:{own}", f"{word}:{ended}:{status}") if is_id(ended) and is_id(status) else (f"id:{own}",)
