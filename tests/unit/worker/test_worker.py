import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from bridge.core.errors import BrokerUnavailable
from bridge.core.outcome import (
    AlreadyDone,
    CredentialRefused,
    Done,
    Ending,
    Gone,
    Health,
    Later,
    NotYet,
    Refused,
    Standing,
)
from bridge.core.resolution import Progressed
from bridge.core.topology import to_reports
from bridge.ops import metrics
from bridge.worker.trail import ANNOUNCED, DOUBT, FAILURES, LAST, fingerprint
from bridge.worker.worker import Worker
from tests.support.fakes import (
    START,
    FakeBroker,
    FakeClock,
    FakeConsumer,
    FakeDelivery,
    FakeSettings,
    a_resolution,
    let_run,
)


class Line:
    """One worker over fakes; jitter is always half of the curve."""

    def __init__(self, consumer: FakeConsumer) -> None:
        self.consumer = consumer
        self.broker = FakeBroker()
        self.clock = FakeClock()
        self.worker = Worker(
            target="t",
            consumer=consumer,
            broker=self.broker,
            clock=self.clock,
            random=lambda: 0.5,
            sleep=self.clock.sleep,
        )

    async def give(self, *deliveries: FakeDelivery) -> None:
        self.broker.give(*deliveries)
        await let_run()

    async def settled(self, delivery: FakeDelivery) -> tuple[Any, ...] | None:
        await self.give(delivery)
        return delivery.settled


@asynccontextmanager
async def running(consumer: FakeConsumer | None = None, **settings: Any) -> AsyncIterator[Line]:
    line = Line(consumer or FakeConsumer(FakeSettings(**settings)))
    run = asyncio.create_task(line.worker.run())
    await let_run()
    try:
        yield line
    finally:
        await line.worker.stop()
        await run


def attempts(ending: str) -> float:
    return metrics.REGISTRY.get_sample_value("bridge_attempts_total", {"target": "t", "ending": ending}) or 0.0


def consumer_that_ends(*endings: Ending, **settings: Any) -> FakeConsumer:
    consumer = FakeConsumer(FakeSettings(**settings))
    consumer.endings = list(endings)
    return consumer


@pytest.mark.parametrize(
    ("ending", "settled", "result", "slug", "reason"),
    [
        (Done(), ("ack",), Progressed.RESOLVED, "done", ""),
        (AlreadyDone("by ann"), ("ack",), Progressed.RESOLVED, "already-done", ""),
        (Gone("build over"), ("dead_letter", "gone"), Progressed.UNDELIVERABLE, "gone", "gone"),
        (Refused("illegal choice"), ("dead_letter", "refused"), Progressed.UNDELIVERABLE, "refused", "refused"),
    ],
)
async def test_a_final_ending_is_reported_then_settled(
    *, ending: Ending, settled: tuple[str, ...], result: Progressed, slug: str, reason: str
) -> None:
    """What is over is told to the coordinator with its reason, and leaves the queue."""
    async with running(consumer_that_ends(ending)) as line:
        before = attempts(slug)
        assert await line.settled(FakeDelivery(attempt=3)) == settled
        (report,) = line.broker.reports
        assert (report.result, report.ending, report.reason) == (result, slug, reason)
        assert (report.wait, report.target, report.dispatch, report.attempt) == ("w1", "t", 1, 3)
        assert report.note == ending.reason
        assert report.at == START
        assert line.broker.published[0].route == to_reports()
        assert line.broker.published[0].correlation_id == "w1"
        assert attempts(slug) == before + 1


async def test_the_report_is_confirmed_before_the_ack() -> None:
    """While the report has no confirm the delivery stays unsettled, so a crash there repeats it."""
    async with running() as line:
        line.broker.is_away = True
        delivery = FakeDelivery()
        assert await line.settled(delivery) is None
        line.broker.is_away = False
        await line.clock.advance(1)
        assert delivery.settled == ("ack",)
        assert line.consumer.did == ["resume"]


async def test_a_report_that_never_gets_through_settles_nothing() -> None:
    """When the broker stays away the delivery goes back as it was: the next holder is in doubt and looks."""
    async with running() as line:
        line.broker.is_away = True
        delivery = FakeDelivery()
        await line.give(delivery)
        await line.clock.advance(120)
        assert delivery.settled == ("release",)
        assert line.broker.tried > 10


async def test_a_failed_report_disturbs_no_sibling() -> None:
    """One delivery whose report fails leaves the calls beside it alone."""
    hold = asyncio.Event()

    async def slow() -> Ending:
        await hold.wait()
        return Done()

    consumer = FakeConsumer()
    consumer.endings = [slow, Done()]
    async with running(consumer) as line:
        first, second = FakeDelivery(), FakeDelivery()
        await line.give(first)
        line.broker.is_away = True
        await line.give(second)
        await line.clock.advance(120)
        assert second.settled == ("release",)
        line.broker.is_away = False
        hold.set()
        await let_run()
        assert first.settled == ("ack",)


async def test_a_verb_without_confirm_is_tried_again() -> None:
    """An ack or a stored copy that fails once is repeated before the delivery is given back."""
    async with running() as line:
        delivery = FakeDelivery()
        delivery.faults = [BrokerUnavailable("no confirm")]
        await line.give(delivery)
        await line.clock.advance(1)
        assert delivery.settled == ("ack",)


async def test_a_body_that_is_no_resolution_is_dead_lettered_unattempted() -> None:
    """Undecodable bytes get no attempt and no report."""
    async with running() as line:
        assert await line.settled(FakeDelivery(b"{}")) == ("dead_letter", "undecodable")
        assert line.consumer.did == []
        assert line.broker.reports == []


@pytest.mark.parametrize(
    ("ending", "attempt", "failures", "seconds"),
    [
        (NotYet(), 1, 0, 0.25),
        (NotYet(), 3, 9, 1.0),
        (NotYet(), 50, 0, 15.0),
        (Later("x"), 50, 0, 0.5),
        (Later("x"), 1, 3, 4.0),
        (Later("x"), 1, 99, 60.0),
        (Later("x", timedelta(seconds=90)), 1, 0, 90.5),
        (Later("x", timedelta(days=30)), 1, 0, 86400.0),
    ],
)
async def test_delays_follow_their_own_curves(*, ending: Ending, attempt: int, failures: int, seconds: float) -> None:
    """Not yet counts attempts, later counts failures and adds Retry-After; neither goes past the delivery window."""
    async with running(consumer_that_ends(ending)) as line:
        settled = await line.settled(FakeDelivery(attempt=attempt, headers={FAILURES: failures}))
        assert settled is not None
        assert settled[:3] == ("retry", timedelta(seconds=seconds), True)


async def test_failures_are_counted_until_a_not_yet() -> None:
    """The curve of failures starts over when the platform has answered."""
    async with running(consumer_that_ends(Later("a"), Later("a"), NotYet(), Later("a"))) as line:
        seen = []
        delivery = FakeDelivery()
        for _ in range(4):
            await line.give(delivery)
            delivery = delivery.next()
            seen.append((delivery.attempt, delivery.headers[FAILURES]))
        assert seen == [(2, 1), (3, 2), (4, 0), (5, 1)]


@pytest.mark.parametrize("ending", [NotYet("blocked"), Later("down")])
async def test_the_window_ends_as_not_reached(ending: Ending) -> None:
    """The last attempt is made when the delivery window is over; what then is not done is undeliverable."""
    async with running(consumer_that_ends(ending)) as line:
        resolution = a_resolution(deliver_until=START)
        assert await line.settled(FakeDelivery(resolution)) == ("dead_letter", "not_reached")
        (report,) = line.broker.reports
        assert (report.result, report.reason, report.note) == (
            Progressed.UNDELIVERABLE,
            "not_reached",
            ending.reason,
        )


async def test_only_news_is_reported_while_polling() -> None:
    """Hundreds of polls that end alike make one line of the timeline; another reason makes another."""
    consumer = consumer_that_ends(NotYet("queued"), NotYet("queued"), NotYet("running"), Later("down"), Later("down"))
    async with running(consumer) as line:
        delivery = FakeDelivery()
        for _ in range(5):
            await line.give(delivery)
            delivery = delivery.next()
        told = [(report.result, report.ending, report.note, report.attempt) for report in line.broker.reports]
        assert told == [
            (Progressed.ATTEMPT, "not-yet", "queued", 1),
            (Progressed.ATTEMPT, "not-yet", "running", 3),
            (Progressed.ATTEMPT, "later", "down", 4),
        ]


@pytest.mark.parametrize(
    ("delivery", "is_remembered"),
    [
        (FakeDelivery(), False),
        (FakeDelivery(is_redelivered=True), True),
        (FakeDelivery(a_resolution(is_resent=True)), True),
        (FakeDelivery(headers={DOUBT: 1}), True),
    ],
    ids=["fresh", "redelivered", "resent", "header"],
)
async def test_doubt_is_never_forgotten(*, delivery: FakeDelivery, is_remembered: bool) -> None:
    """A stored copy loses the broker's flag, so the doubt travels in a header of ours."""
    consumer = consumer_that_ends(NotYet())
    consumer.standings = [Standing.NOT_THERE]
    async with running(consumer) as line:
        await line.give(delivery)
        assert consumer.did == (["look"] if is_remembered else ["resume"])
        assert (DOUBT in delivery.next().headers) is is_remembered


async def test_an_unanswered_attempt_makes_the_copy_doubtful() -> None:
    """After a send whose answer was lost the next attempt looks, and a place answered meanwhile is already done."""
    consumer = consumer_that_ends(Later("broke", is_doubtful=True), Done())
    consumer.standings = [Standing.ANSWERED]
    async with running(consumer) as line:
        first = FakeDelivery()
        await line.give(first)
        assert await line.settled(first.next()) == ("ack",)
        assert consumer.did == ["resume", "look"]
        assert line.broker.reports[-1].ending == "already-done"


async def test_an_untold_send_is_announced_once_for_all_copies() -> None:
    """The coordinator hears of the first send only, by an attempt report without an ending."""
    consumer = FakeConsumer(tells_answered=False)
    consumer.endings = [Later("429", is_throttled=True), Done()]
    async with running(consumer) as line:
        first = FakeDelivery()
        await line.give(first)
        assert first.next().headers[ANNOUNCED] == 1
        assert await line.settled(first.next()) == ("ack",)
        told = [(report.result, report.ending) for report in line.broker.reports]
        assert told == [
            (Progressed.ATTEMPT, ""),
            (Progressed.ATTEMPT, "later"),
            (Progressed.RESOLVED, "done"),
        ]


@pytest.mark.parametrize(
    ("resolution", "redelivered", "result"),
    [
        (a_resolution(), True, Progressed.DOUBTFUL),
        (a_resolution(address={"repeats": True}), False, Progressed.MARK),
        (a_resolution(address={"repeats": True}, is_cleared=True), True, Progressed.DOUBTFUL),
    ],
    ids=["untold", "unmarked", "cleared"],
)
async def test_what_the_coordinator_must_decide_is_reported_and_acked(
    *, resolution: Any, redelivered: bool, result: Progressed
) -> None:
    """In doubt, or without a mark, the worker sends nothing and hands the question back."""
    consumer = FakeConsumer(tells_answered=False)
    consumer.standings = [Standing.WAITING if resolution.address else Standing.ABSENT]
    async with running(consumer) as line:
        assert await line.settled(FakeDelivery(resolution, is_redelivered=redelivered)) == ("ack",)
        assert [report.result for report in line.broker.reports] == [result]
        assert "resume" not in consumer.did


class SecretSettings(FakeSettings):
    token: SecretStr = SecretStr("hunter2/+")


async def test_notes_hold_no_secret_and_are_short() -> None:
    """A platform that echoes our token or a page does not get it into a report."""
    consumer = FakeConsumer(SecretSettings())
    consumer.endings = [Refused("bad hunter2/+ or hunter2%2F%2B\n" + "x" * 1000)]
    async with running(consumer) as line:
        await line.give(FakeDelivery())
        note = line.broker.reports[0].note
        assert note.startswith("bad *** or *** x")
        assert len(note) == 500


async def test_the_trace_goes_on_into_the_reports() -> None:
    """A report belongs to the trace of its resolution."""
    async with running() as line:
        await line.give(FakeDelivery(headers={"traceparent": "00-ab-cd-01"}))
        assert line.broker.published[0].headers == {"traceparent": "00-ab-cd-01"}


async def test_each_attempt_is_logged_as_settled() -> None:
    """The log ties wait, event, target and ending together."""
    async with running() as line:
        with capture_logs() as logs:
            await line.give(FakeDelivery(attempt=2))
        (entry,) = [entry for entry in logs if entry["event"] == "delivery_settled"]
        assert (entry["correlation_id"], entry["target"], entry["attempt"], entry["ending"]) == ("w1", "t", 2, "done")
        assert entry["duration_s"] >= 0


# --- breaker ----------------------------------------------------------------------------------------------------------


async def test_five_failures_open_the_breaker_and_health_closes_it() -> None:
    """A dead platform is left alone, asked with its health call, and served again when it is up."""
    consumer = consumer_that_ends(Later("down"), concurrency=1)
    consumer.healths = [Health.DOWN, Health.DOWN, Health.UP]
    async with running(consumer) as line:
        failing = [FakeDelivery() for _ in range(5)]
        await line.give(*failing)
        assert all(delivery.settled and delivery.settled[2] for delivery in failing), "an attempt counts"
        assert line.worker.status.is_breaker_open
        assert line.worker.status.health is Health.DOWN
        assert line.broker.subscription.is_paused
        consumer.endings = [Done()]
        waiting = FakeDelivery()
        await line.give(waiting)
        assert waiting.settled is None
        await line.clock.advance(1 + 2 + 3.5)
        assert consumer.did.count("health") == 3
        assert waiting.settled == ("ack",)
        assert not line.worker.status.is_breaker_open
        assert line.worker.status.is_consuming


async def test_prefetched_deliveries_lose_no_attempt_when_the_breaker_opens() -> None:
    """What was handed out and not begun is stored with its attempt unchanged, and keeps the broker's flag as a doubt."""
    hold = asyncio.Event()

    async def refused() -> Ending:
        await hold.wait()
        raise CredentialRefused(401)

    consumer = FakeConsumer(FakeSettings(concurrency=3, rate="1/s"))
    consumer.endings = [refused]
    consumer.healths = [Health.CREDENTIAL]
    async with running(consumer) as line:
        begun, fresh, redelivered = FakeDelivery(), FakeDelivery(attempt=7), FakeDelivery(is_redelivered=True)
        await line.give(begun, fresh, redelivered)
        hold.set()
        await let_run()
        assert begun.settled is not None
        assert begun.settled[2] is True
        assert fresh.settled == ("retry", timedelta(seconds=1), False, {})
        assert redelivered.settled == ("retry", timedelta(seconds=1), False, {DOUBT: 1})
        assert line.worker.status.health is Health.CREDENTIAL


async def test_a_refused_credential_opens_the_breaker_at_once() -> None:
    """A wrong token is tried once, not once for each waiting pipeline; the resolution is kept."""

    async def refused() -> Ending:
        raise CredentialRefused(401)

    consumer = FakeConsumer(FakeSettings(concurrency=1))
    consumer.endings = [refused]
    consumer.healths = [Health.CREDENTIAL]
    async with running(consumer) as line:
        first, second = FakeDelivery(), FakeDelivery()
        await line.give(first, second)
        assert first.settled is not None
        assert first.settled[0] == "retry"
        assert consumer.did == ["resume", "health"]
        assert line.worker.status.is_breaker_open


async def test_what_was_taken_but_not_begun_is_put_back_too() -> None:
    """A delivery taken together with the one that opens the breaker is not tried on a platform known to refuse."""

    async def refused() -> Ending:
        raise CredentialRefused(401)

    consumer = FakeConsumer(FakeSettings(concurrency=2))
    consumer.endings = [refused]
    consumer.healths = [Health.CREDENTIAL]
    async with running(consumer) as line:
        first, second = FakeDelivery(), FakeDelivery(attempt=4)
        await line.give(first, second)
        assert consumer.did == ["resume", "health"]
        assert second.settled == ("retry", timedelta(seconds=1), False, {})


async def test_probes_back_off_with_jitter_up_to_half_a_minute() -> None:
    """The health call is asked at growing intervals, never quickly."""
    consumer = consumer_that_ends(Later("down"), concurrency=1)
    consumer.healths = [Health.DOWN]
    async with running(consumer) as line:
        await line.give(*[FakeDelivery() for _ in range(5)])
        await line.clock.advance(200)
        assert line.clock.slept[:8] == [0.75, 1.5, 3.0, 6.0, 12.0, 22.5, 22.5, 22.5]


async def test_a_success_between_failures_keeps_the_breaker_closed() -> None:
    """Only failures in a row say that the platform is down; throttling and our own bugs say nothing."""
    throttled = Later("429", is_throttled=True)
    consumer = consumer_that_ends(*[Later("x")] * 4, NotYet(), *[Later("x")] * 4, throttled, Done(), concurrency=1)
    async with running(consumer) as line:
        for _ in range(11):
            await line.give(FakeDelivery())
        assert not line.worker.status.is_breaker_open
        assert "health" not in consumer.did


async def test_running_calls_end_normally_while_the_breaker_is_open() -> None:
    """An open breaker cuts nobody off: a call cancelled in mid-air would be a doubt."""
    hold = asyncio.Event()

    async def slow() -> Ending:
        await hold.wait()
        return Done()

    async def refused() -> Ending:
        raise CredentialRefused(401)

    consumer = FakeConsumer()
    consumer.endings = [slow, refused]
    consumer.healths = [Health.CREDENTIAL]
    async with running(consumer) as line:
        running_call = FakeDelivery()
        await line.give(running_call, FakeDelivery())
        assert line.worker.status.is_breaker_open
        hold.set()
        await let_run()
        assert running_call.settled == ("ack",)


# --- pace and gate ----------------------------------------------------------------------------------------------------


async def test_retry_after_holds_the_whole_target() -> None:
    """A 429 with Retry-After stops further calls for that long and opens no breaker."""
    consumer = consumer_that_ends(Later("429", timedelta(seconds=20), is_throttled=True), Done(), concurrency=1)
    async with running(consumer) as line:
        await line.give(FakeDelivery())
        waiting = FakeDelivery()
        await line.give(waiting)
        await line.clock.advance(19)
        assert waiting.settled is None
        await line.clock.advance(2)
        assert waiting.settled == ("ack",)
        assert not line.worker.status.is_breaker_open


async def test_an_absurd_retry_after_holds_its_own_resolution_only() -> None:
    """A day's Retry-After is obeyed for the one that got it; the others flow."""
    consumer = consumer_that_ends(Later("429", timedelta(days=1), is_throttled=True), Done(), concurrency=1)
    async with running(consumer) as line:
        throttled, other = FakeDelivery(), FakeDelivery()
        await line.give(throttled, other)
        assert throttled.settled is not None
        assert throttled.settled[1] == timedelta(days=1)
        assert other.settled == ("ack",)


async def test_rate_spaces_attempts() -> None:
    """Attempts begin no faster than the rate says."""
    async with running(rate="2/s", concurrency=8) as line:
        await line.give(*[FakeDelivery() for _ in range(6)])
        begun = [line.consumer.did.count("resume")]
        for _ in range(4):
            await line.clock.advance(0.5)
            begun.append(line.consumer.did.count("resume"))
        assert begun == [1, 2, 3, 4, 5]


async def test_a_slow_rate_keeps_no_delivery_unsettled() -> None:
    """With an hour between attempts nothing is prefetched and held: the queue is left alone until the next turn."""
    async with running(rate="1/h", concurrency=8) as line:
        assert line.broker.subscription.prefetch == 1
        first, second = FakeDelivery(), FakeDelivery()
        await line.give(first, second)
        assert first.settled == ("ack",)
        assert second.settled in (None, ("retry", timedelta(seconds=1), False, {}))
        assert line.broker.subscription.is_paused
        third = FakeDelivery()
        await line.give(third)
        await line.clock.advance(3601)
        assert "ack" in [(delivery.settled or ("",))[0] for delivery in (second, third)]


async def test_concurrency_is_a_ceiling() -> None:
    """No more calls than configured run at once."""
    hold = asyncio.Event()
    most = 0
    now = 0

    async def slow() -> Ending:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await hold.wait()
        now -= 1
        return Done()

    consumer = FakeConsumer(FakeSettings(concurrency=3))
    consumer.endings = [slow]
    async with running(consumer) as line:
        deliveries = [FakeDelivery() for _ in range(9)]
        await line.give(*deliveries)
        assert line.worker.status.in_flight == 3
        hold.set()
        await let_run()
        assert all(delivery.settled == ("ack",) for delivery in deliveries)
        assert most == 3


async def test_an_operator_pauses_and_resumes() -> None:
    """A paused target takes nothing and probes nothing; it goes on where it stopped."""
    async with running() as line:
        line.worker.set_paused(True)
        await let_run()
        assert line.worker.status.is_paused
        assert not line.worker.status.is_consuming
        delivery = FakeDelivery()
        await line.give(delivery)
        await line.clock.advance(3600)
        assert delivery.settled is None
        assert line.consumer.did == []
        line.worker.set_paused(False)
        await let_run()
        assert delivery.settled == ("ack",)


async def test_the_breaker_closing_does_not_overrule_an_operator() -> None:
    """Each reason to stand still is taken back by whoever gave it."""
    consumer = consumer_that_ends(*[Later("down")] * 5, Done(), concurrency=1)
    async with running(consumer) as line:
        await line.give(*[FakeDelivery() for _ in range(5)])
        line.worker.set_paused(True)
        await line.clock.advance(10)
        assert not line.worker.status.is_breaker_open
        assert line.broker.subscription.is_paused
        line.worker.set_paused(False)
        await let_run()
        assert not line.broker.subscription.is_paused


# --- stop -------------------------------------------------------------------------------------------------------------


async def test_stop_lets_running_calls_finish_and_puts_the_rest_back() -> None:
    """At the end nothing new begins, what runs is settled, what was prefetched goes back without a doubt."""
    hold = asyncio.Event()

    async def slow() -> Ending:
        await hold.wait()
        return Done()

    consumer = FakeConsumer(FakeSettings(concurrency=2, rate="1/s"))
    consumer.endings = [slow]
    line = Line(consumer)
    run = asyncio.create_task(line.worker.run())
    running_call, prefetched = FakeDelivery(), FakeDelivery()
    await line.give(running_call, prefetched)
    stop = asyncio.create_task(line.worker.stop())
    await let_run()
    assert prefetched.settled == ("retry", timedelta(seconds=1), False, {})
    assert not stop.done()
    hold.set()
    await stop
    await run
    assert running_call.settled == ("ack",)
    assert not line.worker.status.is_running


async def test_a_call_that_does_not_end_is_released_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging call cannot keep the process: its delivery goes back redelivered, so the next holder looks."""
    monkeypatch.setattr("bridge.worker.worker.DRAIN", timedelta(milliseconds=50))

    async def hangs() -> Ending:
        await asyncio.Event().wait()
        raise AssertionError

    consumer = FakeConsumer()
    consumer.endings = [hangs]
    line = Line(consumer)
    run = asyncio.create_task(line.worker.run())
    delivery = FakeDelivery()
    await line.give(delivery)
    async with asyncio.timeout(5):
        await line.worker.stop()
        await run
    assert delivery.settled == ("release",)


async def test_a_stop_before_the_run_ends_it_at_once() -> None:
    """Stopping a worker that has not begun leaves nothing behind."""
    line = Line(FakeConsumer())
    await line.worker.stop()
    async with asyncio.timeout(5):
        await line.worker.run()
    assert line.consumer.did == []


async def test_a_worker_runs_again_after_its_subscription_was_closed() -> None:
    """An ended run leaves nothing behind that would keep the next one from taking."""
    line = Line(FakeConsumer())
    run = asyncio.create_task(line.worker.run())
    await let_run()
    line.broker.subscription.close()
    await run
    assert not line.worker.status.is_running
    again = asyncio.create_task(line.worker.run())
    await let_run()
    assert await line.settled(FakeDelivery()) == ("ack",)
    await line.worker.stop()
    await again


def test_fingerprint_tells_endings_apart_and_shows_no_words() -> None:
    """The header that remembers the last report holds no platform's text."""
    assert fingerprint(NotYet("a")) != fingerprint(NotYet("b"))
    assert fingerprint(NotYet("a")) != fingerprint(Later("a"))
    assert "hunter2" not in fingerprint(NotYet("hunter2"))
    assert LAST == "bridge-last"
