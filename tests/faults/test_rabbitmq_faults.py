"""RabbitMQ killed, blocked, cut off, stalled, late: nothing confirmed is lost, nothing hangs, all comes back by itself."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import aiormq
import pytest

from bridge.brokers.rabbitmq import RabbitmqBroker
from bridge.brokers.rabbitmq.publisher import DEADLINE_S, MAX_UNCONFIRMED
from bridge.core.errors import BrokerUnavailable
from bridge.core.topology import REPORTS, UNROUTED, to_reports, wire_name
from tests.support.brokers import NO_DELAY, QUEUE, TARGET, BrokerPlace, eventually, is_quiet, message, take_one
from tests.support.proxy import TcpProxy, proxy_to
from tests.support.servers import RabbitmqNode, fresh_vhost

LONG_S = 60.0
"""Enough for a node to start again on a busy machine."""


@pytest.fixture
def node_url(rabbitmq_node: RabbitmqNode) -> str:
    """An empty virtual host of a node that the test may kill."""
    return fresh_vhost(rabbitmq_node.url)


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[TcpProxy]:
    """A proxy in front of the shared broker."""
    async with proxy_to(amqp_url) as proxy:
        yield proxy


async def opened(url: str) -> RabbitmqBroker:
    broker = RabbitmqBroker(url)
    await BrokerPlace("rabbitmq", lambda: broker).open()
    return broker


async def until_ready(broker: RabbitmqBroker) -> None:
    async with asyncio.timeout(LONG_S):
        while not broker.is_ready:  # noqa: ASYNC110 - a property has no event
            await asyncio.sleep(0.05)


async def bodies(broker: RabbitmqBroker, number: int) -> set[bytes]:
    """Return what is in the target's queue, until *number* different bodies were seen."""
    seen: set[bytes] = set()
    async with broker.subscribe(QUEUE, prefetch=100) as subscription, asyncio.timeout(LONG_S):
        while len(seen) < number:
            for delivery in await subscription.take(100):
                seen.add(delivery.body)
                await delivery.ack()
    return seen


class Stream:
    """Publishes one message after the other and remembers which were confirmed."""

    def __init__(self, broker: RabbitmqBroker) -> None:
        self.confirmed: set[bytes] = set()
        self.failed = 0
        self.longest_s = 0.0
        self._broker = broker
        self._is_over = False
        self._number = 0

    async def run(self) -> None:
        while not self._is_over:
            self._number += 1
            body = f"{id(self)}-{self._number}"
            begin = time.monotonic()
            try:
                await self._broker.publish(message(body))
            except BrokerUnavailable:
                self.failed += 1
                await asyncio.sleep(0.01)
            else:
                self.confirmed.add(body.encode())
            self.longest_s = max(self.longest_s, time.monotonic() - begin)

    def stop(self) -> None:
        self._is_over = True


async def test_pitfall_06_kill_of_the_broker_loses_nothing_confirmed_and_nothing_held(
    rabbitmq_node: RabbitmqNode, node_url: str
) -> None:
    """Under twenty publishers the node dies and comes back: each publish ends by its deadline, every confirmed one is there.

    What was held of the dead node can no longer be settled; its message comes again, in doubt.
    """
    broker, other = await opened(node_url), await opened(fresh_vhost(rabbitmq_node.url))
    await other.publish(message("held"))
    async with other.subscribe(QUEUE, prefetch=1) as subscription:
        held = await take_one(subscription)
        streams = [Stream(broker) for _ in range(20)]
        running = [asyncio.create_task(stream.run()) for stream in streams]
        await eventually(lambda: sum(len(stream.confirmed) for stream in streams) > 200)
        await asyncio.to_thread(rabbitmq_node.kill9)
        await eventually(lambda: all(stream.failed for stream in streams) and not other.is_ready)
        assert not broker.is_ready
        for settle in (held.ack(), held.retry(NO_DELAY), held.dead_letter("x"), held.release()):
            with pytest.raises(BrokerUnavailable):
                await settle
        before = sum(len(stream.confirmed) for stream in streams)
        await asyncio.to_thread(rabbitmq_node.start)
        await until_ready(broker)
        async with asyncio.timeout(LONG_S):
            [again] = await subscription.take(1)
            while sum(len(stream.confirmed) for stream in streams) < before + 200:  # noqa: ASYNC110 - so has a sum
                await asyncio.sleep(0.05)
        assert (again.body, again.attempt) == (b"held", 1)
        await again.ack()
    for stream in streams:
        stream.stop()
    await asyncio.gather(*running)
    assert max(stream.longest_s for stream in streams) < DEADLINE_S + 1.5
    confirmed = set().union(*(stream.confirmed for stream in streams))
    [figures] = await broker.queues([QUEUE])
    assert figures.ready is not None
    assert confirmed <= await bodies(broker, figures.ready)
    await broker.close()
    await other.close()


async def test_broker_may_start_after_us(vhost_url: str, proxy: TcpProxy) -> None:
    """start() and declare() return at once without a broker; all is there once it comes."""
    proxy.cut()
    broker = RabbitmqBroker(proxy.through(vhost_url))
    async with asyncio.timeout(0.5):
        await broker.start()
        await broker.declare([TARGET])
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        assert not broker.is_ready
        with pytest.raises(BrokerUnavailable):
            await broker.publish(message("too early"))
        [figures] = await broker.queues([QUEUE])
        assert (figures.ready, figures.unacked, figures.consumers) == (None, None, None)
        proxy.restore()
        await until_ready(broker)
        await broker.publish(message("x"))
        assert (await take_one(subscription)).body == b"x"
    await broker.close()


async def test_pitfall_02_blocked_publish_is_unknown_and_later_ones_are_not_sent(
    rabbitmq_node: RabbitmqNode, node_url: str
) -> None:
    """Under a memory alarm the first publish may be stored later; once we know of it, nothing more is written, nor ready."""
    broker = await opened(node_url)
    await asyncio.to_thread(rabbitmq_node.set_memory_alarm, True)  # noqa: FBT003 - reads as a switch
    try:
        with pytest.raises(BrokerUnavailable):
            await broker.publish(message("unknown"))
        await eventually(lambda: not broker.is_ready)
        begin = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            await broker.publish(message("not sent"))
        assert time.monotonic() - begin < DEADLINE_S + 1
    finally:
        await asyncio.to_thread(rabbitmq_node.set_memory_alarm, False)  # noqa: FBT003 - reads as a switch
    await until_ready(broker)
    await broker.publish(message("after"))
    assert await bodies(broker, 2) == {b"unknown", b"after"}
    [figures] = await broker.queues([QUEUE])
    assert figures.ready == 0
    await broker.close()


async def test_alarm_does_not_spend_the_delivery_limit(rabbitmq_node: RabbitmqNode, node_url: str) -> None:
    """What has to go back because its copy could not be stored goes back when publishing works again, not in a circle."""
    broker = await opened(node_url)
    await broker.publish(message("held"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        held = await take_one(subscription)
        await asyncio.to_thread(rabbitmq_node.set_memory_alarm, True)  # noqa: FBT003 - reads as a switch
        try:
            with pytest.raises(BrokerUnavailable):
                await held.retry(timedelta(seconds=1))
            assert broker._publishing.is_blocked
            next_one = asyncio.create_task(subscription.take(1))
            assert await is_quiet(next_one)
        finally:
            await asyncio.to_thread(rabbitmq_node.set_memory_alarm, False)  # noqa: FBT003 - reads as a switch
        async with asyncio.timeout(LONG_S):
            [again] = await next_one
        assert (again.body, again.is_redelivered) == (b"held", True)
        with pytest.raises(BrokerUnavailable):
            await held.ack()
        await again.ack()
    await broker.close()


async def test_in_flight_is_bounded_while_the_peer_is_silent(amqp_url: str, vhost_url: str, proxy: TcpProxy) -> None:
    """A stalled network costs every publish its deadline, no more memory than the bound, and heals without loss."""
    assert amqp_url
    broker = await opened(proxy.through(vhost_url))
    proxy.stall()
    begin = time.monotonic()
    sent = [asyncio.create_task(broker.publish(message(f"{number}"))) for number in range(MAX_UNCONFIRMED + 100)]
    answers = await asyncio.gather(*sent, return_exceptions=True)
    assert time.monotonic() - begin < DEADLINE_S + 2
    assert all(isinstance(answer, BrokerUnavailable) for answer in answers)
    with pytest.raises(BrokerUnavailable, match=f"{MAX_UNCONFIRMED} publishes"):
        await broker.publish(message("one more"))
    proxy.restore()
    await eventually(lambda: broker.is_ready)

    async def flows() -> bool:
        try:
            await broker.publish(message("after"))
        except BrokerUnavailable:
            return False
        return True

    await eventually(flows)
    assert b"after" in await bodies(broker, MAX_UNCONFIRMED + 1)
    await broker.close()


async def test_cut_network_heals(vhost_url: str, proxy: TcpProxy) -> None:
    """Publishers and consumers go on after the network was away, and nothing confirmed is lost."""
    broker = await opened(proxy.through(vhost_url))
    stream = Stream(broker)
    running = asyncio.create_task(stream.run())
    for _ in range(3):
        seen = len(stream.confirmed)
        await eventually(lambda seen=seen: len(stream.confirmed) > seen + 20)
        proxy.cut()
        failed = stream.failed
        await eventually(lambda failed=failed: stream.failed > failed)
        proxy.restore()
        await eventually(lambda: broker.is_ready)
    stream.stop()
    await running
    [figures] = await broker.queues([QUEUE])
    assert figures.ready is not None
    assert stream.confirmed <= await bodies(broker, figures.ready)
    await broker.close()


async def test_silent_peer_is_taken_for_dead(vhost_url: str, proxy: TcpProxy) -> None:
    """A connection without heartbeats is given up, so that a consumer behind a dead firewall comes back."""
    broker = await opened(proxy.through(vhost_url) + "?heartbeat=1")
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        await eventually(lambda: broker.is_ready)
        proxy.stall()
        await eventually(lambda: not (broker._publishing.is_open or broker._consuming.is_open))
        proxy.restore()
        await eventually(lambda: broker.is_ready)
        await broker.publish(message("x"))
        assert (await take_one(subscription)).body == b"x"
    await broker.close()


async def test_close_does_not_wait_for_a_silent_peer(vhost_url: str, proxy: TcpProxy) -> None:
    """At shutdown a network that says nothing more costs seconds, and leaves no task behind."""
    before = asyncio.all_tasks()
    broker = await opened(proxy.through(vhost_url))
    async with broker.subscribe(QUEUE, prefetch=1):
        await eventually(lambda: broker.is_ready)
        proxy.stall()
        async with asyncio.timeout(10):
            await broker.close()
    proxy.cut()
    proxy.restore()
    await eventually(lambda: not [task for task in asyncio.all_tasks() - before if "_pump" not in str(task)])


async def test_another_host_of_the_list_is_taken(vhost_url: str, proxy: TcpProxy) -> None:
    """With two hosts one may be away."""
    dead = proxy.through(vhost_url)
    proxy.cut()
    login, _, rest = vhost_url.partition("@")
    host = dead.partition("@")[2].partition("/")[0]
    broker = await opened(f"{login}@{host},{rest}")
    await broker.publish(message("x"))
    await broker.close()


async def test_retry_to_a_deleted_target_lands_in_the_unrouted(vhost_url: str) -> None:
    """A message whose home is gone leaves its rung, is kept, and is counted."""
    broker = await opened(vhost_url)
    operator = RabbitmqBroker(vhost_url)
    await operator.start()
    await broker.publish(message("orphan"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        held = await take_one(subscription)
        await held.retry(timedelta(milliseconds=500))
    await broker.close()
    connection = await aiormq.connect(vhost_url)
    channel = await connection.channel()
    await channel.queue_delete(wire_name(QUEUE))
    await connection.close()
    await eventually(lambda: operator.is_ready)
    async with operator.subscribe(UNROUTED, prefetch=1) as unrouted:
        orphan = await take_one(unrouted)
        assert (orphan.body, orphan.attempt) == (b"orphan", 2)
        await orphan.ack()
    [rung] = await operator.queues(["bridge.retry.500ms"])
    assert rung.ready == 0
    await operator.close()


async def test_held_delivery_outlives_its_queue(vhost_url: str) -> None:
    """What was delivered before its queue was deleted can still be stored as a copy: it is all that is left of it."""
    broker = await opened(vhost_url)
    await broker.publish(message("x", route=to_reports()))
    async with broker.subscribe(REPORTS, prefetch=1) as subscription:
        held = await take_one(subscription)
        connection = await aiormq.connect(vhost_url)
        channel = await connection.channel()
        await channel.queue_delete(wire_name(REPORTS))
        await connection.close()
        await eventually(lambda: not broker.is_ready)
        await eventually(lambda: broker.is_ready)
        await held.retry(NO_DELAY)
        again = await take_one(subscription)
        assert (again.body, again.attempt) == (b"x", 2)
    await broker.close()
