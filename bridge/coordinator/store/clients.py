"""Tokens of platforms' third-party clients in the database, sealed: nothing here can open them."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.store.engine import Database, insert_new
from bridge.coordinator.store.tables import third_party_clients


async def put(db: Database, tx: AsyncConnection, client_id: str, sealed: str, *, now: datetime) -> None:
    """Remember the token of a client; a new one takes the place of the old."""
    row = {"client_id": client_id, "sealed": sealed, "changed_at": now}
    await tx.execute(insert_new(db, third_party_clients), row)
    statement = sa.update(third_party_clients).where(third_party_clients.c.client_id == client_id)
    await tx.execute(statement.values(sealed=sealed, changed_at=now))


async def drop(tx: AsyncConnection, client_id: str) -> bool:
    """Forget a client's token; return False when there was none."""
    result = await tx.execute(sa.delete(third_party_clients).where(third_party_clients.c.client_id == client_id))
    return bool(result.rowcount)


async def sealed_tokens(db: Database, tx: AsyncConnection, client_ids: Sequence[str]) -> dict[str, str]:
    """Return the sealed tokens of *client_ids*, by id; one that has none is missing."""
    if not client_ids:
        return {}
    statement = sa.select(third_party_clients).where(db.among(third_party_clients.c.client_id, client_ids))
    return {row.client_id: row.sealed for row in await tx.execute(statement)}
