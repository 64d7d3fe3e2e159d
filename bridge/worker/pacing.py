"""When the next attempt may begin: Pace, the configured rate; Gate, the reasons to begin none at all."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog

from bridge.core.errors import BrokerUnavailable
from bridge.core.ports import Clock, Delivery, Subscription

Sleep: TypeAlias = Callable[[float], Awaitable[None]]
"""Wait that many seconds; `asyncio.sleep` outside of tests."""

_log = structlog.get_logger(__name__)

_BROKER_AGAIN_S = 1.0


class Pace:
    """A token bucket that holds one token: attempts begin evenly spaced, at most *rate* a second (None: no limit)."""

    def __init__(self, rate: float | None, *, clock: Clock, sleep: Sleep) -> None:
        self._space = timedelta(seconds=1 / rate) if rate else timedelta(0)
        self._clock = clock
        self._sleep = sleep
        self._next: datetime | None = None

    def due_in(self) -> timedelta:
        """Return how long it is until the next turn; never more than one space, also when the clock was set back."""
        if self._next is None:
            return timedelta(0)
        return min(max(self._next - self._clock.now(), timedelta(0)), self._space)

    async def turn(self) -> None:
        """Wait for the next turn and take it."""
        while (wait := self.due_in()) > timedelta(0):
            await self._sleep(wait.total_seconds())
        self._next = self._clock.now() + self._space


class Gate:
    """Open while nothing speaks against taking deliveries; every reason is taken back by whoever gave it.

    Law: only steer() pauses and resumes the subscription, so two reasons at once cannot contradict each other.
    """

    def __init__(self, *, clock: Clock, sleep: Sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._reasons: set[str] = set()
        self._until: dict[str, datetime] = {}
        self._timers: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._is_idle = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return not self._reasons

    @property
    def reasons(self) -> frozenset[str]:
        return frozenset(self._reasons)

    @property
    def is_consuming(self) -> bool:
        """True while the broker hands us deliveries."""
        return not self._is_idle.is_set()

    def close(self, reason: str) -> None:
        self._reasons.add(reason)
        self._changed.set()

    def open(self, reason: str) -> None:
        self._reasons.discard(reason)
        self._changed.set()

    def hold(self, reason: str, duration: timedelta) -> None:
        """Close for *duration*; a longer one that is under way stays."""
        until = self._clock.now() + duration
        is_held = reason in self._until
        self._until[reason] = max(until, self._until.get(reason, until))
        self.close(reason)
        if not is_held:
            timer = asyncio.create_task(self._let_go(reason))
            self._timers.add(timer)
            timer.add_done_callback(self._timers.discard)

    async def _let_go(self, reason: str) -> None:
        while (left := (self._until[reason] - self._clock.now()).total_seconds()) > 0:
            await self._sleep(left)
        del self._until[reason]
        self.open(reason)

    async def idle(self) -> None:
        """Wait until the subscription is paused and what it had prefetched is put back."""
        await self._is_idle.wait()

    async def steer(self, subscription: Subscription, put_back: Callable[[Delivery], Awaitable[None]]) -> None:
        """Keep *subscription*, a new one, as the reasons say, until cancelled; what was prefetched at a pause is put back."""
        self._is_idle.clear()
        while True:
            self._changed.clear()
            try:
                await self._follow(subscription, put_back)
            except BrokerUnavailable:
                _log.warning("subscription_not_steered", reasons=sorted(self._reasons))
                await self._sleep(_BROKER_AGAIN_S)
                continue
            await self._changed.wait()

    async def _follow(self, subscription: Subscription, put_back: Callable[[Delivery], Awaitable[None]]) -> None:
        if self.is_open and self._is_idle.is_set():
            await subscription.resume()
            self._is_idle.clear()
        elif not self.is_open and not self._is_idle.is_set():
            await asyncio.gather(*(put_back(delivery) for delivery in await subscription.pause()))
            self._is_idle.set()

    def cancel(self) -> None:
        """Forget the timers of hold()."""
        for timer in self._timers:
            timer.cancel()
