"""The topology as data: what its guarantees rest on."""

from bridge.brokers.rabbitmq.topology import control, events, exchanges, queues
from bridge.core.topology import RUNGS

LAST_EXCHANGE, LAST_BINDING = events()
QUEUES = {queue.name: queue for queue in (*queues(["jenkins", "circleci"]), control())}
EXCHANGES = {exchange.name: exchange for exchange in (*exchanges(), LAST_EXCHANGE)}
CONSUMED = {
    "bridge.events.v1": "bridge.events",
    "bridge.reports.v1": "bridge.reports",
    "bridge.polls.v1": "bridge.polls",
    "bridge.target.jenkins.v1": "jenkins",
    "bridge.target.circleci.v1": "circleci",
}


def test_every_name_is_there() -> None:
    """Names are an interface: other teams bind to them."""
    rungs = {f"bridge.retry.{rung}" for rung in RUNGS}
    assert set(EXCHANGES) == rungs | {
        "bridge.events",
        "bridge.resolutions",
        "bridge.retry.back",
        "bridge.unrouted",
        "bridge.dead",
    }
    assert set(QUEUES) == set(CONSUMED) | {f"{rung}.v1" for rung in rungs} | {
        "bridge.unrouted.v1",
        "bridge.dead.v1",
        "bridge.control.v1",
    }


def test_consumed_queues_dead_letter_safely() -> None:
    """Each is a quorum queue with the explicit limit, at-least-once dead letters and a key of its own."""
    for name, key in CONSUMED.items():
        assert QUEUES[name].arguments == {
            "x-queue-type": "quorum",
            "x-delivery-limit": 20,
            "x-dead-letter-exchange": "bridge.dead",
            "x-dead-letter-routing-key": key,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }


def test_rungs_keep_the_key_of_what_waits() -> None:
    """A rung has one TTL, no dead-letter key, and at-least-once needs reject-publish."""
    for rung, ttl in RUNGS.items():
        assert QUEUES[f"bridge.retry.{rung}.v1"].arguments == {
            "x-queue-type": "quorum",
            "x-message-ttl": ttl.total_seconds() * 1000,
            "x-dead-letter-exchange": "bridge.retry.back",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }


def test_every_way_home_exists() -> None:
    """Whatever is consumed can be retried, and what has no home any more goes to the alternate exchange."""
    for name in (*CONSUMED, "bridge.dead.v1", "bridge.unrouted.v1"):
        assert ("bridge.retry.back", name) in QUEUES[name].bindings
    for name in ("bridge.retry.back", "bridge.resolutions"):
        assert EXCHANGES[name].arguments == {"alternate-exchange": "bridge.unrouted"}


def test_last_stations_drop_nothing() -> None:
    """From 4.0 on a queue without a limit of its own drops a message after 20 returns, so these name a high one."""
    for name in ("bridge.dead.v1", "bridge.unrouted.v1"):
        assert QUEUES[name].arguments["x-delivery-limit"] > 1000
        assert "x-message-ttl" not in QUEUES[name].arguments


def test_events_come_last() -> None:
    """Whoever finds the exchange of the events finds the rest, and nothing is published before new queues are on disk."""
    assert LAST_EXCHANGE.name not in {exchange.name for exchange in exchanges()}
    assert LAST_BINDING == ("bridge.events.v1", "#")
    assert all(source != "bridge.events" for queue in QUEUES.values() for source, _ in queue.bindings)
