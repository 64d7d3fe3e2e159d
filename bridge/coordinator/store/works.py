"""Works in the database: what the agent remembers of the jobs that it took.

Law: a row is changed by its claim alone (claim() or record(), then Claim.save()). A claim is a lease: it ends by itself when its
holder died, and what was being put then stands in the row, so whoever comes next finishes that first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.store import rows
from bridge.coordinator.store.engine import Database, insert_new
from bridge.coordinator.store.tables import IS_UNENDED, waits, works
from bridge.core.wait import State

_LIMIT = 100


class Acknowledged(StrEnum):
    NO = "no"
    YES = "yes"
    DOUBT = "doubt"
    """Somebody acknowledged it, and an earlier call of ours got no answer: it is taken for ours."""


class Putting(StrEnum):
    TOKEN = "token"  # noqa: S105 - a result's kind
    """Success with a continuation token: the job ends, the work goes on."""
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Work:
    """One action's work at the remote, whichever job stands for it at the platform."""

    id: str
    agent: str
    target: str
    key: str
    created_at: datetime
    context: Mapping[str, str] = field(default_factory=dict)
    client_id: str | None = None
    generation: int = 0
    job_id: str | None = None
    nonce: str | None = None
    acknowledged: Acknowledged = Acknowledged.NO
    putting: Putting | None = None
    wait_id: str | None = None
    remote_id: str | None = None
    started_at: datetime | None = None
    progress: Mapping[str, Any] | None = None
    put_at: datetime | None = None
    due_at: datetime | None = None
    tries: int = 0
    ended_at: datetime | None = None
    ending: str | None = None

    @property
    def is_held(self) -> bool:
        """True while a job is open that a result can be put on."""
        return self.job_id is not None and self.acknowledged is not Acknowledged.NO and self.ended_at is None


_FIELDS = tuple(name for name in Work.__slots__)
_ALL = (*works.c,)


@dataclass(slots=True)
class Claim:
    """The right to change one work. by: a name that no other claim has."""

    work: Work
    by: str

    async def save(self, tx: AsyncConnection, *, until: datetime | None, **changes: Any) -> bool:
        """Write *changes*; keep the claim until *until*, None: let go of it. False: it is another's by now, nothing is written."""
        changed = replace(self.work, **changes)
        values = {name: _plain(getattr(changed, name)) for name in changes}
        held: dict[str, Any] = {"claimed_by": self.by if until else None, "claimed_until": until}
        if until:
            held["due_at"] = until  # should we die, it is looked at then
        statement = sa.update(works).where(works.c.id == self.work.id, works.c.claimed_by == self.by)
        is_ours: bool = (await tx.execute(statement.values(**{**values, **held}))).rowcount == 1
        if is_ours:
            self.work = changed
        return is_ours

    async def forget(self, tx: AsyncConnection) -> None:
        """Take the row away: somebody else works on it."""
        await tx.execute(sa.delete(works).where(works.c.id == self.work.id, works.c.claimed_by == self.by))


async def record(db: Database, tx: AsyncConnection, new: Work, *, by: str, until: datetime) -> Claim | None:
    """Store *new*, claimed; None: there is such a work already."""
    row = {name: _plain(getattr(new, name)) for name in _FIELDS}
    row |= {"key": rows.indexed(new.key), "claimed_by": by, "claimed_until": until, "due_at": until}
    is_new = (await tx.execute(insert_new(db, works), row)).rowcount == 1
    return Claim(new, by) if is_new else None


async def claim(
    tx: AsyncConnection,
    work_id: str,
    *,
    by: str,
    now: datetime,
    until: datetime,
    putting: Putting | None = None,
    as_seen: Work | None = None,
) -> Claim | None:
    """Take an unended work that nobody holds; None: there is none.

    putting: take it only when its job is open and nothing is being put, and note that this is from now on.
    as_seen: take it only when it is where this is in its course: the same job, and the same being put.
    """
    is_free = sa.or_(works.c.claimed_by.is_(None), works.c.claimed_until <= now)
    statement = sa.update(works).where(works.c.id == work_id, IS_UNENDED, is_free)
    values: dict[str, Any] = {"claimed_by": by, "claimed_until": until, "due_at": until}
    if putting is not None:
        is_open = works.c.job_id.is_not(None) & (works.c.acknowledged != Acknowledged.NO.value)
        statement = statement.where(is_open, works.c.putting.is_(None))
        values["putting"] = putting.value
    if as_seen is not None:
        statement = statement.where(
            works.c.generation == as_seen.generation,
            works.c.job_id.is_not_distinct_from(as_seen.job_id),
            works.c.acknowledged == as_seen.acknowledged.value,
            works.c.putting.is_not_distinct_from(as_seen.putting.value if as_seen.putting else None),
        )
    row = (await tx.execute(statement.values(**values).returning(*_ALL))).mappings().first()
    return Claim(_work(row), by) if row else None


async def find(tx: AsyncConnection, work_id: str) -> Work | None:
    row = (await tx.execute(sa.select(works).where(works.c.id == work_id))).mappings().first()
    return _work(row) if row else None


async def find_by_key(tx: AsyncConnection, target: str, key: str) -> Work | None:
    chosen = sa.select(works).where(works.c.target == target, works.c.key == rows.indexed(key))
    row = (await tx.execute(chosen)).mappings().first()
    return _work(row) if row else None


async def due(tx: AsyncConnection, target: str, *, now: datetime) -> list[tuple[str, str]]:
    """Return (id, agent) of the works that are to be looked at, the longest waiting first."""
    chosen = (
        sa.select(works.c.id, works.c.agent)
        .where(works.c.target == target, IS_UNENDED, works.c.due_at <= now)
        .order_by(works.c.due_at)
    )
    return [(row[0], row[1]) for row in await tx.execute(chosen.limit(_LIMIT))]


async def progressed(tx: AsyncConnection, target: str) -> list[tuple[str, str, datetime | None]]:
    """Return (id, agent, last put) of the held works whose wait tells another progress than that put; None: it was taken back."""
    is_back = waits.c.state == State.CANCELLED.value
    differs = waits.c.progress.is_not(None) & sa.or_(works.c.progress.is_(None), works.c.progress != waits.c.progress)
    chosen = (
        sa.select(works.c.id, works.c.agent, works.c.put_at, is_back)
        .join(waits, waits.c.id == works.c.wait_id)
        .where(works.c.target == target, IS_UNENDED, works.c.job_id.is_not(None), works.c.claimed_by.is_(None))
        .where(works.c.putting.is_(None), works.c.put_at.is_not(None))
        .where(sa.or_(is_back, sa.and_(waits.c.state == State.OPEN.value, differs)))
        .order_by(works.c.put_at)
    )
    return [(row[0], row[1], None if row[3] else row[2]) for row in await tx.execute(chosen.limit(_LIMIT))]


async def counts(tx: AsyncConnection, agent: str) -> tuple[int, int]:
    """Return how many works of *agent* the remote is at, and how many wait for their next job.

    A work whose wait is decided is no longer at the remote; one whose wait is over waits for nothing.
    """
    is_at_remote = sa.or_(waits.c.id.is_(None), waits.c.state == State.OPEN.value)
    is_between = sa.and_(works.c.job_id.is_(None), sa.or_(is_at_remote, waits.c.state == State.RESOLVING.value))
    statement = (
        sa.select(
            sa.func.count(sa.case((is_at_remote, 1))),
            sa.func.count(sa.case((is_between, 1))),
        )
        .select_from(works.outerjoin(waits, waits.c.id == works.c.wait_id))
        .where(works.c.agent == agent, IS_UNENDED)
    )
    row = (await tx.execute(statement)).one()
    return row[0], row[1]


async def release(tx: AsyncConnection, *, prefix: str, now: datetime) -> None:
    """Let go of every claim whose name begins with *prefix*: its process stops."""
    await _release(tx, works.c.claimed_by.startswith(prefix, autoescape=True), now=now)


async def release_left(tx: AsyncConnection, *, until: datetime, now: datetime) -> None:
    """Let go of every claim that ends by *until*: those who made them are known to be dead."""
    await _release(tx, works.c.claimed_until <= until, now=now)


async def _release(tx: AsyncConnection, chosen: sa.ColumnElement[bool], *, now: datetime) -> None:
    await tx.execute(sa.update(works).where(chosen).values(claimed_by=None, claimed_until=None, due_at=now))


async def prune(tx: AsyncConnection, *, before: datetime, most: int) -> int:
    """Delete works that ended before that moment, and those as old whose wait is over: at most *most*; return how many."""
    waited_for = sa.exists().where(waits.c.id == works.c.wait_id, waits.c.state.in_([State.OPEN, State.RESOLVING]))
    is_old = sa.or_(works.c.ended_at < before, sa.and_(works.c.created_at < before, IS_UNENDED, sa.not_(waited_for)))
    chosen = sa.select(works.c.id).where(is_old).limit(most)
    gone: int = (await tx.execute(sa.delete(works).where(works.c.id.in_(chosen.scalar_subquery())))).rowcount
    return gone


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str):
        return rows.shown(value)
    return dict(value) if isinstance(value, Mapping) else value


def _work(row: Mapping[Any, Any]) -> Work:
    given = {name: row[name] for name in _FIELDS}
    given["acknowledged"] = Acknowledged(row["acknowledged"])
    given["putting"] = Putting(row["putting"]) if row["putting"] else None
    return Work(**given)
