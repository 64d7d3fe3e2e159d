"""How a coordinator consumes a queue: in batches, settled here and nowhere else, stopped while the store is away."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

import structlog

from bridge.core.errors import BrokerUnavailable, StoreUnavailable, Undecodable
from bridge.core.ports import Broker, Delivery, Subscription
from bridge.ops.faults import places

_log = structlog.get_logger(__name__)

T = TypeVar("T")

BATCH = 200
_AFTER_OUTAGE = timedelta(seconds=1)
_AFTER_BUG = timedelta(seconds=30)
_MAX_BUGS = 10
_PROBE_S = 0.5


class BatchConsumer(Generic[T]):
    """Takes what is here, handles it as one batch, acks it.

    read: makes a value of one delivery; Undecodable sends it to the dead letters.
    handle: does the work for a whole batch, once or again after a crash; when it returns, everything is stored.
    is_store_up: asked while the store is away.
    """

    def __init__(
        self,
        broker: Broker,
        queue: str,
        *,
        read: Callable[[Delivery], T],
        handle: Callable[[Sequence[T]], Awaitable[None]],
        is_store_up: Callable[[], Awaitable[bool]],
    ) -> None:
        self._broker = broker
        self._queue = queue
        self._read = read
        self._handle = handle
        self._is_store_up = is_store_up

    async def run(self) -> None:
        """Work until cancelled or the broker is closed."""
        async with self._broker.subscribe(self._queue, prefetch=BATCH) as subscription:
            while deliveries := await subscription.take(BATCH):
                readable = await self._readable(deliveries)
                try:
                    await to_its_end(self._work(readable))
                except StoreUnavailable:
                    await self._sit_out(subscription, [delivery for delivery, _ in readable])

    async def _readable(self, deliveries: Sequence[Delivery]) -> list[tuple[Delivery, T]]:
        readable = []
        for delivery in deliveries:
            try:
                readable.append((delivery, self._read(delivery)))
            except Undecodable as exc:
                _log.error("delivery_undecodable", queue=self._queue, message_id=delivery.message_id, places=str(exc))
                await settled(delivery.dead_letter("undecodable"))
        return readable

    async def _work(self, readable: Sequence[tuple[Delivery, T]]) -> None:
        if not readable:
            return
        try:
            await self._handle([value for _, value in readable])
        except StoreUnavailable:
            raise
        except Exception as exc:  # noqa: BLE001 - a bug in one message must not stop the others
            await self._isolate(readable, exc)
            return
        await asyncio.gather(*(settled(delivery.ack()) for delivery, _ in readable))

    async def _isolate(self, readable: Sequence[tuple[Delivery, T]], error: Exception) -> None:
        if len(readable) > 1:
            for one in readable:
                await self._work([one])
            return
        delivery, _ = readable[0]
        _log.error(
            "delivery_failed",
            queue=self._queue,
            message_id=delivery.message_id,
            error=type(error).__name__,
            at=places(error),
        )
        if delivery.attempt >= _MAX_BUGS:
            await settled(delivery.dead_letter("bug"))
        else:
            await settled(delivery.retry(_AFTER_BUG))

    async def _sit_out(self, subscription: Subscription, held: Sequence[Delivery]) -> None:
        """Give everything back as uncounted copies, so that no outage of ours ever counts against a message; wait for the store."""
        prefetched = await subscription.pause()
        _log.warning("store_away", queue=self._queue, returned=len(held) + len(prefetched))
        copies = (delivery.retry(_AFTER_OUTAGE, counted=False) for delivery in [*held, *prefetched])
        await asyncio.gather(*(settled(copy) for copy in copies))
        while not await self._is_store_up():  # noqa: ASYNC110 - the database sends no event when it is back
            await asyncio.sleep(_PROBE_S)
        await subscription.resume()
        _log.info("store_back", queue=self._queue)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await *work*; cancelled meanwhile, let it end first: a transaction that is cut leaves its connection in pieces."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def settled(verb: Awaitable[None]) -> None:
    """Await one settling verb. A broker that is lost meanwhile hands the message out again: handling it twice is harmless."""
    try:
        await verb
    except BrokerUnavailable:
        _log.info("delivery_comes_again")
