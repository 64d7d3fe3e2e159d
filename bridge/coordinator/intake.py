"""From events to transitions: record, look for waits, apply, send. Each step may be repeated after a crash."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.ledger import Applied, Ledger
from bridge.coordinator.outbox import Outbox
from bridge.coordinator.store import events, wholes
from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.events import Incoming
from bridge.core.event import BRIDGE, CALLBACK, Event
from bridge.core.ports import Clock, Delivery
from bridge.core.source import Whole
from bridge.core.wait import DeadlineReached, EventSeen, Input, Progress, Verdict
from bridge.ops import metrics

_BOUND = (CALLBACK, BRIDGE)
"""Sources whose events name their wait."""


def read_event(delivery: Delivery) -> Incoming:
    """Read one delivery of the events queue.

    Raises:
        Undecodable: it is no event.
    """
    return Incoming(Event.parse(delivery.body), delivery.body)


class Intake:
    """Handles batches of the events queue."""

    def __init__(
        self,
        db: Database,
        ledger: Ledger,
        outbox: Outbox,
        *,
        wholes: Mapping[str, Whole],
        clock: Clock,
        dedupe_for: timedelta,
        note_age: Callable[[timedelta], None],
    ) -> None:
        self._db = db
        self._ledger = ledger
        self._outbox = outbox
        self._wholes = wholes
        self._clock = clock
        self._dedupe_for = dedupe_for
        self._note_age = note_age

    async def handle(self, batch: Sequence[Incoming]) -> None:
        """Do all that follows from *batch*.

        Raises:
            StoreUnavailable: the whole batch is to be handled again.
        """
        duplicates, applied = await self._take(batch)
        await self._outbox.follow_up(applied, {one.event.id: one.event for one in batch})
        self._count(batch, duplicates, applied)
        if batch:
            self._note_age(self._clock.now() - batch[-1].event.time)

    async def _take(self, batch: Sequence[Incoming]) -> tuple[dict[str, str | None], list[Applied]]:
        """Record and apply; return what of *batch* is a duplicate of what, and what became of the rest.

        Events that waits are looked for commit their rows before the look: a registration does the reverse, so one of both
        sees the other. Where each is bound to its wait, one transaction does.
        """
        if all(one.event.source in _BOUND for one in batch):
            async with self._db.write() as tx:
                duplicates = await self._record(tx, batch)
                return duplicates, await self._apply(tx, batch, duplicates)
        async with self._db.write() as tx:
            duplicates = await self._record(tx, batch)
        async with self._db.write() as tx:
            return duplicates, await self._apply(tx, batch, duplicates)

    async def _record(self, tx: AsyncConnection, batch: Sequence[Incoming]) -> dict[str, str | None]:
        incoming = [one for one in batch if one.event.source != BRIDGE]
        if not incoming:
            return {}
        now = self._clock.now()
        duplicates = await events.record(self._db, tx, incoming, dedupe_until=now + self._dedupe_for)
        ended = self._parts_ended(one.event for one in incoming if not duplicates[one.event.id])
        await wholes.part_ended(tx, ended, now=now)
        return duplicates

    def _parts_ended(self, fresh: Iterable[Event]) -> set[tuple[str, str]]:
        """Return the wholes that may be over since one of *fresh*."""
        found = ((event, self._wholes.get(event.source)) for event in fresh)
        return {
            (event.source, event.data.keys[whole.key])
            for event, whole in found
            if whole and event.type == whole.told_by and whole.key in event.data.keys
        }

    async def _apply(
        self, tx: AsyncConnection, batch: Sequence[Incoming], duplicates: Mapping[str, str | None]
    ) -> list[Applied]:
        fresh = [one.event for one in batch if not duplicates.get(one.event.id)]
        expecting = await events.waits_for(self._db, tx, [event for event in fresh if event.source not in _BOUND])
        inputs = [(wait, input_of(event)) for event in fresh for wait in _wanted(event, expecting)]
        applied = await self._ledger.apply_in(tx, inputs) if inputs else []
        await events.raise_verdicts(tx, _verdicts(applied))
        return applied

    @staticmethod
    def _count(batch: Sequence[Incoming], duplicates: dict[str, str | None], applied: Sequence[Applied]) -> None:
        shown = _verdicts(applied)
        for one in batch:
            if one.event.source == BRIDGE:
                continue
            unmatched = Verdict.EARLY if one.may_be_early else Verdict.NO_MATCH
            default = Verdict.DUPLICATE if duplicates.get(one.event.id) else unmatched
            metrics.count_event(one.event.source, shown.get(one.event.id, [default])[0])


def _wanted(event: Event, expecting: dict[str, list[str]]) -> list[str]:
    if event.source in _BOUND:
        return [event.data.keys["wait"]] if "wait" in event.data.keys else []
    return expecting.get(event.id, [])


def input_of(event: Event) -> Input:
    """Return what *event* says to a wait."""
    if event.source == BRIDGE:
        return DeadlineReached()
    progress = Progress(event.data.percent, event.data.summary, event.data.url)
    return EventSeen(event.id, event.data.outcome, event.time, progress)


def _verdicts(applied: Sequence[Applied]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for one in applied:
        if isinstance(one.given, EventSeen) and one.verdict:
            found.setdefault(one.given.id, []).append(one.verdict)
    return found
