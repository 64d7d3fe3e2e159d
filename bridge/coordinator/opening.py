"""Opening: a store that is used as soon as it answers and is up to date."""

import asyncio

import structlog

from bridge.coordinator.consuming import to_its_end
from bridge.coordinator.store.engine import Database
from bridge.core.errors import StoreUnavailable

_RETRY_S = 1.0
_log = structlog.get_logger(__name__)


class Opening:
    """One process's store: shared by all of its parts that use one."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)
        self._is_migrated = False

    async def migrate(self) -> None:
        """Return when the store is up to date, whenever that is; any number of processes may ask for it."""
        while not self._is_migrated:
            try:
                await to_its_end(self.db.migrate())
            except StoreUnavailable:
                _log.warning("store_away", during="start")
                await asyncio.sleep(_RETRY_S)
            else:
                self._is_migrated = True

    async def is_ready(self) -> bool:
        """Return True when the store is migrated and answers."""
        return self._is_migrated and await self.db.ping()

    async def close(self) -> None:
        await self.db.close()
