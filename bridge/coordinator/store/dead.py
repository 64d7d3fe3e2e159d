"""Dead letters and paused targets in the database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.store.engine import Database, insert_new
from bridge.coordinator.store.tables import dead_letters, targets


async def add(db: Database, tx: AsyncConnection, letters: Sequence[Mapping[str, Any]]) -> None:
    """Store dead letters; one that is there already (a redelivery) stays as it is."""
    if letters:
        await tx.execute(insert_new(db, dead_letters), [dict(letter) for letter in letters])


async def drop(tx: AsyncConnection, letter_id: str) -> bool:
    """Delete one; return False when it was not there."""
    result = await tx.execute(sa.delete(dead_letters).where(dead_letters.c.id == letter_id))
    return bool(result.rowcount)


async def drop_for(tx: AsyncConnection, wait_id: str) -> None:
    """Delete the letters of a wait: it is replayed as a whole."""
    await tx.execute(sa.delete(dead_letters).where(dead_letters.c.wait_id == wait_id))


async def set_paused(db: Database, tx: AsyncConnection, target: str, *, is_paused: bool, now: datetime) -> None:
    """Remember an operator's pause of *target*."""
    await tx.execute(insert_new(db, targets), {"name": target, "is_paused": is_paused, "changed_at": now})
    statement = sa.update(targets).where(targets.c.name == target)
    await tx.execute(statement.values(is_paused=is_paused, changed_at=now))
