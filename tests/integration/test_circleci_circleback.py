"""CircleCI contract cases 8 and 22 to 30 and 41: B's own webhook resumes A, through a whole bridge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge.core.errors import BrokerUnavailable
from bridge.testing.circleci import HUMAN, READ_TOKEN, TOKEN, CircleciEmulator
from bridge.testing.circleci.payloads import signature
from bridge.testing.emulator import FaultKind
from tests.support import ingress
from tests.support.circleci_bridge import RUNNING, A, B, circleback
from tests.support.circleci_stage import hold
from tests.support.fakes import eventually
from tests.support.senders import SECRET as INGRESS_SECRET
from tests.support.vectors import Vector, vectors

DONE: list[dict[str, Any]] = [{"name": "build", "jobs": ["unit"]}]
BY_HAND: list[dict[str, Any]] = [{"name": name, "duration_s": None} for name in ("unit", "e2e")]
SETUP: list[dict[str, Any]] = [{"name": "setup", "tag": "setup", "jobs": ["generate"]}]
TWO: list[dict[str, Any]] = [{"name": "lint", "jobs": [{"name": "style", "result": "failed"}]}, *RUNNING]


# --- 8: the result is there before the approval is sent


async def test_circleci_case_08_the_result_is_stored_before_the_approval_is_sent(tmp_path: Path) -> None:
    """While the approve is still on its way, the next job's question for the result is answered: failed."""
    async with circleback(tmp_path) as one:
        a, b = one.a().workflow(), one.b()
        one.circleci.fault(FaultKind.SLOW_BEFORE, method="POST", delay_s=0.5)
        wait = await one.wait_for(a, b, on_failure="approve")
        one.circleci.finish(b.workflow().job("e2e"), "failed")
        await eventually(lambda: bool(one.posts))
        status, result = await one.bridge.api.call("GET", f"/v1/waits/{wait}/result")
        assert one.effects() == []
        assert (status, result["outcome"], result["data"]["outcome"]) == (200, "failed", "failed")
        assert result["data"]["data"]["workflow"]["status"] == "failed"
        await one.ended(wait)
        assert one.effects() == [("approval.approved", hold(a))]


# --- 22: told once, done once


async def test_circleci_case_22_copies_of_a_webhook_are_one(tmp_path: Path) -> None:
    """Three deliveries under one id: all are taken, one decides, and there is one approve."""
    async with circleback(tmp_path, events=["workflow-completed"], webhook_copies=3) as one:
        a, b = one.a().workflow(), one.b()
        wait = await one.wait_for(a, b)
        one.circleci.finish(b.workflow().job("e2e"))
        await one.ended(wait)
        await one.told()
        assert one.statuses == [202, 202, 202]
        assert await one.verdicts(3) == ["resumed", "duplicate", "duplicate"]
        assert [post.path for post in one.posts] == [f"/api/v2/workflow/{a.id}/approve/{hold(a)}"]


async def test_circleci_case_22_a_cancel_is_told_by_many_ids(tmp_path: Path) -> None:
    """N jobs were stopped: N+1 events with ids of their own are one end, and one action."""
    jobs = [{"name": f"shard-{number}", "duration_s": None} for number in range(3)]
    async with circleback(tmp_path, webhook_extra_canceled=True) as one:
        a, b = one.a().workflow(), one.b([{"name": "build", "jobs": jobs}])
        wait = await one.wait_for(a, b)
        one.circleci.cancel(b.workflow())
        assert (await one.ended(wait))["outcome"] == "cancelled"
        await one.told()
        assert len({one.id for one in one.circleci.webhooks.deliveries if one.event == "workflow-completed"}) == 4
        assert await one.verdicts(4) == ["resumed", "duplicate", "duplicate", "duplicate"]
        assert one.effects("approval.approved", "approval.canceled") == [("approval.canceled", hold(a))]
        assert a.job("tell").status == "success"


# --- 23 to 26: the receiver


PUBLISHED = [
    ("hello world", "secret", "734cc62f32841568f45715aeb9f4d7891324e6d948e4c6c60c0621cdac48623a"),
    ("lalala", "another-secret", "daa220016c8f29a8b214fbfc3671aeec2145cfb1e6790184ffb38b6d0425fa00"),
    ("an-important-request-payload", "hunter123", "9be2242094a9a8c00c64306f382a7f9d691de910b4a266f67bd314ef18ac49fa"),
    ("foo", "secret", "773ba44693c7553d6ee20f61ea5d2757a9a4f4a44d2841ae4e95b52e4cd62db4"),
]


async def deliver(port: Any, body: bytes, header: str | None) -> int:
    """Post *body* with a signature header to the receiver; return the status."""
    signed = [("circleci-signature", header)] if header is not None else []
    answer = await port.call("/hooks/circleci-b", body, "application/json", headers=signed)
    return int(answer.status)


def event_body(**more: Any) -> bytes:
    workflow = {"id": "w-1", "name": "build", "status": "success"}
    return orjson.dumps({"type": "workflow-completed", "id": "e-1", "workflow": workflow, **more})


@pytest.mark.parametrize(("body", "secret", "digest"), PUBLISHED)
async def test_circleci_case_23_the_documented_signatures_are_accepted(
    monkeypatch: pytest.MonkeyPatch, body: str, secret: str, digest: str
) -> None:
    """Each opens the door: what is behind it is no webhook, and 400 says so; under another secret it is 401."""
    async with ingress.served() as port:
        assert await deliver(port, body.encode(), f"v1={digest}") == 401
    monkeypatch.setattr(ingress, "SECRET", secret)
    async with ingress.served() as port:
        assert await deliver(port, body.encode(), f"v1={digest}") == 400
        assert await deliver(port, event_body(), signature(secret, event_body())) == 202
        assert len(port.broker.events) == 1


@pytest.mark.parametrize("vector", vectors("circleci"))
async def test_circleci_case_23_recorded_deliveries_are_judged_as_recorded(
    monkeypatch: pytest.MonkeyPatch, vector: Vector
) -> None:
    """What is not signed over these very bytes is refused, and nothing of it is published."""
    assert vector.secret is not None
    monkeypatch.setattr(ingress, "SECRET", vector.secret)
    async with ingress.served() as port:
        status = (await port.deliver("/hooks/circleci-b", vector.request())).status
        assert (status == 401) is (not vector.expect["verified"])
        assert len(port.broker.events) == (status == 202)


@pytest.mark.parametrize(
    "header",
    [None, "", "v1", "v1=", "=", "v1=x=y", ",,,", "v2={}", "V1={}", "v1={},v1={}", "v1:{}", "{}", "v1=" + "0" * 64],
)
async def test_circleci_case_23_a_header_out_of_shape_is_401(header: str | None) -> None:
    """Never a 500, and never an event."""
    right = signature(INGRESS_SECRET, event_body()).removeprefix("v1=")
    async with ingress.served() as port:
        given = None if header is None else header.replace("{}", right)
        assert await deliver(port, event_body(), given) == 401
        assert port.broker.published == []


async def test_circleci_case_23_a_body_that_was_written_again_is_refused() -> None:
    """The same JSON in other bytes: a middle layer that re-serialises breaks the signature, and is not believed."""
    right = signature(INGRESS_SECRET, event_body())
    again = orjson.dumps(orjson.loads(event_body()), option=orjson.OPT_INDENT_2)
    async with ingress.served() as port:
        assert await deliver(port, again, right) == 401
        assert await deliver(port, event_body(), right) == 202


@pytest.mark.parametrize(
    ("secret", "versions", "status"),
    [
        (None, ["v1"], 401),
        ("another-secret", ["v1"], 401),
        (INGRESS_SECRET, ["v2"], 401),
        (INGRESS_SECRET, ["v2", "v1"], 202),
        (INGRESS_SECRET, ["v1", "v2", "v3"], 202),
    ],
)
async def test_circleci_case_24_only_a_known_version_under_our_secret_counts(
    secret: str | None, versions: list[str], status: int
) -> None:
    """No secret at CircleCI: unsigned, and refused; v1 may stand anywhere among versions that we do not know."""
    circleci = CircleciEmulator(webhook_signatures=versions, webhook_retry_delays_s=[])
    async with ingress.served() as port, circleci.serve():
        url = f"http://127.0.0.1:{port.port}/hooks/circleci-b"
        circleci.add_webhook(url, secret=secret, events=["workflow-completed"])
        circleci.start_pipeline(B, DONE)
        await circleci.wait_until(lambda: all(one.is_over for one in circleci.webhooks.deliveries))
        assert [attempt.status for one in circleci.webhooks.deliveries for attempt in one.attempts] == [status]
        assert len(port.broker.events) == (status == 202)


@pytest.mark.parametrize("project", [B, "circleci/9YytKzouJxzu4TjCRFqAoD/44n9wujWcTnVZ2b5S8Fnat"])
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"webhook_job_has_workflow": "vcs-only"},
        {"webhook_job_has_workflow": "vcs-only", "webhook_job_body_type": "workflow-completed"},
        {"webhook_job_body_type": "workflow-completed"},
        {"webhook_empty_url": True},
        {"webhook_extra_fields": True},
    ],
    ids=lambda knobs: "-".join(map(str, knobs.values())) or "plain",
)
async def test_circleci_case_25_every_shape_is_one_event(project: str, knobs: dict[str, Any]) -> None:
    """Both families, with and without workflow, url and known fields: a job's event, which decides nothing, and a workflow's."""
    circleci = CircleciEmulator(**knobs)
    async with ingress.served() as port, circleci.serve():
        hook = circleci.add_webhook(f"http://127.0.0.1:{port.port}/hooks/circleci-b", secret=INGRESS_SECRET)
        pipeline = circleci.start_pipeline(project, DONE)
        circleci.ping(hook)
        await circleci.wait_until(lambda: all(one.is_over for one in circleci.webhooks.deliveries))
        assert {attempt.status for one in circleci.webhooks.deliveries for attempt in one.attempts} == {202}
        assert len(circleci.webhooks.deliveries) == 3
        by_type = {event.type: event.data for event in port.broker.events}
        assert {kind: data.outcome.value for kind, data in by_type.items()} == {
            "job.completed": "none",
            "workflow.completed": "succeeded",
        }
        workflow = by_type["workflow.completed"]
        assert workflow.keys["pipeline_id"] == pipeline.id
        assert workflow.keys["workflow_id"] == pipeline.workflow().id
        assert workflow.keys["workflow"] == "build"
        assert workflow.keys["project_id"] == pipeline.project.id
        assert bool(workflow.url) is not knobs.get("webhook_empty_url", False)
        assert by_type["job.completed"].keys["pipeline_id"] == pipeline.id


async def test_circleci_case_26_no_2xx_before_the_broker_has_it() -> None:
    """Slow: no answer until it is stored, or 503 where that fails; the redelivery under the same id succeeds."""
    circleci = CircleciEmulator(webhook_retry_delays_s=[60])
    async with ingress.served() as port, circleci.serve():
        url = f"http://127.0.0.1:{port.port}/hooks/circleci-b"
        circleci.add_webhook(url, secret=INGRESS_SECRET, events=["workflow-completed"])
        port.broker.confirms.clear()
        circleci.start_pipeline(B, DONE)
        await eventually(lambda: port.broker.waiting == 1)
        (delivery,) = circleci.webhooks.deliveries
        assert delivery.attempts == []
        port.broker.fault = BrokerUnavailable("no confirm in time")
        port.broker.confirms.set()
        await circleci.wait_until(lambda: len(delivery.attempts) == 1)
        assert delivery.attempts[0].status == 503
        assert port.broker.published == []
        port.broker.fault = None
        circleci.webhooks.flush()
        await circleci.wait_until(lambda: delivery.is_over)
        assert [attempt.status for attempt in delivery.attempts] == [503, 202]
        assert len(port.broker.events) == 1


# --- 27 to 30: which end of B counts


async def test_circleci_case_27_slugs_are_compared_as_the_api_spells_them(tmp_path: Path) -> None:
    """The webhook says github/acme/b, the wait gh/acme/b: it matches by pipeline and by project."""
    async with circleback(tmp_path) as one:
        a, b = one.a().workflow(), one.b()
        wait = await one.wait_for(a, b, keys={"project": B, "project_id": b.project.id})
        one.circleci.finish(b.workflow().job("e2e"))
        assert (await one.ended(wait))["outcome"] == "succeeded"
        sent = orjson.loads(one.circleci.webhooks.deliveries[-1].body)
        assert sent["project"]["slug"] == "github/acme/b"


async def test_circleci_case_28_b_has_ended_when_a_goes_on(tmp_path: Path) -> None:
    """Jobs of B that end decide nothing; when the approve has its effect, B's workflow is over, and asking it says success."""
    async with circleback(tmp_path) as one:
        a, b = one.a().workflow(), one.b([{"name": "build", "jobs": BY_HAND}])
        wait = await one.wait_for(a, b, kind=None)
        one.circleci.finish(b.workflow().job("unit"))
        assert await one.verdicts(1, "job.completed") == ["ignored"]
        assert (await one.bridge.api.call("GET", f"/v1/waits/{wait}"))[1]["state"] == "open"
        assert (b.workflow().status, one.posts) == ("running", [])
        one.circleci.finish(b.workflow().job("e2e"))
        await one.ended(wait)
        ends = one.effects("workflow.finished", "approval.approved")
        assert ends.index(("workflow.finished", b.workflow().id)) < ends.index(("approval.approved", hold(a)))


@pytest.mark.parametrize("result", ["success", "failed"])
async def test_circleci_case_29_the_workflow_that_a_wait_names_decides(tmp_path: Path, result: str) -> None:
    """B's other workflow fails first, and does not count: the wait names one of B's workflows in its keys."""
    async with circleback(tmp_path) as one:
        a, b = one.a().workflow(), one.b(TWO)
        wait = await one.wait_for(a, b, keys={"workflow": "build"})
        await one.told()
        assert b.workflow("lint").status == "failed"
        assert (await one.bridge.api.call("GET", f"/v1/waits/{wait}"))[1]["state"] == "open"
        one.circleci.finish(b.workflow("build").job("e2e"), result)
        assert (await one.ended(wait))["outcome"] == ("succeeded" if result == "success" else "failed")


async def test_circleci_case_29_without_a_name_the_first_to_end_decides(tmp_path: Path) -> None:
    """Not all of them: that takes more than one event, and is not asked for here."""
    async with circleback(tmp_path) as one:
        a, b = one.a().workflow(), one.b(TWO)
        wait = await one.wait_for(a, b)
        assert (await one.ended(wait))["outcome"] == "failed"
        assert b.workflow("build").status == "running"


async def test_circleci_case_29_a_setup_workflow_is_not_the_one_that_is_named(tmp_path: Path) -> None:
    """Dynamic config: the setup workflow's success is a false end; the continued one, which appears later, is awaited."""
    async with circleback(tmp_path) as one:
        a, b = one.a().workflow(), one.b(SETUP, continuation=RUNNING)
        wait = await one.wait_for(a, b, keys={"workflow": "build"})
        await one.told()
        assert b.workflow("setup").status == "success"
        assert (await one.bridge.api.call("GET", f"/v1/waits/{wait}"))[1]["state"] == "open"
        one.circleci.world.continue_pipeline(b.continuation_key, None, {})
        one.circleci.finish(b.workflow("build").job("e2e"))
        assert (await one.ended(wait))["outcome"] == "succeeded"
        assert one.effects() == [("approval.approved", hold(a))]


async def test_circleci_case_29_a_rerun_of_b_comes_late(tmp_path: Path) -> None:
    """The first end decided; the second of the same name, in the same pipeline, changes nothing."""
    async with circleback(tmp_path) as one:
        a, b = one.a().workflow(), one.b()
        wait = await one.wait_for(a, b)
        one.circleci.finish(b.workflow().job("e2e"), "failed")
        assert (await one.ended(wait))["outcome"] == "failed"
        one.circleci.finish(one.circleci.rerun(b.workflow()).job("e2e"))
        await one.told()
        assert await one.verdicts(2) == ["resumed", "late"]
        assert one.effects("approval.approved", "approval.canceled") == [("approval.canceled", hold(a))]


async def test_circleci_case_29_an_end_before_the_wait_counts(tmp_path: Path) -> None:
    """B was faster than A's registration: its event is kept, and A goes on at once."""
    async with circleback(tmp_path) as one:
        a, b = one.a().workflow(), one.b(DONE)
        await one.told()
        wait = await one.wait_for(a, b)
        assert (await one.ended(wait))["outcome"] == "succeeded"
        assert one.effects() == [("approval.approved", hold(a))]


@pytest.mark.parametrize(
    ("policy", "effect"),
    [
        ({}, "approval.canceled"),
        ({"on_failure": "cancel-workflow"}, "workflow.canceled"),
        ({"on_failure": "approve"}, "approval.approved"),
    ],
    ids=["cancel-job", "cancel-workflow", "approve"],
)
async def test_circleci_case_30_a_pipeline_that_errored_ends_at_the_deadline(
    tmp_path: Path, policy: dict[str, Any], effect: str
) -> None:
    """B's config does not compile, and no webhook tells: the deadline decides, and the negative policy is applied."""
    async with circleback(tmp_path) as one:
        a, b = one.a().workflow(), one.b([], errors=[{"type": "config"}])
        wait = await one.wait_for(a, b, within="1s", **policy)
        shown = await one.ended(wait)
        assert (shown["outcome"], shown["reason"]) == ("timed_out", "deadline")
        assert one.circleci.webhooks.deliveries == []
        assert effect in [kind for kind, _ in one.effects()]
        assert len(one.posts) == 1
        status, result = await one.bridge.api.call("GET", f"/v1/waits/{wait}/result")
        assert (status, result["outcome"]) == (200, "timed_out")


# --- 41: secrets


async def test_circleci_case_41_the_token_is_told_to_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Refused, dead-lettered, throttled, done: in no log, answer, dead letter or metric, and in no query string."""
    async with circleback(tmp_path) as one:
        one.circleci.add_token(TOKEN, access="read")
        refused, done = one.a().workflow(), one.a().workflow()
        b, c = one.b(DONE), one.b(DONE)
        first = await one.wait_for(refused, b)
        await one.ended(first, "undeliverable")
        one.circleci.add_token(TOKEN)
        one.circleci.fault(FaultKind.STATUS, status=503, body=TOKEN)
        second = await one.wait_for(done, c)
        await one.ended(second)
        await _assert_hidden(one, capfd, [TOKEN, READ_TOKEN], [first, second])
        assert all(TOKEN not in entry.query for entry in one.circleci.log)


@pytest.mark.parametrize("is_used", [True, False])
async def test_circleci_case_41_a_continuation_key_is_told_to_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], *, is_used: bool
) -> None:
    """Continued, or refused and dead-lettered: the key is where it was given, at CircleCI, and nowhere else."""
    async with circleback(tmp_path) as one:
        a, b = one.circleci.start_pipeline(A, SETUP), one.b()
        if is_used:
            one.circleci.world.continue_pipeline(a.continuation_key, None, {})
        expected = {"source": "circleci-b", "type": "workflow.completed", "keys": {"pipeline_id": b.id}}
        config = '{"workflows": [{"name": "build", "jobs": ["test"]}]}'
        address = {"continuation_key": a.continuation_key, "configuration": config, "parameters": {"result": "outcome"}}
        made = await one.bridge.api.register("circleci", address, expects=[expected])
        one.circleci.finish(b.workflow().job("e2e"))
        await one.ended(made["id"], "undeliverable" if is_used else "resolved")
        if not is_used:
            assert a.parameters == {"result": "succeeded"}
        await _assert_hidden(one, capfd, [a.continuation_key], [made["id"]])
    assert a.continuation_key.encode() not in stored_in(tmp_path)


def stored_in(folder: Path) -> bytes:
    """Return what stands in the files of the store."""
    return b"".join(path.read_bytes() for path in folder.glob("*.db*"))


async def _assert_hidden(
    one: Any, capfd: pytest.CaptureFixture[str], secrets: Sequence[str], waits: Sequence[str]
) -> None:
    """Assert that none of *secrets* stands in what the bridge tells."""
    paths = ["/v1/waits", "/v1/events", "/v1/dead-letters", "/v1/targets", *(f"/v1/waits/{wait}" for wait in waits)]
    _, letters = await one.bridge.api.call("GET", "/v1/dead-letters")
    paths += [f"/v1/dead-letters/{letter['id']}" for letter in letters["items"]]
    told = [str(await one.bridge.api.call("GET", path)) for path in paths]
    async with one.bridge.session.get(f"{one.bridge.url}/metrics") as response:
        told.append(await response.text())
    told += capfd.readouterr()
    assert not [secret for secret in secrets for text in told if secret in text]


async def test_circleci_case_18_a_person_was_first_through_the_whole_bridge(tmp_path: Path) -> None:
    """The approval was given by hand before B ended: nothing is sent, and the wait says by whom."""
    async with circleback(tmp_path) as one:
        a, b = one.a().workflow(), one.b()
        wait = await one.wait_for(a, b)
        one.circleci.approve(a.job("hold"), by=HUMAN)
        one.circleci.finish(b.workflow().job("e2e"))
        shown = await one.ended(wait)
        assert shown["timeline"][-1]["note"] == f"approved by {one.circleci.world.user(HUMAN).id}"
        assert one.posts == []
