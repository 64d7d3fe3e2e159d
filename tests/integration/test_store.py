"""The store on SQLite and PostgreSQL: one behaviour, two databases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from bridge.coordinator.ledger import Ledger
from bridge.coordinator.store import dead, events, retention, views, waits, works
from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.events import Incoming
from bridge.coordinator.store.tables import dead_letters, metadata
from bridge.coordinator.store.works import Acknowledged, Putting, Work
from bridge.core.event import CALLBACK, Event, EventData, Outcome
from bridge.core.signing import new_wait_id
from bridge.core.wait import (
    DeadlineReached,
    Entry,
    EventSeen,
    Expectation,
    Kind,
    ResolvedReported,
    Rules,
    Sent,
    State,
    Verdict,
    Wait,
)
from tests.support.line import EPOCH, Turned

NOW = EPOCH
HOUR = timedelta(hours=1)
EVERYTHING = views.Scope(None, None)


def a_wait(**more: Any) -> Wait:
    wait = Wait(
        id=new_wait_id(),
        target="jenkins",
        address={"gate": "a"},
        canonical=new_wait_id(),
        is_repeated=False,
        client="ci",
        created_at=NOW,
        expires_at=NOW + HOUR,
    )
    return replace(wait, **more)


async def insert(db: Database, wait: Wait, *expected: Expectation, key: str | None = None) -> Wait:
    async with db.write() as tx:
        opened = Entry(Kind.OPENED, wait.created_at)
        await waits.insert(tx, wait, expected, opened, idempotency_key=key, request_hash="h")
    return wait


def an_event(outcome: Outcome = Outcome.SUCCEEDED, *, at: datetime = NOW, source: str = "hub", **more: Any) -> Event:
    data = EventData(**{"outcome": outcome, "keys": {"sha": "a" * 40}, **more})
    return Event.new(source=source, type="review.approved", time=at, data=data)


async def record(db: Database, *incoming: Event) -> dict[str, str | None]:
    async with db.write() as tx:
        listed = [Incoming(event, event.serialise()) for event in incoming]
        return await events.record(db, tx, listed, dedupe_until=NOW + 8 * HOUR)


async def early(db: Database, *expected: Expectation, since: datetime = NOW - HOUR) -> list[str]:
    async with db.write() as tx:
        return [event.id for event in await events.early_for(tx, expected, since=since)]


async def verdict_of(db: Database, event: Event) -> str:
    async with db.read() as tx:
        row = await views.get_event(tx, EVERYTHING, event.id)
    assert row is not None
    return str(row["verdict"])


async def test_migrations_make_the_tables(db: Database) -> None:
    """What the migrations made is what the tables say, and migrating again changes nothing."""
    await db.migrate()

    def differences(connection: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        return list(compare_metadata(context, metadata))

    async with db.read() as tx:
        assert await tx.run_sync(differences) == []


async def test_wait_comes_back_as_it_was(db: Database) -> None:
    """Every field survives the row, to the microsecond."""
    moment = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
    wait = await insert(db, a_wait(created_at=moment, labels={"team": "a"}, address={"n": [1, None, "\u0000é"]}))
    async with db.write() as tx:
        assert await waits.lock(db, tx, [wait.id]) == {wait.id: wait}


async def test_one_address_one_wait(db: Database) -> None:
    """The database itself refuses a second open wait at an address, and takes it when the first is over."""
    first = await insert(db, a_wait(canonical="same"))
    with pytest.raises(sa.exc.IntegrityError):
        await insert(db, a_wait(canonical="same"))
    await insert(db, a_wait(canonical="same", target="other"))
    async with db.write() as tx:
        assert await waits.find_holder(tx, "jenkins", "same") == first.id
        over = replace(first, state=State.RESOLVED)
        await waits.save(tx, [over], unsent=[], now=NOW)
    await insert(db, a_wait(canonical="same"))


async def test_a_fault_of_the_database_shows_no_values(db: Database) -> None:
    """What is stored never gets into an error's text by way of a statement's parameters."""
    first = await insert(db, a_wait(canonical="same", labels={"label": "S3CRET-LABEL"}))
    with pytest.raises(sa.exc.IntegrityError) as caught:
        await insert(db, replace(first, id=new_wait_id()))
    assert "S3CRET" not in str(caught.value)


async def test_idempotency_key_is_of_one_client(db: Database) -> None:
    """Two clients may use the same key, one client may not."""
    first = await insert(db, a_wait(), key="k")
    await insert(db, a_wait(client="other"), key="k")
    with pytest.raises(sa.exc.IntegrityError):
        await insert(db, a_wait(), key="k")
    async with db.read() as tx:
        assert await waits.find_registration(tx, "ci", "k") == (first, "h")


async def test_event_is_itself_first_and_a_duplicate_second(db: Database) -> None:
    """Its own id again is no duplicate; another event with one of its sender's ids is."""
    first, second = an_event(dedupe=("d1", "h1")), an_event(dedupe=("d2", "h1"))
    assert await record(db, first) == {first.id: None}
    assert await record(db, first, second) == {first.id: None, second.id: first.id}
    assert await record(db, second) == {second.id: first.id}
    assert await verdict_of(db, second) == "duplicate"
    stranger = an_event(source="other", dedupe=("d1",))
    assert await record(db, stranger) == {stranger.id: None}


async def test_duplicate_within_one_batch(db: Database) -> None:
    """The earlier one of a batch owns the id."""
    first, second = an_event(dedupe=("d",)), an_event(dedupe=("d",))
    assert await record(db, first, second) == {first.id: None, second.id: first.id}


async def test_expectation_wants_all_its_keys(db: Database) -> None:
    """Source, type and every key have to fit; the event may have more."""
    keys = {"repository": "acme/app", "sha": "a" * 40}
    wanted = await insert(db, a_wait(), Expectation("hub", keys, "review.approved"))
    for other in (
        Expectation("other", keys),
        Expectation("hub", keys, "review.commented"),
        Expectation("hub", {**keys, "pull_request": "8"}),
    ):
        await insert(db, a_wait(), other)
    event = an_event(keys={**keys, "pull_request": "7"})
    async with db.read() as tx:
        assert await events.waits_for(db, tx, [event]) == {event.id: [wanted.id]}


async def test_long_and_odd_values_are_found(db: Database) -> None:
    """A key's value of a kilobyte, or with NUL in it, matches as any other."""
    for value in ("x" * 5000, "a\u0000b"):
        wait = await insert(db, a_wait(), Expectation("hub", {"k": value}))
        event = an_event(keys={"k": value})
        await record(db, event)
        async with db.read() as tx:
            assert (await events.waits_for(db, tx, [event]))[event.id] == [wait.id]
        assert await early(db, Expectation("hub", {"k": value})) == [event.id]


async def test_early_events_are_the_kept_ones_in_order(db: Database) -> None:
    """Deciding events and progress, received since then, oldest first; never a callback, never a `none`."""
    old = an_event(at=NOW - 2 * HOUR)
    second, first = an_event(at=NOW), an_event(Outcome.PROGRESS, at=NOW - timedelta(minutes=1))
    await record(db, old, second, first, an_event(Outcome.NONE), an_event(source=CALLBACK))
    assert await early(db, Expectation("hub", {"sha": "a" * 40})) == [first.id, second.id]
    assert await early(db, Expectation("hub", {"sha": "a" * 40}, early=False)) == []


async def test_verdict_of_higher_rank_stays(db: Database) -> None:
    """An event that resumed one wait and was late for another shows that it resumed."""
    event = an_event()
    await record(db, event)
    for given, shown in (
        ([Verdict.LATE], "late"),
        ([Verdict.LATE, Verdict.RESUMED], "resumed"),
        ([Verdict.LATE], "resumed"),
    ):
        async with db.write() as tx:
            await events.raise_verdicts(tx, {event.id: given})
        assert await verdict_of(db, event) == shown


async def test_claims_are_taken_once(db: Database) -> None:
    """What one coordinator took, the next does not get before its time."""
    wait = await insert(db, a_wait())
    late = NOW + 2 * HOUR
    async with db.write() as tx:
        assert await waits.claim_expired(tx, now=NOW, claimed_before=NOW) == []
        assert await waits.claim_expired(tx, now=late, claimed_before=late - HOUR) == [wait.id]
        assert await waits.claim_expired(tx, now=late, claimed_before=late - HOUR) == []
        assert await waits.claim_expired(tx, now=late + HOUR, claimed_before=late) == [wait.id]


async def decided(db: Database, clock: Turned, **more: Any) -> Wait:
    wait = await insert(db, a_wait(**more))
    ledger = Ledger(db, clock=clock, rules=Rules(HOUR))
    (applied,) = await ledger.apply([(wait.id, EventSeen("e1", Outcome.SUCCEEDED, NOW))])
    assert applied.wait is not None
    return applied.wait


@pytest.mark.parametrize(
    "step",
    [
        {"generation": 1},
        {"job_id": None},
        {"job_id": "another"},
        {"acknowledged": Acknowledged.YES},
        {"putting": Putting.TOKEN},
    ],
)
async def test_work_is_claimed_as_seen_or_not_at_all(db: Database, step: dict[str, Any]) -> None:
    """A work that went on since it was read is not claimed; as it stands now it is, once."""
    until = NOW + HOUR
    seen = Work("w" * 32, "loadtest", "aws", "key", NOW, job_id="job")

    async with db.write() as tx:
        held = await works.record(db, tx, seen, by="first", until=until)
        assert held is not None
        assert await held.save(tx, until=None, **step)
        now = await works.find(tx, seen.id)
        assert now is not None
        assert await works.claim(tx, seen.id, by="late", now=NOW, until=until, as_seen=seen) is None
        taken = await works.claim(tx, seen.id, by="early", now=NOW, until=until, as_seen=now)
        assert taken is not None
        assert await works.claim(tx, seen.id, by="other", now=NOW, until=until, as_seen=now) is None
        assert await taken.save(tx, until=None)


async def test_unsent_is_claimed_until_it_is_sent(db: Database) -> None:
    """An outbox row is taken again each time nobody marked it, and never after."""
    clock = Turned()
    wait = await decided(db, clock)
    ledger = Ledger(db, clock=clock, rules=Rules(HOUR))
    soon = NOW + timedelta(seconds=6)
    async with db.write() as tx:
        assert await waits.claim_unsent(tx, now=NOW, claimed_before=NOW - timedelta(seconds=5)) == []
        assert await waits.claim_unsent(tx, now=soon, claimed_before=soon - timedelta(seconds=5)) == [wait.id]
    await ledger.apply([(wait.id, Sent(1))])
    later = soon + HOUR
    async with db.write() as tx:
        assert await waits.claim_unsent(tx, now=later, claimed_before=later) == []
        assert await waits.overdue(tx, delivered_before=NOW + HOUR) == []
        assert await waits.overdue(tx, delivered_before=NOW + 3 * HOUR) == [wait.id]


async def test_same_event_is_applied_once(db: Database) -> None:
    """A redelivered event finds what it did before, and asks to be sent only while that is unsent."""
    clock = Turned()
    wait = await insert(db, a_wait())
    ledger = Ledger(db, clock=clock, rules=Rules(HOUR))
    seen = EventSeen("e1", Outcome.SUCCEEDED, NOW)
    first, again = await ledger.apply([(wait.id, seen), (wait.id, seen)])
    assert (first.sends, first.is_repeat, again.is_repeat) == (True, False, True)
    (repeated,) = await ledger.apply([(wait.id, seen)])
    assert (repeated.is_repeat, repeated.continues) == (True, True)
    await ledger.apply([(wait.id, Sent(1))])
    (repeated,) = await ledger.apply([(wait.id, seen)])
    assert not repeated.sends
    async with db.read() as tx:
        kinds = [row.kind for row in (await views.timelines(db, tx, [wait.id]))[wait.id]]
    assert kinds == ["opened", "event", "decided", "sent"]


async def test_unknown_wait_is_no_error(db: Database) -> None:
    """A callback for a wait that was pruned long ago changes nothing."""
    (applied,) = await Ledger(db, clock=Turned(), rules=Rules()).apply([("f" * 32, DeadlineReached())])
    assert applied.wait is None
    assert not applied.sends


async def test_early_events_end_by_time_and_by_number(db: Database) -> None:
    """Older than keep_early, or beyond max_early: no wait sees them any more, and they say so."""
    made = [an_event(at=NOW + timedelta(minutes=number)) for number in range(6)]
    await record(db, *made)
    async with db.write() as tx:
        assert await retention.kept_sources(tx) == {"hub": 6}
        assert await retention.let_go_older(db, tx, received_before=made[2].time) == 2
        assert await retention.let_go_beyond(db, tx, "hub", keep=3) == 1
        assert await retention.let_go_beyond(db, tx, "hub", keep=3) == 0
    assert await early(db, Expectation("hub", {"sha": "a" * 40})) == [event.id for event in made[3:]]
    assert [await verdict_of(db, event) for event in made] == ["no_match"] * 3 + ["early"] * 3


async def test_prune_forgets_what_is_over_and_old(db: Database) -> None:
    """Ended waits go with their events; open ones and what decided a kept wait stay."""
    clock = Turned()
    cause = an_event(Outcome.NONE)
    await record(db, cause, an_event(Outcome.NONE))
    over = await insert(db, a_wait(labels={"a": "b"}), Expectation("hub", {"sha": "b"}))
    ledger = Ledger(db, clock=clock, rules=Rules(HOUR))
    seen = EventSeen(cause.id, Outcome.SUCCEEDED, NOW)
    await ledger.apply([(over.id, seen), (over.id, ResolvedReported(1, 1, "done"))])
    resolving = await decided(db, clock)
    still_open = await insert(db, a_wait())

    async def prune(at: datetime) -> int:
        async with db.write() as tx:
            return await retention.prune(db, tx, before=at, now=at)

    assert await prune(NOW) == 0
    assert await prune(NOW + 2 * HOUR) == 3
    assert await prune(NOW + 2 * HOUR) == 0
    async with db.read() as tx:
        left, _ = await views.list_waits(tx, EVERYTHING, views.Page(50, None), state=None, target=None, label=None)
        assert {wait.id for wait in left} == {resolving.id, still_open.id}
        assert (await views.timelines(db, tx, [over.id]))[over.id] == []


async def test_cause_of_a_kept_wait_is_kept(db: Database) -> None:
    """A result can be read as long as its wait is there."""
    clock = Turned()
    cause = an_event(Outcome.NONE)
    await record(db, cause)
    wait = await insert(db, a_wait(expires_at=NOW + 100 * HOUR))
    await Ledger(db, clock=clock, rules=Rules()).apply([(wait.id, EventSeen(cause.id, Outcome.SUCCEEDED, NOW))])
    async with db.write() as tx:
        await retention.prune(db, tx, before=NOW + 50 * HOUR, now=NOW + 50 * HOUR)
        assert list(await events.documents(db, tx, [cause.id])) == [cause.id]


async def test_dead_letter_is_stored_once(db: Database) -> None:
    """A redelivery of a dead message is the same row."""
    letter = {
        "id": "m1",
        "queue": "bridge.target.jenkins",
        "reason": "refused",
        "at": NOW,
        "attempt": 2,
        "body": b"{}",
        "wait_id": None,
        "target": "jenkins",
        "dispatch": None,
    }
    async with db.write() as tx:
        await dead.add(db, tx, [letter])
        await dead.add(db, tx, [letter])
        count = (await tx.execute(sa.select(sa.func.count()).select_from(dead_letters))).scalar()
        assert count == 1
        assert await dead.drop(tx, "m1")
        assert not await dead.drop(tx, "m1")
