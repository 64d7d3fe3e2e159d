"""Routing without exchanges, and what each verb makes of a message."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.errors import BrokerUnavailable, Unroutable
from bridge.core.local import SHARED_QUEUES, LocalDelivery, LocalMessage, LocalRoutes
from bridge.core.ports import Outgoing
from bridge.core.topology import DEAD, DELIVERY_LIMIT, HOME, REASON, Route, to_target

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUEUE = "bridge.target.a"
MESSAGE = LocalMessage.published(Outgoing(to_target("a"), b"body", {"bridge-x": 1}), QUEUE, NOW)


def declared(*targets: str) -> LocalRoutes:
    routes = LocalRoutes()
    routes.adopt(routes.queues_with(targets))
    return routes


@pytest.mark.parametrize(
    ("route", "queue"),
    [
        (Route("bridge.events", "github-main.review.approved"), "bridge.events"),
        (Route("bridge.resolutions", "a"), "bridge.target.a"),
        (Route("bridge.resolutions", "b"), "bridge.unrouted"),
        (Route("bridge.dead", "a"), "bridge.dead"),
        (Route("bridge.unrouted", ""), "bridge.unrouted"),
        (Route("", "bridge.reports"), "bridge.reports"),
        (Route("", "bridge.target.a"), "bridge.target.a"),
    ],
)
def test_route_leads_to_its_queue(route: Route, queue: str) -> None:
    """Each exchange has its one queue; a target has its own, or the one for unknown targets."""
    assert declared("a").queue_for(route) == queue


@pytest.mark.parametrize("route", [Route("", "bridge.target.b"), Route("", ""), Route("bridge.retry.1s", "x")])
def test_route_to_nowhere_is_refused(route: Route) -> None:
    """A queue or an exchange that nobody declared takes nothing."""
    with pytest.raises(Unroutable):
        declared("a").queue_for(route)


def test_nothing_is_routable_before_the_first_declaration() -> None:
    """Until a coordinator has declared the queues the answer is: not now."""
    routes = LocalRoutes()
    assert not routes.is_declared
    with pytest.raises(BrokerUnavailable):
        routes.queue_for(Route("", "bridge.reports"))


def test_declaring_forgets_nothing() -> None:
    """A second declaration adds its targets to the earlier ones."""
    routes = declared("a")
    routes.adopt(routes.queues_with(["b"]))
    assert all(queue in routes for queue in (*SHARED_QUEUES, "bridge.target.a", "bridge.target.b"))


def test_published_message_is_a_first_attempt() -> None:
    """A publish makes attempt 1, never returned, with an id of its own."""
    other = LocalMessage.published(Outgoing(to_target("a"), b"body"), QUEUE, NOW)
    assert (MESSAGE.attempt, MESSAGE.returns, MESSAGE.is_redelivered, MESSAGE.published_at) == (1, 0, False, NOW)
    assert MESSAGE.message_id != other.message_id


def test_bookkeeping_is_not_taken_over() -> None:
    """A publish with the headers of some delivery is still a first attempt of its own."""
    headers: dict[str, str | int] = {
        "bridge-attempt": 7,
        "bridge-first-ts": "2020-01-01T00:00:00+00:00",
        "bridge-not-before": 1,
        "traceparent": "t",
    }
    assert LocalMessage.published(Outgoing(to_target("a"), b"", headers), QUEUE, NOW).headers == {"traceparent": "t"}


@pytest.mark.parametrize(("attempt_after", "counted"), [(4, {"is_counted": True}), (3, {"is_counted": False})])
def test_retried_copy(attempt_after: int, counted: dict[str, bool]) -> None:
    """A copy has a new id, merged headers, a clean slate of returns, and the first publish's time."""
    before = replace(MESSAGE, attempt=3, returns=7, is_redelivered=True)
    copy = before.retried(**counted, headers={"bridge-x": 2, "bridge-y": "z"})
    assert copy == replace(
        MESSAGE, attempt=attempt_after, headers={"bridge-x": 2, "bridge-y": "z"}, message_id=copy.message_id
    )
    assert copy.message_id != before.message_id


def test_dead_copy_says_why_and_from_where() -> None:
    """A dead letter carries the reason and its home queue beside its own headers."""
    dead = MESSAGE.dead("gone")
    assert (dead.queue, dead.body) == (DEAD, b"body")
    assert dead.headers == {"bridge-x": 1, REASON: "gone", HOME: QUEUE}


def test_returned_too_often_is_dead() -> None:
    """The return after the limit is a dead letter; every one before is the message itself, redelivered."""
    message = MESSAGE
    for returns in range(1, DELIVERY_LIMIT + 1):
        message = message.returned()
        assert (message.queue, message.returns, message.is_redelivered) == (QUEUE, returns, True)
        assert message.message_id == MESSAGE.message_id
    assert message.returned().headers[REASON] == "delivery_limit"
    assert message.returned().queue == DEAD


def test_dead_letter_is_never_moved_again() -> None:
    """However often a dead letter comes back, it keeps its reason and its home."""
    message = MESSAGE.dead("gone")
    for _ in range(DELIVERY_LIMIT + 5):
        message = message.returned()
    assert (message.queue, message.headers[REASON], message.headers[HOME]) == (DEAD, "gone", QUEUE)


class Settled:
    """Takes what a delivery stores, or fails."""

    def __init__(self) -> None:
        self.calls: list[tuple[LocalMessage | None, timedelta]] = []
        self.is_down = False

    async def __call__(self, replacement: LocalMessage | None, after: timedelta) -> None:
        if self.is_down:
            raise BrokerUnavailable("down")
        self.calls.append((replacement, after))


async def test_ack_stores_nothing_and_only_once() -> None:
    """An ack replaces the message by nothing; any verb after it is a bug."""
    settled = Settled()
    delivery = LocalDelivery(MESSAGE, settled)
    await delivery.ack()
    with pytest.raises(RuntimeError):
        await delivery.release()
    assert settled.calls == [(None, timedelta(0))]


async def test_negative_delay_is_none() -> None:
    """A retry that was due in the past is due now."""
    settled = Settled()
    await LocalDelivery(MESSAGE, settled).retry(timedelta(seconds=-5))
    assert [after for _, after in settled.calls] == [timedelta(0)]


async def test_failed_verb_settles_nothing() -> None:
    """A verb that the broker could not store keeps saying so; it does not count as settled."""
    settled = Settled()
    settled.is_down = True
    delivery = LocalDelivery(MESSAGE, settled)
    for _ in range(2):
        with pytest.raises(BrokerUnavailable):
            await delivery.dead_letter("gone")
    assert settled.calls == []
