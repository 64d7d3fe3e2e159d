"""The driver's errors in our words, at one edge."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity, PublishError

from bridge.core.errors import BridgeError, BrokerUnavailable

RPC_TIMEOUT_S = 10.0
"""Longest wait for the answer to one method of the protocol."""
CLOSE_TIMEOUT_S = 3.0
"""Longest wait for a channel's or a connection's end."""


class NotDeclared(BrokerUnavailable):
    """A queue or exchange is not there (404): no coordinator has declared it yet, or somebody deleted it."""


@contextmanager
def driver_errors() -> Iterator[None]:
    """Raise BrokerUnavailable for whatever the driver raises when a channel or connection is lost or refuses.

    The driver also ends our awaits with CancelledError when it closes a connection; a cancellation of our own task
    is told apart by its count.

    Raises:
        NotDeclared: for a 404.
        BrokerUnavailable: for all else.
    """
    try:
        yield
    except BridgeError:
        raise
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailable("the connection was closed") from exc
    except ChannelNotFoundEntity as exc:
        raise NotDeclared(str(exc)) from exc
    except PublishError:
        raise BrokerUnavailable("the broker returned a message") from None  # its text would hold the body
    except Exception as exc:  # whatever a connection that breaks half-way makes it raise: supervision must go on
        raise BrokerUnavailable(f"{type(exc).__name__}: {exc}") from exc


async def close_channel(channel: AbstractChannel) -> None:
    """Close *channel* as well as that goes; on a lost connection there is nothing left to close."""
    with suppress(BrokerUnavailable), driver_errors():
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await channel.close()
