"""What each copy of a message carries on the wire."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.brokers.rabbitmq.messages import Received, dead_copy, outgoing, received, retry_copy, waiting_copy
from bridge.core.ports import Outgoing
from bridge.core.topology import Route, to_reports, to_target

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
QUEUE = "bridge.target.jenkins"


def delivered(headers: dict[str, Any] | None = None, *, redelivered: bool = False) -> DeliveredMessage:
    """Return a message as the driver hands it over."""
    properties = Basic.Properties(headers=headers, message_id="m-1", correlation_id="c-1")
    return DeliveredMessage(
        delivery=Basic.Deliver(delivery_tag=7, redelivered=redelivered, exchange="", routing_key="k", consumer_tag="t"),
        header=ContentHeader(properties=properties, body_size=2),
        body=b"{}",
        channel=Channel.__new__(Channel),
    )


def seen(**headers: str | int) -> Received:
    """Return a message as we read it; `_` in a header's name stands for `-`."""
    named: dict[str, Any] = {name.replace("_", "-"): value for name, value in headers.items()}
    return received(delivered(named), QUEUE, NOW)


def test_first_copy_counts_from_one_and_says_when() -> None:
    """A publish carries attempt 1 and its time, whatever headers it was given."""
    wire = outgoing(Outgoing(to_target("jenkins"), b"{}", {"traceparent": "00-1", "bridge-attempt": 9}, "w-1"), NOW)
    assert wire.headers == {"traceparent": "00-1", "bridge-attempt": 1, "bridge-first-ts": int(NOW.timestamp() * 1000)}
    assert wire.correlation_id == "w-1"


@pytest.mark.parametrize(
    ("route", "exchange", "key"),
    [
        (to_target("jenkins"), "bridge.resolutions", "jenkins"),
        (to_reports(), "", "bridge.reports.v1"),
        (Route("bridge.events", "github.review.approved"), "bridge.events", "github.review.approved"),
    ],
)
def test_default_exchange_routes_by_wire_name(route: Route, exchange: str, key: str) -> None:
    """Only the default exchange's key is a queue's name, so only there the version is added."""
    wire = outgoing(Outgoing(route, b"{}"), NOW)
    assert (wire.exchange, wire.key) == (exchange, key)


def test_foreign_message_is_a_first_attempt_of_now() -> None:
    """A message without our headers is read as attempt 1, published now."""
    message = received(delivered(None), QUEUE, NOW)
    assert (message.attempt, message.published_at, message.not_before, message.headers) == (1, NOW, None, {})


@pytest.mark.parametrize("attempt", ["3", 0, -1, b"3", 1.5])
def test_unreadable_attempt_is_the_first(attempt: Any) -> None:
    """An attempt that is no positive number does not break the consumer."""
    assert received(delivered({"bridge-attempt": attempt}), QUEUE, NOW).attempt == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1767323045678, NOW.replace(microsecond=678000)),
        ("2026-01-02T03:04:05.678901+00:00", NOW),
        ("2026-01-02T03:04:05.678901Z", NOW),
        ("2026-01-02T03:04:05.678901", NOW),
        ("tomorrow", None),
        (10**30, None),
        ("", None),
    ],
)
def test_not_before_is_milliseconds_or_iso(value: str | int, expected: datetime | None) -> None:
    """Both spellings of a time are read; nonsense counts as no delay."""
    assert seen(bridge_not_before=value).not_before == expected


def test_x_headers_are_stripped_from_every_copy() -> None:
    """RabbitMQ before 4.0 obeys a republished x-death, so no copy carries one."""
    headers = {"x-death": [{"reason": "expired", "queue": "bridge.retry.1s.v1"}], "x-foo": "1", "traceparent": "00-1"}
    message = received(delivered(headers), QUEUE, NOW)
    copies = (
        retry_copy(message, timedelta(0), {}, NOW, is_counted=True),
        retry_copy(message, timedelta(seconds=1), {}, NOW, is_counted=True),
        dead_copy(message, "gone"),
    )
    for copy in copies:
        assert not [name for name in copy.headers if name.startswith("x-")]
        assert copy.headers["traceparent"] == "00-1"


@pytest.mark.parametrize(
    ("after_s", "exchange", "key"),
    [
        (-1, "", "bridge.target.jenkins.v1"),
        (0, "", "bridge.target.jenkins.v1"),
        (0.2, "bridge.retry.500ms", "bridge.target.jenkins.v1"),
        (1, "bridge.retry.1s", "bridge.target.jenkins.v1"),
        (29, "bridge.retry.10s", "bridge.target.jenkins.v1"),
        (86400, "bridge.retry.1h", "bridge.target.jenkins.v1"),
    ],
)
def test_retry_goes_over_the_largest_rung_not_above(after_s: float, exchange: str, key: str) -> None:
    """Without delay a copy goes straight home; else over a rung, with the home queue's name as key."""
    copy = retry_copy(seen(), timedelta(seconds=after_s), {}, NOW, is_counted=True)
    assert (copy.exchange, copy.key) == (exchange, key)


@pytest.mark.parametrize(("after_s", "has_time"), [(1, False), (0.2, True), (1.5, True), (7200, True), (0, False)])
def test_only_delays_between_rungs_carry_a_time(after_s: float, has_time: bool) -> None:  # noqa: FBT001 - a table
    """A delay that is a rung needs no clock of ours."""
    copy = retry_copy(seen(), timedelta(seconds=after_s), {}, NOW, is_counted=True)
    assert ("bridge-not-before" in copy.headers) is has_time


def test_time_to_wait_for_is_rounded_up() -> None:
    """A delay ends a part of a millisecond late, never early."""
    copy = retry_copy(seen(), timedelta(seconds=1.5), {}, NOW, is_counted=True)
    told = received(delivered(dict(copy.headers)), QUEUE, NOW).not_before
    assert told is not None
    assert timedelta(0) <= told - (NOW + timedelta(seconds=1.5)) < timedelta(milliseconds=1)


def test_retry_counts_only_when_told_and_keeps_the_first_time() -> None:
    """An attempt that was never started is not counted; the first copy's time stays, also one written as text before."""
    message = seen(bridge_attempt=4, bridge_first_ts="2026-01-01T00:00:00+00:00")
    counted = retry_copy(message, timedelta(0), {"bridge-looked": 1}, NOW, is_counted=True)
    uncounted = retry_copy(message, timedelta(0), {}, NOW, is_counted=False)
    assert (counted.headers["bridge-attempt"], uncounted.headers["bridge-attempt"]) == (5, 4)
    assert counted.headers["bridge-looked"] == 1
    assert counted.headers["bridge-first-ts"] == datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000


def test_message_that_is_not_due_goes_round_again_uncounted() -> None:
    """What was told to come later waits on the largest rung not above what is left, with the same attempt and time."""
    message = seen(bridge_attempt=2, bridge_not_before="2026-01-02T03:04:12+00:00")
    copy = waiting_copy(message, NOW)
    assert copy is not None
    assert (copy.exchange, copy.headers["bridge-attempt"]) == ("bridge.retry.5s", 2)
    assert received(delivered(dict(copy.headers)), QUEUE, NOW).not_before == message.not_before


@pytest.mark.parametrize("ago_ms", [0, 1])
def test_message_that_is_due_is_shown(ago_ms: int) -> None:
    """At its time and after it, a message waits no longer."""
    due = NOW - timedelta(milliseconds=ago_ms)
    assert waiting_copy(seen(bridge_not_before=due.isoformat()), NOW) is None


def test_dead_letter_says_why_and_where_from() -> None:
    """A dead letter keeps body and attempt, names its queue, and is keyed by its target."""
    copy = dead_copy(seen(bridge_attempt=3), "gone")
    assert (copy.exchange, copy.key, copy.body) == ("bridge.dead", "jenkins", b"{}")
    assert copy.headers["bridge-reason"] == "gone"
    assert copy.headers["bridge-home"] == QUEUE
    assert copy.headers["bridge-attempt"] == 3


def test_endless_reason_is_cut() -> None:
    """A reason always fits into the frame of the headers."""
    assert len(str(dead_copy(seen(), "x" * 200_000).headers["bridge-reason"])) == 2_000


def test_safety_net_is_told_in_our_words() -> None:
    """A message that the broker itself dead-lettered shows the broker's reason and queue."""
    death = [
        {"reason": "delivery_limit", "queue": "bridge.target.jenkins.v1"},
        {"reason": "expired", "queue": "bridge.retry.1s.v1"},
    ]
    message = received(delivered({"x-death": death}), "bridge.dead", NOW)
    assert message.headers == {"bridge-reason": "delivery_limit", "bridge-home": "bridge.target.jenkins"}


def test_rung_is_no_reason() -> None:
    """A message that came over a rung was not dead-lettered for good."""
    death = [{"reason": "expired", "queue": "bridge.retry.1s.v1"}]
    assert received(delivered({"x-death": death}), QUEUE, NOW).headers == {}


def test_redelivered_flag_is_passed_on() -> None:
    """Doubt is the broker's word."""
    assert received(delivered(redelivered=True), QUEUE, NOW).is_redelivered
