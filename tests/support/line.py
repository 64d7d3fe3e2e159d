"""The line as a simulation that can die anywhere: real ledger, intake, reports, timers and attempts; broker and platform in memory.

Every commit, publish, settling and platform call is a place where the process may die (`Crashes`). What a death loses is what
a process would lose: everything but the database, the queues, and the platform.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.dead import DeadLetters
from bridge.coordinator.intake import Intake
from bridge.coordinator.ledger import Ledger
from bridge.coordinator.looking import look_back
from bridge.coordinator.outbox import Outbox
from bridge.coordinator.reports import Reports
from bridge.coordinator.store import views, waits
from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.events import Incoming
from bridge.coordinator.timers import Retention, Timers
from bridge.core.consumer import Address, Consumer
from bridge.core.errors import Unanswered
from bridge.core.event import CALLBACK, Event, EventData, Outcome, new_id
from bridge.core.outcome import Ack, Done, Ending, Later, Retry, Standing, settle
from bridge.core.ports import Outgoing
from bridge.core.resolution import Report, Resolution, read_report, read_resolution, write_report
from bridge.core.settings import TargetSettings
from bridge.core.signing import new_wait_id
from bridge.core.topology import EVENTS, REPORTS, RESOLUTIONS, to_reports
from bridge.core.wait import Entry, Expectation, Kind, Rules, Wait
from bridge.worker.attempt import Attempts
from bridge.worker.reporting import announcement, report_of
from bridge.worker.trail import Trail

SOURCE = "farm"
TIMEOUT = timedelta(minutes=10)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Died(BaseException):
    """The process was killed here. Nothing catches it but the simulation."""


class Crashes:
    """Counts the places passed; at the planned ones the process dies."""

    def __init__(self) -> None:
        self.passed = 0
        self._plan: frozenset[int] = frozenset()

    def after(self, places: int | None) -> None:
        """Die at the place number *places* from now (0: the next); None: live."""
        self.plan(() if places is None else (places,))

    def plan(self, places: Sequence[int]) -> None:
        """Die at each of *places*, numbered from now on."""
        self._plan = frozenset(self.passed + place for place in places)

    def place(self) -> None:
        self.passed += 1
        if self.passed - 1 in self._plan:
            raise Died


class Turned:
    """A clock that only the test turns."""

    def __init__(self) -> None:
        self._now = EPOCH

    def now(self) -> datetime:
        return self._now

    def turn(self, by: timedelta) -> None:
        self._now += by


class DyingDatabase(Database):
    """Dies before a commit (nothing is written) or after it (all is)."""

    crashes: Crashes

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with super().write() as tx:
            yield tx
            self.crashes.place()
        self.crashes.place()


@dataclass(slots=True)
class Copy:
    """One message in a queue. headers and attempt as a stored copy keeps them."""

    body: bytes
    headers: dict[str, str | int] = field(default_factory=dict)
    attempt: int = 1
    is_redelivered: bool = False


class Queues:
    """The broker: publishing is durable at once, dies before or after."""

    def __init__(self, crashes: Crashes) -> None:
        self._crashes = crashes
        self.held: dict[str, list[Copy]] = {EVENTS: [], REPORTS: [], RESOLUTIONS: []}

    async def publish(self, *messages: Outgoing) -> None:
        self._crashes.place()
        for message in messages:
            name = message.route.exchange or message.route.key
            self.held[name].append(Copy(message.body, dict(message.headers)))
        self._crashes.place()

    def take(self, name: str, count: int) -> list[Copy]:
        """Hand out up to *count*; who takes them settles them with done() or returned()."""
        taken, self.held[name] = self.held[name][:count], self.held[name][count:]
        return taken

    def returned(self, name: str, copies: Sequence[Copy]) -> None:
        """Give back what a dead process held: to its place, redelivered."""
        self.held[name] = [replace(copy, is_redelivered=True) for copy in copies] + self.held[name]


class Place(Address):
    """Where a simulated pipeline waits."""

    name: str
    repeats: bool = False

    @property
    def is_repeated(self) -> bool:
        return self.repeats


@dataclass(slots=True)
class Spot:
    """The platform's side of a place."""

    is_reached: bool = False
    is_pending: bool = False
    effects: list[tuple[str, Outcome]] = field(default_factory=list)
    """(wait id, outcome) of each answer that a pipeline got."""


class Platform:
    """Pipelines that wait at places. A repeated place is pending again after each answer: its next occurrence."""

    def __init__(self, crashes: Crashes) -> None:
        self.crashes = crashes
        self.spots: dict[str, Spot] = {}
        self.loses_answers = 0

    def reach(self, name: str) -> None:
        spot = self.spots.setdefault(name, Spot())
        if not spot.is_reached:
            spot.is_reached = spot.is_pending = True

    def answer(self, place: Place, resolution: Resolution) -> bool:
        """Answer *place*; False: nothing is pending there. Dies, or loses the answer, before or after the effect."""
        self.crashes.place()
        spot = self.spots.setdefault(place.name, Spot())
        was_pending = spot.is_pending
        if was_pending:
            spot.effects.append((resolution.wait, resolution.outcome))
            spot.is_pending = place.repeats
        self.crashes.place()
        if self.loses_answers:
            self.loses_answers -= 1
            raise Unanswered
        return was_pending


class Simulated(Consumer[TargetSettings, Place]):
    """A platform that does not tell an answered place from one not reached yet (Jenkins)."""

    platform: Platform
    tells_answered: ClassVar[bool] = False

    async def look(self, address: Place) -> Standing:
        spot = self.platform.spots.get(address.name, Spot())
        return Standing.WAITING if spot.is_pending else Standing.ABSENT

    async def resume(self, address: Place, resolution: Resolution) -> Ending:
        return Done() if self.platform.answer(address, resolution) else Later("nothing was pending")


class Telling(Simulated):
    """A platform that tells (CircleCI)."""

    tells_answered: ClassVar[bool] = True

    async def look(self, address: Place) -> Standing:
        spot = self.platform.spots.get(address.name, Spot())
        if spot.is_pending:
            return Standing.WAITING
        return Standing.ANSWERED if spot.is_reached else Standing.NOT_THERE

    async def resume(self, address: Place, resolution: Resolution) -> Ending:
        standing = await self.look(address)
        match standing:
            case Standing.WAITING:
                return await super().resume(address, resolution)
            case _:
                return Later(f"the platform says {standing}")


class NoHttp:
    """Not used: the platform is an object."""

    async def send(self, call: Any) -> Any:
        raise AssertionError(call)

    async def close(self) -> None: ...


class Line:
    """Everything that outlives a process, and the processes' parts made anew for each step."""

    def __init__(self, url: str, *, kind: type[Simulated] = Simulated) -> None:
        self.crashes = Crashes()
        self.clock = Turned()
        self.queues = Queues(self.crashes)
        self.platform = Platform(self.crashes)
        self.registered: dict[str, Place] = {}
        self.rules = Rules(delivery_window=timedelta(days=2))
        self._consumer = kind(TargetSettings(consumer="simulated"), NoHttp())
        self._consumer.platform = self.platform
        self._databases = [DyingDatabase(url), DyingDatabase(url)]
        for db in self._databases:
            db.crashes = self.crashes

    async def migrate(self) -> None:
        await self._databases[0].migrate()

    async def close(self) -> None:
        for db in self._databases:
            await db.close()

    def _parts(self, which: int) -> tuple[Database, Ledger, Outbox]:
        db = self._databases[which]
        ledger = Ledger(db, clock=self.clock, rules=self.rules)
        return db, ledger, Outbox(db, ledger, self.queues, clock=self.clock)  # type: ignore[arg-type] # publish() is all that it calls

    # --- what the outside does ------------------------------------------------------------------------------------

    async def register(self, place: Place, keys: dict[str, str], *, which: int = 0) -> None:
        """Register a wait as the registry does: commit, then look back. A death leaves the client without an answer."""
        db, ledger, outbox = self._parts(which)
        now = self.clock.now()
        wait = Wait(
            id=new_wait_id(),
            target="t",
            address=place.model_dump(),
            canonical=place.name,
            is_repeated=place.repeats,
            client="ci",
            created_at=now,
            expires_at=now + TIMEOUT,
        )
        expected = [Expectation(SOURCE, keys)]
        self.registered[wait.id] = place
        async with self._surviving():
            async with db.write() as tx:
                await waits.insert(tx, wait, expected, Entry(Kind.OPENED, now), idempotency_key=None, request_hash=None)
            await look_back(db, ledger, outbox, wait, expected, since=now - timedelta(hours=24))

    def post(self, event: Event, *, copies: int = 1) -> None:
        """Confirm an event to its sender: from now on it must not be lost."""
        self.queues.held[EVENTS] += [Copy(event.serialise()) for _ in range(copies)]

    def callback(self, wait: str, outcome: Outcome) -> Event:
        return Event.new(
            source=CALLBACK,
            type=CALLBACK,
            time=self.clock.now(),
            data=EventData(outcome=outcome, keys={"wait": wait}),
        )

    def hook(self, keys: dict[str, str], outcome: Outcome, dedupe: str) -> Event:
        data = EventData(outcome=outcome, keys=keys, dedupe=(dedupe,))
        return Event.new(source=SOURCE, type="run.ended", time=self.clock.now(), data=data)

    # --- what the processes do ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _surviving(self) -> AsyncIterator[None]:
        with suppress(Died):
            yield

    async def consume_events(self, count: int, *, which: int = 0) -> None:
        db, ledger, outbox = self._parts(which)
        day = timedelta(days=8)
        intake = Intake(db, ledger, outbox, wholes={}, clock=self.clock, dedupe_for=day, note_age=lambda _age: None)
        copies = self.queues.take(EVENTS, count)
        batch = [Incoming(Event.parse(copy.body), copy.body) for copy in copies]
        await self._consume(EVENTS, copies, intake.handle(batch))

    async def consume_reports(self, count: int, *, which: int = 0) -> None:
        _, ledger, outbox = self._parts(which)
        copies = self.queues.take(REPORTS, count)
        reports: list[Report] = [read_report(copy.body) for copy in copies]
        await self._consume(REPORTS, copies, Reports(ledger, outbox).handle(reports))

    async def _consume(self, queue: str, copies: list[Copy], handling: Any) -> None:
        """Ack after all is done; a death before or between the acks gives back what is left."""
        left = list(copies)
        try:
            await handling
            while left:
                self.crashes.place()
                left.pop(0)
        except Died:
            self.queues.returned(queue, left)

    async def tick(self, *, which: int = 0) -> None:
        db, ledger, outbox = self._parts(which)
        dead = DeadLetters(db, ledger, outbox, self.queues, clock=self.clock)  # type: ignore[arg-type] # as above
        day = timedelta(days=1)
        kept = Retention(keep=30 * day, keep_early=day, max_early=1000)
        timers = Timers(db, ledger, dead, outbox, self.queues, clock=self.clock, retention_rules=kept)  # type: ignore[arg-type] # as above
        async with self._surviving():
            await timers.tick()

    async def work(self) -> None:
        """One worker takes one resolution and settles it, or dies somewhere on the way."""
        for copy in self.queues.take(RESOLUTIONS, 1):
            try:
                await self._attempt(copy)
            except Died:
                self.queues.returned(RESOLUTIONS, [copy])

    async def _attempt(self, copy: Copy) -> None:
        resolution = read_resolution(copy.body)
        trail = self._trail(copy, resolution)

        async def announce(about: Resolution, its: Trail) -> None:
            await self._report(announcement(about, trail=its, now=self.clock.now()))

        result = await Attempts(self._consumer, announce=announce).make(resolution, trail)
        now = self.clock.now()
        settlement = settle(result.ending, delay=timedelta(seconds=1), now=now, deadline=resolution.deliver_until)
        report = report_of(resolution, result.ending, settlement, trail=trail, note=result.note, now=now)
        if report is not None:
            await self._report(report)
        match settlement:
            case Retry():
                headers = trail.after(result.ending, is_announced=result.is_announced)
                again = Copy(copy.body, {**copy.headers, **headers}, copy.attempt + 1)
                self.crashes.place()
                self.queues.held[RESOLUTIONS].append(again)
                self.crashes.place()  # the copy is stored, the original not acked: both are there
            case Ack():
                self.crashes.place()
            case _:
                raise AssertionError(settlement)

    @staticmethod
    def _trail(copy: Copy, resolution: Resolution) -> Trail:
        class Delivered:
            body = copy.body
            headers = copy.headers
            message_id = new_id()
            attempt = copy.attempt
            is_redelivered = copy.is_redelivered

        return Trail.of(Delivered(), resolution)  # type: ignore[arg-type] # the four that it reads

    async def _report(self, report: Report) -> None:
        await self.queues.publish(Outgoing(to_reports(), write_report(report)))

    # --- what must be true ------------------------------------------------------------------------------------------

    async def read_waits(self) -> dict[str, Wait]:
        db = self._databases[0]
        scope = views.Scope(None, None)
        async with db.read() as tx:
            found, _ = await views.list_waits(tx, scope, views.Page(500, None), state=None, target=None, label=None)
        return {wait.id: wait for wait in found}

    async def settle_down(self) -> None:
        """Let everything come to rest without another death: places are reached, deadlines pass, queues run empty."""
        self.crashes.after(None)
        self.platform.loses_answers = 0
        for place in self.registered.values():
            self.platform.reach(place.name)
        for turn in (6, 6, 6, TIMEOUT.total_seconds(), 6, 31, 6, 6):
            self.clock.turn(timedelta(seconds=turn))
            await self.tick()
            while self.queues.held[EVENTS]:
                await self.consume_events(50)
            for _ in range(len(self.queues.held[RESOLUTIONS])):
                await self.work()
            while self.queues.held[REPORTS]:
                await self.consume_reports(50)
