"""A batch that fails: what is told of it, and that the good messages of it go on."""

import asyncio
from collections.abc import Sequence

import pytest
import structlog

from bridge.app.process import _kept_running
from bridge.brokers.memory import MemoryBroker
from bridge.coordinator.consuming import BatchConsumer
from bridge.core.ports import Delivery, Outgoing
from bridge.core.topology import REPORTS, to_reports

BODY = b"S3CRET-BODY"


async def always() -> bool:
    return True


async def test_a_message_that_fails_is_told_without_its_body() -> None:
    """A fault's text may hold what a message held (a driver shows its parameters), so only its class and places are told."""
    handled: list[bytes] = []
    done = asyncio.Event()

    async def handle(batch: Sequence[bytes]) -> None:
        if BODY in batch:
            raise ValueError(f"[parameters: {BODY!r}]")
        handled.extend(batch)
        done.set()

    def read(delivery: Delivery) -> bytes:
        return delivery.body

    broker = MemoryBroker()
    await broker.start()
    await broker.declare([])
    await broker.publish(Outgoing(to_reports(), BODY), Outgoing(to_reports(), b"good"))
    with structlog.testing.capture_logs() as logs:
        consuming = asyncio.create_task(
            BatchConsumer(broker, REPORTS, read=read, handle=handle, is_store_up=always).run()
        )
        async with asyncio.timeout(5):
            await done.wait()
        await broker.close()
        await asyncio.wait([consuming])
    assert handled == [b"good"]
    (line,) = [line for line in logs if line["event"] == "delivery_failed"]
    assert line["error"] == "ValueError"
    assert "exc_info" not in line
    assert "S3CRET" not in repr(logs)


async def test_a_part_that_fails_is_told_without_its_text() -> None:
    """The same holds for a whole part of the process."""
    seen = asyncio.Event()

    async def work() -> None:
        seen.set()
        raise ValueError("S3CRET-BODY")

    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(_kept_running("coordinator", work))
        await seen.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    (line,) = [line for line in logs if line["event"] == "part_failed"]
    assert (line["part"], line["error"]) == ("coordinator", "ValueError")
    assert "exc_info" not in line
