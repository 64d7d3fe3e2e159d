"""Waits in the database: lock, save, insert, claim. Called by the ledger and the timers; everything runs inside a given transaction."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.store import rows
from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.tables import (
    HOLDS_ADDRESS,
    IS_OPEN,
    IS_RESOLVING,
    IS_UNSENT,
    expectations,
    timeline,
    verdicts,
    wait_labels,
    waits,
)
from bridge.core.wait import Entry, Expectation, Verdict, Wait

_CLAIM_LIMIT = 500


async def lock(db: Database, tx: AsyncConnection, ids: Iterable[str]) -> dict[str, Wait]:
    """Return the waits of *ids* that exist, their rows locked in the order of their ids, so that no two lockers wait crosswise."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    found = (await tx.execute(db.statement(_locking), {"ids": db.listed(wanted)})).mappings()
    return {row["id"]: rows.wait_from_row(row) for row in found}


def _locking(db: Database) -> sa.Select[Any]:
    return sa.select(waits).where(db.among(waits.c.id, "ids")).order_by(waits.c.id).with_for_update()


async def save(tx: AsyncConnection, changed: Sequence[Wait], *, unsent: Iterable[str], now: datetime) -> None:
    """Write the changed waits; those in *unsent* start their time to be sent."""
    fresh = set(unsent)
    plain = [_update_row(wait) for wait in changed if wait.id not in fresh]
    sending = [_update_row(wait) | {"b_claimed_at": now} for wait in changed if wait.id in fresh]
    if plain:
        await tx.execute(_UPDATE, plain)
    if sending:
        await tx.execute(_UPDATE_UNSENT, sending)


def _update_row(wait: Wait) -> dict[str, Any]:
    return {f"b_{name}": value for name, value in rows.changing_columns(wait).items()} | {"b_id": wait.id}


_CHANGING = (
    "state",
    "outcome",
    "reason",
    "decided_at",
    "event_id",
    "caused_at",
    "progress",
    "dispatch",
    "deliver_until",
    "sent_at",
    "attempted",
)
_UPDATE = (
    sa.update(waits)
    .where(waits.c.id == sa.bindparam("b_id"))
    .values({name: sa.bindparam(f"b_{name}") for name in _CHANGING})
)
_UPDATE_UNSENT = _UPDATE.values(claimed_at=sa.bindparam("b_claimed_at"))


_INSERT_ENTRY = sa.insert(timeline)
_INSERT_VERDICT = sa.insert(verdicts)


async def add_entries(tx: AsyncConnection, entries: Sequence[tuple[str, Entry]]) -> None:
    """Append to the timelines of waits."""
    if not entries:
        return
    await tx.execute(
        _INSERT_ENTRY,
        [
            {
                "wait_id": wait_id,
                "kind": entry.kind.value,
                "at": entry.at,
                "event": entry.event,
                "attempt": entry.attempt,
                "ending": rows.shown(entry.ending),
                "note": rows.shown(entry.note),
            }
            for wait_id, entry in entries
        ],
    )


async def insert(
    tx: AsyncConnection,
    wait: Wait,
    expected: Sequence[Expectation],
    opened: Entry,
    *,
    idempotency_key: str | None,
    request_hash: str | None,
) -> None:
    """Add a new wait with all that belongs to it.

    Raises:
        sqlalchemy.exc.IntegrityError: its address or its idempotency key is taken.
    """
    needs_look = any(one.early for one in expected)
    row = rows.all_columns(wait, needs_look=needs_look, idempotency_key=idempotency_key, request_hash=request_hash)
    await tx.execute(sa.insert(waits), row)
    if expected:
        await tx.execute(
            sa.insert(expectations), [rows.expectation_row(wait.id, n, one) for n, one in enumerate(expected)]
        )
    if wait.labels:
        labels = [{"wait_id": wait.id, "name": name, "value": value} for name, value in wait.labels.items()]
        await tx.execute(sa.insert(wait_labels), labels)
    await add_entries(tx, [(wait.id, opened)])


async def find_registration(tx: AsyncConnection, client: str, idempotency_key: str) -> tuple[Wait, str] | None:
    """Return the wait that *client* registered under *idempotency_key*, and the mark of that request."""
    statement = sa.select(waits).where(waits.c.client == client, waits.c.idempotency_key == idempotency_key)
    row = (await tx.execute(statement)).mappings().first()
    return (rows.wait_from_row(row), row["request_hash"]) if row else None


async def find_holder(tx: AsyncConnection, target: str, canonical: str) -> str | None:
    """Return the id of the wait that is open or resolving at that address."""
    statement = sa.select(waits.c.id).where(
        waits.c.target == target,
        waits.c.canonical == rows.indexed(canonical),
        HOLDS_ADDRESS,
    )
    found: str | None = (await tx.execute(statement)).scalar()
    return found


async def known_verdicts(db: Database, tx: AsyncConnection, event_ids: Sequence[str]) -> dict[tuple[str, str], Verdict]:
    """Return the verdicts that stand already, by (wait id, event id)."""
    if not event_ids:
        return {}
    found = await tx.execute(db.statement(_verdicts), {"events": db.listed(event_ids)})
    return {(row.wait_id, row.event_id): Verdict(row.verdict) for row in found}


def _verdicts(db: Database) -> sa.Select[Any]:
    return sa.select(verdicts).where(db.among(verdicts.c.event_id, "events"))


async def add_verdicts(tx: AsyncConnection, given: Sequence[tuple[str, str, Verdict]]) -> None:
    """Store (wait id, event id, verdict)."""
    if given:
        named = [{"wait_id": wait, "event_id": event, "verdict": verdict.value} for wait, event, verdict in given]
        await tx.execute(_INSERT_VERDICT, named)


async def looked_back(tx: AsyncConnection, wait_id: str) -> None:
    """Note that the look at earlier events was made, in the transaction that made it."""
    await tx.execute(sa.update(waits).where(waits.c.id == wait_id).values(needs_look=sa.false()))


async def not_looked_back(
    db: Database, tx: AsyncConnection, *, created_before: datetime
) -> list[tuple[Wait, list[Expectation]]]:
    """Return open waits whose registration died before its look at earlier events, with what they expect."""
    chosen = sa.select(waits).where(waits.c.needs_look, waits.c.created_at < created_before).limit(_CLAIM_LIMIT)
    found = [rows.wait_from_row(row) for row in (await tx.execute(chosen)).mappings()]
    if not found:
        return []
    of = sa.select(expectations).where(db.among(expectations.c.wait_id, [wait.id for wait in found]))
    expected: dict[str, list[Expectation]] = {}
    for row in await tx.execute(of.order_by(expectations.c.position)):
        expected.setdefault(row.wait_id, []).append(Expectation(row.source, row.keys, row.type, row.early))
    return [(wait, expected.get(wait.id, [])) for wait in found]


async def claim_expired(tx: AsyncConnection, *, now: datetime, claimed_before: datetime) -> list[str]:
    """Take the open waits whose time is over and that nobody has taken since *claimed_before*; return their ids."""
    return await _claim(tx, IS_OPEN, waits.c.expires_at <= now, now=now, claimed_before=claimed_before)


async def claim_unsent(tx: AsyncConnection, *, now: datetime, claimed_before: datetime) -> list[str]:
    """Take the outbox rows without a confirmed publish since *claimed_before*; return the waits' ids."""
    return await _claim(tx, IS_UNSENT, now=now, claimed_before=claimed_before)


async def _claim(
    tx: AsyncConnection, *conditions: sa.ColumnElement[bool] | sa.TextClause, now: datetime, claimed_before: datetime
) -> list[str]:
    is_free = sa.or_(waits.c.claimed_at.is_(None), waits.c.claimed_at <= claimed_before)
    chosen = sa.select(waits.c.id).where(*conditions, is_free).limit(_CLAIM_LIMIT).with_for_update(skip_locked=True)
    statement = (
        sa.update(waits).where(waits.c.id.in_(chosen.scalar_subquery())).values(claimed_at=now).returning(waits.c.id)
    )
    return list((await tx.execute(statement)).scalars())


async def overdue(tx: AsyncConnection, *, delivered_before: datetime) -> list[str]:
    """Return the resolving waits whose delivery window ended before *delivered_before*."""
    statement = sa.select(waits.c.id).where(IS_RESOLVING, waits.c.deliver_until < delivered_before).limit(_CLAIM_LIMIT)
    return list((await tx.execute(statement)).scalars())
