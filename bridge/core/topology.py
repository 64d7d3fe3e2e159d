"""Names of exchanges, queues, bindings and rungs, shared by every broker. Table and reasons: docs/explanation/broker.md."""

from dataclasses import dataclass
from datetime import timedelta

from bridge.core.event import Event

EVENTS = "bridge.events"
RESOLUTIONS = "bridge.resolutions"
REPORTS = "bridge.reports"
POLLS = "bridge.polls"
DEAD = "bridge.dead"
UNROUTED = "bridge.unrouted"
RETRY_BACK = "bridge.retry.back"
TARGET_PREFIX = "bridge.target."
RUNG_PREFIX = "bridge.retry."
VERSION_SUFFIX = ".v1"
DELIVERY_LIMIT = 20

RUNGS: dict[str, timedelta] = {
    "500ms": timedelta(milliseconds=500),
    "1s": timedelta(seconds=1),
    "2s": timedelta(seconds=2),
    "5s": timedelta(seconds=5),
    "10s": timedelta(seconds=10),
    "30s": timedelta(seconds=30),
    "2m": timedelta(minutes=2),
    "10m": timedelta(minutes=10),
    "1h": timedelta(hours=1),
}

# Headers of ours. Every other x-* header is stripped from a stored copy.
ATTEMPT = "bridge-attempt"
FIRST_TS = "bridge-first-ts"
NOT_BEFORE = "bridge-not-before"
REASON = "bridge-reason"
HOME = "bridge-home"
TRACEPARENT = "traceparent"


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message is published to: an exchange and a routing key."""

    exchange: str
    key: str


def to_events(event: Event) -> Route:
    return Route(EVENTS, event.routing_key)


def to_target(target: str) -> Route:
    return Route(RESOLUTIONS, target)


def to_reports() -> Route:
    """Return the default exchange's route: reports go to their queue by name."""
    return Route("", REPORTS)


def target_queue(target: str) -> str:
    """Return the queue of *target* as API, CLI and metrics show it."""
    return TARGET_PREFIX + target


def wire_name(queue: str) -> str:
    """Return *queue* as the broker knows it: arguments are part of a queue, so its name has a version."""
    return queue + VERSION_SUFFIX


def dead_letter_key(queue: str) -> str:
    """Return the explicit dead-letter key: the target's name, or the queue's own for the shared ones."""
    return queue.removeprefix(TARGET_PREFIX)


def rung_for(delay: timedelta) -> str:
    """Return the largest rung not above *delay*, or the smallest one."""
    name = next(iter(RUNGS))
    for candidate, ttl in RUNGS.items():
        if ttl <= delay:
            name = candidate
    return name
