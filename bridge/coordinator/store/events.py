"""Events in the database: recorded once, matched to waits from both sides, kept for waits that come later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.store import rows
from bridge.coordinator.store.engine import Database, insert_new
from bridge.coordinator.store.tables import dedupe, event_keys, events, expectations
from bridge.core.event import CALLBACK, Event, Outcome, includes
from bridge.core.wait import Expectation, Verdict

_EARLY_LIMIT = 1000
_RANK = {verdict.value: rank for rank, verdict in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event with its bytes as published."""

    event: Event
    document: bytes

    @property
    def may_be_early(self) -> bool:
        """True when a wait registered later may still want it: it says something, and is bound to no wait by a token."""
        return self.event.source != CALLBACK and self.event.data.outcome is not Outcome.NONE


async def record(
    db: Database, tx: AsyncConnection, incoming: Sequence[Incoming], *, dedupe_until: datetime
) -> dict[str, str | None]:
    """Store the events that are not there yet; return for each id the id of the event it duplicates, or None.

    An event is known by its own id first: seen before, it is what it was. Only then by its sender's dedupe keys.
    Rows are written in the order of their ids everywhere, so that two coordinators never wait crosswise.
    """
    await tx.execute(
        insert_new(db, events), [_event_row(one) for one in sorted(incoming, key=lambda one: one.event.id)]
    )
    owners = await _claim_keys(db, tx, [one.event for one in incoming], dedupe_until)
    duplicates = {one.event.id: _first_owner(one.event, owners) for one in incoming}
    named = [{"b_id": event, "b_of": of} for event, of in duplicates.items() if of]
    if named:
        await tx.execute(_MARK_DUPLICATE, named)
    kept = [one.event for one in incoming if one.may_be_early and not duplicates[one.event.id]]
    pairs = [_key_row(event, name, value) for event in kept for name, value in event.data.keys.items()]
    if pairs:
        await tx.execute(insert_new(db, event_keys), pairs)
    return duplicates


_MARK_DUPLICATE = (
    sa.update(events)
    .where(events.c.id == sa.bindparam("b_id"))
    .values(duplicate_of=sa.bindparam("b_of"), verdict=Verdict.DUPLICATE.value, is_kept=sa.false())
)


def _event_row(one: Incoming) -> dict[str, Any]:
    event = one.event
    return {
        "id": event.id,
        "source": event.source,
        "type": rows.shown(event.type),
        "outcome": event.data.outcome.value,
        "received_at": event.time,
        "verdict": (Verdict.EARLY if one.may_be_early else Verdict.NO_MATCH).value,
        "is_kept": one.may_be_early,
        "duplicate_of": None,
        "document": one.document,
    }


def _key_row(event: Event, name: str, value: str) -> dict[str, str]:
    return {"event_id": event.id, "source": event.source, "name": rows.indexed(name), "value": rows.indexed(value)}


async def _claim_keys(
    db: Database, tx: AsyncConnection, incoming: Sequence[Event], until: datetime
) -> dict[tuple[str, str], str]:
    """Give each (source, dedupe key) to the first event that has it; return the owners. Sorted, so that no two claimers wait crosswise."""
    claims = {(event.source, rows.indexed(key)): event.id for event in reversed(incoming) for key in event.data.dedupe}
    if not claims:
        return {}
    ordered = sorted(claims.items())
    await tx.execute(
        insert_new(db, dedupe), [{"source": s, "key": k, "event_id": e, "expires_at": until} for (s, k), e in ordered]
    )
    found = await tx.execute(db.statement(_owners), {"keys": db.listed([key for (_, key), _ in ordered])})
    return {(row.source, row.key): row.event_id for row in found}


def _owners(db: Database) -> sa.Select[Any]:
    return sa.select(dedupe).where(db.among(dedupe.c.key, "keys"))


def _first_owner(event: Event, owners: Mapping[tuple[str, str], str]) -> str | None:
    for key in event.data.dedupe:
        owner = owners.get((event.source, rows.indexed(key)))
        if owner is not None and owner != event.id:
            return owner
    return None


async def waits_for(db: Database, tx: AsyncConnection, incoming: Sequence[Event]) -> dict[str, list[str]]:
    """Return for each event id the ids of the waits that expect it, oldest registration first."""
    anchors = {rows.indexed(value) for event in incoming for value in event.data.keys.values()}
    if not anchors:
        return {}
    found = list(await tx.execute(db.statement(_anchored), {"anchors": db.listed(sorted(anchors))}))
    matched: dict[str, list[str]] = {}
    for event in incoming:
        ids = {row.wait_id for row in found if _expects(row.source, row.type, row.keys, event)}
        matched[event.id] = sorted(ids)
    return matched


def _anchored(db: Database) -> sa.Select[Any]:
    return sa.select(expectations).where(db.among(expectations.c.anchor_value, "anchors"))


def _expects(source: str, type_: str | None, keys: Mapping[str, str], event: Event) -> bool:
    return event.source == source and type_ in (None, event.type) and includes(event.data.keys, keys)


async def early_for(tx: AsyncConnection, expected: Sequence[Expectation], *, since: datetime) -> list[Event]:
    """Return the kept events received from *since* on that one of *expected* takes, oldest first."""
    found: dict[str, Event] = {}
    for one in expected:
        if not one.early:
            continue
        for event in await _kept_for(tx, one, since):
            found[event.id] = event
    return sorted(found.values(), key=lambda event: (event.time, event.id))


async def _kept_for(tx: AsyncConnection, one: Expectation, since: datetime) -> list[Event]:
    name, value = max(one.keys.items(), key=lambda pair: (len(pair[1]), pair[0]))
    with_anchor = sa.select(event_keys.c.event_id).where(
        event_keys.c.source == one.source,
        event_keys.c.name == rows.indexed(name),
        event_keys.c.value == rows.indexed(value),
    )
    statement = (
        sa.select(events.c.document)
        .where(events.c.id.in_(with_anchor), events.c.is_kept, events.c.received_at >= since)
        .order_by(events.c.received_at, events.c.id)
        .limit(_EARLY_LIMIT)
    )
    candidates = [Event.parse(document) for document in (await tx.execute(statement)).scalars()]
    return [event for event in candidates if _expects(one.source, one.type, one.keys, event)]


async def raise_verdicts(tx: AsyncConnection, given: Mapping[str, Sequence[Verdict]]) -> None:
    """Show on each event the first of its verdicts in rank; one that stands and ranks before stays."""
    best = {
        event: min(verdicts, key=lambda verdict: _RANK[verdict.value]) for event, verdicts in given.items() if verdicts
    }
    if best:
        await tx.execute(
            _RAISE_VERDICT,
            [
                {"b_id": event, "b_rank": _RANK[verdict.value], "b_verdict": verdict.value}
                for event, verdict in sorted(best.items())
            ],
        )


_RAISE_VERDICT = (
    sa.update(events)
    .where(
        events.c.id == sa.bindparam("b_id"),
        sa.case(_RANK, value=events.c.verdict, else_=len(_RANK)) > sa.bindparam("b_rank"),
    )
    .values(verdict=sa.bindparam("b_verdict"))
)


async def documents(db: Database, tx: AsyncConnection, ids: Sequence[str]) -> dict[str, Event]:
    """Return the events of *ids* that are still kept."""
    if not ids:
        return {}
    found = await tx.execute(sa.select(events.c.id, events.c.document).where(db.among(events.c.id, ids)))
    return {row.id: Event.parse(row.document) for row in found}
