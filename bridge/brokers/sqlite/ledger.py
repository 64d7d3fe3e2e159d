"""Who holds which message: plain synchronous bookkeeping of the writer's thread, one transaction at a time.

Law: a change is noted first (`publish`, `settle`, `leave`, …, no SQL, so it cannot fail half-way), and written by
`write()` inside the caller's transaction. Then exactly one of `committed()` and `failed()` follows. What a failed
transaction was to settle nobody holds any more: it is given back, uncounted, by the next transaction that works.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from bridge.brokers.sqlite.rows import Change, Rows, microseconds
from bridge.core.errors import BrokerUnavailable
from bridge.core.local import LocalMessage

Handed = tuple[int, LocalMessage]
"""Tag and message; a tag is used once."""


class Consumer:
    """A subscription as the ledger sees it. `receive` is not called here: it is the event loop's."""

    def __init__(self, queue: str, prefetch: int, receive: Callable[[list[Handed]], None]) -> None:
        self.queue = queue
        self.receive = receive
        self.is_paused = False
        self.held: dict[int, tuple[int, LocalMessage]] = {}
        """Row and message by tag."""
        self._prefetch = prefetch

    @property
    def room(self) -> int:
        return 0 if self.is_paused else self._prefetch - len(self.held)


@dataclass(slots=True)
class _Batch:
    """What the transaction under way is to write, and what it lets go of and hands out."""

    inserts: list[tuple[LocalMessage, int]] = field(default_factory=list)
    deletes: list[int] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)
    queues: set[str] = field(default_factory=set)
    topics: dict[str, bytes] = field(default_factory=dict)
    let_go: set[int] = field(default_factory=set)
    handed: list[tuple[Consumer, list[tuple[int, LocalMessage]]]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.inserts or self.deletes or self.changes or self.returned or self.queues or self.topics)


class Ledger:
    """All consumers of this process, and what the file has for them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._tags = count(1)
        self._consumers: list[Consumer] = []
        self._lost: set[int] = set()
        """Rows that a failed transaction let go of."""
        self._batch = _Batch()
        self._position = rows.last_position()
        self._hints = rows.busy_queues()
        """Queues that may have ready messages; a queue that is not here has none."""
        self._next_due: int | None = None
        """Known after a transaction."""

    def recover(self) -> None:
        """Take back what a process that died had in its hands."""
        for row, message in self._rows.handed_out():
            self._give_back(row, message)

    # Changes; written by the next transaction.

    def publish(self, messages: Sequence[LocalMessage]) -> None:
        self._batch.inserts += [(message, self._next_position()) for message in messages]
        self._hints.update(message.queue for message in messages)

    def settle(self, consumer: Consumer, tag: int, replacement: LocalMessage | None, after: timedelta) -> None:
        """Replace what *consumer* holds under *tag*.

        Raises:
            BrokerUnavailable: it holds it no longer; the message went back to its queue.
        """
        if tag not in consumer.held:
            raise BrokerUnavailable("the delivery went back to its queue and comes again")
        row, _ = consumer.held.pop(tag)
        self._batch.let_go.add(row)
        if replacement is None:
            self._batch.deletes.append(row)
        else:
            self._put(row, replacement, after)

    def leave(self, consumer: Consumer, taken: Collection[int]) -> None:
        """End *consumer* and give back what it holds; only the tags in *taken* were seen by anyone."""
        self._consumers.remove(consumer)
        for tag, (row, message) in consumer.held.items():
            self._batch.let_go.add(row)
            if tag in taken:
                self._give_back(row, message)
            else:
                self._batch.returned.append(row)
                self._hints.add(message.queue)
        consumer.held.clear()

    def declare(self, queues: Collection[str]) -> None:
        self._batch.queues.update(queues)

    def announce(self, topic: str, body: bytes) -> None:
        self._batch.topics[topic] = body

    # Nothing to write: these hold at once.

    def join(self, consumer: Consumer) -> None:
        self._consumers.append(consumer)

    def pause(self, consumer: Consumer) -> None:
        consumer.is_paused = True

    def resume(self, consumer: Consumer) -> None:
        consumer.is_paused = False

    def declared(self) -> tuple[set[str], Mapping[str, bytes]]:
        """Return the queues and topics in the file."""
        return self._rows.declared(), self._rows.topics()

    def stats(self, queues: Sequence[str]) -> list[tuple[int, int, int]]:
        """Return ready, handed out and consumers of each of *queues*."""
        return [
            (*self._rows.count(queue), sum(each.queue == queue and not each.is_paused for each in self._consumers))
            for queue in queues
        ]

    # The transaction.

    @property
    def has_work(self) -> bool:
        """Something to write, something due, or something to hand out."""
        is_due = self._next_due is not None and self._next_due <= _now()
        return not self._batch.is_empty or bool(self._lost) or is_due or any(self._open_handed())

    @property
    def next_due_s(self) -> float | None:
        """Seconds until the next delay is over; None without any."""
        return None if self._next_due is None else max(0, self._next_due - _now()) / 1_000_000

    def write(self) -> None:
        """Write the batch, and mark what is handed out with it, so that both cost one commit."""
        batch, rows = self._batch, self._rows
        rows.insert(batch.inserts)
        rows.delete(batch.deletes)
        rows.change(batch.changes)
        rows.give_back(batch.returned)
        rows.declare(batch.queues)
        rows.announce(batch.topics)
        self._hints |= rows.give_back_redelivered(self._lost)
        self._promote()
        self._hand_out()
        self._next_due = rows.next_due()

    def committed(self) -> list[tuple[Consumer, list[Handed]]]:
        """Take note that the batch is stored; return what each consumer now holds more."""
        batch, self._batch = self._batch, _Batch()
        self._lost.clear()
        handed = []
        for consumer, claimed in batch.handed:
            tagged = [(next(self._tags), row, message) for row, message in claimed]
            consumer.held.update({tag: (row, message) for tag, row, message in tagged})
            handed.append((consumer, [(tag, message) for tag, _, message in tagged]))
        return handed

    def failed(self) -> None:
        """Take note that nothing of the batch is stored."""
        batch, self._batch = self._batch, _Batch()
        self._lost |= batch.let_go
        self._hints |= {consumer.queue for consumer in self._consumers}

    def _give_back(self, row: int, message: LocalMessage) -> None:
        self._put(row, message.returned(), timedelta(0))

    def _put(self, row: int, message: LocalMessage, after: timedelta) -> None:
        if message.is_redelivered:  # the message itself: it keeps its place
            change = Change(row, message)
        elif after:
            change = Change(row, message, due=microseconds(datetime.now(UTC) + after))
        else:
            change = Change(row, message, position=self._next_position())
        self._batch.changes.append(change)
        self._hints.add(message.queue)

    def _promote(self) -> None:
        for row, queue in self._rows.due(_now()):
            self._rows.promote(row, self._next_position())
            self._hints.add(queue)

    def _hand_out(self) -> None:
        for consumer in self._open_handed():
            claimed = self._rows.claim(consumer.queue, consumer.room)
            if len(claimed) < consumer.room:
                self._hints.discard(consumer.queue)
            if claimed:
                self._batch.handed.append((consumer, claimed))

    def _open_handed(self) -> list[Consumer]:
        """Return the consumers that something may be handed to, the least loaded first."""
        able = [each for each in self._consumers if each.queue in self._hints and each.room > 0]
        return sorted(able, key=lambda each: len(each.held))

    def _next_position(self) -> int:
        self._position += 1
        return self._position


def _now() -> int:
    return microseconds(datetime.now(UTC))
