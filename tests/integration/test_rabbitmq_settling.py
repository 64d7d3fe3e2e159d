"""Acks that leave together: as few frames as go, and never over a message that is not acked."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from aiormq.channel import Channel

from bridge.brokers.rabbitmq import RabbitmqBroker
from bridge.brokers.rabbitmq.publisher import Publisher
from bridge.core.ports import Broker
from tests.support.brokers import QUEUE, BrokerPlace, message, take_all


@pytest.fixture
async def broker(vhost_url: str) -> AsyncIterator[Broker]:
    opened = await BrokerPlace("rabbitmq", lambda: RabbitmqBroker(vhost_url)).open()
    yield opened
    await opened.close()


@pytest.fixture
def acks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """The acks that are sent from now on: delivery tag, and whether those before it are meant too."""
    seen: list[tuple[int, bool]] = []
    plain = Channel.basic_ack

    async def spy(self: Channel, delivery_tag: int, multiple: bool = False, **more: Any) -> None:  # noqa: FBT001, FBT002 - the driver's shape
        seen.append((delivery_tag, multiple))
        await plain(self, delivery_tag, multiple, **more)

    monkeypatch.setattr(Channel, "basic_ack", spy)
    return seen


async def left(broker: Broker, number: int) -> list[tuple[bytes, bool]]:
    """Return the next *number* messages of the queue, with their mark of redelivery, then a last one that is published now."""
    await broker.publish(message("last"))
    async with broker.subscribe(QUEUE, prefetch=100) as subscription:
        taken = await take_all(subscription, number + 1)
        for delivery in taken:
            await delivery.ack()
    return sorted((delivery.body, delivery.is_redelivered) for delivery in taken)


async def test_a_batch_is_acked_by_one_frame(broker: Broker, acks: list[tuple[int, bool]]) -> None:
    """What is acked in one moment costs one command of the broker, however many they are."""
    await broker.publish(*(message(str(number)) for number in range(5)))
    async with broker.subscribe(QUEUE, prefetch=5) as subscription:
        taken = await take_all(subscription, 5)
        await asyncio.gather(*(delivery.ack() for delivery in reversed(taken)))
        assert acks == [(5, True)]
    assert await left(broker, 0) == [(b"last", False)]


async def test_an_open_one_is_left_out(broker: Broker, acks: list[tuple[int, bool]]) -> None:
    """A message between them that is held comes again when its channel ends, and no other does."""
    await broker.publish(*(message(str(number)) for number in range(5)))
    async with broker.subscribe(QUEUE, prefetch=5) as subscription:
        taken = await take_all(subscription, 5)
        await asyncio.gather(*(taken[number].ack() for number in (0, 1, 3, 4)))
        assert acks == [(2, True), (4, False), (5, False)]
    assert await left(broker, 1) == [(b"2", True), (b"last", False)]


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_is_settled_at_once_only_the_acked_are_gone(broker: Broker, seed: int) -> None:
    """Acks, returns and held ones in any order and at any moment."""
    dice = Random(seed)  # noqa: S311 - chance, not secrecy
    names = [f"{number:02}" for number in range(40)]
    await broker.publish(*(message(name) for name in names))
    kept: set[bytes] = set()
    async with broker.subscribe(QUEUE, prefetch=40) as subscription:
        taken = await take_all(subscription, 40)
        dice.shuffle(taken)
        doing: list[asyncio.Future[None]] = []
        for delivery in taken:
            match dice.choice(["ack", "ack", "ack", "release", "hold"]):
                case "ack":
                    doing.append(asyncio.ensure_future(delivery.ack()))
                case other:
                    kept.add(delivery.body)
                    if other == "release":
                        doing.append(asyncio.ensure_future(delivery.release()))
            for _ in range(dice.choice([0, 0, 1, 3])):
                await asyncio.sleep(0)
        await asyncio.gather(*doing)
    assert await left(broker, len(kept)) == [*((body, True) for body in sorted(kept)), (b"last", False)]


async def test_a_return_that_waits_for_the_broker_is_left_out(
    broker: Broker, acks: list[tuple[int, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While publishing is away nothing goes back; what is acked meanwhile takes the one that waits not with it."""
    works = asyncio.Event()

    async def available(_: Publisher) -> None:
        await works.wait()

    monkeypatch.setattr(Publisher, "available", available)
    await broker.publish(message("0"), message("1"))
    async with broker.subscribe(QUEUE, prefetch=2) as subscription:
        first, second = await take_all(subscription, 2)
        await first.release()
        await second.ack()
        assert acks == [(2, False)]
        works.set()
        [again] = await take_all(subscription, 1)
        assert (again.body, again.is_redelivered) == (b"0", True)
        await again.ack()
    assert await left(broker, 0) == [(b"last", False)]
