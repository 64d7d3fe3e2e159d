"""MemoryBroker: the whole line in one process's memory, for tests and trials. Nothing survives the process.

Law: all state is changed on the event loop, by the broker alone; after each change it hands out what it can.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from bridge.core.errors import BrokerUnavailable
from bridge.core.local import LocalDelivery, LocalMessage, LocalRoutes
from bridge.core.ports import Delivery, Outgoing, QueueStats, Subscription


class MemoryBroker:
    """The port's `Broker` without durability. Closed and started again, the same object still has its messages."""

    def __init__(self) -> None:
        self._is_open = self._is_closed = False
        self._routes = LocalRoutes()
        self._positions = 0
        self._ready: dict[str, list[tuple[int, LocalMessage]]] = {}
        """By queue, a heap by position: what comes back keeps its place, a copy goes to the end."""
        self._delayed: list[tuple[float, int, LocalMessage]] = []
        """A heap by (due, in the loop's time; position)."""
        self._timer: asyncio.TimerHandle | None = None
        self._subscriptions: list[_MemorySubscription] = []
        self._topics: dict[str, bytes] = {}
        self._followers: set[asyncio.Queue[tuple[str, bytes] | None]] = set()

    @property
    def is_connected(self) -> bool:
        return self._is_open

    @property
    def is_ready(self) -> bool:
        queues = (subscription.queue for subscription in self._subscriptions)
        return self._is_open and self._routes.is_declared and all(queue in self._routes for queue in queues)

    async def start(self) -> None:
        self._is_open, self._is_closed = True, False
        self._promote()

    async def close(self) -> None:
        self._is_open, self._is_closed = False, True
        if self._timer:
            self._timer.cancel()
        for subscription in list(self._subscriptions):
            self._unsubscribe(subscription)
        for follower in self._followers:
            follower.put_nowait(None)

    async def declare(self, targets: Sequence[str]) -> None:
        self._routes.adopt(self._routes.queues_with(targets))

    async def publish(self, *messages: Outgoing) -> None:
        self._require_open()
        now = datetime.now(UTC)
        for message in [LocalMessage.published(each, self._routes.queue_for(each.route), now) for each in messages]:
            self._make_ready(message)
        self._hand_out()
        await asyncio.sleep(0)  # a publisher in a loop lets the consumers run, as it would with a real broker

    @asynccontextmanager
    async def subscribe(self, queue: str, *, prefetch: int) -> AsyncIterator[Subscription]:
        """Consume *queue*, which need not be declared yet. Leaving gives back what is unsettled."""
        self._require_open()
        subscription = _MemorySubscription(self, queue, prefetch)
        self._subscriptions.append(subscription)
        self._hand_out()
        try:
            yield subscription
        finally:
            self._unsubscribe(subscription)

    async def announce(self, topic: str, body: bytes) -> None:
        self._require_open()
        self._topics[topic] = body
        for follower in self._followers:
            follower.put_nowait((topic, body))

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
        return [self._stats(name) for name in names]

    def _stats(self, name: str) -> QueueStats:
        if name not in self._routes:
            return QueueStats(name, None, None, None)
        consumers = [each for each in self._subscriptions if each.queue == name]
        return QueueStats(
            name,
            ready=len(self._ready.get(name, ())),
            unacked=sum(len(each.held) for each in consumers),
            consumers=sum(not each.is_paused for each in consumers),
        )

    def settle(
        self, holder: "_MemorySubscription", tag: int, replacement: LocalMessage | None, after: timedelta
    ) -> None:
        """Replace what *holder* has under *tag*.

        Raises:
            BrokerUnavailable: the subscription is over; the message went back.
        """
        if tag not in holder.held:
            raise BrokerUnavailable("the subscription is over; the delivery went back to its queue")
        del holder.held[tag]
        if replacement is not None:
            self._put(tag, replacement, after)
        self._hand_out()

    def consume(self, subscription: "_MemorySubscription", *, is_paused: bool) -> None:
        """Pause or resume *subscription*."""
        subscription.is_paused = is_paused
        self._hand_out()

    def _put(self, position: int, message: LocalMessage, after: timedelta = timedelta(0)) -> None:
        if message.is_redelivered:
            heapq.heappush(self._ready.setdefault(message.queue, []), (position, message))
        elif after:
            self._positions += 1
            due = asyncio.get_running_loop().time() + after.total_seconds()
            heapq.heappush(self._delayed, (due, self._positions, message))
            self._promote()
        else:
            self._make_ready(message)

    def _make_ready(self, message: LocalMessage) -> None:
        self._positions += 1
        heapq.heappush(self._ready.setdefault(message.queue, []), (self._positions, message))

    def _promote(self) -> None:
        """Make ready what is due, and come again when the next one is."""
        loop = asyncio.get_running_loop()
        while self._delayed and self._delayed[0][0] <= loop.time():
            self._make_ready(heapq.heappop(self._delayed)[2])
        if self._timer:
            self._timer.cancel()
        self._timer = loop.call_at(self._delayed[0][0], self._promote) if self._delayed else None
        self._hand_out()

    def _hand_out(self) -> None:
        """Give to each subscription what it has room for, the least loaded one first."""
        for subscription in sorted(self._subscriptions, key=lambda each: len(each.held)):
            ready = self._ready.get(subscription.queue, [])
            while ready and subscription.has_room and subscription.queue in self._routes:
                subscription.receive(*heapq.heappop(ready))

    def _unsubscribe(self, subscription: "_MemorySubscription") -> None:
        if subscription not in self._subscriptions:
            return
        self._subscriptions.remove(subscription)
        for position, message, is_taken in subscription.end():
            if is_taken:
                self._put(position, message.returned())
            else:  # nobody saw it
                heapq.heappush(self._ready.setdefault(message.queue, []), (position, message))
        self._hand_out()

    def _require_open(self) -> None:
        if not self._is_open:
            raise BrokerUnavailable("the broker is not started, or closed")


class _MemorySubscription:
    """A consumer: what it holds (`held`, by position, which serves as the delivery's tag), and what was not yet taken."""

    def __init__(self, broker: MemoryBroker, queue: str, prefetch: int) -> None:
        if prefetch < 1:
            raise ValueError("prefetch: expected at least 1")
        self.queue = queue
        self.is_paused = False
        self.held: dict[int, LocalMessage] = {}
        self._broker = broker
        self._prefetch = prefetch
        self._prefetched: deque[int] = deque()
        self._is_closed = False
        self._changed = asyncio.Event()

    @property
    def has_room(self) -> bool:
        return not self.is_paused and len(self.held) < self._prefetch

    async def take(self, limit: int) -> list[Delivery]:
        while not self._prefetched and not self._is_closed:
            self._changed.clear()
            await self._changed.wait()
        return self._take(limit)

    async def pause(self) -> list[Delivery]:
        self._broker.consume(self, is_paused=True)
        return self._take(len(self._prefetched))

    async def resume(self) -> None:
        self._broker.consume(self, is_paused=False)

    def receive(self, position: int, message: LocalMessage) -> None:
        self.held[position] = message
        self._prefetched.append(position)
        self._changed.set()

    def end(self) -> list[tuple[int, LocalMessage, bool]]:
        """Let everything go: (position, message, was it taken)."""
        self._is_closed = True
        self._changed.set()
        untaken = set(self._prefetched)
        left = [(position, message, position not in untaken) for position, message in self.held.items()]
        self.held.clear()
        self._prefetched.clear()
        return left

    def _take(self, limit: int) -> list[Delivery]:
        positions = [self._prefetched.popleft() for _ in range(min(limit, len(self._prefetched)))]
        return [LocalDelivery(self.held[position], partial(self._settle, position)) for position in positions]

    async def _settle(self, position: int, replacement: LocalMessage | None, after: timedelta) -> None:
        self._broker.settle(self, position, replacement, after)
