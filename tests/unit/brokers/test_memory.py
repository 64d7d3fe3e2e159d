"""What the in-memory broker does beyond the promises of all brokers."""

import asyncio
from datetime import timedelta

import pytest

from bridge.brokers.memory import MemoryBroker
from bridge.core.errors import Unroutable
from bridge.core.ports import QueueStats
from bridge.core.topology import Route
from tests.support.brokers import DEADLINE_S, NO_DELAY, QUEUE, TARGET, message, take_all, take_one


async def started() -> MemoryBroker:
    broker = MemoryBroker()
    await broker.start()
    await broker.declare([TARGET])
    return broker


async def test_closed_and_started_again_it_has_its_messages() -> None:
    """Ready and delayed messages of the same object are there after a restart."""
    broker = await started()
    await broker.publish(message("1"), message("2"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        await (await take_one(subscription)).retry(timedelta(seconds=0.05))
    await broker.close()
    await broker.start()
    async with broker.subscribe(QUEUE, prefetch=2) as subscription:
        assert [delivery.body for delivery in await take_all(subscription, 2)] == [b"2", b"1"]


async def test_untaken_comes_back_as_it_was() -> None:
    """What was prefetched and never taken is no redelivery."""
    broker = await started()
    await broker.publish(message("1"), message("2"))
    async with broker.subscribe(QUEUE, prefetch=2) as subscription:
        await take_one(subscription)
    async with broker.subscribe(QUEUE, prefetch=2) as subscription:
        again = await take_all(subscription, 2)
    assert [(delivery.body, delivery.is_redelivered) for delivery in again] == [(b"1", True), (b"2", False)]


async def test_close_ends_followers() -> None:
    """A follower's iteration is over when the broker closes."""
    broker = await started()

    async def topics() -> list[str]:
        return [topic async for topic, _ in broker.follow()]

    following = asyncio.create_task(topics())
    await broker.announce("target.a", b"paused")
    await broker.close()
    assert await asyncio.wait_for(following, DEADLINE_S) == ["target.a"]


async def test_unknown_queue_has_no_figures() -> None:
    """Where there is no queue there is nothing to count; a subscription to it makes the broker not ready."""
    broker = await started()
    assert await broker.queues(["bridge.target.absent"]) == [QueueStats("bridge.target.absent", None, None, None)]
    async with broker.subscribe("bridge.target.absent", prefetch=1):
        assert not broker.is_ready
    assert broker.is_ready


async def test_one_message_that_is_refused_refuses_all() -> None:
    """A publish of several messages stores all or none."""
    broker = await started()
    with pytest.raises(Unroutable):
        await broker.publish(message("1"), message("2", route=Route("", "nowhere")))
    assert (await broker.queues([QUEUE]))[0].ready == 0


@pytest.mark.parametrize("prefetch", [0, -1])
async def test_prefetch_is_at_least_one(prefetch: int) -> None:
    """A subscription that could never get anything is a bug."""
    broker = await started()
    with pytest.raises(ValueError, match="prefetch"):
        async with broker.subscribe(QUEUE, prefetch=prefetch):
            pass


async def test_delayed_message_waits_for_nobody() -> None:
    """A zero delay is ready at once."""
    broker = await started()
    await broker.publish(message("1"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        await (await take_one(subscription)).retry(NO_DELAY)
    assert (await broker.queues([QUEUE]))[0].ready == 1
