"""Claims: one process's way to the works in the store. Every change goes through a claim, which is a lease."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from bridge.coordinator.store import works
from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.works import Claim, Putting, Work
from bridge.core.ports import Clock
from bridge.core.signing import new_wait_id

LEASE = timedelta(seconds=60)
"""Longer than the longest step: two calls of 10 s each and a database that is slow. A death is healed after it."""


class ClaimLost(Exception):
    """The lease had ended and somebody else has the work: nothing was written, and nothing is to be done."""


class Claims:
    """Makes and keeps the claims of one process. All raise StoreUnavailable: nothing is known to have been written."""

    def __init__(self, db: Database, *, clock: Clock, lease: timedelta = LEASE) -> None:
        self.db = db
        self._clock = clock
        self._lease = lease
        self._prefix = f"{new_wait_id()}."
        self._numbers = count(1)

    async def record(self, new: Work) -> Claim | None:
        """Store *new* and claim it; None: there is such a work already."""
        async with self.db.write() as tx:
            return await works.record(self.db, tx, new, by=self._name(), until=self._until())

    async def take(self, work_id: str, *, putting: Putting | None = None, as_seen: Work | None = None) -> Claim | None:
        """Claim a work; see works.claim()."""
        async with self.db.write() as tx:
            now = self._clock.now()
            return await works.claim(
                tx, work_id, by=self._name(), now=now, until=now + self._lease, putting=putting, as_seen=as_seen
            )

    async def save(self, claim: Claim, **changes: Any) -> None:
        """Write *changes* and keep the claim, for one more lease.

        Raises:
            ClaimLost: it was not ours any more.
        """
        await self._write(claim, self._until(), changes)

    async def let_go(self, claim: Claim, *, due_at: datetime | None, **changes: Any) -> None:
        """Write *changes* and end the claim. due_at: when somebody is to look at the work again; None: when told to.

        Raises:
            ClaimLost: it was not ours any more.
        """
        await self._write(claim, None, {**changes, "due_at": due_at})

    async def forget(self, claim: Claim) -> None:
        """Take the work away: it is somebody else's."""
        async with self.db.write() as tx:
            await claim.forget(tx)

    async def find(self, work_id: str) -> Work | None:
        async with self.db.read() as tx:
            return await works.find(tx, work_id)

    async def find_by_key(self, target: str, key: str) -> Work | None:
        async with self.db.read() as tx:
            return await works.find_by_key(tx, target, key)

    async def release_all(self) -> None:
        """End every claim of this process: it stops."""
        async with self.db.write() as tx:
            await works.release(tx, prefix=self._prefix, now=self._clock.now())

    async def release_left(self, *, made_before: datetime) -> None:
        """End every claim made before that moment: no other process can be alive."""
        async with self.db.write() as tx:
            await works.release_left(tx, until=made_before + self._lease, now=self._clock.now())

    async def _write(self, claim: Claim, until: datetime | None, changes: Mapping[str, Any]) -> None:
        async with self.db.write() as tx:
            is_ours = await claim.save(tx, until=until, **changes)
        if not is_ours:
            raise ClaimLost

    def _name(self) -> str:
        return f"{self._prefix}{next(self._numbers)}"

    def _until(self) -> datetime:
        return self._clock.now() + self._lease
