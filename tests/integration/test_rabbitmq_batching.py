"""The batching publisher against plain publishes of the same driver: same messages, same answers."""

import asyncio
import math
import struct
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

import aio_pika
import aiormq
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import ChannelFrame

from bridge.brokers.rabbitmq import batching as batching_module
from bridge.brokers.rabbitmq.batching import TESTED_DRIVER, BatchingChannel, _Sent
from bridge.brokers.rabbitmq.messages import WireMessage
from bridge.core.errors import BrokerUnavailable, Unroutable
from tests.support.brokers import eventually, properties_of

QUEUE = "batching"
FULL = "batching-full"
HEADERS: dict[str, str | int] = {"bridge-attempt": 1, "traceparent": "00-1", "big": 1_767_323_045_678}


@pytest.fixture
async def connection(vhost_url: str) -> AsyncIterator[aiormq.Connection]:
    """A connection to an empty virtual host with one queue, and one that is full."""
    connection = await aiormq.connect(vhost_url)
    channel = await connection.channel()
    await channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    await channel.queue_declare(FULL, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    await channel.basic_publish(b"full", routing_key=FULL)
    await channel.close()
    yield connection
    await connection.close()


def wire(body: bytes, key: str = QUEUE, exchange: str = "") -> WireMessage:
    return WireMessage(exchange, key, body, HEADERS, "c-1")


async def stored(vhost_url: str, number: int) -> list[AbstractIncomingMessage]:
    """Return what is in the queue, in order."""
    connection = await aio_pika.connect(vhost_url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue(QUEUE, ensure=False)
        return [await queue.get(no_ack=True) for _ in range(number)]


def shown(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Return everything of a message but its id and its place in the queue."""
    own = {"message_id", "delivery_tag", "consumer_tag", "message_count"}
    return {name: value for name, value in message.info().items() if name not in own} | {"body": message.body}


def test_internals_were_read_in_the_installed_driver() -> None:
    """Another driver version needs another look at the module's list of internals."""
    assert version("aiormq").startswith(f"{TESTED_DRIVER}.")


@pytest.mark.parametrize("size", [0, 1, 200_000, 131_072 - 8, 131_072])
async def test_same_message_as_a_plain_publish(connection: aiormq.Connection, vhost_url: str, size: int) -> None:
    """Body, whatever frames it takes, and all properties arrive as with a plain publish."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    plain = await connection.channel()
    message = wire(body)
    await plain.basic_publish(body, routing_key=QUEUE, properties=properties_of(message, "plain"), mandatory=True)
    batching = await BatchingChannel.opened(connection)
    await batching.send(message)
    one, other = await stored(vhost_url, 2)
    assert shown(one) == shown(other)
    assert one.message_id == "plain"
    assert other.message_id


def counted_writes(batching: BatchingChannel, monkeypatch: pytest.MonkeyPatch) -> list[ChannelFrame]:
    """Return the list that each write of *batching* is added to."""
    writes: list[ChannelFrame] = []
    put = batching.write_queue.put

    async def counted(frame: ChannelFrame) -> None:
        writes.append(frame)
        await put(frame)

    monkeypatch.setattr(batching.write_queue, "put", counted)
    return writes


async def test_one_turn_is_one_write(connection: aiormq.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """All publishes of one turn of the loop leave together, and each has its own confirm."""
    batching = await BatchingChannel.opened(connection)
    writes = counted_writes(batching, monkeypatch)
    confirms = [batching.send(wire(b"%d" % number)) for number in range(50)]
    async with asyncio.timeout(5):
        await asyncio.gather(*confirms)
    assert len(writes) == 1
    assert batching.unconfirmed == 0


async def test_what_comes_while_the_broker_is_busy_gathers(
    connection: aiormq.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind three unconfirmed publishes a fourth waits, until there are as many of them; they leave in one write."""
    monkeypatch.setattr(batching_module, "_HOLD_S", 60.0)
    batching = await BatchingChannel.opened(connection)
    writes = counted_writes(batching, monkeypatch)
    confirm, confirmed = batching._on_confirm_frame, asyncio.Event()

    async def held(frame: Any) -> None:
        await confirmed.wait()
        await confirm(frame)

    monkeypatch.setattr(batching, "_on_confirm_frame", held)
    first = [batching.send(wire(b"first")) for _ in range(3)]
    await eventually(lambda: len(writes) == 1)
    later = [batching.send(wire(b"later"))]
    assert not batching._has_waiting.is_set()
    later += [batching.send(wire(b"later")) for _ in range(2)]
    await eventually(lambda: len(writes) == 2)
    last = batching.send(wire(b"last"))
    assert not batching._has_waiting.is_set()
    confirmed.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*first, *later, last)
    assert len(writes) == 3


async def test_nothing_gathers_for_long(connection: aiormq.Connection) -> None:
    """A queue that confirms nothing holds no other publish back: alone behind unconfirmed ones, it leaves soon."""
    batching = await BatchingChannel.opened(connection)
    stuck = {-number: _Sent(batching.loop.create_future(), math.inf) for number in range(1, 4)}
    batching._unconfirmed.update(stuck)
    async with asyncio.timeout(5):
        await batching.send(wire(b"x"))
    assert batching.unconfirmed == len(stuck)


async def test_order_is_kept(connection: aiormq.Connection, vhost_url: str) -> None:
    """Messages of one batch, and of the next, are stored as they were sent."""
    batching = await BatchingChannel.opened(connection)
    first = [batching.send(wire(b"%d" % number)) for number in range(20)]
    await first[0]
    second = [batching.send(wire(b"%d" % number)) for number in range(20, 40)]
    await asyncio.gather(*first, *second)
    assert [message.body for message in await stored(vhost_url, 40)] == [b"%d" % number for number in range(40)]


async def test_each_publish_gets_its_own_answer(connection: aiormq.Connection) -> None:
    """In one batch the stored are confirmed, the unroutable returned, the refused refused, as with plain publishes."""
    batching = await BatchingChannel.opened(connection)
    sent = [batching.send(wire(b"x", key)) for key in [QUEUE, "nowhere", FULL, QUEUE, "nowhere", FULL] * 10]
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*sent, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), Unroutable, BrokerUnavailable] * 20

    plain = await connection.channel(on_return_raises=True)
    with pytest.raises(aiormq.exceptions.PublishError):
        await plain.basic_publish(b"x", routing_key="nowhere", mandatory=True)
    with pytest.raises(aiormq.exceptions.DeliveryError):
        await plain.basic_publish(b"x", routing_key=FULL, mandatory=True)


async def test_error_of_a_return_holds_no_body(connection: aiormq.Connection) -> None:
    """What was returned may hold a request's body, so neither the error nor its cause tells it."""
    batching = await BatchingChannel.opened(connection)
    with pytest.raises(Unroutable) as caught:
        await batching.send(wire(b"secret", "nowhere"))
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None


async def test_given_up_before_the_write_is_not_sent(connection: aiormq.Connection, vhost_url: str) -> None:
    """A publish that is cancelled in the same turn leaves no frame and no gap in the confirms."""
    batching = await BatchingChannel.opened(connection)
    batching.send(wire(b"given up")).cancel()
    await batching.send(wire(b"sent"))
    assert (await stored(vhost_url, 1))[0].body == b"sent"
    assert batching.unconfirmed == 0


async def test_given_up_after_the_write_still_counts_until_confirmed(
    connection: aiormq.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gives up waiting does not free the place of a message that is under way."""
    batching = await BatchingChannel.opened(connection)
    gate = asyncio.Event()
    put = batching.write_queue.put

    async def held(frame: Any) -> None:
        await gate.wait()
        await put(frame)

    monkeypatch.setattr(batching.write_queue, "put", held)
    confirm = batching.send(wire(b"x"))
    await eventually(lambda: bool(batching._unconfirmed))
    confirm.cancel()
    assert batching.unconfirmed == 1
    gate.set()
    await batching.send(wire(b"y"))
    assert batching.unconfirmed == 0


async def test_loss_of_the_channel_fails_all_that_is_under_way(connection: aiormq.Connection) -> None:
    """A publish to a missing exchange closes the channel: every other one under way is unknown, none waits for ever."""
    batching = await BatchingChannel.opened(connection)
    sent = [batching.send(wire(b"x")), batching.send(wire(b"x", QUEUE, "missing")), batching.send(wire(b"x"))]
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*sent, return_exceptions=True)
    assert isinstance(answers[1], BrokerUnavailable)
    assert isinstance(answers[2], BrokerUnavailable)
    with pytest.raises(BrokerUnavailable):
        await batching.send(wire(b"x"))


async def test_what_is_overdue_fails_and_the_next_still_gets_its_own_answer(connection: aiormq.Connection) -> None:
    """Without an answer by its deadline a publish fails; one not written by then is never written."""
    batching = await BatchingChannel.opened(connection)
    now = batching.loop.time()
    async with batching.lock:  # as while the socket takes no more
        overdue, patient = batching.send(wire(b"1"), deadline=now), batching.send(wire(b"2"), deadline=now + 60)
        with pytest.raises(BrokerUnavailable, match="in time"):
            await overdue
        assert not patient.done()
    await patient
    assert batching.delivery_tag == 1
    assert batching.unconfirmed == 0


async def test_what_cannot_be_written_fails_alone(connection: aiormq.Connection) -> None:
    """A header that AMQP cannot hold is its own publish's error; the others of its batch are confirmed."""
    batching = await BatchingChannel.opened(connection)
    async with batching.lock:
        confirms = [
            batching.send(message) for message in (wire(b"1"), WireMessage("", QUEUE, b"", {"n": 2**63}), wire(b"2"))
        ]
    first, bad, last = await asyncio.gather(*confirms, return_exceptions=True)
    assert isinstance(bad, struct.error)
    assert (first, last, batching.delivery_tag) == (None, None, 2)
