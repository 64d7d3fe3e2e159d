"""Forgetting, in small steps: what no wait can want any more, and what is older than `[store] keep`."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.store import wholes, works
from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.tables import (
    dead_letters,
    dedupe,
    event_keys,
    events,
    expectations,
    timeline,
    verdicts,
    wait_labels,
    waits,
)
from bridge.core.wait import State, Verdict

STEP = 500
_ENDED = (State.RESOLVED.value, State.CANCELLED.value, State.UNDELIVERABLE.value)


async def kept_sources(tx: AsyncConnection) -> dict[str, int]:
    """Return how many events of each source later waits may still look at."""
    statement = sa.select(events.c.source, sa.func.count()).where(events.c.is_kept).group_by(events.c.source)
    return {row[0]: row[1] for row in await tx.execute(statement)}


async def let_go_older(db: Database, tx: AsyncConnection, *, received_before: datetime) -> int:
    """End the time of kept events received before that moment; return how many it were, at most STEP."""
    chosen = sa.select(events.c.id).where(events.c.is_kept, events.c.received_at < received_before).limit(STEP)
    return await _let_go(db, tx, list((await tx.execute(chosen)).scalars()))


async def let_go_beyond(db: Database, tx: AsyncConnection, source: str, *, keep: int) -> int:
    """End the time of the oldest kept events of *source* beyond the newest *keep*; return how many it were, at most STEP."""
    chosen = (
        sa.select(events.c.id)
        .where(events.c.is_kept, events.c.source == source)
        .order_by(events.c.received_at.desc(), events.c.id.desc())
        .offset(keep)
        .limit(STEP)
    )
    return await _let_go(db, tx, list((await tx.execute(chosen)).scalars()))


async def _let_go(db: Database, tx: AsyncConnection, ids: Sequence[str]) -> int:
    if not ids:
        return 0
    chosen = db.among(events.c.id, ids)
    await tx.execute(sa.update(events).where(chosen).values(is_kept=sa.false()))
    unmatched = events.c.verdict == Verdict.EARLY.value
    await tx.execute(sa.update(events).where(chosen, unmatched).values(verdict=Verdict.NO_MATCH.value))
    await tx.execute(sa.delete(event_keys).where(db.among(event_keys.c.event_id, ids)))
    return len(ids)


async def prune(db: Database, tx: AsyncConnection, *, before: datetime, now: datetime) -> int:
    """Delete one step of what ended before *before*; return how many rows of waits, events, works, wholes and dead letters went."""
    gone = await _prune_waits(db, tx, before)
    gone += await _prune_events(db, tx, before)
    gone += await works.prune(tx, before=before, most=STEP)
    gone += await wholes.prune(tx, now=now, most=STEP)
    old = sa.select(dead_letters.c.id).where(dead_letters.c.at < before).limit(STEP)
    gone += (await tx.execute(sa.delete(dead_letters).where(dead_letters.c.id.in_(old.scalar_subquery())))).rowcount
    stale = sa.select(dedupe.c.event_id).where(dedupe.c.expires_at < now).limit(STEP)
    await tx.execute(sa.delete(dedupe).where(dedupe.c.expires_at < now, dedupe.c.event_id.in_(stale.scalar_subquery())))
    return gone


async def _prune_waits(db: Database, tx: AsyncConnection, before: datetime) -> int:
    last_moment = sa.func.coalesce(waits.c.deliver_until, waits.c.expires_at)
    chosen = sa.select(waits.c.id).where(waits.c.state.in_(_ENDED), waits.c.created_at < before, last_moment < before)
    ids = list((await tx.execute(chosen.limit(STEP))).scalars())
    for table in (expectations, wait_labels, timeline, verdicts):
        if ids:
            await tx.execute(sa.delete(table).where(db.among(table.c.wait_id, ids)))
    if ids:
        await tx.execute(sa.delete(waits).where(db.among(waits.c.id, ids)))
    return len(ids)


async def _prune_events(db: Database, tx: AsyncConnection, before: datetime) -> int:
    """Events that decided a wait stay as long as the wait: its result is read from them."""
    is_cause = sa.exists().where(waits.c.event_id == events.c.id)
    chosen = sa.select(events.c.id).where(events.c.received_at < before, sa.not_(events.c.is_kept), sa.not_(is_cause))
    ids = list((await tx.execute(chosen.limit(STEP))).scalars())
    if ids:
        await tx.execute(sa.delete(verdicts).where(db.among(verdicts.c.event_id, ids)))
        await tx.execute(sa.delete(events).where(db.among(events.c.id, ids)))
    return len(ids)
