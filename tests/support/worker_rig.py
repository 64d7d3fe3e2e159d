"""WorkerRig: the real worker of one target over a broker and HTTP; what the coordinator would read is collected."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.brokers.memory import MemoryBroker
from bridge.core.consumer import Consumer, UtcClock, load_consumer
from bridge.core.event import Event, EventData, Outcome
from bridge.core.ports import Broker, Outgoing, Subscription
from bridge.core.resolution import Progressed, Report, Resolution, read_report, write_resolution
from bridge.core.retry import RetryPolicy
from bridge.core.sealed import Unseal, no_key
from bridge.core.settings import TargetSettings
from bridge.core.topology import DEAD, REASON, REPORTS, to_target
from bridge.outbound import close_target, open_target
from bridge.worker.worker import Policies, Worker
from tests.support.fakes import eventually

TARGET = "under-test"
QUICK = RetryPolicy(first=timedelta(milliseconds=5), ceiling=timedelta(milliseconds=50))
POLICIES = Policies(not_yet=QUICK, later=QUICK, probes=QUICK)
FINAL = (Progressed.RESOLVED, Progressed.UNDELIVERABLE)


@dataclass
class WorkerRig:
    """Sends resolutions to one running worker.

    reports: everything that it told, oldest first.
    dead: the reason of each dead letter.
    """

    broker: Broker
    consumer: Consumer[Any, Any]
    worker: Worker
    reports: list[Report] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)

    async def send(
        self,
        address: Mapping[str, Any],
        outcome: Outcome = Outcome.SUCCEEDED,
        *,
        wait: str = "w1",
        data: EventData | None = None,
        **more: Any,
    ) -> None:
        """Publish one resolution; `timed_out` has no event. more: other fields of Resolution."""
        now = datetime.now(UTC)
        said = data or EventData(summary="12 of 12 passed")
        cause = None if outcome is Outcome.TIMED_OUT else Event.new(source="farm", type="done", time=now, data=said)
        given: dict[str, Any] = {
            "wait": wait,
            "target": TARGET,
            "dispatch": 1,
            "address": dict(address),
            "outcome": outcome,
            "decided_at": now,
            "deliver_until": now + timedelta(hours=1),
            "event": cause,
        }
        resolution = Resolution(**{**given, **more})
        await self.broker.publish(Outgoing(to_target(TARGET), write_resolution(resolution, now=now)))

    def finals(self, wait: str = "w1") -> list[Report]:
        return [report for report in self.reports if report.wait == wait and report.result in FINAL]

    def told(self, wait: str = "w1") -> list[str]:
        """Return the endings told, oldest first."""
        return [report.ending for report in self.reports if report.wait == wait]

    async def final(self, wait: str = "w1", within_s: float = 20.0) -> Report:
        """Wait for the one report that ends *wait*."""
        await eventually(lambda: bool(self.finals(wait)), within_s)
        (report,) = self.finals(wait)
        return report


@asynccontextmanager
async def worker_rig(
    consumer: str,
    settings: Mapping[str, Any],
    *,
    policies: Policies = POLICIES,
    broker: Broker | None = None,
    unseal: Unseal = no_key,
) -> AsyncIterator[WorkerRig]:
    """Run the worker of a target with *settings*; on a broker in memory where none is given."""
    broker = broker or MemoryBroker()
    await broker.start()
    await broker.declare([TARGET])
    await eventually(lambda: broker.is_ready)
    try:
        async with broker.subscribe(REPORTS, prefetch=10) as reports, broker.subscribe(DEAD, prefetch=10) as dead:
            opened = open_target(TARGET, _settings(consumer, settings), clock=UtcClock())
            worker = Worker(target=TARGET, consumer=opened, broker=broker, policies=policies, unseal=unseal)
            rig = WorkerRig(broker, opened, worker)
            async with (
                _running(_collect(reports, lambda body, _: rig.reports.append(read_report(body)))),
                _running(_collect(dead, lambda _, headers: rig.dead.append(str(headers.get(REASON))))),
                _working(rig),
            ):
                yield rig
    finally:
        await broker.close()


def _settings(consumer: str, given: Mapping[str, Any]) -> TargetSettings:
    kind = load_consumer(consumer)
    return kind.settings_type.model_validate({"consumer": consumer, "timeout": 5, **given})


@asynccontextmanager
async def _working(rig: WorkerRig) -> AsyncIterator[None]:
    await rig.consumer.open()
    run = asyncio.create_task(rig.worker.run())
    try:
        yield
    finally:
        await rig.worker.stop()
        await run
        await close_target(rig.consumer)


async def _collect(subscription: Subscription, keep: Callable[[bytes, Mapping[str, Any]], None]) -> None:
    while deliveries := await subscription.take(10):
        for delivery in deliveries:
            keep(delivery.body, delivery.headers)
            await delivery.ack()


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
