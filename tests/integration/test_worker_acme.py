import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.brokers.memory import MemoryBroker
from bridge.brokers.sqlite import SqliteBroker
from bridge.core.consumer import UtcClock
from bridge.core.event import Event, EventData, Outcome
from bridge.core.ports import Broker, Outgoing, Subscription
from bridge.core.resolution import Progressed, Report, Resolution, read_report, write_resolution
from bridge.core.retry import RetryPolicy
from bridge.core.topology import DEAD, REPORTS, to_target
from bridge.outbound import close_target, open_target
from bridge.testing.emulator import FaultKind
from bridge.worker.worker import Policies, Worker
from tests.support.acme.acme_ci import AcmeSettings
from tests.support.acme.emulator import TOKEN, AcmeEmulator
from tests.support.fakes import eventually

QUICK = RetryPolicy(first=timedelta(milliseconds=5), ceiling=timedelta(milliseconds=50))
POLICIES = Policies(not_yet=QUICK, later=QUICK, probes=QUICK)
TARGET = "acme"


@dataclass
class Line:
    """One target over a real broker and HTTP; what the coordinator would read is collected in `reports`."""

    broker: Broker
    acme: AcmeEmulator
    worker: Worker
    settings: AcmeSettings
    reports: list[Report]
    dead: list[str]

    async def send(self, gate: str, **more: Any) -> None:
        now = datetime.now(UTC)
        event = Event.new(source="farm", type="done", time=now, data=EventData(summary="12 of 12 passed"))
        given: dict[str, Any] = {
            "wait": f"wait-{gate}",
            "target": TARGET,
            "dispatch": 1,
            "address": {"gate": gate},
            "outcome": Outcome.SUCCEEDED,
            "decided_at": now,
            "deliver_until": now + timedelta(hours=1),
            "event": event,
        }
        resolution = Resolution(**{**given, **more})
        await self.broker.publish(Outgoing(to_target(TARGET), write_resolution(resolution, now=now)))

    def told(self, gate: str) -> list[tuple[Progressed, str]]:
        return [(report.result, report.ending) for report in self.reports if report.wait == f"wait-{gate}"]

    async def final(self, gate: str) -> Report:
        """Wait for the report that ends the wait of *gate*."""
        ends = (Progressed.RESOLVED, Progressed.UNDELIVERABLE)

        def over() -> list[Report]:
            return [report for report in self.reports if report.wait == f"wait-{gate}" and report.result in ends]

        await eventually(lambda: bool(over()))
        (report,) = over()
        return report


async def _collect(subscription: Subscription, keep: Callable[[bytes, dict[str, Any]], None]) -> None:
    while deliveries := await subscription.take(10):
        for delivery in deliveries:
            keep(delivery.body, dict(delivery.headers))
            await delivery.ack()


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(params=["memory", "sqlite", "rabbitmq"])
def unstarted(request: pytest.FixtureRequest, tmp_path: Path) -> Broker:
    if request.param == "memory":
        return MemoryBroker()
    if request.param == "sqlite":
        return SqliteBroker(tmp_path / "bridge.db")
    url: str = request.getfixturevalue("vhost_url")
    from bridge.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415 - the other two run without its client

    return RabbitmqBroker(url)


@pytest.fixture
async def broker(unstarted: Broker) -> AsyncIterator[Broker]:
    await unstarted.start()
    await unstarted.declare([TARGET])
    await eventually(lambda: unstarted.is_ready)
    yield unstarted
    await unstarted.close()


@asynccontextmanager
async def line(broker: Broker, **settings: Any) -> AsyncIterator[Line]:
    acme = AcmeEmulator()
    async with (
        acme.serve() as url,
        broker.subscribe(REPORTS, prefetch=10) as reports,
        broker.subscribe(DEAD, prefetch=10) as dead,
    ):
        given = {"consumer": "tests.support.acme.acme_ci:Acme", "base_url": url, "token": TOKEN, "timeout": 5}
        made = AcmeSettings.model_validate({**given, **settings})
        consumer = open_target(TARGET, made, clock=UtcClock())
        worker = Worker(target=TARGET, consumer=consumer, broker=broker, policies=POLICIES)
        one = Line(broker, acme, worker, made, [], [])
        async with (
            _running(_collect(reports, lambda body, _: one.reports.append(read_report(body)))),
            _running(_collect(dead, lambda _, headers: one.dead.append(str(headers.get("bridge-reason"))))),
        ):
            run = asyncio.create_task(worker.run())
            try:
                yield one
            finally:
                await worker.stop()
                await run
                await close_target(consumer)


async def test_a_waiting_gate_is_decided_once(broker: Broker) -> None:
    """The platform gets the outcome and its summary in one call, signed; the coordinator hears that it is done."""
    async with line(broker) as one:
        gate = one.acme.open_gate("a b/c")
        await one.send("a b/c")
        assert (await one.final("a b/c")).ending == "done"
        assert gate.decisions == [{"approved": True, "comment": "12 of 12 passed"}]
        assert [entry.path for entry in one.acme.log] == ["/v2/gates/a%20b%2Fc/decision"]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT])
async def test_any_other_outcome_denies(broker: Broker, outcome: Outcome) -> None:
    """Only success approves; a timer's end has no event and says so."""
    async with line(broker) as one:
        gate = one.acme.open_gate("g")
        await one.send("g", outcome=outcome, event=None)
        await one.final("g")
        comment = "timed out" if outcome is Outcome.TIMED_OUT else ""
        assert gate.decisions == [{"approved": False, "comment": comment}]


async def test_a_gate_not_reached_is_waited_for(broker: Broker) -> None:
    """The callback may be faster than the pipeline: the worker polls until the gate is there, and tells it once."""
    async with line(broker) as one:
        await one.send("g")
        await eventually(lambda: len(one.acme.log) >= 3)
        gate = one.acme.open_gate("g")
        assert (await one.final("g")).ending == "done"
        assert len(gate.decisions) == 1
        assert one.told("g") == [(Progressed.ATTEMPT, "not-yet"), (Progressed.RESOLVED, "done")]


@pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.STATUS_AFTER])
async def test_a_lost_answer_is_looked_at_and_not_repeated(broker: Broker, kind: FaultKind) -> None:
    """The decision was applied and its answer lost: the repeat looks, finds it, and decides nothing again."""
    async with line(broker) as one:
        gate = one.acme.open_gate("g")
        one.acme.fault(kind, method="POST", status=502)
        await one.send("g")
        assert (await one.final("g")).ending == "already-done"
        assert len(gate.decisions) == 1
        assert [entry.method for entry in one.acme.log] == ["POST", "GET"]


@pytest.mark.parametrize("kind", [FaultKind.RESET_BEFORE, FaultKind.STATUS])
async def test_a_fault_before_the_effect_is_made_good(broker: Broker, kind: FaultKind) -> None:
    """Nothing was applied, so the repeat finds the gate waiting and decides it."""
    async with line(broker) as one:
        gate = one.acme.open_gate("g")
        one.acme.fault(kind, method="POST", status=503)
        await one.send("g")
        assert (await one.final("g")).ending == "done"
        assert len(gate.decisions) == 1


@pytest.mark.parametrize(("state", "ending", "dead"), [("closed", "gone", ["gone"]), ("approved", "already-done", [])])
async def test_a_gate_that_is_over_ends_at_once(broker: Broker, state: str, ending: str, dead: list[str]) -> None:
    """What can never be applied is dead-lettered with its reason; what a person did is a result."""
    async with line(broker) as one:
        one.acme.open_gate("g").state = state
        await one.send("g")
        assert (await one.final("g")).ending == ending
        await eventually(lambda: one.dead == dead)


async def test_an_unreachable_platform_keeps_everything(broker: Broker) -> None:
    """While the port is closed the breaker holds the queue; afterwards each gate gets its one decision."""
    async with line(broker, concurrency=1) as one:  # a second connection, kept alive, would still be served
        gates = {name: one.acme.open_gate(name) for name in "abcdefgh"}
        one.acme.fault(FaultKind.REFUSE, delay_s=0.5)
        for name in gates:
            await one.send(name)
        await eventually(lambda: one.worker.status.is_breaker_open)
        for name in gates:
            await one.final(name)
        assert all(len(gate.decisions) == 1 for gate in gates.values())
        assert one.dead == []
        assert not one.worker.status.is_breaker_open


async def test_a_wrong_token_is_tried_once_and_loses_nothing(broker: Broker) -> None:
    """A refused credential opens the breaker at the first answer; once it is taken again, all gates are decided."""
    async with line(broker, concurrency=1) as one:
        gates = {name: one.acme.open_gate(name) for name in "abc"}
        one.acme.token = "rotated"  # noqa: S105 - the emulator's own
        for name in gates:
            await one.send(name)
        await eventually(lambda: one.worker.status.is_breaker_open)
        assert [entry.method for entry in one.acme.log].count("POST") == 1
        one.acme.token = TOKEN
        for name in gates:
            await one.final(name)
        assert all(len(gate.decisions) == 1 for gate in gates.values())
        assert one.dead == []


async def test_throttling_delays_and_opens_no_breaker(broker: Broker) -> None:
    """429 with Retry-After is obeyed: nothing is sent before it is over."""
    async with line(broker) as one:
        one.acme.open_gate("g")
        one.acme.fault(FaultKind.STATUS, status=429, headers={"Retry-After": "1"})
        await one.send("g")
        await one.final("g")
        first, second = (entry for entry in one.acme.log if entry.method == "POST")
        assert second.at - first.at >= timedelta(seconds=1)
        assert "/v2/me" not in [entry.path for entry in one.acme.log]


async def test_a_cut_off_worker_leaves_its_call_to_the_next(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that was not settled comes again marked, so the next worker looks and decides nothing twice."""
    monkeypatch.setattr("bridge.worker.worker.DRAIN", timedelta(milliseconds=10))
    async with line(broker) as one:
        gate = one.acme.open_gate("g")
        one.acme.fault(FaultKind.SLOW, method="POST", delay_s=1)
        consumer = open_target(TARGET, one.settings, clock=one.worker._clock)
        await one.worker.stop()
        cut_off = asyncio.create_task(Worker(target=TARGET, consumer=consumer, broker=broker).run())
        await one.send("g")
        await eventually(lambda: len(gate.decisions) == 1)
        cut_off.cancel()
        await asyncio.gather(cut_off, return_exceptions=True)
        await close_target(consumer)
        again = open_target(TARGET, one.settings, clock=one.worker._clock)
        next_worker = Worker(target=TARGET, consumer=again, broker=broker, policies=POLICIES)
        run = asyncio.create_task(next_worker.run())
        assert (await one.final("g")).ending == "already-done"
        await next_worker.stop()
        await run
        await close_target(again)
        assert len(gate.decisions) == 1


async def test_a_token_that_is_echoed_stays_secret(broker: Broker) -> None:
    """A platform's strange answer is refused with its status only."""
    async with line(broker) as one:
        one.acme.open_gate("g")
        one.acme.fault(FaultKind.STATUS, status=418, body=TOKEN)
        await one.send("g")
        report = await one.final("g")
        assert (report.reason, report.note) == ("refused", "gate answered 418")
