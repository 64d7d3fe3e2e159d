"""The SQLite broker and what a machine does to it: kill -9, a second process, a locked file, a full disk."""

import asyncio
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from bridge.brokers.sqlite import SqliteBroker
from bridge.core.errors import BrokerUnavailable, ConfigError
from bridge.core.ports import Delivery
from bridge.core.topology import DEAD
from tests.support.brokers import DEADLINE_S, QUEUE, TARGET, eventually, message, take_all, take_one

ROOT = Path(__file__).parents[2]
FACTS_BEFORE_KILL = 2_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.db"


@pytest.fixture
async def broker(path: Path) -> AsyncIterator[SqliteBroker]:
    """A ready broker that waits only shortly for a locked file."""
    broker = SqliteBroker(path, busy_timeout=timedelta(seconds=0.1))
    await broker.start()
    await broker.declare([TARGET])
    yield broker
    await broker.close()


async def _start_worker(path: Path, first: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.sqlite_worker",
        str(path),
        str(first),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )


async def _work_until_killed(path: Path, first: int) -> list[tuple[str, int]]:
    """Return the facts that a worker stated before it was killed in the middle of its work."""
    process = await _start_worker(path, first)
    assert process.stdout is not None
    lines: list[bytes] = []
    try:
        async with asyncio.timeout(DEADLINE_S):
            while len(lines) < FACTS_BEFORE_KILL:
                lines.append(await process.stdout.readuntil())
    finally:
        process.send_signal(signal.SIGKILL)
        lines += (await process.stdout.read()).splitlines(keepends=True)
        await process.wait()
    words = [line.split() for line in lines if line.endswith(b"\n")]
    return [(fact.decode(), int(number)) for fact, number in words]


async def _drain(broker: SqliteBroker, queue: str) -> dict[int, Delivery]:
    """Return everything ready in *queue* by number, still unsettled."""
    (figures,) = await broker.queues([queue])
    assert figures.ready is not None
    if not figures.ready:
        return {}
    async with broker.subscribe(queue, prefetch=figures.ready) as subscription:
        deliveries = await take_all(subscription, figures.ready)
    assert len({delivery.body for delivery in deliveries}) == len(deliveries)  # nothing twice
    return {int(delivery.body): delivery for delivery in deliveries}


async def test_killed_process_loses_nothing(path: Path) -> None:
    """After kill -9, again and again, every confirmed message is there unless it was acked, and the taken ones say so."""
    facts: dict[str, set[int]] = {"confirmed": set(), "taken": set(), "acked": set(), "buried": set()}
    for first in (1, 1_000_000, 2_000_000):
        for fact, number in await _work_until_killed(path, first):
            facts[fact].add(number)
    broker = SqliteBroker(path)
    await broker.start()  # nothing is declared again: the queues are in the file
    waiting, dead = await _drain(broker, QUEUE), await _drain(broker, DEAD)
    await broker.close()
    assert all(facts.values())
    assert not waiting.keys() & dead.keys()
    assert not facts["acked"] & waiting.keys()
    assert facts["buried"] <= dead.keys()
    assert {number for number in facts["confirmed"] if number % 3} <= waiting.keys() | dead.keys()
    assert {number for number in facts["confirmed"] if number % 3 == 0} <= waiting.keys() | facts["taken"]
    unsettled = facts["taken"] & waiting.keys()
    assert unsettled
    assert all(waiting[number].is_redelivered for number in unsettled)


async def test_second_process_is_refused(path: Path, broker: SqliteBroker) -> None:
    """While a process has the file another one ends with a message that names it, and harms nothing."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "tests.support.sqlite_worker", str(path), "1"], cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE_S):
        _, stderr = await process.communicate()
    assert process.returncode
    assert f"ConfigError: broker.url: {path} is in use by another process" in stderr.decode()
    await broker.publish(message("still mine"))


async def test_file_is_free_after_close(path: Path) -> None:
    """A refused broker can be started once the other one is closed, and a closed one again."""
    first, second = SqliteBroker(path), SqliteBroker(path)
    await first.start()
    with pytest.raises(ConfigError, match=str(path)):
        await second.start()
    await first.close()
    await second.start()
    await second.declare([TARGET])
    await second.publish(message("kept"))
    await second.close()
    await first.start()
    async with first.subscribe(QUEUE, prefetch=1) as subscription:
        assert (await take_one(subscription)).body == b"kept"
    await first.close()


async def test_confirmed_is_synced(broker: SqliteBroker) -> None:
    """The connection that confirms runs with a write-ahead log and an fsync for each commit."""

    async def pragma(name: str) -> object:
        return await broker._writer.ask(lambda ledger: ledger._rows._db.execute(f"PRAGMA {name}").fetchone()[0])

    assert await pragma("journal_mode") == "wal"
    assert await pragma("synchronous") == 2  # FULL


async def test_locked_file_settles_nothing(path: Path, broker: SqliteBroker) -> None:
    """While another connection keeps the lock, publish and ack fail; afterwards all is well without anybody's help."""
    await broker.publish(message("held"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        held = await take_one(subscription)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BrokerUnavailable, match="locked"):
                await broker.publish(message("refused"))
            with pytest.raises(BrokerUnavailable, match="locked"):
                await held.ack()
            assert not broker.is_ready
        await eventually(lambda: broker.is_ready)
        again = await take_one(subscription)
        assert (again.body, again.is_redelivered) == (b"held", True)
        with pytest.raises(BrokerUnavailable):
            await held.ack()  # the old handle never settles the new delivery
        await again.ack()
    assert await _drain(broker, QUEUE) == {}


async def test_locked_file_delays_a_declaration(path: Path) -> None:
    """A declaration waits until the file takes it."""
    broker = SqliteBroker(path, busy_timeout=timedelta(seconds=0.1))
    await broker.start()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        declaring = asyncio.create_task(broker.declare([TARGET]))
        await eventually(lambda: not broker._writer.is_healthy)
        assert not declaring.done()
    await asyncio.wait_for(declaring, DEADLINE_S)
    assert broker.is_ready
    await broker.close()


async def test_what_a_leaving_subscriber_cannot_give_back_comes_later(path: Path, broker: SqliteBroker) -> None:
    """A subscription that ends while the file is locked gives its deliveries back as soon as that is possible."""
    await broker.publish(message("held"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        async with broker.subscribe(QUEUE, prefetch=1) as subscription:
            await take_one(subscription)
            other.execute("BEGIN IMMEDIATE")
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        again = await take_one(subscription)
        assert (again.body, again.is_redelivered) == (b"held", True)


async def test_closed_subscription_hands_out_nothing(broker: SqliteBroker) -> None:
    """A hand-out that crosses the end of its subscription is not given to anybody, and comes again as it was."""
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        publishing = asyncio.create_task(broker.publish(message("1")))
        await asyncio.sleep(0)  # the publish is with the thread, its answer is not here yet
    await publishing
    assert await subscription.take(1) == []
    waiting = await _drain(broker, QUEUE)
    assert not waiting[1].is_redelivered


async def test_full_disk_refuses_and_recovers(broker: SqliteBroker) -> None:
    """What the disk cannot take is refused and not stored; with room again the broker goes on by itself."""

    async def limit(pages: int) -> None:
        await broker._writer.ask(lambda ledger: ledger._rows._db.execute(f"PRAGMA max_page_count = {pages}").fetchone())

    await broker.publish(message("before"))
    await limit(1)
    with pytest.raises(BrokerUnavailable, match="full"):
        await broker.publish(message("x" * 1_000_000))
    assert not broker.is_ready
    await limit(1_000_000)
    await eventually(lambda: broker.is_ready)
    await broker.publish(message("after"))
    async with broker.subscribe(QUEUE, prefetch=3) as subscription:
        assert [delivery.body for delivery in await take_all(subscription, 2)] == [b"before", b"after"]
    (figures,) = await broker.queues([QUEUE])
    assert figures.ready == 2


async def test_rows_go_with_the_ack(path: Path, broker: SqliteBroker) -> None:
    """An acked message leaves no row, and another table of the file is left alone."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE waits (id TEXT)")
        other.execute("INSERT INTO waits VALUES ('w1')")
        other.commit()
    await broker.publish(*[message(str(number)) for number in range(20)])
    async with broker.subscribe(QUEUE, prefetch=20) as subscription:
        taken = await take_all(subscription, 20)
        await asyncio.gather(*[delivery.ack() for delivery in taken])
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM broker_messages").fetchone() == (0,)
        assert other.execute("SELECT id FROM waits").fetchone() == ("w1",)


async def test_file_is_private(path: Path, broker: SqliteBroker) -> None:
    """Only the owner reads the files: messages are in them."""
    await broker.publish(message("secret"))
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes) >= {"bridge.db", "bridge.db-wal", "bridge.db.broker-lock"}
    assert set(modes.values()) == {0o600}


def _spoil(path: Path) -> None:
    path.write_text("not a database, but long enough to be read as a page header of one" * 20)


def _mend(path: Path) -> None:
    path.unlink()


async def test_unusable_file_ends_the_start(tmp_path: Path) -> None:
    """A folder that is missing, a file that is no database, and tables of another version are told by name."""
    no_database = tmp_path / "notes.txt"
    _spoil(no_database)
    newer = tmp_path / "newer.db"
    with closing(sqlite3.connect(newer)) as db:
        db.execute("CREATE TABLE broker_meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID")
        db.execute("INSERT INTO broker_meta VALUES ('schema', 99)")
        db.commit()
    for path, why in ((tmp_path / "absent" / "b.db", "No such file"), (no_database, "not a database"), (newer, "99")):
        with pytest.raises(ConfigError, match=why):
            await SqliteBroker(path).start()


async def test_start_can_be_repeated(path: Path) -> None:
    """A broker whose file could not be used starts once that is put right."""
    _spoil(path)
    broker = SqliteBroker(path)
    with pytest.raises(ConfigError):
        await broker.start()
    _mend(path)
    async with asyncio.timeout(DEADLINE_S):
        await broker.start()
        await broker.declare([TARGET])
        await broker.publish(message("1"))
    assert set(await _drain(broker, QUEUE)) == {1}
    await broker.close()


async def test_overload_is_told_at_once(broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound of unconfirmed publishes the next one is refused without waiting; those under way are stored."""
    monkeypatch.setattr("bridge.brokers.sqlite.broker.MAX_UNCONFIRMED", 3)
    publishes = [asyncio.create_task(broker.publish(message(str(number)))) for number in range(5)]
    outcomes = await asyncio.gather(*publishes, return_exceptions=True)
    assert [isinstance(outcome, BrokerUnavailable) for outcome in outcomes] == [False] * 3 + [True] * 2
    await asyncio.gather(*[broker.publish(message(str(number))) for number in range(5, 8)])
    assert set(await _drain(broker, QUEUE)) == {0, 1, 2, 5, 6, 7}


async def test_bug_in_one_change_does_not_end_the_thread(broker: SqliteBroker) -> None:
    """A header that cannot be stored fails its publish; the broker goes on."""
    with pytest.raises(BrokerUnavailable):
        await broker.publish(message("broken", bridge_note=object()))  # type: ignore[arg-type]
    await eventually(lambda: broker.is_ready)
    await broker.publish(message("1"))
    assert set(await _drain(broker, QUEUE)) == {1}


async def test_delay_wakes_up_by_itself(broker: SqliteBroker) -> None:
    """With nothing else going on, a delayed message is handed out when it is due."""
    await broker.publish(message("1"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await (await take_one(subscription)).retry(timedelta(seconds=0.3))
        await take_one(subscription)
        assert 0.29 <= loop.time() - begin < 1.0
