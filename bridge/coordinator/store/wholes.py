"""Wholes in the database: what waits ask for that no sender tells, such as what a pipeline of several workflows came to.

    a wait asks ─▶ due ─▶ claimed ─┬─▶ not over: due later
                    ▲              └─▶ told: the row ends
                    └── a part ended, or another wait asks: `touched`

Law: a claim is a lease, and what it found ends the row only when nobody touched it since. The row's id becomes the event's, so
that a look repeated after a crash tells the same event again; an event that was told has its id to itself.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.tables import wholes
from bridge.core.event import new_id


@dataclass(frozen=True, slots=True)
class Look:
    """A claimed row.

    id: of the event that will tell it.
    deadlines: of the waits that asked; until: the last of them.
    """

    id: str
    source: str
    name: str
    step: int
    tries: int
    deadlines: Sequence[datetime]
    until: datetime
    touched: int
    claimed_until: datetime


async def ask(db: Database, tx: AsyncConnection, source: str, name: str, *, until: datetime, now: datetime) -> None:
    """Have *name* looked at from now on, until *until* at least; in the transaction that inserts the wait."""
    insert = (sqlite_insert if db.is_sqlite else postgresql_insert)(wholes)
    new = {"id": new_id(), "source": source, "name": name, "until": until, "touched": 1, "deadlines": [], **_due(now)}
    again = {"touched": wholes.c.touched + 1, "until": _later(until), **_due(now)}
    statement = insert.values(new).on_conflict_do_update(index_elements=["source", "name"], set_=again)
    row = (
        await tx.execute(statement.returning(wholes.c.id, wholes.c.deadlines))
    ).one()  # the row is locked from here on
    known = {moment for moment in map(datetime.fromisoformat, row.deadlines) if moment > now}
    ordered = [moment.isoformat() for moment in sorted(known | {until})]
    await tx.execute(sa.update(wholes).where(wholes.c.id == row.id).values(deadlines=ordered))


def _later(until: datetime) -> sa.ColumnElement[datetime]:
    given = sa.literal(until, wholes.c.until.type)
    return sa.case((wholes.c.until > given, wholes.c.until), else_=given)


def _due(now: datetime) -> dict[str, Any]:
    return {"due_at": now, "step": 0, "tries": 0}


async def part_ended(tx: AsyncConnection, ended: Collection[tuple[str, str]], *, now: datetime) -> None:
    """Have the wholes (source, name) of *ended* looked at now, where somebody asks for them.

    In the order of their names, so that two coordinators never wait crosswise.
    """
    statement = sa.update(wholes).where(
        wholes.c.source == sa.bindparam("b_source"), wholes.c.name == sa.bindparam("b_name")
    )
    named = [{"b_source": source, "b_name": name} for source, name in sorted(set(ended))]
    if named:
        await tx.execute(statement.values(touched=wholes.c.touched + 1, **_due(now)), named)


async def is_any_due(tx: AsyncConnection, sources: Collection[str], *, now: datetime) -> bool:
    return (await tx.execute(_free(sources, now).limit(1))).first() is not None


async def claim(
    tx: AsyncConnection, sources: Collection[str], *, now: datetime, until: datetime, most: int
) -> list[Look]:
    """Take at most *most* rows that are due and that nobody looks at, until *until*."""
    chosen = _free(sources, now).order_by(wholes.c.due_at).limit(most).with_for_update(skip_locked=True)
    statement = sa.update(wholes).where(wholes.c.id.in_(chosen.scalar_subquery())).values(claimed_until=until)
    rows = (await tx.execute(statement.returning(*wholes.c))).mappings()
    return [_look(dict(row)) for row in rows]


def _free(sources: Collection[str], now: datetime) -> sa.Select[tuple[str]]:
    is_free = sa.or_(wholes.c.claimed_until.is_(None), wholes.c.claimed_until <= now)
    return sa.select(wholes.c.id).where(wholes.c.source.in_(sorted(sources)), wholes.c.due_at <= now, is_free)


def _look(row: dict[str, Any]) -> Look:
    row["deadlines"] = [datetime.fromisoformat(moment) for moment in row["deadlines"]]
    del row["due_at"]
    return Look(**row)


async def postpone(tx: AsyncConnection, look: Look, *, due_at: datetime, step: int, tries: int) -> None:
    """Let go of *look* until *due_at*; one that was touched meanwhile stays due."""
    is_ours = _is_ours(look)
    values = {"due_at": due_at, "step": step, "tries": tries}
    await tx.execute(sa.update(wholes).where(is_ours, wholes.c.touched == look.touched).values(**values))
    await tx.execute(sa.update(wholes).where(is_ours).values(claimed_until=None))


async def end(tx: AsyncConnection, look: Look) -> None:
    """Take the row of *look* away: it was told, or its time is over. One that was touched meanwhile is looked at again."""
    is_ours = _is_ours(look)
    await tx.execute(sa.delete(wholes).where(is_ours, wholes.c.touched == look.touched))
    await tx.execute(sa.update(wholes).where(is_ours).values(id=new_id(), claimed_until=None))


async def release(tx: AsyncConnection, looks: Sequence[Look]) -> None:
    """Let go of *looks* as they were: their process stops."""
    for look in sorted(looks, key=lambda look: (look.source, look.name)):
        await tx.execute(sa.update(wholes).where(_is_ours(look)).values(claimed_until=None))


def _is_ours(look: Look) -> sa.ColumnElement[bool]:
    """Be true while the lease is the one that we took: whoever takes it after its end writes another moment."""
    return sa.and_(wholes.c.id == look.id, wholes.c.claimed_until == look.claimed_until)


async def prune(tx: AsyncConnection, *, now: datetime, most: int) -> int:
    """Delete rows that nobody wants any more: at most *most*; return how many. A poller that runs does this itself."""
    chosen = sa.select(wholes.c.id).where(wholes.c.until < now).limit(most)
    gone: int = (await tx.execute(sa.delete(wholes).where(wholes.c.id.in_(chosen.scalar_subquery())))).rowcount
    return gone
