"""The driver's errors in our words."""

import asyncio

import pytest
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import AMQPConnectionError, ChannelAccessRefused, ChannelNotFoundEntity, PublishError
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.brokers.rabbitmq.errors import NotDeclared, driver_errors
from bridge.core.errors import BrokerUnavailable, Unroutable


@pytest.mark.parametrize(
    "error",
    [
        AMQPConnectionError("reset"),
        ChannelAccessRefused("no"),
        OSError("x"),
        TimeoutError(),
        AttributeError("half-way"),
    ],
)
def test_any_driver_error_is_unavailable(error: Exception) -> None:
    """Whatever breaks in the driver, callers see one error, with the cause."""
    with pytest.raises(BrokerUnavailable) as caught, driver_errors():
        raise error
    assert caught.value.__cause__ is error
    assert not isinstance(caught.value, NotDeclared)


def test_404_is_told_apart() -> None:
    """What is not declared may be declared soon."""
    with pytest.raises(NotDeclared), driver_errors():
        raise ChannelNotFoundEntity("no queue")


def test_our_own_errors_pass() -> None:
    """What is ours already is not translated again."""
    with pytest.raises(Unroutable), driver_errors():
        raise Unroutable("x")


def test_returned_message_is_not_shown() -> None:
    """The driver's error holds the whole message, ours nothing of it."""
    delivery = Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="", routing_key="k")
    message = DeliveredMessage(delivery, ContentHeader(), b"secret", Channel.__new__(Channel))
    with pytest.raises(BrokerUnavailable) as caught, driver_errors():
        raise PublishError(message, delivery)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_cancellation_by_the_driver_is_a_loss() -> None:
    """The driver ends our awaits with CancelledError when it closes a connection; nobody cancelled us."""
    with pytest.raises(BrokerUnavailable), driver_errors():
        raise asyncio.CancelledError


async def test_cancellation_of_our_task_stays_one() -> None:
    """Who cancels us gets a cancelled task."""

    async def work() -> None:
        with driver_errors():
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
