"""The topology as data: what is on the broker, with which arguments and bindings.

Law: queue arguments carry what the guarantees rest on and can never be changed, hence the version in each queue's name;
sizes and time-outs belong in policies. The exchange of the events comes last, so whoever finds it finds the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.core.topology import (
    DEAD,
    DELIVERY_LIMIT,
    EVENTS,
    POLLS,
    REPORTS,
    RESOLUTIONS,
    RETRY_BACK,
    RUNG_PREFIX,
    RUNGS,
    UNROUTED,
    dead_letter_key,
    target_queue,
    wire_name,
)

CONTROL = "bridge.control"
"""A stream of announcements; followers read it from its first message."""
NEVER = 1_000_000
"""Delivery limit of the last stations: from 4.0 on, a queue without one drops a message after 20 returns."""
_CONTROL_BYTES, _CONTROL_SEGMENT_BYTES = 20_000_000, 4_000_000

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exchange:
    name: str
    type: str
    arguments: Arguments = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue by its wire name, with its bindings as (exchange, key)."""

    name: str
    arguments: Arguments
    bindings: tuple[tuple[str, str], ...] = ()


def exchanges() -> list[Exchange]:
    """Return every exchange but the last, each after the one it names as its alternate."""
    unrouted = {"alternate-exchange": UNROUTED}
    return [
        Exchange(UNROUTED, "fanout"),
        Exchange(DEAD, "topic"),
        Exchange(RESOLUTIONS, "direct", unrouted),
        Exchange(RETRY_BACK, "direct", unrouted),
        *(Exchange(RUNG_PREFIX + rung, "fanout") for rung in RUNGS),
    ]


def queues(targets: Sequence[str]) -> list[Queue]:
    """Return every queue but the control stream. That of the events lacks its binding to them."""
    return [
        _last(UNROUTED, (UNROUTED, "")),
        _last(DEAD, (DEAD, "#")),
        *(_rung(rung) for rung in RUNGS),
        _home(EVENTS),
        _home(REPORTS),
        _home(POLLS),
        *(_home(target_queue(target), (RESOLUTIONS, target)) for target in targets),
    ]


def events() -> tuple[Exchange, tuple[str, str]]:
    """Return what comes last: the exchange of the events, and the queue and key that are bound to it."""
    return Exchange(EVENTS, "topic"), (wire_name(EVENTS), "#")


def control() -> Queue:
    """Return the stream of announcements."""
    arguments: Arguments = {
        "x-queue-type": "stream",
        "x-max-length-bytes": _CONTROL_BYTES,
        "x-stream-max-segment-size-bytes": _CONTROL_SEGMENT_BYTES,
    }
    return Queue(wire_name(CONTROL), arguments)


def _home(name: str, *bindings: tuple[str, str]) -> Queue:
    """Return a queue that is consumed; what comes back too often is dead-lettered under a key of its own."""
    arguments: Arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-routing-key": dead_letter_key(name),  # a retried copy carries the queue's name as its own key
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # at-least-once needs it
    }
    return Queue(wire_name(name), arguments, (*bindings, (RETRY_BACK, wire_name(name))))


def _last(name: str, binding: tuple[str, str]) -> Queue:
    """Return a queue where messages end up; nothing moves them on but us."""
    arguments: Arguments = {"x-queue-type": "quorum", "x-delivery-limit": NEVER}
    return Queue(wire_name(name), arguments, (binding, (RETRY_BACK, wire_name(name))))


def _rung(rung: str) -> Queue:
    """Return a delay queue: one TTL for all in it, so none waits behind a longer one. The key stays the home queue's name."""
    arguments: Arguments = {
        "x-queue-type": "quorum",
        "x-message-ttl": round(RUNGS[rung].total_seconds() * 1000),
        "x-dead-letter-exchange": RETRY_BACK,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return Queue(wire_name(RUNG_PREFIX + rung), arguments, ((RUNG_PREFIX + rung, ""),))
