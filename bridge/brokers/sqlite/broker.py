"""SqliteBroker: the port over one file. What a call promises is stored when it returns.

A confirm costs about one fsync, shared by all that ask during the one before. A delivery is marked as handed out in the
commit of the publish that it follows, so after a kill -9 it comes back as redelivered. A delay counts from the wall
clock, because it outlives the process.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from bridge.brokers.sqlite.ledger import Consumer, Handed
from bridge.brokers.sqlite.writer import Writer
from bridge.core.errors import BrokerUnavailable
from bridge.core.local import LocalDelivery, LocalMessage, LocalRoutes
from bridge.core.ports import Delivery, Outgoing, QueueStats, Subscription

PUBLISH_DEADLINE_S = 10.0
MAX_UNCONFIRMED = 4_096
"""Publishes under way; beyond, the disk does not keep up and the caller is told at once."""
BUSY_TIMEOUT = timedelta(seconds=5)
"""How long another connection, such as the store's, may keep the file's write lock."""
DECLARE_INTERVAL_S = 1.0

_log = structlog.get_logger(__name__)


class SqliteBroker:
    """The port's `Broker` in the SQLite file *path*, which may be the store's too. One process at a time.

    `start` raises ConfigError when another process uses the file or it cannot be opened. Until a coordinator has
    declared the queues once in the file's life, publishing raises BrokerUnavailable; later processes know them at once.
    """

    def __init__(self, path: str | Path, *, busy_timeout: timedelta = BUSY_TIMEOUT) -> None:
        self._writer = Writer(Path(path), busy_timeout=busy_timeout)
        self._routes = LocalRoutes()
        self._unconfirmed = 0
        self._is_closed = False
        self._subscriptions: set[_SqliteSubscription] = set()
        self._topics: dict[str, bytes] = {}
        self._followers: set[asyncio.Queue[tuple[str, bytes] | None]] = set()

    @property
    def is_connected(self) -> bool:
        return self._writer.is_healthy

    @property
    def is_ready(self) -> bool:
        queues = (subscription.queue for subscription in self._subscriptions)
        return self._writer.is_healthy and self._routes.is_declared and all(queue in self._routes for queue in queues)

    async def start(self) -> None:
        await self._writer.start()
        self._is_closed = False
        queues, topics = await self._writer.ask(lambda ledger: ledger.declared())
        self._routes.adopt(queues)
        for topic, body in topics.items():
            self._tell(topic, body)

    async def close(self) -> None:
        self._is_closed = True
        for subscription in list(self._subscriptions):
            await self._unsubscribe(subscription)
        await self._writer.stop()
        for follower in self._followers:
            follower.put_nowait(None)

    async def declare(self, targets: Sequence[str]) -> None:
        """Make the queues, trying until the file takes them; BrokerUnavailable only when the broker is not started."""
        queues = self._routes.queues_with(targets)
        while True:
            try:
                await self._writer.change(lambda ledger: ledger.declare(queues))
                break
            except BrokerUnavailable as exc:
                if not self._writer.is_running:
                    raise
                _log.warning("broker_declare_failed", reason=str(exc))
                await asyncio.sleep(DECLARE_INTERVAL_S)
        self._routes.adopt(queues)

    async def publish(self, *messages: Outgoing) -> None:
        now = datetime.now(UTC)
        stored = [LocalMessage.published(each, self._routes.queue_for(each.route), now) for each in messages]
        if self._unconfirmed + len(stored) > MAX_UNCONFIRMED:
            raise BrokerUnavailable(f"more than {MAX_UNCONFIRMED} publishes wait for the disk")
        self._unconfirmed += len(stored)
        try:
            async with asyncio.timeout(PUBLISH_DEADLINE_S):
                await self._writer.change(lambda ledger: ledger.publish(stored))
        except TimeoutError as exc:
            raise BrokerUnavailable(f"no confirm within {PUBLISH_DEADLINE_S} s") from exc
        finally:
            self._unconfirmed -= len(stored)

    @asynccontextmanager
    async def subscribe(self, queue: str, *, prefetch: int) -> AsyncIterator[Subscription]:
        """Consume *queue*, which need not be declared yet. Leaving gives back what is unsettled."""
        subscription = _SqliteSubscription(self._writer, queue, prefetch)
        self._subscriptions.add(subscription)
        try:
            await subscription.join()
            yield subscription
        finally:
            await self._unsubscribe(subscription)

    async def announce(self, topic: str, body: bytes) -> None:
        await self._writer.change(lambda ledger: ledger.announce(topic, body))
        self._tell(topic, body)

    async def follow(self) -> AsyncIterator[tuple[str, bytes]]:
        news: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue()
        for past in self._topics.items():
            news.put_nowait(past)
        if self._is_closed:
            news.put_nowait(None)
        self._followers.add(news)
        try:
            while (item := await news.get()) is not None:
                yield item
        finally:
            self._followers.discard(news)

    async def queues(self, names: Sequence[str]) -> list[QueueStats]:
        known = [name for name in names if name in self._routes]
        figures = dict(zip(known, await self._writer.ask(lambda ledger: ledger.stats(known)), strict=True))
        return [QueueStats(name, *figures.get(name, (None, None, None))) for name in names]

    async def _unsubscribe(self, subscription: "_SqliteSubscription") -> None:
        if subscription not in self._subscriptions:
            return
        self._subscriptions.discard(subscription)
        try:
            await subscription.leave()
        except BrokerUnavailable as exc:  # what it held goes back with the next transaction, or at the next start
            _log.warning("broker_give_back_postponed", queue=subscription.queue, reason=str(exc))

    def _tell(self, topic: str, body: bytes) -> None:
        self._topics[topic] = body
        for follower in self._followers:
            follower.put_nowait((topic, body))


class _SqliteSubscription:
    """A consumer on the loop's side: what was handed to it and not yet taken."""

    def __init__(self, writer: Writer, queue: str, prefetch: int) -> None:
        if prefetch < 1:
            raise ValueError("prefetch: expected at least 1")
        self.queue = queue
        self._writer = writer
        self._consumer = Consumer(queue, prefetch, self._receive)
        self._prefetched: deque[Handed] = deque()
        self._taken: set[int] = set()
        self._is_closed = False
        self._changed = asyncio.Event()

    async def join(self) -> None:
        await self._writer.ask(lambda ledger: ledger.join(self._consumer))

    async def leave(self) -> None:
        """End, and give back what is unsettled: as redelivered what somebody took."""
        self._is_closed = True
        self._prefetched.clear()
        self._changed.set()
        await self._writer.change(lambda ledger: ledger.leave(self._consumer, self._taken))

    async def take(self, limit: int) -> list[Delivery]:
        while not self._prefetched and not self._is_closed:
            self._changed.clear()
            await self._changed.wait()
        return [] if self._is_closed else self._take(limit)

    async def pause(self) -> list[Delivery]:
        if self._is_closed:
            return []
        await self._writer.ask(lambda ledger: ledger.pause(self._consumer))
        return self._take(len(self._prefetched))

    async def resume(self) -> None:
        if not self._is_closed:
            await self._writer.ask(lambda ledger: ledger.resume(self._consumer))

    def _receive(self, handed: list[Handed]) -> None:
        """Called by the writer; after the end what still comes is on its way back already."""
        self._prefetched.extend(handed)
        self._changed.set()

    def _take(self, limit: int) -> list[Delivery]:
        handed = [self._prefetched.popleft() for _ in range(min(limit, len(self._prefetched)))]
        self._taken.update(tag for tag, _ in handed)
        return [LocalDelivery(message, partial(self._settle, tag)) for tag, message in handed]

    async def _settle(self, tag: int, replacement: LocalMessage | None, after: timedelta) -> None:
        try:
            await self._writer.change(lambda ledger: ledger.settle(self._consumer, tag, replacement, after))
        finally:
            self._taken.discard(tag)
