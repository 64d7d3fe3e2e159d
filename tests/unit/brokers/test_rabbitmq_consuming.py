"""A subscription's pause and resume, where the driver drops a cancellation."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge.brokers.rabbitmq.consuming import RabbitmqSubscription


async def deaf(*_: object, **__: object) -> Any:
    """Answer when cancelled, as `wait_for` of Python 3.11 does when both come together."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return SimpleNamespace(consumer_tag="made")


def subscription(tag: str | None) -> RabbitmqSubscription:
    nothing = cast("Any", None)
    made = RabbitmqSubscription("events", 1, nothing, nothing, nothing)
    channel = SimpleNamespace(basic_cancel=deaf, basic_consume=deaf)
    made._station = cast("Any", SimpleNamespace(tag=tag, channel=channel))
    return made


@pytest.mark.parametrize(("verb", "tag"), [("pause", "there"), ("resume", None)])
async def test_a_cancellation_that_the_driver_drops_is_not_lost(verb: str, tag: str | None) -> None:
    """Whoever steers the subscription ends when it is told to, instead of waiting for the next reason for ever."""

    async def steer() -> None:
        await getattr(subscription(tag), verb)()
        await asyncio.Event().wait()

    steering = asyncio.create_task(steer())
    await asyncio.sleep(0)
    steering.cancel()
    await asyncio.wait({steering}, timeout=5)
    assert steering.cancelled()
