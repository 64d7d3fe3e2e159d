"""The figures of queues, for the API, the status page and /metrics."""

from datetime import timedelta

from bridge.coordinator.store import views
from bridge.coordinator.store.engine import Database
from bridge.core.api import QueueView
from bridge.core.ports import Broker, Clock, QueueStats
from bridge.core.topology import DEAD, EVENTS, POLLS, REPORTS, TARGET_PREFIX, UNROUTED, target_queue

_SHARED = (EVENTS, REPORTS, POLLS, DEAD, UNROUTED)


class Figures:
    """Reads them from broker and store."""

    def __init__(self, db: Database, broker: Broker, *, targets: list[str], clock: Clock) -> None:
        self._db = db
        self._broker = broker
        self._names = [*_SHARED, *(target_queue(target) for target in sorted(targets))]
        self._clock = clock
        self._events_age = timedelta(0)

    def note_consumed(self, age: timedelta) -> None:
        """Remember how old the last consumed event was."""
        self._events_age = age

    async def queues(self) -> list[QueueView]:
        """Return one row for each queue of ours.

        Raises:
            BrokerUnavailable, StoreUnavailable
        """
        async with self._db.read() as tx:
            since = await views.oldest_unreported(tx)
        now = self._clock.now()
        ages = {target_queue(target): (now - moment).total_seconds() for target, moment in since.items()}
        return [self._row(stats, ages) for stats in await self._broker.queues(self._names)]

    def _row(self, stats: QueueStats, ages: dict[str, float]) -> QueueView:
        return QueueView(
            name=stats.name,
            ready=stats.ready,
            unacked=stats.unacked,
            oldest_age_s=self._age(stats, ages),
            consumers=stats.consumers,
        )

    def _age(self, stats: QueueStats, ages: dict[str, float]) -> float | None:
        if stats.name.startswith(TARGET_PREFIX):
            return max(round(ages.get(stats.name, 0.0), 3), 0.0)
        if not stats.ready and not stats.unacked:
            return 0.0
        return round(self._events_age.total_seconds(), 3) if stats.name == EVENTS else None
