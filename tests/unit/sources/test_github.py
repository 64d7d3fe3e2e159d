"""GitHub: the signature, and which facts decide."""

from typing import Any
from urllib.parse import quote_plus

import orjson
import pytest

from bridge.core.errors import BadSignature, IntakeError, Malformed, UnsupportedEncoding
from bridge.core.event import Event
from bridge.core.request import RawRequest
from bridge.sources.github import GitHub, GitHubSettings
from tests.support.senders import NOW, SECRET, github, mac, replaced, with_body, without
from tests.support.vectors import OUTCOMES, Vector, vectors

SIGNATURE = "x-hub-signature-256"
REPOSITORY = {"full_name": "octo/app"}


def source(*secrets: str) -> GitHub:
    return GitHub("github-main", GitHubSettings.model_validate({"kind": "github", "secret": secrets or (SECRET,)}))


def events_of(request: RawRequest, *secrets: str) -> list[Event]:
    hook = source(*secrets)
    return hook.normalise(hook.verify(request, now=NOW))


def event_of(body: Any, event: str) -> Event:
    (found,) = events_of(github(body, event))
    return found


@pytest.mark.parametrize("vector", vectors("github"))
def test_a_recorded_delivery_is_judged_as_recorded(vector: Vector) -> None:
    """Signature, outcome and dedupe id of every recording."""
    assert vector.secret is not None
    hook = source(vector.secret)
    if not vector.expect["verified"]:
        with pytest.raises(IntakeError):
            hook.verify(vector.request(), now=NOW)
        return
    verified = hook.verify(vector.request(), now=NOW)
    if vector.expect["status"] == "4xx" or "later 400" in vector.expect.get("note", ""):
        with pytest.raises(IntakeError):
            hook.normalise(verified)
        return
    (event,) = hook.normalise(verified)
    assert event.data.outcome == OUTCOMES[vector.expect["outcome"]]
    assert f"delivery:{vector.expect['dedupe_id']}" in event.data.dedupe


def review(action: str = "submitted", state: str = "approved", **more: Any) -> dict[str, Any]:
    return {
        "action": action,
        "review": {"state": state, "commit_id": "c0ffee", "user": {"login": "ann"}, "html_url": "https://gh.example/r"},
        "pull_request": {"number": 12, "head": {"sha": "head"}},
        "repository": REPOSITORY,
        **more,
    }


@pytest.mark.parametrize(
    ("action", "state", "type_", "outcome"),
    [
        ("submitted", "approved", "review.approved", "succeeded"),
        ("submitted", "APPROVED", "review.approved", "succeeded"),
        ("submitted", "changes_requested", "review.changes_requested", "failed"),
        ("submitted", "commented", "review.commented", "none"),
        ("dismissed", "dismissed", "review.dismissed", "none"),
        ("dismissed", "approved", "review.dismissed", "none"),
        ("edited", "approved", "pull_request_review.edited", "none"),
        ("submitted", "new-word", "pull_request_review.submitted", "none"),
    ],
)
def test_a_review_decides_when_it_is_submitted(action: str, state: str, type_: str, outcome: str) -> None:
    """An edited or dismissed approval approves nothing."""
    event = event_of(review(action, state), "pull_request_review")
    assert (event.type, event.data.outcome) == (type_, outcome)


def test_a_review_is_keyed_by_the_commit_that_was_reviewed() -> None:
    """The head may have moved since: it is taken only where the review names no commit."""
    event = event_of(review(), "pull_request_review")
    assert event.data.keys == {"repository": "octo/app", "pull_request": "12", "sha": "c0ffee"}
    assert (event.data.summary, event.data.url) == ("approved by ann", "https://gh.example/r")
    body = review()
    body["review"]["commit_id"] = None
    assert event_of(body, "pull_request_review").data.keys["sha"] == "head"
    assert source().required_keys["review.approved"] == {"repository", "sha"}


CONCLUSIONS = {
    "success": "succeeded",
    "failure": "failed",
    "timed_out": "failed",
    "startup_failure": "failed",
    "cancelled": "cancelled",
    "neutral": "none",
    "skipped": "none",
    "stale": "none",
    "action_required": "none",
}


@pytest.mark.parametrize(("conclusion", "outcome"), CONCLUSIONS.items())
@pytest.mark.parametrize(
    ("event", "type_"),
    [("check_run", "check.completed"), ("check_suite", "check.completed"), ("workflow_run", "workflow.completed")],
)
def test_what_has_ended_decides_by_its_conclusion(event: str, type_: str, conclusion: str, outcome: str) -> None:
    """Every conclusion that GitHub documents, for runs, suites and workflows."""
    run = {"name": "build", "head_sha": "abc", "conclusion": conclusion, "pull_requests": [{"number": 4}]}
    found = event_of({"action": "completed", event: run, "repository": REPOSITORY}, event)
    assert (found.type, found.data.outcome) == (type_, outcome)
    named = {"workflow": "build"} if event == "workflow_run" else {"check": "build"}
    assert found.data.keys == {"repository": "octo/app", "sha": "abc", "pull_request": "4", **named}


@pytest.mark.parametrize(
    ("action", "conclusion"),
    [("created", None), ("rerequested", "success"), ("requested", "failure"), ("completed", None)],
)
def test_what_has_not_ended_decides_nothing(action: str, conclusion: str | None) -> None:
    """An old conclusion of a run that is asked for again says nothing."""
    body = {"action": action, "check_run": {"head_sha": "abc", "conclusion": conclusion}, "repository": REPOSITORY}
    event = event_of(body, "check_run")
    assert (event.type, event.data.outcome) == (f"check_run.{action}", "none")


def test_a_suite_is_named_by_its_app_and_several_pull_requests_name_none() -> None:
    """A key is given only where it is one."""
    suite = {
        "head_sha": "a",
        "conclusion": "success",
        "app": {"slug": "ci"},
        "pull_requests": [{"number": 1}, {"number": 2}],
    }
    event = event_of({"action": "completed", "check_suite": suite, "repository": REPOSITORY}, "check_suite")
    assert event.data.keys == {"repository": "octo/app", "sha": "a", "check": "ci"}


@pytest.mark.parametrize(
    ("state", "type_", "outcome"),
    [
        ("success", "deployment.completed", "succeeded"),
        ("failure", "deployment.completed", "failed"),
        ("error", "deployment.completed", "failed"),
        ("in_progress", "deployment_status.created", "none"),
        ("inactive", "deployment_status.created", "none"),
    ],
)
def test_a_deployment_decides_when_it_has_ended(state: str, type_: str, outcome: str) -> None:
    """Its commit and environment are keys."""
    body = {
        "action": "created",
        "deployment_status": {"state": state},
        "deployment": {"id": 7, "sha": "abc", "environment": "prod"},
        "repository": REPOSITORY,
    }
    event = event_of(body, "deployment_status")
    assert (event.type, event.data.outcome) == (type_, outcome)
    if outcome != "none":
        assert event.data.keys == {"repository": "octo/app", "sha": "abc", "environment": "prod", "deployment": "7"}


def test_a_commit_status_decides_as_a_check_does() -> None:
    """Older CI systems set these; pending ones say nothing."""
    body = {"state": "error", "context": "ci/jenkins", "sha": "abc", "repository": REPOSITORY}
    event = event_of(body, "status")
    assert (event.type, event.data.outcome, event.data.keys["check"]) == ("status.completed", "failed", "ci/jenkins")
    assert event_of({**body, "state": "pending"}, "status").type == "status"


def test_a_comment_is_told_with_its_pull_request() -> None:
    """A command in it is for a route to read."""
    body = {
        "action": "created",
        "comment": {"body": "/deploy\x1b prod", "html_url": "https://gh.example/c"},
        "issue": {"number": 3, "pull_request": {}},
        "repository": REPOSITORY,
    }
    event = event_of(body, "issue_comment")
    assert (event.type, event.data.outcome, event.data.summary) == ("comment.created", "none", "/deploy  prod")
    assert event.data.keys == {"repository": "octo/app", "pull_request": "3"}
    assert "pull_request" not in event_of({**body, "issue": {"number": 3}}, "issue_comment").data.keys


def test_any_other_event_decides_nothing_and_a_ping_is_none() -> None:
    """A 4xx for an uninteresting event would disable the hook."""
    event = event_of({"action": "starred", "repository": REPOSITORY}, "star")
    assert (event.type, event.data.outcome, event.data.keys) == ("star.starred", "none", {"repository": "octo/app"})
    assert event_of({"ref": "x"}, "push").type == "push"
    assert event_of({"action": "#.*"}, "push").type == "push"
    assert events_of(github({"zen": "x", "hook_id": 1}, "ping")) == []


def test_a_form_carries_the_same_event() -> None:
    """The MAC is over the whole form, the event in its field `payload`."""
    content = b"payload=" + quote_plus(orjson.dumps(review())).encode()
    request = replaced(github(content, "pull_request_review"), "content-type", "application/x-www-form-urlencoded")
    (event,) = events_of(request)
    assert (event.type, event.data.body) == ("review.approved", review())


def test_a_second_secret_is_accepted_during_a_rotation() -> None:
    """One match suffices."""
    request = github(review(), "pull_request_review", secret=SECRET[::-1])
    assert events_of(request, "old secret", SECRET[::-1])
    with pytest.raises(BadSignature):
        events_of(request, "old secret", "other secret")


def test_attack_1_a_missing_signature_is_refused() -> None:
    """Also beside the legacy one."""
    request = without(github(review(), "pull_request_review"), SIGNATURE)
    with pytest.raises(BadSignature):
        events_of(request)
    with pytest.raises(BadSignature):
        events_of(replaced(request, "x-hub-signature", "sha1=" + mac(request.body)))


GOOD = github(review(), "pull_request_review")
RIGHT = f"sha256={mac(GOOD.body)}"


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        RIGHT[:-1],
        RIGHT[:20],
        RIGHT + "0",
        RIGHT.upper(),
        RIGHT.replace("sha256", "sha1"),
        RIGHT.replace("sha256=", ""),
        "sha256=" + mac(GOOD.body, "other"),
        "sha256=" + mac(GOOD.body, "x") * 256,
        f"{RIGHT},{RIGHT}",
        " " + RIGHT,
    ],
)
def test_attack_2_a_wrong_signature_is_refused(signature: str) -> None:
    """Only the one spelling of the one MAC counts, and the error does not tell it."""
    with pytest.raises(BadSignature) as caught:
        events_of(replaced(GOOD, SIGNATURE, signature))
    assert mac(GOOD.body) not in str(caught.value)


@pytest.mark.parametrize("order", [("sha256=" + "0" * 64, RIGHT), (RIGHT, "sha256=" + "0" * 64), (RIGHT, RIGHT)])
def test_attack_3_two_signature_headers_are_refused(order: tuple[str, str]) -> None:
    """Neither the first nor the last is taken."""
    with pytest.raises(Malformed):
        events_of(replaced(GOOD, SIGNATURE, *order))


def test_attack_4_a_signature_outside_ascii_is_refused() -> None:
    """Comparing bytes, there is nothing that could fail."""
    with pytest.raises(BadSignature):
        events_of(replaced(GOOD, SIGNATURE, "sha256=\xff\u00e9"))


@pytest.mark.parametrize(
    "body",
    [
        GOOD.body[:-1],
        GOOD.body + b"\n",
        orjson.dumps(review(), option=orjson.OPT_INDENT_2),
        b"",
        GOOD.body.replace(b"12", b"\\u0031"),
    ],
)
def test_attack_5_another_body_is_refused(body: bytes) -> None:
    """The MAC is over the bytes as received."""
    with pytest.raises(BadSignature):
        events_of(with_body(GOOD, body))


def test_attack_6_an_empty_key_opens_nothing() -> None:
    """Neither as a MAC nor as a configured secret."""
    with pytest.raises(BadSignature):
        events_of(replaced(GOOD, SIGNATURE, "sha256=" + mac(GOOD.body, "")))
    for secret in ("", "  ", ("good", "")):
        with pytest.raises(ValueError, match="empty"):
            GitHubSettings.model_validate({"kind": "github", "secret": secret})


def test_attack_7_a_signature_in_the_query_is_no_signature() -> None:
    """Only the header is read."""
    bare = without(GOOD, SIGNATURE)
    with pytest.raises(BadSignature):
        events_of(RawRequest("POST", "/", f"{SIGNATURE}={RIGHT}&secret={SECRET}", bare.headers, bare.body, NOW))


def test_attack_10_the_same_body_under_a_new_delivery_id_is_known() -> None:
    """One of its dedupe keys stays, whatever the unsigned header says."""
    first, second = (
        event_of(review(), "pull_request_review"),
        events_of(github(review(), "pull_request_review", delivery="d-2"))[0],
    )
    assert set(first.data.dedupe) & set(second.data.dedupe)
    assert set(first.data.dedupe) != set(second.data.dedupe)
    (odd,) = events_of(github(review(), "pull_request_review", delivery="x" * 5000))
    assert len(odd.data.dedupe) == 1


@pytest.mark.parametrize(
    "event", ["check_run", "check_suite", "workflow_run", "deployment_status", "issue_comment", "status"]
)
def test_attack_11_a_body_under_another_events_name_is_refused(event: str) -> None:
    """The header is unsigned: the body must be of the event that it names."""
    with pytest.raises(Malformed):
        event_of(review(), event)
    with pytest.raises(Malformed):
        event_of({"action": "completed", "check_run": {"conclusion": "success"}}, "pull_request_review")


def test_attack_11_a_body_under_an_unknown_name_decides_nothing() -> None:
    """It is told of as that event, without an outcome; a name that is none is refused."""
    assert event_of(review(), "pull_request").data.outcome == "none"
    for name in ("", "Push", "a.b", "#", "x" * 65, "push\u00e9"):
        with pytest.raises(Malformed):
            event_of(review(), name)


def test_attack_14_another_tenants_signature_is_refused() -> None:
    """A source knows its own secrets only."""
    with pytest.raises(BadSignature):
        events_of(github(review(), "pull_request_review", secret=SECRET[::-1]))


@pytest.mark.parametrize("body", [b"", b" ", b"[]", b'"x"', b"null", b"1", b"{}}", b"\xef\xbb\xbf{}"])
def test_attack_31_and_32_a_body_that_is_no_object_is_malformed(body: bytes) -> None:
    """Authentic, and unusable."""
    with pytest.raises(Malformed):
        event_of(body, "push")


@pytest.mark.parametrize(
    "body",
    [
        {"action": "submitted", "review": [], "pull_request": {}},
        {"action": "submitted", "review": None, "pull_request": {}},
        {"action": "submitted", "review": "approved", "pull_request": {}},
    ],
)
def test_attack_31_objects_elsewhere_than_they_belong_are_malformed(body: Any) -> None:
    """No part is taken for another."""
    with pytest.raises(Malformed):
        event_of(body, "pull_request_review")


def test_attack_31_odd_values_never_become_keys() -> None:
    """Lists, objects and nulls where a scalar belongs are left out."""
    body = {**review(repository=[1]), "action": ["submitted"]}
    assert event_of(body, "pull_request_review").data.keys == {}
    body = review(repository={"full_name": {"x": 1}})
    body["review"] = {"state": "approved", "commit_id": ["a"], "user": 3, "html_url": 4}
    event = event_of(body, "pull_request_review")
    assert (event.data.keys, event.data.url) == ({"pull_request": "12"}, "")


@pytest.mark.parametrize(
    "content_type", ["text/html", "text/plain", "application/xml", "multipart/form-data; boundary=x", ""]
)
def test_attack_33_another_type_is_not_sniffed(content_type: str) -> None:
    """JSON under another name is not JSON."""
    with pytest.raises(UnsupportedEncoding):
        events_of(replaced(GOOD, "content-type", content_type))
    with pytest.raises(UnsupportedEncoding):
        events_of(without(GOOD, "content-type"))


def test_attack_33_a_form_is_read_as_declared() -> None:
    """JSON declared as a form has no field `payload`, a form declared as JSON is none, two payloads are none."""
    form = "application/x-www-form-urlencoded"
    with pytest.raises(Malformed):
        events_of(replaced(GOOD, "content-type", form))
    with pytest.raises(Malformed):
        event_of(b"payload=%7B%7D", "push")
    with pytest.raises(Malformed):
        events_of(replaced(github(b"payload={}&payload={}", "push"), "content-type", form))


def test_attack_46_and_52_what_people_see_is_one_plain_line() -> None:
    """Control characters are gone; markup stays text, to be escaped where it is shown."""
    body = {
        "action": "completed",
        "check_run": {"name": "a\r\n${jndi:x}<script>", "head_sha": "a", "conclusion": "success"},
    }
    assert event_of(body, "check_run").data.summary == "a ${jndi:x}<script>: success"


def test_attack_47_a_name_with_wildcards_addresses_nothing() -> None:
    """Type and source are the only words of a routing key, each encoded."""
    assert (
        event_of(review(repository={"full_name": "#.*"}), "pull_request_review").routing_key
        == "github-main.review.approved"
    )
