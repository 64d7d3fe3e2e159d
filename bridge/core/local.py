"""What the brokers inside one process share: routing without exchanges, and what each verb makes of a message.

Pure values. Such a broker keeps a message in exactly one queue; settling it replaces it by nothing (ack), by a copy
(retry, dead letter) or by itself (release), in one step, so here a retry is never twice.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self
from uuid import uuid4

from bridge.core.errors import BrokerUnavailable, Unroutable
from bridge.core.ports import Outgoing
from bridge.core.topology import (
    ATTEMPT,
    DEAD,
    DELIVERY_LIMIT,
    EVENTS,
    FIRST_TS,
    HOME,
    NOT_BEFORE,
    POLLS,
    REASON,
    REPORTS,
    RESOLUTIONS,
    UNROUTED,
    Route,
    target_queue,
)

SHARED_QUEUES = frozenset({EVENTS, REPORTS, POLLS, DEAD, UNROUTED})
DELIVERY_LIMIT_REASON = "delivery_limit"
"""The reason of a dead letter that came back too often: RabbitMQ's own word in `x-death`."""
_BOOKKEEPING = frozenset({ATTEMPT, FIRST_TS, NOT_BEFORE})

Headers = Mapping[str, str | int]


class LocalRoutes:
    """Which queue a route leads to. Knows what was declared, now or by an earlier process, and never forgets a target."""

    def __init__(self, queues: Collection[str] = ()) -> None:
        self._queues = frozenset(queues)

    def __contains__(self, queue: str) -> bool:
        return queue in self._queues

    @property
    def is_declared(self) -> bool:
        return bool(self._queues)

    def queues_with(self, targets: Sequence[str]) -> frozenset[str]:
        """Return every queue that there is once *targets* are declared too; `adopt` makes it so."""
        return self._queues | SHARED_QUEUES | {target_queue(target) for target in targets}

    def adopt(self, queues: Collection[str]) -> None:
        """Route to *queues* too."""
        self._queues |= frozenset(queues)

    def queue_for(self, route: Route) -> str:
        """Return the queue that *route* leads to; an unknown target's is `bridge.unrouted`.

        Raises:
            BrokerUnavailable: nothing was ever declared: the coordinator of this process has not come so far yet.
            Unroutable: no such exchange, or no such queue behind the default exchange.
        """
        if not self._queues:
            raise BrokerUnavailable("no queue is declared yet; a coordinator declares them when it starts")
        match route:
            case Route(exchange="", key=queue) if queue in self._queues:
                return queue
            case Route(exchange=str(exchange)) if exchange in (EVENTS, DEAD, UNROUTED):
                return exchange
            case Route(exchange=str(exchange), key=target) if exchange == RESOLUTIONS:
                queue = target_queue(target)
                return queue if queue in self._queues else UNROUTED
        raise Unroutable(f"no queue for exchange {route.exchange!r} and key {route.key!r}")


@dataclass(frozen=True, slots=True)
class LocalMessage:
    """A message as a local broker keeps it."""

    queue: str
    body: bytes
    headers: Headers
    message_id: str
    published_at: datetime
    """When its first copy was published."""
    attempt: int = 1
    returns: int = 0
    """How often this copy came back unsettled: released, or its holder died."""
    is_redelivered: bool = False

    @classmethod
    def published(cls, message: Outgoing, queue: str, now: datetime) -> Self:
        """Return the first copy of *message*; bookkeeping that was copied from a delivery is not taken over."""
        headers = {name: value for name, value in message.headers.items() if name not in _BOOKKEEPING}
        return cls(queue, message.body, headers, _new_id(), now)

    def retried(self, *, is_counted: bool, headers: Headers | None) -> Self:
        """Return the copy that comes back to the same queue."""
        return self._copy(self.queue, headers or {}, attempt=self.attempt + is_counted)

    def dead(self, reason: str) -> Self:
        """Return the copy for the dead letters: it says why it is there and where it came from."""
        return self._copy(DEAD, {REASON: reason, HOME: self.queue}, attempt=self.attempt)

    def returned(self) -> Self:
        """Return itself as it stands after its holder gave it back or died: dead when that happened too often.

        A dead letter is never moved again, however often it comes back.
        """
        if self.returns >= DELIVERY_LIMIT and self.queue != DEAD:
            return self.dead(DELIVERY_LIMIT_REASON)
        return replace(self, returns=self.returns + 1, is_redelivered=True)

    def _copy(self, queue: str, headers: Headers, *, attempt: int) -> Self:
        return replace(
            self,
            queue=queue,
            headers={**self.headers, **headers},
            message_id=_new_id(),
            attempt=attempt,
            returns=0,
            is_redelivered=False,
        )


Settle = Callable[[LocalMessage | None, timedelta], Awaitable[None]]
"""Replace the delivered message by this one, ready after so long; None removes it. May raise BrokerUnavailable."""


class LocalDelivery:
    """The port's `Delivery`: each verb says what replaces the message; the broker stores that."""

    def __init__(self, message: LocalMessage, settle: Settle) -> None:
        self.body = message.body
        self.headers = message.headers
        self.message_id = message.message_id
        self.attempt = message.attempt
        self.is_redelivered = message.is_redelivered
        self.published_at = message.published_at
        self._message = message
        self._store = settle
        self._is_settled = False

    async def ack(self) -> None:
        await self._settle(None)

    async def retry(self, after: timedelta, *, counted: bool = True, headers: Headers | None = None) -> None:
        await self._settle(self._message.retried(is_counted=counted, headers=headers), max(after, timedelta(0)))

    async def dead_letter(self, reason: str) -> None:
        await self._settle(self._message.dead(reason))

    async def release(self) -> None:
        await self._settle(self._message.returned())

    async def _settle(self, replacement: LocalMessage | None, after: timedelta = timedelta(0)) -> None:
        if self._is_settled:
            raise RuntimeError("this delivery was settled before")
        self._is_settled = True
        try:
            await self._store(replacement, after)
        except BrokerUnavailable:
            self._is_settled = False  # nothing was settled; it comes again, and this handle keeps saying so
            raise


def _new_id() -> str:
    return uuid4().hex
