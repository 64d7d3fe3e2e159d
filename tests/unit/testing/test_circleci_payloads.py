"""The CircleCI emulator's webhooks against the documented signatures and sample payloads."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge.testing.circleci import CircleciEmulator
from bridge.testing.circleci.model import Workflow
from bridge.testing.circleci.payloads import Hook, headers, job_completed, signature, workflow_completed

VECTORS = Path(__file__).parents[4] / "shared" / "vectors" / "circleci"
PUBLISHED = [
    ("hello world", "secret", "734cc62f32841568f45715aeb9f4d7891324e6d948e4c6c60c0621cdac48623a"),
    ("lalala", "another-secret", "daa220016c8f29a8b214fbfc3671aeec2145cfb1e6790184ffb38b6d0425fa00"),
    ("an-important-request-payload", "hunter123", "9be2242094a9a8c00c64306f382a7f9d691de910b4a266f67bd314ef18ac49fa"),
    ("foo", "secret", "773ba44693c7553d6ee20f61ea5d2757a9a4f4a44d2841ae4e95b52e4cd62db4"),
]
HOOK = Hook("00000000-0000-0000-0000-000000000001", "bridge", "https://example.com", "s", frozenset())


def ended(circleci: CircleciEmulator, project: str = "gh/acme/app", result: str = "success") -> Workflow:
    jobs = [{"name": "a", "result": result}]
    return circleci.start_pipeline(project, [{"name": "build", "jobs": jobs}]).workflow()


def names(value: Any) -> Any:
    """Return the keys of *value*, at every depth."""
    return {key: names(inner) for key, inner in value.items()} if isinstance(value, dict) else None


def sample(name: str) -> dict[str, Any]:
    if not VECTORS.is_dir():
        pytest.skip(f"the recorded webhooks are not here: {VECTORS}")
    body: dict[str, Any] = orjson.loads(orjson.loads((VECTORS / f"{name}.json").read_bytes())["body"])
    return body


@pytest.mark.parametrize(("body", "secret", "digest"), PUBLISHED)
def test_published_signatures(body: str, secret: str, digest: str) -> None:
    """The four documented pairs of body and secret give the documented signatures."""
    assert signature(secret, body.encode()) == f"v1={digest}"


def test_other_versions_are_other_digests() -> None:
    """A header with several versions keeps their order, and only v1 is the documented digest."""
    first, second = signature("secret", b"foo", ["v2", "v1"]).split(",")
    assert second == f"v1={PUBLISHED[3][2]}"
    assert first.startswith("v2=")
    assert first[3:] != PUBLISHED[3][2]


def test_headers_without_a_secret() -> None:
    """Without a secret there is no signature; the other three headers are always there."""
    circleci = CircleciEmulator()
    unsigned = Hook("id", "bridge", "https://example.com", None, frozenset())
    assert headers(unsigned, "workflow-completed", b"{}", circleci.knobs) == {
        "content-type": "application/json",
        "user-agent": "CircleCI-Webhook/1.0",
        "circleci-event-type": "workflow-completed",
    }


def test_workflow_completed_has_the_documented_shape() -> None:
    """Every field of the documented sample is sent, and none besides."""
    circleci = CircleciEmulator()
    body = workflow_completed(HOOK, ended(circleci), circleci.knobs)
    assert names(body) == names(sample("workflow-completed-github-success"))


def test_job_completed_has_the_documented_shape() -> None:
    """Every field of the documented sample is sent: the workflow is there, without its status."""
    circleci = CircleciEmulator()
    workflow = ended(circleci)
    body = job_completed(HOOK, workflow, workflow.job("a"), circleci.knobs)
    assert names(body) == names(sample("job-completed-github-success"))


def test_trigger_parameters_family() -> None:
    """A GitLab project has trigger_parameters instead of vcs, and with the knob no workflow in job-completed."""
    circleci = CircleciEmulator(webhook_job_has_workflow="vcs-only")
    workflow = ended(circleci, "circleci/org-id/project-id")
    whole = workflow_completed(HOOK, workflow, circleci.knobs)
    part = job_completed(HOOK, workflow, workflow.job("a"), circleci.knobs)
    assert whole is not None
    assert part is not None
    assert "vcs" not in whole["pipeline"]
    assert set(whole["pipeline"]["trigger_parameters"]) == {"git", "circleci", "gitlab", "webhook"}
    assert whole["project"]["slug"] == "circleci/org-id/project-id"
    assert "workflow" not in part


@pytest.mark.parametrize(
    ("result", "sent"), [("timedout", "failed"), ("infrastructure_fail", "failed"), ("canceled", "canceled")]
)
def test_job_statuses_of_webhooks(result: str, sent: str) -> None:
    """Webhooks know four job statuses: every kind of failure is failed."""
    circleci = CircleciEmulator()
    workflow = ended(circleci, result=result)
    body = job_completed(HOOK, workflow, workflow.job("a"), circleci.knobs)
    assert body is not None
    assert body["job"]["status"] == sent


def test_what_was_not_run_has_no_event() -> None:
    """Neither a job that was not run nor a workflow that still runs is an event."""
    circleci = CircleciEmulator()
    jobs = [{"name": "a", "result": "failed"}, {"name": "b", "requires": ["a"]}, {"name": "c", "duration_s": None}]
    workflow = circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": jobs}]).workflow()
    assert job_completed(HOOK, workflow, workflow.job("b"), circleci.knobs) is None
    assert workflow_completed(HOOK, workflow, circleci.knobs) is None


def test_ids_repeat_and_runs_differ() -> None:
    """The same event has the same UUIDv3; the nth of several has another id and a longer duration."""
    circleci = CircleciEmulator()
    workflow = ended(circleci)
    first, again, longer = (workflow_completed(HOOK, workflow, circleci.knobs, run=run) for run in (0, 0, 1))
    assert first is not None
    assert longer is not None
    assert first == again
    assert first["id"][14] == "3"
    assert longer["id"] != first["id"]
    assert longer["workflow"]["stopped_at"] > first["workflow"]["stopped_at"]
