"""GitHub: reviews, checks, workflow runs, deployments, commit statuses and comments of a repository.

Contract: POST, JSON or the form field `payload`; `X-Hub-Signature-256: sha256=<lower hex>`, HMAC-SHA256 over the body
          `X-GitHub-Event` and `X-GitHub-Delivery` are not signed: the body's own shape must fit the one, and a replay
          under another delivery id is known by the body
          2xx within 10 s; no retry by itself; a redelivery by hand keeps the id
Source:   https://docs.github.com/webhooks/webhook-events-and-payloads (read November 2026)
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeAlias

from bridge.core.body import media_type, parse_form, parse_json
from bridge.core.errors import BadSignature, Malformed, UnsupportedEncoding
from bridge.core.event import Event, EventData, Outcome
from bridge.core.inbound import SecretSettings, SecretSource, keys_of, line, link
from bridge.core.request import RawRequest, VerifiedRequest
from bridge.core.signing import body_hash, hmac_sha256, matches_any

Body: TypeAlias = dict[str, Any]

_COMMIT = frozenset({"repository", "sha"})
_CONCLUSIONS = {
    "success": Outcome.SUCCEEDED,
    "failure": Outcome.FAILED,
    "timed_out": Outcome.FAILED,
    "startup_failure": Outcome.FAILED,
    "cancelled": Outcome.CANCELLED,
}
_STATES = {"success": Outcome.SUCCEEDED, "failure": Outcome.FAILED, "error": Outcome.FAILED}
_VOTES = {"approved": Outcome.SUCCEEDED, "changes_requested": Outcome.FAILED, "commented": Outcome.NONE}

_EVENT_NAME = re.compile(r"[a-z_]{1,64}")
_DELIVERY = re.compile(r"[0-9A-Za-z-]{1,64}")


class GitHubSettings(SecretSettings):
    """A webhook of a repository, an organisation or an app, with its secret."""


class GitHub(SecretSource[GitHubSettings]):
    """Gives a fact the type that DESIGN names, where it is one that a pipeline waits for; all others decide nothing."""

    required_keys: ClassVar[dict[str, frozenset[str]]] = {
        "review.approved": _COMMIT,
        "review.changes_requested": _COMMIT,
        "review.commented": _COMMIT,
        "review.dismissed": _COMMIT,
        "check.completed": _COMMIT,
        "workflow.completed": _COMMIT,
        "deployment.completed": _COMMIT,
        "status.completed": _COMMIT,
        "comment.created": frozenset({"repository"}),
    }

    def check(self, raw: RawRequest, *, now: datetime) -> None:  # noqa: ARG002 - nothing signed binds the time
        given = raw.header("x-hub-signature-256") or ""
        expected = [b"sha256=" + hmac_sha256(secret, raw.body).hex().encode() for secret in self._secrets]
        if not matches_any([given.encode()], expected):
            raise BadSignature("the signature is missing or does not match")

    def normalise(self, request: VerifiedRequest) -> list[Event]:
        raw = request.raw
        name = raw.header("x-github-event") or ""
        if not _EVENT_NAME.fullmatch(name):
            raise Malformed("X-GitHub-Event: expected a word such as pull_request_review")
        body = _read(raw)
        if name == "ping":
            return []
        event_type, data = describe(name, body, dedupe=_dedupe(raw))
        return [Event.new(source=self.name, type=event_type, time=raw.received_at, data=data)]


def _read(raw: RawRequest) -> Body:
    """Return the JSON object, from the body or from its form field `payload`, as declared."""
    media = media_type(raw.header("content-type"))
    content = raw.body
    if media.is_form:
        payload = parse_form(raw.body).get("payload")
        if not isinstance(payload, str):
            raise Malformed("expected one form field payload")
        content = payload.encode()
    elif not media.is_json:
        raise UnsupportedEncoding("expected application/json or a form")
    body = parse_json(content, media.parameters.get("charset", "utf-8"))
    if not isinstance(body, dict):
        raise Malformed("expected a JSON object")
    return body


def _dedupe(raw: RawRequest) -> tuple[str, ...]:
    delivery, by_body = raw.header("x-github-delivery") or "", body_hash(raw.body)
    return (f"delivery:{delivery}", by_body) if _DELIVERY.fullmatch(delivery) else (by_body,)


def describe(name: str, body: Body, *, dedupe: tuple[str, ...]) -> tuple[str, EventData]:
    """Return the type and the content of the event *name*.

    Raises:
        Malformed: the body is not of that event, which its unsigned header claims.
    """
    reader = _READERS.get(name)
    found = reader(body) if reader else None
    if found is None:
        action = body.get("action")
        known = isinstance(action, str) and _EVENT_NAME.fullmatch(action)
        found = Fact(f"{name}.{action}" if known else name)
    return found.type, EventData.trusted(
        outcome=found.outcome,
        keys=keys_of({**_repository(body), **found.keys}),
        summary=line(found.summary),
        url=link(found.url),
        body=body,
        dedupe=dedupe,
    )


class Fact(NamedTuple):
    """One event as read: what it says, and its keys beside `repository`, not yet cleaned."""

    type: str
    outcome: Outcome = Outcome.NONE
    summary: Any = ""
    url: Any = ""
    keys: Mapping[str, Any] = MappingProxyType({})


def _part(body: Body, name: str) -> Body:
    """Return the object *name*.

    Raises:
        Malformed: it is no object; an event of that name would have one.
    """
    part = body.get(name)
    if not isinstance(part, dict):
        raise Malformed(f"{name}: expected an object; the body is not of the event that its header names")
    return part


def _maybe(body: Body, name: str) -> Body:
    part = body.get(name)
    return part if isinstance(part, dict) else {}


def _repository(body: Body) -> dict[str, Any]:
    return {"repository": _maybe(body, "repository").get("full_name")}


def _review(body: Body) -> Fact | None:
    review, pull = _part(body, "review"), _part(body, "pull_request")
    action, state = body.get("action"), str(review.get("state")).lower()
    if action == "submitted" and state in _VOTES:
        word, outcome = state, _VOTES[state]
    elif action == "dismissed":
        word, outcome = "dismissed", Outcome.NONE
    else:
        return None
    return Fact(
        f"review.{word}",
        outcome,
        f"{word.replace('_', ' ')} by {_maybe(review, 'user').get('login')}",
        review.get("html_url"),
        {"pull_request": pull.get("number"), "sha": review.get("commit_id") or _maybe(pull, "head").get("sha")},
    )


def _check(name: str) -> Callable[[Body], Fact | None]:
    """Return the reader of a check run or suite; of a suite the app's slug is the check's name."""

    def read(body: Body) -> Fact | None:
        check = _part(body, name)
        check_name = check.get("name") or _maybe(check, "app").get("slug")
        return _concluded(body, check, "check.completed", check=check_name)

    return read


def _workflow(body: Body) -> Fact | None:
    run = _part(body, "workflow_run")
    return _concluded(body, run, "workflow.completed", workflow=run.get("name"), run_id=run.get("id"))


def _concluded(body: Body, run: Body, type: str, **keys: Any) -> Fact | None:  # noqa: A002 - CloudEvents' own attribute name
    """Return the fact of a run that has ended; of one asked for again, an old conclusion says nothing."""
    conclusion = run.get("conclusion")
    if body.get("action") != "completed" or not isinstance(conclusion, str):
        return None
    name = keys.get("check") or keys.get("workflow")
    return Fact(
        type,
        _CONCLUSIONS.get(conclusion, Outcome.NONE),
        f"{name}: {conclusion}",
        run.get("html_url") or run.get("details_url"),
        {"sha": run.get("head_sha"), "pull_request": _only_pull_request(run), **keys},
    )


def _only_pull_request(run: Body) -> Any:
    match run.get("pull_requests"):
        case [{"number": number}]:
            return number
        case _:
            return None


def _deployment(body: Body) -> Fact | None:
    status, deployment = _part(body, "deployment_status"), _part(body, "deployment")
    state = str(status.get("state"))
    if body.get("action") != "created" or state not in _STATES:
        return None
    environment = deployment.get("environment")
    return Fact(
        "deployment.completed",
        _STATES[state],
        f"{environment}: {state}",
        status.get("environment_url") or status.get("target_url"),
        {"sha": deployment.get("sha"), "environment": environment, "deployment": deployment.get("id")},
    )


def _status(body: Body) -> Fact | None:
    """Return the fact of a commit status, which older CI systems set instead of a check."""
    state, context = body.get("state"), body.get("context")
    if not isinstance(state, str) or not isinstance(context, str):
        raise Malformed("state, context: expected words; the body is not of the event that its header names")
    if state not in _STATES:
        return None
    return Fact(
        "status.completed",
        _STATES[state],
        body.get("description") or f"{context}: {state}",
        body.get("target_url"),
        {"sha": body.get("sha"), "check": context},
    )


def _comment(body: Body) -> Fact | None:
    comment, issue = _part(body, "comment"), _part(body, "issue")
    if body.get("action") != "created":
        return None
    number = issue.get("number") if "pull_request" in issue else None
    return Fact("comment.created", Outcome.NONE, comment.get("body"), comment.get("html_url"), {"pull_request": number})


_READERS: dict[str, Callable[[Body], Fact | None]] = {
    "pull_request_review": _review,
    "check_run": _check("check_run"),
    "check_suite": _check("check_suite"),
    "workflow_run": _workflow,
    "deployment_status": _deployment,
    "status": _status,
    "issue_comment": _comment,
}
