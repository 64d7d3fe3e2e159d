"""Wholes: asks one target what became of what waits ask for, such as a pipeline of several workflows, and tells it as an event.

Law: an event is confirmed by the broker before its row goes, and its id is the row's, so a death between the two tells the same
event again. Only the coordinator changes a wait: a whole's event goes its way like any other. A fault never ends a row.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from random import random as system_random
from typing import Any

import structlog

from bridge.coordinator.consuming import to_its_end
from bridge.coordinator.store import wholes
from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.wholes import Look
from bridge.core.consumer import Consumer
from bridge.core.errors import BrokerUnavailable, HttpFault, StoreUnavailable, Unroutable
from bridge.core.event import Event, EventData
from bridge.core.outcome import CredentialRefused, Later, NotYet, Refused
from bridge.core.ports import Broker, Clock, Outgoing
from bridge.core.source import Whole
from bridge.core.topology import to_events
from bridge.ops import metrics
from bridge.ops.faults import places
from bridge.polling.curve import next_at

TICK_S = 0.25
"""Between two questions to the store for what is due."""
MOST = 16
"""Looks under way at once."""
LOOK_S = 45.0
LEASE = timedelta(seconds=90)
"""Longer than a look and the publish after it. A death is healed after it."""
STOP_S = 5.0
_FAULTS = (Later, Refused, HttpFault, CredentialRefused, BrokerUnavailable, Unroutable, TimeoutError)
_log = structlog.get_logger(__name__)


class Wholes:
    """Asks *consumer*'s target for the wholes of some sources."""

    def __init__(
        self,
        sources: Mapping[str, Whole],
        *,
        consumer: Consumer[Any, Any],
        db: Database,
        broker: Broker,
        clock: Clock,
        random: Callable[[], float] = system_random,
    ) -> None:
        self._sources = sources
        self._consumer = consumer
        self._db = db
        self._broker = broker
        self._clock = clock
        self._random = random
        self._under_way: dict[asyncio.Task[None], Look] = {}
        self._beginning = asyncio.Lock()
        self._is_stopping = False
        self.is_running = False

    async def run(self) -> None:
        """Look until stop(). It may be run again after a fault."""
        self.is_running = True
        try:
            while not self._is_stopping:
                try:
                    await to_its_end(self.begin_due())
                except StoreUnavailable:
                    _log.warning("store_away", during="look")
                await asyncio.sleep(TICK_S)
        finally:
            self.is_running = False

    async def stop(self) -> None:
        """Begin no look, let those under way end, and let go of what is left."""
        self._is_stopping = True
        async with self._beginning:  # what was claimed a moment ago is under way by now
            pass
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=STOP_S)
        left = dict(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if left:
            async with self._db.write() as tx:
                await wholes.release(tx, list(left.values()))

    async def begin_due(self) -> None:
        """Begin a look at what is due, as far as there is room.

        Raises:
            StoreUnavailable: nothing was begun; what was claimed nevertheless is free when its lease ends.
        """
        async with self._beginning:
            if not self._is_stopping:
                await self._begin_due()

    async def _begin_due(self) -> None:
        room, now = MOST - len(self._under_way), self._clock.now()
        if not room:
            return
        async with self._db.read() as tx:
            if not await wholes.is_any_due(tx, self._sources, now=now):
                return
        async with self._db.write() as tx:
            claimed = await wholes.claim(tx, self._sources, now=now, until=now + LEASE, most=room)
        for look in claimed:
            task = asyncio.create_task(self._care(look))
            self._under_way[task] = look
            task.add_done_callback(self._under_way.pop)

    async def _care(self, look: Look) -> None:
        """Make one look, and write down what follows; nothing is raised."""
        try:
            again = await self._look(look) if look.until > self._clock.now() else None
            await to_its_end(self._let_go(look, again))
        except StoreUnavailable:  # the lease ends by itself, and the look is made again
            _log.warning("look_left", source=look.source, whole=look.id)
        except Exception as fault:  # noqa: BLE001 - a bug met by one must not touch the others
            _log.error("look_broken", source=look.source, whole=look.id, fault=type(fault).__name__, at=places(fault))

    async def _look(self, look: Look) -> tuple[datetime, int, int] | None:
        """Ask, and tell what is over. Return when to look again, with step and tries; None: it was told."""
        step, tries, at_least = look.step + 1, 0, None
        try:
            ending = await self._ask(look)
        except _FAULTS as fault:
            ending, step, tries = "failed", look.step, look.tries + 1
            at_least = fault.after if isinstance(fault, Later) else None
            _log.warning("look_failed", source=look.source, whole=look.id, fault=type(fault).__name__, tries=tries)
        metrics.count_look(look.source, ending)
        if ending == "over":
            return None
        now = self._clock.now()
        due_at = next_at(now, look.deadlines, step=step, tries=tries, random=self._random, at_least=at_least)
        return due_at, step, tries

    async def _ask(self, look: Look) -> str:
        """Ask, and tell what is over; return what was found, in a word.

        Raises:
            one of _FAULTS: it is not known, or nobody was told.
        """
        try:
            async with asyncio.timeout(LOOK_S):
                found = await self._consumer.whole(look.name)
        except NotYet as fault:
            if look.step == 0:
                _log.warning("look_unknown", source=look.source, whole=look.id, reason=fault.reason)
            return "unknown"
        if found is None:
            return "open"
        await self._broker.publish(self._told(look, found))
        return "over"

    def _told(self, look: Look, data: EventData) -> Outgoing:
        kind = self._sources[look.source].type
        event = Event(id=look.id, source=look.source, type=kind, time=self._clock.now(), data=data)
        return Outgoing(to_events(event), event.serialise(), correlation_id=event.id)

    async def _let_go(self, look: Look, again: tuple[datetime, int, int] | None) -> None:
        async with self._db.write() as tx:
            if again is None:
                await wholes.end(tx, look)
            else:
                due_at, step, tries = again
                await wholes.postpone(tx, look, due_at=due_at, step=step, tries=tries)
