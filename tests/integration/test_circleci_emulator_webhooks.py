"""The CircleCI emulator's outbound webhooks, received by a plain server."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web

from bridge.testing.circleci import CircleciEmulator
from tests.support.circleci_client import GATED, HOLD

SECRET = "hunter123"  # noqa: S105 - the documented example


@dataclass
class Receiver:
    """Keeps what it gets and answers what `statuses` says, then 200. `gate`: it answers nothing before that is set."""

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((headers, await request.read()))
        if self.gate is not None:
            await self.gate.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": self.url} if status == 302 else {})

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [orjson.loads(body) for _, body in self.got]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def all_over(circleci: CircleciEmulator, number: int) -> bool:
    return len(circleci.webhooks.deliveries) == number and all(one.is_over for one in circleci.webhooks.deliveries)


async def test_an_ended_workflow_is_told() -> None:
    """workflow-completed arrives signed, with its headers, the long slug and a final status, after the end."""
    circleci = CircleciEmulator()
    async with receiving() as receiver, circleci.serve():
        circleci.add_webhook(receiver.url, secret=SECRET, events=["workflow-completed"], project="github/acme/app")
        circleci.start_pipeline("gh/acme/other", [{"name": "build", "jobs": ["a"]}])
        workflow = circleci.start_pipeline("gh/acme/app", GATED).workflow()
        assert circleci.webhooks.deliveries == []
        circleci.approve(workflow.job("hold"))
        await circleci.wait_until(lambda: all_over(circleci, 1))
    [(headers, body)] = receiver.got
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["circleci-signature"] == f"v1={digest}"
    assert headers["circleci-event-type"] == "workflow-completed"
    assert headers["user-agent"] == "CircleCI-Webhook/1.0"
    assert headers["content-type"] == "application/json"
    event = receiver.bodies[0]
    assert (event["workflow"]["id"], event["workflow"]["status"]) == (workflow.id, "success")
    assert (event["project"]["slug"], event["pipeline"]["id"]) == ("github/acme/app", workflow.pipeline.id)


@pytest.mark.parametrize(
    ("tells_approvals", "names"), [(True, ["deploy", "hold", "test"]), (False, ["deploy", "test"])]
)
async def test_ended_jobs_are_told(tells_approvals: bool, names: list[str]) -> None:  # noqa: FBT001 - a row of a table
    """job-completed arrives for each job, without the workflow's status; for approvals by the knob."""
    circleci = CircleciEmulator(webhook_approval_jobs=tells_approvals)
    async with receiving() as receiver, circleci.serve():
        circleci.add_webhook(receiver.url, events=["job-completed"])
        circleci.approve(circleci.start_pipeline("gh/acme/app", GATED).workflow().job("hold"))
        await circleci.wait_until(lambda: all_over(circleci, len(names)))
    assert sorted(body["job"]["name"] for body in receiver.bodies) == names
    assert all("status" not in body["workflow"] for body in receiver.bodies)
    assert all("circleci-signature" not in headers for headers, _ in receiver.got)


async def test_a_receiver_that_refuses_is_asked_again() -> None:
    """Anything but 2xx is retried after the schedule, with the same bytes."""
    circleci = CircleciEmulator(webhook_retry_delays_s=[0, 0, 0])
    async with receiving() as receiver, circleci.serve():
        receiver.statuses = [503, 302]
        circleci.add_webhook(receiver.url, secret=SECRET, events=["workflow-completed"])
        circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": ["a"]}])
        await circleci.wait_until(lambda: all_over(circleci, 1))
    assert len(receiver.got) == 3
    assert len({body for _, body in receiver.got}) == 1
    [delivery] = circleci.webhooks.deliveries
    assert [attempt.status for attempt in delivery.attempts] == [503, 302, 200]
    assert delivery.is_delivered


async def test_a_slow_receiver_is_asked_again() -> None:
    """No answer within the time-out counts as none; the schedule has an end."""
    circleci = CircleciEmulator(webhook_timeout_s=0.05, webhook_retry_delays_s=[0])
    async with receiving() as receiver, circleci.serve():
        receiver.gate = asyncio.Event()
        circleci.add_webhook(receiver.url, events=["workflow-completed"])
        circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": ["a"]}])
        await circleci.wait_until(lambda: all_over(circleci, 1))
        receiver.gate.set()
    [delivery] = circleci.webhooks.deliveries
    assert [attempt.status for attempt in delivery.attempts] == [None, None]
    assert not delivery.is_delivered


async def test_a_waiting_retry_can_be_sent_at_once() -> None:
    """flush() does not wait for the schedule."""
    circleci = CircleciEmulator(webhook_retry_delays_s=[3600])
    async with receiving() as receiver, circleci.serve():
        receiver.statuses = [500]
        circleci.add_webhook(receiver.url, events=["workflow-completed"])
        circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": ["a"]}])
        await circleci.wait_until(lambda: len(circleci.webhooks.deliveries[0].attempts) == 1)
        circleci.webhooks.flush()
        await circleci.wait_until(lambda: all_over(circleci, 1))
    assert len(receiver.got) == 2


async def test_duplicates_have_one_id() -> None:
    """`webhook_copies` sends the same event several times."""
    circleci = CircleciEmulator(webhook_copies=3)
    async with receiving() as receiver, circleci.serve():
        circleci.add_webhook(receiver.url, events=["workflow-completed"])
        circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": ["a"]}])
        await circleci.wait_until(lambda: all_over(circleci, 3))
    assert len(receiver.got) == 3
    assert len({body["id"] for body in receiver.bodies}) == 1


async def test_a_cancel_may_send_several_events() -> None:
    """N stopped jobs give N+1 events of one workflow, with own ids and growing durations."""
    circleci = CircleciEmulator(webhook_extra_canceled=True)
    jobs = [{"name": "a", "duration_s": None}, {"name": "b", "duration_s": None}]
    async with receiving() as receiver, circleci.serve():
        circleci.add_webhook(receiver.url, events=["workflow-completed"])
        workflow = circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": jobs}]).workflow()
        circleci.cancel(workflow)
        await circleci.wait_until(lambda: all_over(circleci, 3))
    assert {body["workflow"]["status"] for body in receiver.bodies} == {"canceled"}
    assert len({body["id"] for body in receiver.bodies}) == 3
    assert len({body["workflow"]["stopped_at"] for body in receiver.bodies}) == 3
    assert {body["workflow"]["id"] for body in receiver.bodies} == {workflow.id}


async def test_a_ping() -> None:
    """The test event is signed and carries no workflow."""
    circleci = CircleciEmulator()
    async with receiving() as receiver, circleci.serve():
        hook = circleci.add_webhook(receiver.url, secret=SECRET)
        circleci.ping(hook)
        await circleci.wait_until(lambda: all_over(circleci, 1))
    [(headers, body)] = receiver.got
    assert headers["circleci-event-type"] == "ping"
    assert headers["circleci-signature"] == f"v1={hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}"
    assert receiver.bodies[0].keys() == {"type", "id", "happened_at", "webhook"}


async def test_odd_payloads() -> None:
    """Empty url, unknown fields, other signature versions and the sample's odd type are knobs."""
    circleci = CircleciEmulator(
        webhook_empty_url=True,
        webhook_extra_fields=True,
        webhook_signatures=["v2"],
        webhook_job_body_type="workflow-completed",
    )
    async with receiving() as receiver, circleci.serve():
        circleci.add_webhook(receiver.url, secret=SECRET, events=["job-completed"])
        circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": ["a"]}])
        await circleci.wait_until(lambda: all_over(circleci, 1))
    [(headers, _)] = receiver.got
    [body] = receiver.bodies
    assert headers["circleci-event-type"] == "job-completed"
    assert headers["circleci-signature"].startswith("v2=")
    assert (body["type"], body["workflow"]["url"]) == ("workflow-completed", "")
    assert "a_new_field" in body


async def test_no_event_for_holds_and_config_errors() -> None:
    """A workflow on hold and an errored pipeline send nothing."""
    circleci = CircleciEmulator()
    async with receiving() as receiver, circleci.serve():
        circleci.add_webhook(receiver.url)
        circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": [HOLD]}])
        circleci.start_pipeline("gh/acme/app", GATED, errors=[{}])
        assert circleci.webhooks.deliveries == []
    assert receiver.got == []


async def test_what_happened_before_serving_is_sent() -> None:
    """An event from before serve() goes out when the emulator is served."""
    circleci = CircleciEmulator()
    async with receiving() as receiver:
        circleci.add_webhook(receiver.url, events=["workflow-completed"])
        circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": ["a"]}])
        async with circleci.serve():
            await circleci.wait_until(lambda: all_over(circleci, 1))
    assert len(receiver.got) == 1


def test_a_webhook_has_two_events() -> None:
    """Other events do not exist."""
    with pytest.raises(ValueError, match="job-completed"):
        CircleciEmulator().add_webhook("http://127.0.0.1:1/", events=["workflow-started"])
