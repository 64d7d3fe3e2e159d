"""The pitfalls of RabbitMQ and its driver, each one by its number in docs/explanation/broker.md."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiormq
import pytest

from bridge.brokers.rabbitmq import RabbitmqBroker
from bridge.core.errors import BrokerUnavailable, Unroutable
from bridge.core.topology import DEAD, EVENTS, Route, wire_name
from tests.support.brokers import NO_DELAY, QUEUE, TARGET, BrokerPlace, eventually, message, take_all, take_one
from tests.support.proxy import TcpProxy, proxy_to
from tests.support.servers import drop_vhost, fresh_vhost, purge

NOWHERE = Route("", "bridge.nowhere")
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def broker(vhost_url: str) -> AsyncIterator[RabbitmqBroker]:
    """A broker that is ready, on an empty virtual host."""
    broker = RabbitmqBroker(vhost_url)
    await BrokerPlace("rabbitmq", lambda: broker).open()
    yield broker
    await broker.close()


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[TcpProxy]:
    """A proxy in front of the shared broker."""
    async with proxy_to(amqp_url) as proxy:
        yield proxy


async def delete_queue(url: str, queue: str) -> None:
    """Delete *queue* as an operator would."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.queue_delete(wire_name(queue))
    await connection.close()


async def test_pitfall_01_answers_of_messages_in_flight_together_are_not_swapped(broker: RabbitmqBroker) -> None:
    """With one correlation id in flight many times, the stored are confirmed and the unroutable returned."""
    same = {"bridge-event": "e-1"}
    sent = [broker.publish(message("x", route=route, **same)) for route in [None, NOWHERE] * 50]
    answers = await asyncio.gather(*sent, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), Unroutable] * 50
    [figures] = await broker.queues([QUEUE])
    assert figures.ready == 50


async def test_pitfall_04_publish_to_a_missing_exchange_is_unknown_and_over_soon(broker: RabbitmqBroker) -> None:
    """It fails what is in flight on its channel as unknown; within a second publishing works, and retries never stopped."""
    await broker.publish(message("held"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        held = await take_one(subscription)
        sent = [broker.publish(message("x")) for _ in range(50)]
        missing = broker.publish(message("x", route=Route("bridge.missing", "k")))
        answers = await asyncio.gather(*sent, missing, held.retry(NO_DELAY), return_exceptions=True)
        assert all(answer is None or isinstance(answer, BrokerUnavailable) for answer in answers)
        assert isinstance(answers[-2], BrokerUnavailable)
        assert answers[-1] is None
        async with asyncio.timeout(1):
            await broker.publish(message("after"))


async def test_pitfall_05_quorum_queues_are_deleted_without_conditions(vhost_url: str) -> None:
    """Cleaning a virtual host of somebody else's deletes our quorum queues and leaves the connection open."""
    broker = RabbitmqBroker(vhost_url)
    await BrokerPlace("rabbitmq", lambda: broker).open()
    await broker.publish(message("x"))
    await broker.close()
    await purge(vhost_url, [TARGET])
    other = RabbitmqBroker(vhost_url)
    await other.start()
    assert [each.ready for each in await other.queues([QUEUE, EVENTS])] == [None, None]
    await other.close()


async def test_pitfall_07_what_nobody_refers_to_is_restored(vhost_url: str, proxy: TcpProxy) -> None:
    """The broker itself holds on to what it restores: garbage collection takes no consumer away."""
    broker = RabbitmqBroker(proxy.through(vhost_url))
    await BrokerPlace("rabbitmq", lambda: broker).open()
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        gc.collect()
        proxy.cut()
        await eventually(lambda: not broker.is_ready)
        gc.collect()
        proxy.restore()
        await eventually(lambda: broker.is_ready)
        await broker.publish(message("again"))
        assert (await take_one(subscription)).body == b"again"
    await broker.close()


async def test_pitfall_08_consumer_is_restored_after_its_queue_was_deleted(
    broker: RabbitmqBroker, vhost_url: str
) -> None:
    """A consumer that the server cancelled comes back with its queue, which a coordinator makes again."""
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        await eventually(lambda: broker.is_ready)
        await delete_queue(vhost_url, QUEUE)
        await eventually(lambda: not broker.is_ready)
        await eventually(lambda: broker.is_ready)
        await broker.publish(message("again"))
        assert (await take_one(subscription)).body == b"again"


async def test_pitfall_08_worker_waits_for_a_queue_that_another_declares(
    broker: RabbitmqBroker, vhost_url: str
) -> None:
    """A process that declares nothing is not ready without its queue, and consumes once a coordinator made it."""
    worker = RabbitmqBroker(vhost_url)
    await worker.start()
    async with worker.subscribe("bridge.target.later", prefetch=1) as subscription:
        await eventually(lambda: worker._topology.is_present)
        assert not worker.is_ready
        await broker.declare([TARGET, "later"])
        await eventually(lambda: worker.is_ready)
        await broker.publish(message("x", route=Route("bridge.resolutions", "later")))
        assert (await take_one(subscription)).body == b"x"
    await worker.close()


async def test_pitfall_09_consumer_survives_many_reconnects(vhost_url: str, proxy: TcpProxy) -> None:
    """Each time the connection comes back, so does every consumer, and what it held comes again."""
    broker = RabbitmqBroker(proxy.through(vhost_url))
    await BrokerPlace("rabbitmq", lambda: broker).open()
    async with broker.subscribe(QUEUE, prefetch=5) as one, broker.subscribe(EVENTS, prefetch=5) as other:
        await eventually(lambda: broker.is_ready)
        await broker.publish(message("held"))
        held = await take_one(one)
        for number in range(3):
            proxy.cut()
            await eventually(lambda: not broker.is_ready)
            proxy.restore()
            await eventually(lambda: broker.is_ready)
            with pytest.raises(BrokerUnavailable):
                await held.ack()
            held = await take_one(one)
            assert (held.body, held.is_redelivered, held.attempt) == (b"held", True, 1)
            await broker.publish(message(f"{number}", route=Route(EVENTS, "callback.callback")))
            event = await take_one(other)
            while event.is_redelivered:  # its ack was on the way when the connection was cut
                await event.ack()
                event = await take_one(other)
            assert event.body == f"{number}".encode()
            await event.ack()
    await broker.close()


async def test_pitfall_11_close_leaves_nothing_behind(amqp_url: str) -> None:
    """A process that closes its broker in the middle of everything ends without a word on its error output."""
    url = await asyncio.to_thread(fresh_vhost, amqp_url)
    program = ROOT / "tests" / "support" / "rabbitmq_closing.py"
    command = [sys.executable, "-X", "dev", "-W", "error", str(program), url]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=-1, stderr=-1
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    await asyncio.to_thread(drop_vhost, url)
    assert (process.returncode, out, err) == (0, b"closed\n", b"")


async def test_pitfall_14_crash_counts_only_what_was_prefetched(vhost_url: str, proxy: TcpProxy) -> None:
    """A small prefetch bounds how many innocents a crash marks and counts."""
    broker = RabbitmqBroker(proxy.through(vhost_url))
    await BrokerPlace("rabbitmq", lambda: broker).open()
    await broker.publish(*[message(f"{number}") for number in range(5)])
    async with broker.subscribe(QUEUE, prefetch=2) as subscription:
        await take_all(subscription, 2)
        proxy.cut()
        await eventually(lambda: not broker.is_ready)
        proxy.restore()
        again: dict[bytes, bool] = {}
        for _ in range(5):
            delivery = await take_one(subscription)
            again[delivery.body] = delivery.is_redelivered
            await delivery.ack()
    await broker.close()
    assert again == {b"0": True, b"1": True, b"2": False, b"3": False, b"4": False}


async def test_pitfall_14_returned_too_often_is_dead_and_says_so(broker: RabbitmqBroker) -> None:
    """The safety net: after 20 returns the broker itself dead-letters, with its reason and the home queue."""
    await broker.publish(message("poison"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription, broker.subscribe(DEAD, prefetch=1) as dead:
        for _ in range(21):
            await (await take_one(subscription)).release()
        letter = await take_one(dead)
    assert letter.body == b"poison"
    assert letter.headers == {"bridge-reason": "delivery_limit", "bridge-home": QUEUE}
