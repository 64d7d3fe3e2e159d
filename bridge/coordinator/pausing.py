"""An operator's pause of a target: remembered in the store, announced to every worker, present and future."""

from bridge.coordinator.store import dead
from bridge.coordinator.store.engine import Database
from bridge.core.pause import pause_topic, write_pause
from bridge.core.ports import Broker, Clock


class Pausing:
    """Pauses and resumes targets."""

    def __init__(self, db: Database, broker: Broker, *, clock: Clock) -> None:
        self._db = db
        self._broker = broker
        self._clock = clock

    async def set(self, target: str, *, is_paused: bool) -> None:
        """Store, then announce.

        Raises:
            StoreUnavailable: nothing was changed.
            BrokerUnavailable: it is stored and not announced; the caller repeats.
        """
        async with self._db.write() as tx:
            await dead.set_paused(self._db, tx, target, is_paused=is_paused, now=self._clock.now())
        await self._broker.announce(pause_topic(target), write_pause(is_paused=is_paused))
