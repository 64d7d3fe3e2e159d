"""RabbitmqDelivery: settles one message. What is copied is stored and confirmed before the original is let go.

Law: only this module acks and rejects. A message that has to go back because a copy could not be stored goes back when
publishing works again, not at once: each return counts towards the delivery limit, and our outage must not spend it.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from aiormq.abc import AbstractChannel, DeliveredMessage

from bridge.brokers.rabbitmq.errors import RPC_TIMEOUT_S, driver_errors
from bridge.brokers.rabbitmq.messages import (
    Headers,
    Received,
    WireMessage,
    dead_copy,
    received,
    retry_copy,
    waiting_copy,
)
from bridge.brokers.rabbitmq.publisher import Lane, Publisher
from bridge.core.errors import BrokerUnavailable, Unroutable

_log = structlog.get_logger(__name__)


class Settler:
    """Settles what one consuming channel delivered, by delivery tag. Acks of one moment go as one frame where they can."""

    def __init__(self, channel: AbstractChannel, publisher: Publisher) -> None:
        self._channel = channel
        self._publisher = publisher
        self._open: dict[int, None] = {}
        """Tags that were delivered and not answered, ascending: a tag leaves when its answer is written."""
        self._acked: set[int] = set()
        self._acking: asyncio.Task[None] | None = None
        self._answering = asyncio.Lock()
        self._returning: set[asyncio.Task[None]] = set()

    @property
    def is_lost(self) -> bool:
        return self._channel.is_closed

    @property
    def has_open(self) -> bool:
        """True while something that was delivered is not settled."""
        return bool(self._open)

    def admit(self, tag: int) -> None:
        """Take note of a delivery, in the order of the tags."""
        self._open[tag] = None

    async def ack(self, tag: int) -> None:
        """Let the message go.

        Raises:
            BrokerUnavailable: the channel is lost, and the message with it; it comes again.
        """
        self._acked.add(tag)
        if self._acking is None:
            self._acking = asyncio.create_task(self._ack_all())
        await asyncio.shield(self._acking)

    async def store(self, tag: int, lane: Lane, copy: WireMessage) -> None:
        """Publish *copy*, then let the original go.

        Raises:
            BrokerUnavailable: the copy is not known to be stored, so the original comes again.
        """
        if self.is_lost:
            raise BrokerUnavailable("the delivery's channel was lost; the message comes again")
        try:
            await self._publisher.publish(lane, [copy])
        except (BrokerUnavailable, Unroutable) as exc:
            self.give_back(tag)
            raise BrokerUnavailable(f"the copy was not stored: {exc}") from exc
        await self.ack(tag)

    def give_back(self, tag: int) -> None:
        """Return the message to its queue as soon as publishing works, which is now unless there is an outage."""
        task = asyncio.create_task(self._give_back(tag))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def close(self) -> None:
        """Leave what was not given back yet to the end of the channel."""
        for task in self._returning:
            task.cancel()
        await asyncio.gather(*self._returning, return_exceptions=True)

    async def _give_back(self, tag: int) -> None:
        await self._publisher.available()
        try:
            async with self._answering:
                await self._reject(tag)
        except BrokerUnavailable as exc:
            _log.info("delivery_returned_by_loss", error=str(exc))

    async def _ack_all(self) -> None:
        """Ack what came until the lock was free: up to the first tag that stays open in one frame, the others each."""
        async with self._answering:
            tags, self._acked, self._acking = self._acked, set(), None
            last = 0
            for tag in self._open:
                if tag not in tags:
                    break
                last = tag
            try:
                with driver_errors():
                    async with asyncio.timeout(RPC_TIMEOUT_S):
                        if last:
                            await self._channel.basic_ack(last, multiple=True)
                        for tag in sorted(tag for tag in tags if tag > last):
                            await self._channel.basic_ack(tag)
            finally:
                for tag in tags:
                    self._open.pop(tag, None)

    async def _reject(self, tag: int) -> None:
        """Return the message to its queue: by reject, never nack, since from 4.3 on only a reject counts towards the delivery limit."""
        try:
            with driver_errors():
                async with asyncio.timeout(RPC_TIMEOUT_S):
                    await self._channel.basic_reject(tag, requeue=True)
        finally:
            self._open.pop(tag, None)


class RabbitmqDelivery:
    """The port's `Delivery` on one consuming channel."""

    def __init__(self, message: Received, tag: int, settler: Settler) -> None:
        self.body = message.body
        self.headers = message.headers
        self.message_id = message.message_id
        self.attempt = message.attempt
        self.is_redelivered = message.is_redelivered
        self.published_at = message.published_at
        self._message = message
        self._tag = tag
        self._settler = settler
        self._is_settled = False
        self._is_failed = False

    @property
    def is_lost(self) -> bool:
        """Its channel is gone, so it can no longer be settled."""
        return self._settler.is_lost

    async def ack(self) -> None:
        with _Settling(self):
            await self._settler.ack(self._tag)

    async def retry(self, after: timedelta, *, counted: bool = True, headers: Headers | None = None) -> None:
        copy = retry_copy(self._message, after, headers or {}, datetime.now(UTC), is_counted=counted)
        with _Settling(self):
            await self._settler.store(self._tag, Lane.RETRY, copy)

    async def dead_letter(self, reason: str) -> None:
        with _Settling(self):
            await self._settler.store(self._tag, Lane.DEAD, dead_copy(self._message, reason))

    async def release(self) -> None:
        with _Settling(self):
            if self.is_lost:
                raise BrokerUnavailable("the delivery's channel was lost; the message comes again")
            self._settler.give_back(self._tag)

    def begin(self) -> None:
        if self._is_settled:
            raise RuntimeError("this delivery was settled before")
        if self._is_failed:
            raise BrokerUnavailable("this delivery went back to its queue")
        self._is_settled = True

    def fail(self) -> None:
        """Nothing is settled; it comes again, and this handle keeps saying so."""
        self._is_settled, self._is_failed = False, True


class _Settling:
    """One attempt to settle a delivery: the first one counts."""

    def __init__(self, delivery: RabbitmqDelivery) -> None:
        self._delivery = delivery

    def __enter__(self) -> None:
        self._delivery.begin()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._delivery.fail()


Show = Callable[[RabbitmqDelivery], None]


async def admit(message: DeliveredMessage, queue: str, settler: Settler, show: Show) -> None:
    """Show what is due; send round again, uncounted, what was told to come later."""
    now = datetime.now(UTC)
    seen = received(message, queue, now)
    tag = message.delivery_tag
    if tag is None:
        return
    settler.admit(tag)
    copy = waiting_copy(seen, now)
    if copy is None:
        show(RabbitmqDelivery(seen, tag, settler))
        return
    try:
        await settler.store(tag, Lane.RETRY, copy)
    except BrokerUnavailable as exc:
        _log.warning("waiting_message_not_moved", queue=queue, error=str(exc))
