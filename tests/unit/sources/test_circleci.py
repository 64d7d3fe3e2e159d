"""CircleCI's outbound webhooks: the signature, and what has ended how."""

from typing import Any

import pytest

from bridge.core.errors import BadSignature, IntakeError, Malformed, UnsupportedEncoding
from bridge.core.event import Event
from bridge.core.request import RawRequest
from bridge.sources.circleci import CircleCI, CircleCISettings
from tests.support.senders import NOW, SECRET, circleci, mac, replaced, with_body, without
from tests.support.vectors import OUTCOMES, Vector, vectors

SIGNATURE = "circleci-signature"


def source(*secrets: str) -> CircleCI:
    return CircleCI("circleci-b", CircleCISettings.model_validate({"kind": "circleci", "secret": secrets or (SECRET,)}))


def events_of(request: RawRequest, *secrets: str) -> list[Event]:
    hook = source(*secrets)
    return hook.normalise(hook.verify(request, now=NOW))


def workflow(status: Any = "success", **more: Any) -> dict[str, Any]:
    return {
        "type": "workflow-completed",
        "id": "e-1",
        "project": {"id": "p-1", "slug": "github/octo/app"},
        "workflow": {"id": "w-1", "name": "build", "status": status, "url": "https://app.circleci.com/w-1"},
        "pipeline": {"id": "pl-1", "vcs": {"revision": "abc"}},
        **more,
    }


@pytest.mark.parametrize("vector", vectors("circleci"))
def test_a_recorded_delivery_is_judged_as_recorded(vector: Vector) -> None:
    """Signature, outcome and dedupe id of every recording."""
    assert vector.secret is not None
    hook = source(vector.secret)
    if not vector.expect["verified"]:
        with pytest.raises(IntakeError):
            hook.verify(vector.request(), now=NOW)
        return
    verified = hook.verify(vector.request(), now=NOW)
    if "later 400" in vector.expect.get("note", ""):
        with pytest.raises(Malformed):
            hook.normalise(verified)
        return
    (event,) = hook.normalise(verified)
    # A job that has ended decides nothing for a pipeline that waits for a workflow (DESIGN 5.4).
    expected = "none" if event.type == "job.completed" else OUTCOMES[vector.expect["outcome"]]
    assert event.data.outcome == expected
    assert f"id:{vector.expect['dedupe_id']}" in event.data.dedupe


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("success", "succeeded"),
        ("failed", "failed"),
        ("error", "failed"),
        ("unauthorized", "failed"),
        ("canceled", "cancelled"),
        ("not_run", "none"),
        ("new-word", "none"),
    ],
)
def test_a_workflow_decides_by_its_status(status: str, outcome: str) -> None:
    """Every documented status, and one that is not."""
    (event,) = events_of(circleci(workflow(status)))
    assert (event.type, event.data.outcome) == ("workflow.completed", outcome)
    assert (event.data.summary, event.data.url) == (f"build: {status}", "https://app.circleci.com/w-1")


@pytest.mark.parametrize(
    ("slug", "project"),
    [("github/octo/app", "gh/octo/app"), ("bitbucket/t/a", "bb/t/a"), ("circleci/1/2", "circleci/1/2"), ("odd", "odd")],
)
def test_keys_are_what_a_wait_can_know(slug: str, project: str) -> None:
    """Ids, names and the commit; the slug as the API spells it."""
    (event,) = events_of(circleci(workflow(project={"id": "p-1", "slug": slug})))
    assert event.data.keys == {
        "pipeline_id": "pl-1",
        "workflow_id": "w-1",
        "workflow": "build",
        "project_id": "p-1",
        "project": project,
        "sha": "abc",
    }


def test_a_job_is_told_of_and_decides_nothing() -> None:
    """Also where the sample of GitLab leaves its workflow out."""
    body = workflow(type="job-completed", job={"id": "j-1", "name": "unit", "status": "failed"})
    (event,) = events_of(circleci(body))
    assert (event.type, event.data.outcome, event.data.keys["job"]) == ("job.completed", "none", "unit")
    assert event.data.dedupe == ("id:e-1", "job:j-1:failed")
    del body["workflow"]
    (event,) = events_of(circleci(body))
    assert "workflow_id" not in event.data.keys


@pytest.mark.parametrize("without_workflow", [True, False])
def test_a_job_under_a_workflows_type_is_a_job(*, without_workflow: bool) -> None:
    """The documented sample of GitLab says workflow-completed; a real one of a workflow has its status."""
    body = workflow(job={"id": "j-1", "name": "unit", "status": "failed"})
    (event,) = events_of(circleci(body))
    assert (event.type, event.data.outcome) == ("workflow.completed", "succeeded")
    body["workflow"].pop("status")
    if without_workflow:
        del body["workflow"]
    (event,) = events_of(circleci(body))
    assert (event.type, event.data.outcome, event.data.summary) == ("job.completed", "none", "unit: failed")
    assert event.data.dedupe == ("id:e-1", "job:j-1:failed")


def test_a_ping_is_answered_and_other_types_decide_nothing() -> None:
    """A 4xx would count against the hook."""
    assert events_of(circleci({"type": "ping", "id": "1", "webhook": {}})) == []
    (event,) = events_of(circleci({"type": "pipeline-created", "id": "1"}))
    assert (event.type, event.data.outcome) == ("pipeline.created", "none")


def test_one_end_told_many_times_is_one_fact() -> None:
    """A cancelled workflow sends an event for each of its jobs, each with an id of its own."""
    (first,) = events_of(circleci(workflow("canceled")))
    (second,) = events_of(circleci(workflow("canceled", id="e-2")))
    assert set(first.data.dedupe) & set(second.data.dedupe) == {"workflow:w-1:canceled"}


def test_only_the_newest_known_version_counts() -> None:
    """A right MAC under another version's name is no signature; unknown ones beside it do no harm."""
    right = mac(circleci(workflow()).body)
    assert events_of(replaced(circleci(workflow()), SIGNATURE, f"v1={right},v2={'0' * 64}"))
    for header in (f"v2={right}", f"v1={right},v1={'0' * 64}", f"V1={right}", f"v1 ={right}", f"v1:{right}"):
        with pytest.raises(BadSignature):
            events_of(replaced(circleci(workflow()), SIGNATURE, header))


@pytest.mark.parametrize(
    "signature", ["", "v1", "v1=", "=", ",,,", "v1=\xff\u00e9", "v1=" + "0" * 64, "v1=" + "a" * 16384, mac(b"")]
)
def test_attack_2_and_4_a_wrong_signature_is_refused(signature: str) -> None:
    """A header out of shape is refused like a wrong one."""
    with pytest.raises(BadSignature):
        events_of(replaced(circleci(workflow()), SIGNATURE, signature))


def test_attack_1_3_5_6_and_14_only_our_secret_over_these_bytes_counts() -> None:
    """Missing, doubled, moved, made with no key or another's."""
    good = circleci(workflow())
    refused = [
        without(good, SIGNATURE),
        replaced(good, SIGNATURE, f"v1={mac(good.body)}", f"v1={mac(good.body)}"),
        with_body(good, good.body + b"\n"),
        circleci(workflow(), secret=""),
        circleci(workflow(), secret=SECRET[::-1]),
    ]
    for request in refused:
        with pytest.raises(IntakeError):
            source().verify(request, now=NOW)


def test_attack_11_the_unsigned_header_names_nothing() -> None:
    """The type is the body's own, which is signed."""
    (event,) = events_of(replaced(circleci(workflow("failed")), "circleci-event-type", "ping"))
    assert (event.type, event.data.outcome) == ("workflow.completed", "failed")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"[]",
        b"null",
        b"hello world",
        {"type": "workflow-completed"},
        {"type": ["workflow-completed"], "id": "1"},
        {"type": "#", "id": "1"},
        workflow(None),
        workflow(["success"]),
        workflow(workflow="success"),
        workflow(id={"a": 1}),
        workflow(id="x" * 201),
        workflow(pipeline=[]),
    ],
)
def test_attack_31_and_32_what_is_not_in_its_shape_is_malformed(body: Any) -> None:
    """Authentic, and unusable: nothing is released."""
    with pytest.raises(Malformed):
        events_of(circleci(body))


def test_attack_33_another_type_is_not_sniffed() -> None:
    """JSON under another name is not JSON."""
    for request in (
        replaced(circleci(workflow()), "content-type", "text/html"),
        without(circleci(workflow()), "content-type"),
    ):
        with pytest.raises(UnsupportedEncoding):
            events_of(request)
