"""What time does: deadlines as messages, resends, delivery windows, the end of early events, retention.

Every coordinator runs them; rows are claimed, so that two of them seldom do the same, and doing it twice is harmless.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from bridge.coordinator.consuming import to_its_end
from bridge.coordinator.dead import DeadLetters
from bridge.coordinator.ledger import Ledger
from bridge.coordinator.looking import look_back
from bridge.coordinator.outbox import Outbox
from bridge.coordinator.store import retention, waits
from bridge.coordinator.store.engine import Database
from bridge.core.errors import BrokerUnavailable, StoreUnavailable, Unroutable
from bridge.core.event import BRIDGE, WAIT_EXPIRED, Event, EventData
from bridge.core.ports import Broker, Clock, Outgoing
from bridge.core.topology import to_events
from bridge.ops import metrics

_log = structlog.get_logger(__name__)

RESEND_AFTER = timedelta(seconds=5)
_EXPIRE_AGAIN_AFTER = timedelta(seconds=30)
_REPORT_GRACE = timedelta(seconds=5)
_TICK_S = 0.25
_SLOW_TICK_S = 20.0
_AFTER_OUTAGE_S = 1.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept. `max_early`: events a source, that later waits may look at."""

    keep: timedelta
    keep_early: timedelta
    max_early: int


class Timers:
    """Runs the timed work until cancelled."""

    def __init__(
        self,
        db: Database,
        ledger: Ledger,
        dead: DeadLetters,
        outbox: Outbox,
        broker: Broker,
        *,
        clock: Clock,
        retention_rules: Retention,
    ) -> None:
        self._db = db
        self._ledger = ledger
        self._dead = dead
        self._outbox = outbox
        self._broker = broker
        self._clock = clock
        self._rules = retention_rules

    async def run(self) -> None:
        """Tick until cancelled; while store or broker are away, try again each second."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self.tick, _TICK_S))
            group.create_task(self._repeat(self.tidy, _SLOW_TICK_S))

    async def _repeat(self, work: Callable[[], Coroutine[Any, Any, None]], every_s: float) -> None:
        while True:
            pause = every_s
            try:
                await to_its_end(work())
            except (StoreUnavailable, BrokerUnavailable, Unroutable) as exc:
                _log.warning("timers_waiting", reason=type(exc).__name__)
                pause = _AFTER_OUTAGE_S
            await asyncio.sleep(pause)

    async def tick(self) -> None:
        """Do what is due now."""
        await self.look_back()
        await self.expire()
        await self.resend()
        await self.give_up()

    async def look_back(self) -> None:
        """Make the look at earlier events for registrations that died before it."""
        async with self._db.read() as tx:
            left = await waits.not_looked_back(self._db, tx, created_before=self._clock.now() - RESEND_AFTER)
        for wait, expected in left:
            since = wait.created_at - self._rules.keep_early
            await look_back(self._db, self._ledger, self._outbox, wait, expected, since=since)

    async def expire(self) -> None:
        """Publish `wait.expired` for waits whose time is over; the transition is made when it is consumed."""
        now = self._clock.now()
        async with self._db.write() as tx:
            due = await waits.claim_expired(tx, now=now, claimed_before=now - _EXPIRE_AGAIN_AFTER)
        if not due:
            return
        expired = [
            Event.new(source=BRIDGE, type=WAIT_EXPIRED, time=now, data=EventData(keys={"wait": wait})) for wait in due
        ]
        await self._broker.publish(
            *(Outgoing(to_events(event), event.serialise(), correlation_id=event.id) for event in expired)
        )

    async def resend(self) -> None:
        """Send again, under the same number, what has no confirmed publish for RESEND_AFTER."""
        now = self._clock.now()
        async with self._db.write() as tx:
            ids = await waits.claim_unsent(tx, now=now, claimed_before=now - RESEND_AFTER)
            again = list((await waits.lock(self._db, tx, ids)).values())
        if again:
            _log.info("resolutions_resent", count=len(again))
            await self._outbox.send(again, is_resent=True)

    async def give_up(self) -> None:
        """End what no worker has reported on within its delivery window."""
        async with self._db.read() as tx:
            ids = await waits.overdue(tx, delivered_before=self._clock.now() - _REPORT_GRACE)
        if ended := await self._dead.give_up(ids):
            _log.error("waits_without_report", count=ended)

    async def tidy(self) -> None:
        """End the time of early events and delete what is old: a short transaction a step."""
        while await self._let_go_older() == retention.STEP:
            continue
        await self._enforce_max_early()
        while await self._prune() >= retention.STEP:
            continue

    async def _let_go_older(self) -> int:
        async with self._db.write() as tx:
            return await retention.let_go_older(
                self._db, tx, received_before=self._clock.now() - self._rules.keep_early
            )

    async def _prune(self) -> int:
        now = self._clock.now()
        async with self._db.write() as tx:
            return await retention.prune(self._db, tx, before=now - self._rules.keep, now=now)

    async def _enforce_max_early(self) -> None:
        async with self._db.read() as tx:
            counts = await retention.kept_sources(tx)
        for source in (source for source, count in counts.items() if count > self._rules.max_early):
            while dropped := await self._drop_beyond(source):
                metrics.count_early_dropped(source, dropped)
                _log.error("early_events_dropped", source=source, count=dropped)

    async def _drop_beyond(self, source: str) -> int:
        async with self._db.write() as tx:
            return await retention.let_go_beyond(self._db, tx, source, keep=self._rules.max_early)
