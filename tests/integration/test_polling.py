"""The poller's rows on SQLite and PostgreSQL, and the poller over them, with a platform that says what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import sqlalchemy as sa

from bridge.app import serve
from bridge.config import Role, load_config
from bridge.coordinator.intake import Intake
from bridge.coordinator.store import retention, tables, wholes
from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.events import Incoming
from bridge.coordinator.store.wholes import Look
from bridge.core.consumer import Consumer
from bridge.core.event import Event, EventData, Outcome
from bridge.core.outcome import CredentialRefused, Later, NotYet
from bridge.core.ports import Broker
from bridge.polling.wholes import LEASE, MOST, Wholes
from bridge.sources.circleci import CircleCI
from tests.support.fakes import START, FakeBroker, FakeClock, FakeConsumer

NOW = START
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
WHOLE = CircleCI.whole
OVER = EventData(outcome=Outcome.FAILED, keys={"pipeline_id": "p1"})


@pytest.fixture
async def lite(tmp_path: Path) -> AsyncIterator[Database]:
    """A store for what does not depend on the database."""
    database = Database(f"sqlite:///{tmp_path}/store.db")
    await database.migrate()
    yield database
    await database.close()


async def ask(
    db: Database, name: str = "p1", *, source: str = "b", until: datetime = NOW + HOUR, now: datetime = NOW
) -> None:
    async with db.write() as tx:
        await wholes.ask(db, tx, source, name, until=until, now=now)


async def claim(db: Database, now: datetime = NOW, *, most: int = 10) -> list[Look]:
    async with db.write() as tx:
        return await wholes.claim(tx, ["b"], now=now, until=now + LEASE, most=most)


async def postpone(db: Database, look: Look, due_at: datetime) -> None:
    async with db.write() as tx:
        await wholes.postpone(tx, look, due_at=due_at, step=look.step + 1, tries=0)


async def end(db: Database, look: Look) -> None:
    async with db.write() as tx:
        await wholes.end(tx, look)


async def part_ended(db: Database, *names: str, now: datetime = NOW) -> None:
    async with db.write() as tx:
        await wholes.part_ended(tx, [("b", name) for name in names], now=now)


async def rows(db: Database) -> list[Any]:
    async with db.read() as tx:
        return list(await tx.execute(sa.select(tables.wholes).order_by(tables.wholes.c.name)))


# --- rows


async def test_a_whole_is_one_row_however_many_ask(db: Database) -> None:
    """The second wait adds its deadline and has it looked at again, under the same id; the later deadline is the end."""
    await ask(db, until=NOW + 2 * HOUR)
    (first,) = await claim(db)
    await postpone(db, first, NOW + HOUR)
    assert await claim(db) == []
    await ask(db, until=NOW + HOUR, now=NOW + SECOND)
    (again,) = await claim(db, NOW + SECOND)
    assert (again.id, again.step, again.touched) == (first.id, 0, 2)
    assert (again.deadlines, again.until) == ([NOW + HOUR, NOW + 2 * HOUR], NOW + 2 * HOUR)
    await ask(db, until=NOW + 3 * HOUR, now=NOW + HOUR)
    assert (await claim(db, NOW + HOUR))[0].deadlines == [NOW + 2 * HOUR, NOW + 3 * HOUR]


async def test_a_claim_is_a_lease(db: Database) -> None:
    """One looks at a time; after the lease's end the next one does, and the first changes nothing any more."""
    await ask(db)
    (first,) = await claim(db)
    assert await claim(db, NOW + LEASE - SECOND) == []
    (second,) = await claim(db, NOW + LEASE)
    await postpone(db, first, NOW + HOUR)
    await end(db, first)
    (row,) = await rows(db)
    assert (row.id, row.claimed_until, row.step) == (second.id, second.claimed_until, 0)


async def test_what_is_touched_during_a_look_is_looked_at_again(db: Database) -> None:
    """Nobody knows what the look saw of it: not over stays due, over gets an id of its own for the next event."""
    await ask(db)
    (look,) = await claim(db)
    await part_ended(db, "p1")
    await postpone(db, look, NOW + HOUR)
    (look,) = await claim(db)
    await ask(db, now=NOW)
    await end(db, look)
    (again,) = await claim(db)
    assert again.id != look.id
    await end(db, again)
    assert await rows(db) == []


async def test_a_part_that_ended_brings_its_whole_forward(db: Database) -> None:
    """Only where somebody asked: others, and other sources' of the same name, are not touched."""
    for name in ("p1", "p2"):
        await ask(db, name)
    await ask(db, "p1", source="c")
    for look in await claim(db):
        await postpone(db, look, NOW + HOUR)
    await part_ended(db, "p1", "p3", now=NOW + SECOND)
    assert [look.name for look in await claim(db, NOW + SECOND)] == ["p1"]
    assert {(row.source, row.name): row.touched for row in await rows(db)} == {
        ("b", "p1"): 2,
        ("b", "p2"): 1,
        ("c", "p1"): 1,
    }


async def test_a_webhook_brings_forward_what_it_is_a_part_of(db: Database) -> None:
    """In the transaction that records the event; a duplicate, a job's end and another source's event do not count."""
    await ask(db)
    (look,) = await claim(db)
    await postpone(db, look, NOW + HOUR)

    async def touched(*, source: str = "b", kind: str = WHOLE.told_by, dedupe: str = "x") -> int:
        data = EventData(outcome=Outcome.SUCCEEDED, keys={"pipeline_id": "p1"}, dedupe=(dedupe,))
        event = Event.new(source=source, type=kind, time=NOW, data=data)
        handled = cast("Any", None)
        intake = Intake(
            db, handled, handled, wholes={"b": WHOLE}, clock=FakeClock(), dedupe_for=HOUR, note_age=lambda _age: None
        )
        async with db.write() as tx:
            await intake._record(tx, [Incoming(event, event.serialise())])
        return int((await rows(db))[0].touched)

    assert await touched(source="c") == 1
    assert await touched(kind="job.completed", dedupe="job") == 1
    assert await touched() == 2
    assert await touched() == 2


async def test_what_nobody_wants_any_more_is_forgotten(db: Database) -> None:
    """Retention takes it, even where no poller runs."""
    await ask(db)
    await ask(db, "p2", until=NOW + 3 * HOUR)
    async with db.write() as tx:
        assert await retention.prune(db, tx, before=NOW - HOUR, now=NOW + 2 * HOUR) == 1
    assert [row.name for row in await rows(db)] == ["p2"]


# --- the poller


class Teller(FakeConsumer):
    """Says what a pipeline came to, as its list says; the last entry serves for all that follow."""

    def __init__(self, *says: EventData | Exception | None) -> None:
        super().__init__()
        self.says = list(says)
        self.asked: list[str] = []
        self.meanwhile: Callable[[], Any] | None = None

    async def whole(self, name: str) -> EventData | None:
        self.asked.append(name)
        if self.meanwhile is not None:
            await self.meanwhile()
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, Exception):
            raise said
        return said


class Desk:
    """A poller's turns, one at a time."""

    def __init__(self, db: Database, *says: EventData | Exception | None) -> None:
        self.db, self.clock, self.broker, self.teller = db, FakeClock(), FakeBroker(), Teller(*says)

    def poller(self) -> Wholes:
        return Wholes(
            {"b": WHOLE},
            consumer=cast("Consumer[Any, Any]", self.teller),
            db=self.db,
            broker=cast("Broker", self.broker),
            clock=self.clock,
            random=lambda: 1.0,
        )

    async def turn(self, after_s: float = 0) -> list[Event]:
        """Let a poller do what is due *after_s* from now; return all events so far."""
        await self.clock.advance(after_s)
        poller = self.poller()
        await poller.begin_due()
        await poller.stop()
        return self.told

    @property
    def told(self) -> list[Event]:
        return [Event.parse(message.body) for message in self.broker.published]


async def test_what_is_over_is_told_once(lite: Database) -> None:
    """The event has the row's id, the source's name and the whole's type; then the row is gone."""
    await ask(lite)
    desk = Desk(lite, OVER)
    (row,) = await rows(lite)
    (event,) = await desk.turn()
    assert (event.id, event.source, event.type, event.data) == (row.id, "b", "pipeline.completed", OVER)
    assert desk.broker.published[0].correlation_id == row.id
    assert await rows(lite) == []
    assert len(await desk.turn(60)) == 1


async def test_what_is_open_is_asked_tightly_then_seldom(lite: Database) -> None:
    """0.5 s doubling; nothing in between; a part that ended begins it anew."""
    await ask(lite)
    desk = Desk(lite, None)
    await desk.turn()
    for pause_s in (0.5, 1, 2, 4, 8):
        asked = len(desk.teller.asked)
        await desk.turn(pause_s - 0.1)
        assert len(desk.teller.asked) == asked
        await desk.turn(0.1)
        assert len(desk.teller.asked) == asked + 1
    await part_ended(lite, "p1", now=desk.clock.now())
    await desk.turn()
    await desk.turn(0.5)
    assert len(desk.teller.asked) == 8


@pytest.mark.parametrize(
    "fault", [Later("away"), CredentialRefused(401), NotYet("none"), RuntimeError("a bug"), TimeoutError()], ids=repr
)
async def test_no_fault_ends_a_row(lite: Database, fault: Exception) -> None:
    """Whatever went wrong, it is asked again, and then told."""
    await ask(lite)
    desk = Desk(lite, fault, OVER)
    assert await desk.turn() == []
    assert len(await desk.turn(LEASE.total_seconds())) == 1


async def test_a_platform_that_asks_for_patience_gets_it(lite: Database) -> None:
    """Its Retry-After is the least that is waited."""
    await ask(lite)
    desk = Desk(lite, Later("throttled", timedelta(seconds=30)), OVER)
    await desk.turn()
    assert await desk.turn(29) == []
    assert len(await desk.turn(3)) == 1


async def test_a_broker_that_does_not_confirm_leaves_the_row(lite: Database) -> None:
    """Told again, under the same id."""
    await ask(lite)
    desk = Desk(lite, OVER)
    desk.broker.is_away = True
    (row,) = await rows(lite)
    assert await desk.turn() == []
    desk.broker.is_away = False
    assert [event.id for event in await desk.turn(2)] == [row.id]


async def test_the_end_of_all_waits_ends_the_looks(lite: Database) -> None:
    """Shortly before each deadline somebody asks; at the last one nobody does any more."""
    deadlines = [NOW + timedelta(minutes=25), NOW + timedelta(minutes=30)]
    for deadline in deadlines:
        await ask(lite, until=deadline)
    desk = Desk(lite, None)
    at: list[datetime] = []
    while (found := await rows(lite)) and len(at) < 20:
        at.append(max(found[0].due_at, desk.clock.now()))
        await desk.turn((at[-1] - desk.clock.now()).total_seconds())
    assert at[-1] == deadlines[-1]
    assert len(desk.teller.asked) == len(at) - 1
    assert await rows(lite) == []
    assert {deadline - timedelta(seconds=before) for deadline in deadlines for before in (20, 8)} <= set(at)


async def test_two_pollers_ask_once(db: Database) -> None:
    """Both look for what is due at once; each row is one's."""
    for number in range(MOST):
        await ask(db, f"p{number}")
    desk = Desk(db, OVER)
    pollers = [desk.poller(), desk.poller()]
    await asyncio.gather(*(poller.begin_due() for poller in pollers))
    await asyncio.gather(*(poller.stop() for poller in pollers))
    assert sorted(desk.teller.asked) == sorted(f"p{number}" for number in range(MOST))
    assert len({event.id for event in desk.told}) == MOST


async def test_a_poller_whose_lease_ended_tells_the_same_event(db: Database) -> None:
    """It was slow, and another one looked meanwhile: two messages, one event; and neither leaves a row."""
    await ask(db)
    desk = Desk(db, OVER)

    async def slowly() -> None:
        desk.teller.meanwhile = None
        await desk.turn(LEASE.total_seconds() + 1)

    desk.teller.meanwhile = slowly
    told = await desk.turn()
    assert (len(told), len({event.id for event in told})) == (2, 1)
    assert await rows(db) == []


async def test_a_poller_that_stops_lets_go(lite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that does not end in time is cut, and whoever comes next needs not wait for its lease."""
    monkeypatch.setattr("bridge.polling.wholes.STOP_S", 0.01)
    await ask(lite)
    desk = Desk(lite, OVER)

    async def never() -> None:
        desk.teller.meanwhile = None
        await asyncio.Event().wait()

    desk.teller.meanwhile = never
    assert await desk.turn() == []
    assert len(await desk.turn()) == 1


async def test_a_process_may_be_a_poller_alone(tmp_path: Path) -> None:
    """It has broker and store, migrates, and is ready when it looks; nothing else is asked of its config."""
    path = tmp_path / "bridge.toml"
    path.write_text(
        f'[http]\nlisten = "127.0.0.1:0"\n[broker]\nurl = "memory:"\n[store]\nurl = "sqlite:///{tmp_path}/store.db"\n'
        '[sources.b]\nkind = "circleci"\nsecret_env = "NOT_SET"\npipelines = "circleci"\n'
        '[targets.circleci]\nconsumer = "circleci"\nbase_url = "http://127.0.0.1:9"\ntoken_env = "TOKEN"\n'
    )
    config = load_config(path, environ={"TOKEN": "t"}, roles=[Role.POLLER])
    stop = asyncio.Event()
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(serve(config, stop=stop, started=started.set_result))
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(10):
            checks: dict[str, bool] = {}
            while not (checks.get("store") and checks.get("poller circleci")):
                async with session.get(f"{await started}/readyz") as response:
                    checks = (await response.json())["checks"]
        assert set(checks) == {"broker", "store", "poller circleci"}
    finally:
        stop.set()
        await running
