"""Announcements on a real stream."""

import asyncio
from collections.abc import AsyncIterator

import aiormq
import pytest

from bridge.brokers.rabbitmq import RabbitmqBroker
from bridge.core.errors import BrokerUnavailable
from tests.support.brokers import TARGET, BrokerPlace, eventually
from tests.support.proxy import proxy_to

News = AsyncIterator[tuple[str, bytes]]


@pytest.fixture
async def broker(vhost_url: str) -> AsyncIterator[RabbitmqBroker]:
    """A broker that is ready, on an empty virtual host."""
    broker = RabbitmqBroker(vhost_url)
    await BrokerPlace("rabbitmq", lambda: broker).open()
    yield broker
    await broker.close()


async def read(news: News, number: int) -> list[tuple[str, bytes]]:
    async with asyncio.timeout(10):
        return [await anext(news) for _ in range(number)]


async def test_long_past_is_told_by_its_latest(broker: RabbitmqBroker) -> None:
    """However often a topic was announced, a new follower hears its latest word once, then each new one."""
    for number in range(300):
        await broker.announce(f"topic-{number % 3}", b"%d" % number)
    news = broker.follow()
    assert dict(await read(news, 3)) == {"topic-0": b"297", "topic-1": b"298", "topic-2": b"299"}
    await broker.announce("topic-1", b"new")
    await broker.announce("topic-1", b"newer")
    assert await read(news, 2) == [("topic-1", b"new"), ("topic-1", b"newer")]


async def test_follower_of_an_empty_past_hears_the_first_word(broker: RabbitmqBroker) -> None:
    """Nothing was announced yet: the first word comes as it is said."""
    news = broker.follow()
    first = asyncio.create_task(read(news, 1))
    await eventually(lambda: len(broker._readers) == 1)
    await eventually(lambda: broker.is_ready)
    await broker.announce("pause", b"1")
    assert await first == [("pause", b"1")]


async def test_reconnect_tells_only_what_changed(vhost_url: str, amqp_url: str, broker: RabbitmqBroker) -> None:
    """After a loss the follower hears what it missed, not the whole past again, and no flapping through it."""
    async with proxy_to(amqp_url) as proxy:
        far = RabbitmqBroker(proxy.through(vhost_url))
        await BrokerPlace("rabbitmq", lambda: far).open()
        for body in (b"1", b"2", b"3"):
            await broker.announce("pause", body)
        await broker.announce("other", b"same")
        news = far.follow()
        assert dict(await read(news, 2)) == {"pause": b"3", "other": b"same"}
        proxy.cut()
        await eventually(lambda: not far.is_ready)
        await broker.announce("pause", b"4")
        await broker.announce("pause", b"5")
        proxy.restore()
        assert await read(news, 1) == [("pause", b"5")]
        await broker.announce("other", b"changed")
        assert await read(news, 1) == [("other", b"changed")]
        await far.close()


async def delete_stream(url: str) -> None:
    """Delete the stream as an operator would."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.queue_delete("bridge.control.v1")
    await connection.close()


async def test_announcement_without_a_stream_is_unavailable_and_heals(broker: RabbitmqBroker, vhost_url: str) -> None:
    """When an operator deleted the stream, the announcement fails, and the stream is made again for the next one."""
    await delete_stream(vhost_url)
    with pytest.raises(BrokerUnavailable):
        await broker.announce("pause", b"2")

    async def announced() -> bool:
        try:
            await broker.announce("pause", b"3")
        except BrokerUnavailable:
            return False
        return True

    await eventually(announced)


async def test_follower_outlives_its_stream(broker: RabbitmqBroker, vhost_url: str) -> None:
    """When an operator deleted the stream, a follower goes on with the next one and still knows what it was told."""
    news = broker.follow()
    await broker.announce("pause", b"1")
    await broker.announce("other", b"1")
    assert dict(await read(news, 2)) == {"pause": b"1", "other": b"1"}
    await delete_stream(vhost_url)
    await eventually(lambda: not broker.is_ready)
    await eventually(lambda: broker.is_ready)
    await broker.announce("other", b"1")
    await broker.announce("pause", b"2")
    assert await read(news, 1) == [("pause", b"2")]


async def test_follower_waits_for_the_stream(vhost_url: str) -> None:
    """A worker may follow before a coordinator has declared anything."""
    worker, coordinator = RabbitmqBroker(vhost_url), RabbitmqBroker(vhost_url)
    await worker.start()
    news = worker.follow()
    first = asyncio.create_task(read(news, 1))
    await eventually(lambda: worker._topology.is_missing)
    await coordinator.start()
    await coordinator.declare([TARGET])
    await eventually(lambda: coordinator.is_ready)
    await coordinator.announce("pause", b"1")
    assert await first == [("pause", b"1")]
    await worker.close()
    await coordinator.close()
