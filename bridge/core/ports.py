"""What the line needs from the outside: clock, HTTP, broker. Adapters implement these; the core only names them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple, Protocol

from bridge.core.request import Call, Reply
from bridge.core.topology import Route


class Clock(Protocol):
    """Time, so that tests can turn it."""

    def now(self) -> datetime:
        """Return the present time, aware, in UTC."""
        ...


class Http(Protocol):
    """Outbound HTTP to one configured host, with its own connection pool, time-outs and auth."""

    async def send(self, call: Call) -> Reply:
        """Send *call* and return whatever status came; no redirect is followed, no cookie kept unless asked.

        Raises:
            Unreachable: no connection was made; nothing was delivered.
            Unanswered: it may have been delivered; the caller is in doubt.
        """
        ...

    async def close(self) -> None: ...


class Outgoing(NamedTuple):
    """One message to publish."""

    route: Route
    body: bytes
    headers: Mapping[str, str | int] = MappingProxyType({})
    """Ours only (`bridge-*`, `traceparent`); nothing from a request goes in unencoded."""
    correlation_id: str = ""
    """The event's or wait's id. The message id is the broker's own and unique per publish."""


class Delivery(Protocol):
    """One message handed to us, to be settled exactly once by one of the four verbs.

    A settled delivery raises RuntimeError when it is settled again. Each verb may raise BrokerUnavailable: then nothing
    is settled, and the message comes again with `is_redelivered` on.
    """

    body: bytes
    headers: Mapping[str, str | int]
    message_id: str
    attempt: int
    """From 1; a stored copy counts on, a crash's redelivery does not."""
    is_redelivered: bool
    """It was handed out before and not settled: that earlier holder may have acted on it."""
    published_at: datetime
    """When its first copy was published; kept by every stored copy."""

    async def ack(self) -> None:
        """Done with it."""
        ...

    async def retry(
        self, after: timedelta, *, counted: bool = True, headers: Mapping[str, str | int] | None = None
    ) -> None:
        """Store a copy that comes back to the same queue not earlier than *after*, then release this one.

        counted: attempt + 1; False keeps the attempt (it was never started).
        headers: merged over the present `bridge-*` ones in the copy.
        Twice is possible (a crash between the two), lost is not.
        """
        ...

    async def dead_letter(self, reason: str) -> None:
        """Publish body and headers to the dead letters with *reason*, then release this one."""
        ...

    async def release(self) -> None:
        """Give it back untouched, to be delivered again soon (at shutdown)."""
        ...


class Subscription(Protocol):
    """A consumer on one queue. It survives lost connections by itself.

    Deliveries of a lost connection can no longer be settled (BrokerUnavailable) and come again.
    """

    async def take(self, limit: int) -> list[Delivery]:
        """Wait for at least one delivery; return up to *limit* that are here. Empty: the subscription was closed."""
        ...

    async def pause(self) -> list[Delivery]:
        """Cancel the consumer; return what was prefetched and not yet taken, for the caller to settle."""
        ...

    async def resume(self) -> None:
        """Consume again."""
        ...


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue's figures; `None` where the broker does not tell."""

    name: str
    ready: int | None
    unacked: int | None
    consumers: int | None


class Broker(Protocol):
    """Where messages wait. One per process; the same promises over memory, SQLite and RabbitMQ (tests/contract)."""

    @property
    def is_connected(self) -> bool:
        """It can be spoken to; says nothing of queues and consumers."""
        ...

    @property
    def is_ready(self) -> bool:
        """Connected, every subscription consuming, every declared queue there, no alarm."""
        ...

    async def start(self) -> None:
        """Begin connecting and return at once; start order is free, the connection comes when the broker does."""
        ...

    async def close(self) -> None:
        """Stop consuming, finish publishes under way, disconnect. Unsettled deliveries go back."""
        ...

    async def declare(self, targets: Sequence[str]) -> None:
        """Make the whole topology, now or as soon as connected, and again after each reconnect. Coordinators only."""
        ...

    async def publish(self, *messages: Outgoing) -> None:
        """Return when every message is stored durably and confirmed; one deadline around the whole.

        Raises:
            BrokerUnavailable: for at least one no confirm came: unknown, not failed. Repeat all.
            Unroutable: at least one was returned.
        """
        ...

    def subscribe(self, queue: str, *, prefetch: int) -> AbstractAsyncContextManager[Subscription]:
        """Consume *queue* (a name without suffix); at most *prefetch* deliveries are unsettled at a time."""
        ...

    async def announce(self, topic: str, body: bytes) -> None:
        """Tell every process, present and future, the latest *body* of *topic* (a target's pause). Coordinators only."""
        ...

    def follow(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield (topic, body) of what was announced: the past ones' latest first, then each new one."""
        ...

    async def queues(self, names: Sequence[str]) -> list[QueueStats]:
        """Return the figures of *names*, in that order."""
        ...
