"""RabbitmqSubscription: one consumer on one queue, on a channel of its own, restored whenever it is lost.

A consumer that the broker cancelled (its queue was deleted) is made again on a new channel; the old one stays until what
it delivered is settled, because the copies of those messages are all that is left of them.
"""

import asyncio
from collections import deque
from contextlib import suppress

import structlog
from aiormq import Connection
from aiormq.abc import AbstractChannel, DeliveredMessage

from bridge.brokers.rabbitmq.batching import closing_reason
from bridge.brokers.rabbitmq.declaring import Topology
from bridge.brokers.rabbitmq.delivery import RabbitmqDelivery, Settler, admit
from bridge.brokers.rabbitmq.errors import RPC_TIMEOUT_S, NotDeclared, close_channel, driver_errors
from bridge.brokers.rabbitmq.publisher import Publisher
from bridge.brokers.rabbitmq.supervisor import Link, backoff_s
from bridge.brokers.rabbitmq.tasks import end, first_of, raise_if_cancelled
from bridge.core.errors import BrokerUnavailable
from bridge.core.ports import Delivery
from bridge.core.topology import wire_name

_log = structlog.get_logger(__name__)


class _Station:
    """One channel that consumes, or did."""

    def __init__(self, channel: AbstractChannel, publisher: Publisher) -> None:
        self.channel = channel
        self.settler = Settler(channel, publisher)
        self.tag: str | None = None
        self.ended = asyncio.Event()
        """The channel was closed, or the broker cancelled the consumer."""
        channel.closing.add_done_callback(lambda _: self.ended.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: self.ended.set())

    @property
    def is_consuming(self) -> bool:
        return self.tag is not None and not self.ended.is_set() and not self.channel.is_closed

    async def close(self) -> None:
        await self.settler.close()
        await close_channel(self.channel)


class RabbitmqSubscription:
    """The port's `Subscription`."""

    def __init__(self, queue: str, prefetch: int, link: Link, publisher: Publisher, topology: Topology) -> None:
        if prefetch < 1:
            raise ValueError("prefetch: expected at least 1")
        self._queue = queue
        self._prefetch = prefetch
        self._link = link
        self._publisher = publisher
        self._topology = topology
        self._station: _Station | None = None
        self._retired: list[_Station] = []
        self._untaken: deque[RabbitmqDelivery] = deque()
        self._changed = asyncio.Event()
        self._is_paused = False
        self._is_closed = False
        self._consuming = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """It consumes, or was told not to."""
        return self._is_paused or (self._station is not None and self._station.is_consuming)

    async def take(self, limit: int) -> list[Delivery]:
        while not self._untaken and not self._is_closed:
            self._changed.clear()
            await self._changed.wait()
        return self._take(limit)

    async def pause(self) -> list[Delivery]:
        self._is_paused = True
        async with self._consuming:
            await self._cancel()
        raise_if_cancelled()
        return self._take(len(self._untaken))

    async def resume(self) -> None:
        self._is_paused = False
        async with self._consuming:
            if self._station is not None and not self._is_closed:
                with suppress(BrokerUnavailable):  # then the channel is closed, and the loop below makes another
                    await self._consume(self._station)
        raise_if_cancelled()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"rabbitmq-consume-{self._queue}")

    async def close(self) -> None:
        """Stop consuming; what is not settled goes back with the end of its channel."""
        self._is_closed = True
        self._untaken.clear()
        self._changed.set()
        await end(self._task)
        self._task = None
        for station in (*self._retired, self._station):
            if station is not None:
                await station.close()
        self._retired.clear()
        self._station = None

    def _take(self, limit: int) -> list[Delivery]:
        taken: list[Delivery] = []
        while self._untaken and len(taken) < limit:
            taken.append(self._untaken.popleft())
        return taken

    async def _run(self) -> None:
        failures = 0
        while True:
            connection = await self._link.connection()
            try:
                with driver_errors():
                    await self._serve(connection)
                failures = 0
            except NotDeclared:
                _log.warning("queue_missing", queue=self._queue)
                self._topology.restore()
                await self._topology.another_chance()
            except BrokerUnavailable as exc:
                failures += 1
                _log.warning("consumer_lost", queue=self._queue, error=str(exc))
                await asyncio.sleep(backoff_s(failures))

    async def _serve(self, connection: Connection) -> None:
        """Consume on a new channel until that ends."""
        channel = await connection.channel(publisher_confirms=False, timeout=RPC_TIMEOUT_S)
        station = self._station = _Station(channel, self._publisher)
        try:
            await channel.basic_qos(prefetch_count=self._prefetch, timeout=RPC_TIMEOUT_S)
            async with self._consuming:
                await self._consume(station)
            await first_of(station.ended.wait())
            reason = closing_reason(channel)
            if reason is not None:
                raise reason
        finally:
            self._station = None
            self._untaken = deque(each for each in self._untaken if not each.is_lost)
            await self._retire(station)

    async def _consume(self, station: _Station) -> None:
        if self._is_paused or station.tag is not None:
            return

        async def on_message(message: DeliveredMessage) -> None:
            await admit(message, self._queue, station.settler, self._show)

        with driver_errors():
            ok = await station.channel.basic_consume(wire_name(self._queue), on_message, timeout=RPC_TIMEOUT_S)
        station.tag = ok.consumer_tag

    async def _cancel(self) -> None:
        """Cancel the consumer; what the broker sent before its answer is here when this returns."""
        station = self._station
        if station is None or station.tag is None:
            return
        tag, station.tag = station.tag, None
        with suppress(BrokerUnavailable), driver_errors():
            await station.channel.basic_cancel(tag, timeout=RPC_TIMEOUT_S)

    def _show(self, delivery: RabbitmqDelivery) -> None:
        if not self._is_closed:
            self._untaken.append(delivery)
            self._changed.set()

    async def _retire(self, station: _Station) -> None:
        """Close what is over, and keep a channel that still has deliveries to settle."""
        self._retired.append(station)
        kept = []
        for each in self._retired:
            if each.settler.has_open and not each.channel.is_closed:
                kept.append(each)
            else:
                await each.close()
        self._retired = kept
