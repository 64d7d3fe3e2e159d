"""The topology on a real broker."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiormq
import pytest

from bridge.brokers.rabbitmq import RabbitmqBroker, declaring
from bridge.brokers.rabbitmq.topology import control, queues
from bridge.core.errors import BrokerUnavailable
from bridge.core.topology import EVENTS, UNROUTED, Route
from tests.support.brokers import QUEUE, TARGET, BrokerPlace, eventually, message, take_one


@pytest.fixture
async def broker(vhost_url: str) -> AsyncIterator[RabbitmqBroker]:
    """A broker that is ready, on an empty virtual host."""
    broker = RabbitmqBroker(vhost_url)
    await BrokerPlace("rabbitmq", lambda: broker).open()
    yield broker
    await broker.close()


async def test_declared_arguments_are_what_the_queues_have(broker: RabbitmqBroker, vhost_url: str) -> None:
    """Declaring again with the same arguments is accepted by the broker, with any other it would be refused."""
    assert broker.is_ready
    connection = await aiormq.connect(vhost_url)
    for queue in (*queues([TARGET]), control()):
        channel = await connection.channel()
        await channel.queue_declare(queue.name, durable=True, arguments=queue.arguments)
        with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed):
            await channel.queue_declare(
                queue.name, durable=True, arguments={**queue.arguments, "x-queue-type": "classic"}
            )
    await connection.close()


async def test_another_teams_queue_gets_events_too(broker: RabbitmqBroker, vhost_url: str) -> None:
    """Any team may bind a queue of its own to the events by their key."""
    connection = await aiormq.connect(vhost_url)
    channel = await connection.channel()
    await channel.queue_declare("theirs", exclusive=True)
    await channel.queue_bind("theirs", "bridge.events", "github.review.*")
    await broker.publish(message("mine", route=Route(EVENTS, "github.review.approved")))
    await broker.publish(message("not mine", route=Route(EVENTS, "circleci.workflow.completed")))
    got = await channel.basic_get("theirs", no_ack=True)
    assert got.body == b"mine"
    assert (await channel.basic_get("theirs", no_ack=True)).body == b""
    await connection.close()
    [figures] = await broker.queues([EVENTS])
    assert figures.ready == 2


async def test_publisher_alone_fails_at_once_until_somebody_declares(vhost_url: str) -> None:
    """An ingress without a coordinator answers 503 without making its sender wait, and recovers by itself."""
    ingress = RabbitmqBroker(vhost_url)
    await ingress.start()
    await eventually(lambda: ingress._topology.is_missing)
    assert not ingress.is_ready
    with pytest.raises(BrokerUnavailable, match="nothing is declared"):
        async with asyncio.timeout(0.5):
            await ingress.publish(message("x", route=Route(EVENTS, "a.b")))
    coordinator = RabbitmqBroker(vhost_url)
    await BrokerPlace("rabbitmq", lambda: coordinator).open()
    await eventually(lambda: ingress.is_ready)
    await ingress.publish(message("x", route=Route(EVENTS, "a.b")))
    await ingress.close()
    await coordinator.close()


async def test_publish_waits_for_a_declaration_under_way(vhost_url: str) -> None:
    """Start, declare, publish: a process that declares needs no pause before its first publish."""
    broker = RabbitmqBroker(vhost_url)
    await broker.start()
    await broker.declare([TARGET])
    await broker.publish(message("x"))
    [figures] = await broker.queues([QUEUE])
    assert figures.ready == 1
    await broker.close()


async def test_exchange_that_was_deleted_is_made_again(broker: RabbitmqBroker, vhost_url: str) -> None:
    """A declaring process heals what an operator removed, after the publish that finds out."""
    connection = await aiormq.connect(vhost_url)
    channel = await connection.channel()
    await channel.exchange_delete("bridge.resolutions")
    await connection.close()
    with pytest.raises(BrokerUnavailable):
        await broker.publish(message("lost"))
    await broker.publish(message("x"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        assert (await take_one(subscription)).body == b"x"


async def test_message_for_no_target_is_kept(broker: RabbitmqBroker) -> None:
    """A resolution for a target that nobody declared goes to the unrouted, confirmed."""
    await broker.publish(message("x", route=Route("bridge.resolutions", "nobody")))
    async with broker.subscribe(UNROUTED, prefetch=1) as subscription:
        assert (await take_one(subscription)).body == b"x"


async def test_new_queues_are_left_alone_before_anything_is_published(
    vhost_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was confirmed right after the first declaration would not survive a crash, so publishing waits a moment; once."""
    monkeypatch.setattr(declaring, "SETTLE_S", 1.0)
    for least, most in ((1.0, 10.0), (0.0, 0.9)):
        broker = RabbitmqBroker(vhost_url)
        begin = time.monotonic()
        await broker.start()
        await broker.declare([TARGET])
        await broker.publish(message("x"))
        assert least < time.monotonic() - begin < most
        await broker.close()


async def test_conflicting_queue_keeps_the_broker_not_ready(vhost_url: str) -> None:
    """A queue of that name with other arguments is no topology of ours: not ready, and no crash."""
    connection = await aiormq.connect(vhost_url)
    channel = await connection.channel()
    await channel.queue_declare("bridge.events.v1", durable=True)
    broker = RabbitmqBroker(vhost_url)
    await broker.start()
    await broker.declare([TARGET])
    await eventually(lambda: broker._topology._is_missing)
    assert not broker.is_ready
    with pytest.raises(BrokerUnavailable):
        await broker.publish(message("x"))
    await channel.queue_delete("bridge.events.v1")
    await eventually(lambda: broker.is_ready)
    await broker.close()
    await connection.close()
