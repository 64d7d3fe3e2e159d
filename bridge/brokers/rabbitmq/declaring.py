"""Who declares what: coordinators make the whole topology and keep it there, workers and ingress only look for it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog
from aiormq import Connection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from bridge.brokers.rabbitmq.errors import RPC_TIMEOUT_S, close_channel, driver_errors
from bridge.brokers.rabbitmq.supervisor import Link
from bridge.brokers.rabbitmq.tasks import end, first_of
from bridge.brokers.rabbitmq.topology import Exchange, Queue, control, events, exchanges, queues
from bridge.core.errors import BrokerUnavailable

AGAIN_S = 1.0
"""How often an absent or refused topology is asked for again."""
SETTLE_S = 2.0
"""How long a new queue is left alone. RabbitMQ writes its registry of queues to disk a moment after the declaration: killed
within 0.6 s, 3.10.8 came back with the queue and without the hundred messages that it had confirmed."""

_log = structlog.get_logger(__name__)


class Topology:
    """Keeps the topology there, or, where we declare nothing, knows whether it is."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._targets: dict[str, None] | None = None
        self._present = asyncio.Event()
        self._is_missing = False
        self._poked = asyncio.Event()
        self._tried = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_present(self) -> bool:
        return self._present.is_set()

    @property
    def is_missing(self) -> bool:
        """It was looked for, is not there, and making it is not our business: waiting for it is pointless."""
        return self._is_missing and self._targets is None

    async def wait(self) -> None:
        """Wait until it is there."""
        await self._present.wait()

    async def declare(self, targets: Sequence[str]) -> None:
        """Declare *targets* and all else from now on; return when that is done or failed, at once while disconnected."""
        self._targets = {**(self._targets or {}), **dict.fromkeys(targets)}
        self.lost()
        if self._link.is_open and self._task is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(RPC_TIMEOUT_S), self._tried:
                    await self._tried.wait()

    def lost(self) -> None:
        """Look or declare again before anything more is published: an exchange is gone, or there are more targets."""
        self._present.clear()
        self._poked.set()

    def restore(self) -> None:
        """Declare again, if that is our business: a queue is gone."""
        if self._targets is not None:
            self._poked.set()

    async def another_chance(self) -> None:
        """Wait after a 404: until the topology is there, if it was not, and else for a second."""
        if self.is_present:
            await asyncio.sleep(AGAIN_S)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_S):
                await self._present.wait()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="rabbitmq-topology")

    async def close(self) -> None:
        await end(self._task)
        self._task = None

    async def _run(self) -> None:
        while True:
            connection = await self._link.connection()
            self._poked.clear()
            targets = self._targets
            self._is_missing = not await self._attempt(connection, targets)
            if self._is_missing:
                self._present.clear()
                await self._poked_or_second()
            elif targets is self._targets and not connection.is_closed:
                self._present.set()
                await first_of(self._poked.wait(), connection.closing)
            if connection.is_closed:
                self._present.clear()

    async def _attempt(self, connection: Connection, targets: dict[str, None] | None) -> bool:
        try:
            with driver_errors():
                await (_is_there(connection) if targets is None else _make(connection, list(targets)))
        except BrokerUnavailable as exc:
            _log.warning("broker_topology_missing", error=str(exc), declares=targets is not None)
            return False
        finally:
            async with self._tried:
                self._tried.notify_all()
        return True

    async def _poked_or_second(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_S):
                await self._poked.wait()


async def _make(connection: Connection, targets: Sequence[str]) -> None:
    """Make the topology; what is there already stays. A queue with another argument is refused (406)."""
    planned = queues(targets)
    is_new = not await _are_there(connection, planned)
    channel = await connection.channel(publisher_confirms=False, timeout=RPC_TIMEOUT_S)
    try:
        for exchange in exchanges():
            await _make_exchange(channel, exchange)
        for queue in planned:
            await _make_queue(channel, queue)
        await _make_control(connection)
        if is_new:
            await asyncio.sleep(SETTLE_S)
        last, (name, key) = events()
        await _make_exchange(channel, last)
        await channel.queue_bind(name, last.name, key, timeout=RPC_TIMEOUT_S)
    finally:
        await close_channel(channel)
    _log.info("broker_topology_declared", targets=len(targets), is_new=is_new)


async def _make_exchange(channel: AbstractChannel, exchange: Exchange) -> None:
    await channel.exchange_declare(
        exchange.name, exchange_type=exchange.type, durable=True, arguments=exchange.arguments, timeout=RPC_TIMEOUT_S
    )


async def _make_queue(channel: AbstractChannel, queue: Queue) -> None:
    await channel.queue_declare(queue.name, durable=True, arguments=queue.arguments, timeout=RPC_TIMEOUT_S)
    for source, key in queue.bindings:
        await channel.queue_bind(queue.name, source, key, timeout=RPC_TIMEOUT_S)


async def _make_control(connection: Connection) -> None:
    """Make the stream of announcements. Without it nobody hears of a pause; everything else works, so that is no reason to stop."""
    channel = await connection.channel(publisher_confirms=False, timeout=RPC_TIMEOUT_S)
    try:
        with driver_errors():
            await _make_queue(channel, control())
    except BrokerUnavailable as exc:
        _log.error("control_stream_refused", error=str(exc))
    finally:
        await close_channel(channel)


async def _are_there(connection: Connection, planned: Sequence[Queue]) -> bool:
    channel = await connection.channel(publisher_confirms=False, timeout=RPC_TIMEOUT_S)
    try:
        for queue in planned:
            await channel.queue_declare(queue.name, passive=True, timeout=RPC_TIMEOUT_S)
    except ChannelNotFoundEntity:
        return False
    finally:
        await close_channel(channel)
    return True


async def _is_there(connection: Connection) -> None:
    """Ask for the exchange of the events. From 4.3 on that takes a right that a publisher may lack: then it is taken to be there."""
    channel = await connection.channel(publisher_confirms=False, timeout=RPC_TIMEOUT_S)
    try:
        exchange, _ = events()
        await channel.exchange_declare(exchange.name, passive=True, timeout=RPC_TIMEOUT_S)
    except ChannelAccessRefused:
        return
    finally:
        await close_channel(channel)
