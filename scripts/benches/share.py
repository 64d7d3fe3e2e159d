"""The worker's own share: from a delivery in its hands to its first request to the platform, at 20 resolutions a second."""

import asyncio
import logging
import tempfile
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import aiohttp
import structlog

from bridge.brokers.rabbitmq import RabbitmqBroker
from bridge.core.consumer import UtcClock, load_consumer
from bridge.core.event import Outcome
from bridge.core.ports import Delivery, Outgoing
from bridge.core.request import Call, Reply
from bridge.core.resolution import Resolution, write_resolution
from bridge.core.topology import to_target
from bridge.outbound import AiohttpHttp, close_target, open_target
from bridge.worker.worker import Worker
from scripts.benches.common import Section, median, rabbitmq, say
from scripts.benches.platforms import PLATFORMS, Platform, emulated
from tests.support.fakes import eventually
from tests.support.servers import drop_vhost, fresh_vhost

_PER_S = 20
_began: ContextVar[float | None] = ContextVar("began", default=None)


class _TimedWorker(Worker):
    async def _work(self, delivery: Delivery) -> None:
        _began.set(perf_counter())
        await super()._work(delivery)


async def measure(*, seconds: float) -> Section:
    """Run each platform's worker over RabbitMQ for *seconds*; return the medians."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rows: list[tuple[str, ...]] = [("platform", "resolutions", "p50 ms", "p99 ms")]
    with rabbitmq() as server, tempfile.TemporaryDirectory() as folder:
        for name in PLATFORMS:
            vhost = fresh_vhost(server)
            try:
                async with emulated(name, Path(folder)) as platform:
                    shares = sorted(await _shares(vhost, platform, int(_PER_S * seconds)))
            finally:
                drop_vhost(vhost)
            p50, p99 = median(shares) * 1000, shares[int(len(shares) * 0.99)] * 1000
            say(f"  {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms of {len(shares)}")
            rows.append((name, str(len(shares)), f"{p50:.2f}", f"{p99:.2f}"))
    text = f"From the start of a delivery's work to the worker's first request, {_PER_S} a second, RabbitMQ, emulator in another process."
    return Section("worker's share", text, rows)


async def _shares(vhost: str, platform: Platform, count: int) -> list[float]:
    shares: list[float] = []
    send = AiohttpHttp.send

    async def timed(self: AiohttpHttp, call: Call) -> Reply:
        if (began := _began.get()) is not None:
            shares.append(perf_counter() - began)
            _began.set(None)
        return await send(self, call)

    broker = RabbitmqBroker(vhost)
    await broker.start()
    await broker.declare([platform.name])
    await eventually(lambda: broker.is_ready)
    consumer = open_target(platform.name, _settings(platform), clock=UtcClock())
    await consumer.open()
    worker = _TimedWorker(target=platform.name, consumer=consumer, broker=broker)
    running = asyncio.create_task(worker.run())
    try:
        with patch.object(AiohttpHttp, "send", timed):
            async with aiohttp.ClientSession() as session:
                await platform.prepare(session)
                addresses = [(await platform.place(session))[0] for _ in range(count)]
            for number, address in enumerate(addresses):
                message = Outgoing(to_target(platform.name), _resolution(platform.name, number, address))
                await broker.publish(message)
                await asyncio.sleep(1 / _PER_S)
            await eventually(lambda: len(shares) >= count, 30)
    finally:
        await worker.stop()
        await running
        await close_target(consumer)
        await broker.close()
    return shares


def _settings(platform: Platform) -> Any:
    kind = load_consumer(platform.name)
    return kind.settings_type.model_validate({"consumer": platform.name, **platform.settings})


def _resolution(target: str, number: int, address: dict[str, Any]) -> bytes:
    now = datetime.now(UTC)
    until = now + timedelta(hours=1)
    resolution = Resolution(
        wait=f"w{number}",
        target=target,
        dispatch=1,
        address=address,
        outcome=Outcome.SUCCEEDED,
        decided_at=now,
        deliver_until=until,
    )
    return write_resolution(resolution, now=now)
