"""Group commit without the thread: jobs in, outcomes and hand-outs out, over a real file."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.brokers.sqlite.committer import Committer, Job, Served
from bridge.brokers.sqlite.ledger import Consumer, Handed, Ledger
from bridge.core.errors import BrokerUnavailable
from bridge.core.local import LocalMessage
from bridge.core.ports import Outgoing
from bridge.core.topology import DEAD, DELIVERY_LIMIT, REASON, to_target

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
QUEUE = "bridge.target.a"
NO_DELAY = timedelta(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.db"


@pytest.fixture
def committer(path: Path) -> Iterator[Committer]:
    with closing(open_committer(path)) as committer:
        yield committer


def open_committer(path: Path) -> Committer:
    return Committer(path, busy_timeout=timedelta(seconds=0.05))


def change(note: Callable[[Ledger], Any]) -> Job:
    return Job(note, resolve=lambda _: None, is_change=True)


def question(note: Callable[[Ledger], Any]) -> Job:
    return Job(note, resolve=lambda _: None, is_change=False)


def message(body: str, queue: str = QUEUE) -> LocalMessage:
    return LocalMessage.published(Outgoing(to_target("a"), body.encode(), {"bridge-x": 1}), queue, NOW)


def publish(*bodies: str) -> Job:
    return change(lambda ledger: ledger.publish([message(body) for body in bodies]))


def join(prefetch: int, queue: str = QUEUE) -> tuple[Job, Consumer]:
    consumer = Consumer(queue, prefetch, receive=lambda _: None)
    return question(lambda ledger: ledger.join(consumer)), consumer


def settle(consumer: Consumer, handed: Handed, to: LocalMessage | None = None, after: timedelta = NO_DELAY) -> Job:
    return change(lambda ledger: ledger.settle(consumer, handed[0], to, after))


def handed_to(served: Served, consumer: Consumer) -> list[Handed]:
    return [handed for each, deliveries in served.handed if each is consumer for handed in deliveries]


def bodies(handed: list[Handed]) -> list[str]:
    return [message.body.decode() for _, message in handed]


def fail_commits(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the disk refuse what is written."""
    (limit,) = committer._rows._db.execute("PRAGMA page_count").fetchone()
    committer._rows._db.execute(f"PRAGMA max_page_count = {limit}")
    monkeypatch.setattr("bridge.brokers.sqlite.committer.REPAIR_INTERVAL_S", 0.0)


BIG = "x" * 100_000


def test_publish_is_handed_out_in_its_own_transaction(committer: Committer) -> None:
    """A waiting consumer gets a message with the commit that confirms it, in order and up to its room."""
    joining, consumer = join(prefetch=3)
    committer.serve([joining])
    served = committer.serve([publish("1"), publish("2", "3"), publish("4")])
    assert [outcome for _, outcome in served.outcomes] == [None, None, None]
    assert bodies(handed_to(served, consumer)) == ["1", "2", "3"]
    assert committer._ledger.stats([QUEUE]) == [(1, 3, 1)]


def test_message_is_stored_whole(path: Path) -> None:
    """Every field comes back from the file as it went in."""
    stored = message("body")
    with closing(open_committer(path)) as first:
        first.serve([change(lambda ledger: ledger.publish([stored]))])
    with closing(open_committer(path)) as second:
        joining, consumer = join(prefetch=1)
        ((_, read),) = handed_to(second.serve([joining]), consumer)
    assert read == stored


def test_order_goes_on_after_a_restart(path: Path) -> None:
    """What a later process publishes comes after what was there."""
    with closing(open_committer(path)) as first:
        first.serve([publish("1", "2")])
    with closing(open_committer(path)) as second:
        joining, consumer = join(prefetch=3)
        second.serve([publish("3")])
        assert bodies(handed_to(second.serve([joining]), consumer)) == ["1", "2", "3"]


def test_ack_makes_room_in_the_same_transaction(committer: Committer) -> None:
    """The next message is handed out with the commit of the ack before it."""
    joining, consumer = join(prefetch=1)
    (first,) = handed_to(committer.serve([joining, publish("1", "2")]), consumer)
    assert bodies(handed_to(committer.serve([settle(consumer, first)]), consumer)) == ["2"]


def test_released_keeps_its_place_and_a_copy_goes_to_the_end(committer: Committer) -> None:
    """What is given back is delivered before what came later; a retried copy after it, also when that is given back."""
    joining, consumer = join(prefetch=2)
    one, two = handed_to(committer.serve([joining, publish("1", "2", "3")]), consumer)
    retried = settle(consumer, one, one[1].retried(is_counted=True, headers=None))
    released = settle(consumer, two, two[1].returned())
    two, three = handed_to(committer.serve([retried, released]), consumer)
    assert bodies([two, three]) == ["2", "3"]
    (copy,) = handed_to(committer.serve([settle(consumer, two)]), consumer)
    assert (copy[1].body, copy[1].attempt) == (b"1", 2)
    both = [settle(consumer, each, each[1].returned()) for each in (copy, three)]
    assert bodies(handed_to(committer.serve(both), consumer)) == ["3", "1"]


def test_delay_is_waited_for(committer: Committer) -> None:
    """A delayed copy is not handed out before it is due, and the committer says when that is."""
    joining, consumer = join(prefetch=1)
    (one,) = handed_to(committer.serve([joining, publish("1")]), consumer)
    delayed = settle(consumer, one, one[1].retried(is_counted=True, headers=None), timedelta(seconds=30))
    assert handed_to(committer.serve([delayed]), consumer) == []
    assert handed_to(committer.serve([]), consumer) == []
    assert committer.idle_s is not None
    assert 29 < committer.idle_s <= 30


def test_crashes_count_until_the_message_is_dead(path: Path) -> None:
    """A message in the hands of a process that dies comes back as redelivered, and is buried after twenty times."""
    with closing(open_committer(path)) as committer:
        committer.serve([publish("poison")])
    for crash in range(DELIVERY_LIMIT + 1):
        with closing(open_committer(path)) as committer:  # closed without giving anything back: a crash
            joining, consumer = join(prefetch=1)
            ((_, handed),) = handed_to(committer.serve([joining]), consumer)
            assert (handed.is_redelivered, handed.returns) == (crash > 0, crash)
    with closing(open_committer(path)) as committer:
        joining, consumer = join(prefetch=1, queue=DEAD)
        ((_, dead),) = handed_to(committer.serve([joining]), consumer)
        assert (dead.body, dead.headers[REASON]) == (b"poison", "delivery_limit")
        assert committer._ledger.stats([QUEUE]) == [(0, 0, 0)]


def test_leaving_marks_only_what_was_seen(committer: Committer) -> None:
    """A consumer that ends returns what somebody took as redelivered, and the rest as it was."""
    joining, consumer = join(prefetch=2)
    one, _two = handed_to(committer.serve([joining, publish("1", "2")]), consumer)
    leaving = change(lambda ledger: ledger.leave(consumer, {one[0]}))
    joining, following = join(prefetch=2)
    committer.serve([leaving])
    again = handed_to(committer.serve([joining]), following)
    assert [(each.body, each.is_redelivered, each.returns) for _, each in again] == [(b"1", True, 1), (b"2", False, 0)]


def test_paused_consumer_keeps_what_it_has_and_gets_no_more(committer: Committer) -> None:
    """A pause holds from its answer on; a resume hands out what waits, with no change to trigger it."""
    joining, consumer = join(prefetch=2)
    committer.serve([joining, publish("1")])
    paused = committer.serve([question(lambda ledger: ledger.pause(consumer)), publish("2")])
    assert handed_to(paused, consumer) == []
    assert committer._ledger.stats([QUEUE]) == [(1, 1, 0)]
    resumed = committer.serve([question(lambda ledger: ledger.resume(consumer))])
    assert bodies(handed_to(resumed, consumer)) == ["2"]


def test_failed_transaction_concerns_all_of_it(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk refuses a batch, none of it is stored; what it settled comes again, uncounted, as redelivered."""
    joining, consumer = join(prefetch=1)
    (one,) = handed_to(committer.serve([joining, publish("1")]), consumer)
    fail_commits(committer, monkeypatch)
    failed = committer.serve([settle(consumer, one), publish(BIG)])
    assert not failed.is_healthy
    assert {type(outcome) for _, outcome in failed.outcomes} == {BrokerUnavailable}
    assert committer.idle_s == 0.0
    assert not committer.serve([]).is_healthy
    committer._rows._db.execute("PRAGMA max_page_count = 1000000")
    repaired = committer.serve([])
    assert repaired.is_healthy
    ((tag, again),) = handed_to(repaired, consumer)
    assert (again.body, again.is_redelivered, again.returns) == (b"1", True, 0)
    assert tag != one[0]
    committer.serve([publish("2")])
    assert committer._ledger.stats([QUEUE]) == [(1, 1, 1)]  # it came back once, not with every transaction


def test_stale_delivery_fails_alone(committer: Committer) -> None:
    """Settling what one no longer holds is refused, and the rest of the batch is stored."""
    joining, consumer = join(prefetch=1)
    (one,) = handed_to(committer.serve([joining, publish("1")]), consumer)
    committer.serve([settle(consumer, one)])
    served = committer.serve([settle(consumer, one), publish("2")])
    assert [type(outcome) for _, outcome in served.outcomes] == [BrokerUnavailable, type(None)]
    assert bodies(handed_to(served, consumer)) == ["2"]


def test_bug_in_one_change_fails_alone(committer: Committer) -> None:
    """An error in noting a change is that change's own; nobody else learns of it."""
    served = committer.serve([change(lambda _: 1 // 0), publish("1")])
    assert [type(outcome) for _, outcome in served.outcomes] == [ZeroDivisionError, type(None)]


def test_two_consumers_get_their_share(committer: Committer) -> None:
    """The consumer with fewer deliveries in hand is served first."""
    (joining, one), (joining_too, other) = join(prefetch=5), join(prefetch=5)
    committer.serve([joining, joining_too])
    for body in "1234":
        committer.serve([publish(body)])
    assert (len(one.held), len(other.held)) == (2, 2)
