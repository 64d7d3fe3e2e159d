"""What a message looks like on the wire, and what each copy of it carries. Pure values.

Headers: `bridge-attempt` (int, from 1), `bridge-first-ts` (epoch in ms, when the first copy was published),
`bridge-not-before` (epoch in ms), `bridge-reason` and `bridge-home` on dead letters, `traceparent`. Every `x-*` header is stripped from a copy:
RabbitMQ before 4.0 obeys a republished `x-death`, and drops the second round through a rung as a cycle.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from aiormq.abc import DeliveredMessage

from bridge.core.ports import Outgoing
from bridge.core.topology import (
    ATTEMPT,
    DEAD,
    FIRST_TS,
    HOME,
    NOT_BEFORE,
    REASON,
    RUNG_PREFIX,
    RUNGS,
    VERSION_SUFFIX,
    dead_letter_key,
    rung_for,
    wire_name,
)

CONTENT_TYPE = "application/cloudevents+json"
PERSISTENT = 2
MAX_REASON_CHARACTERS = 2_000
"""All headers have to fit into one frame."""
_BOOKKEEPING = frozenset({ATTEMPT, FIRST_TS, NOT_BEFORE})

Headers = Mapping[str, str | int]


class WireMessage(NamedTuple):
    """One message as it is published; its id is given when it is written."""

    exchange: str
    key: str
    body: bytes
    headers: Headers
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it was delivered from *queue* (a name without suffix)."""

    queue: str
    body: bytes
    headers: Headers
    """Without `x-*` and without our bookkeeping, which stands in the fields below."""
    message_id: str
    correlation_id: str
    attempt: int
    is_redelivered: bool
    published_at: datetime
    not_before: datetime | None


def outgoing(message: Outgoing, now: datetime) -> WireMessage:
    """Return *message* as its first copy. The default exchange routes by the queue's name on the wire."""
    route = message.route
    key = route.key if route.exchange else wire_name(route.key)
    headers = {**message.headers, ATTEMPT: 1, FIRST_TS: int(now.timestamp() * 1000)}
    return WireMessage(route.exchange, key, message.body, headers, message.correlation_id)


def received(message: DeliveredMessage, queue: str, now: datetime) -> Received:
    """Read *message*; what another program published without our headers is a first attempt, published now."""
    properties = message.header.properties
    raw: Mapping[str, Any] = properties.headers or {}
    ours = {name: value for name, value in raw.items() if not name.startswith("x-") and isinstance(value, str | int)}
    attempt = ours.get(ATTEMPT)
    headers = {name: value for name, value in ours.items() if name not in _BOOKKEEPING}
    return Received(
        queue=queue,
        body=message.body,
        headers=headers if REASON in headers else {**headers, **_death(raw)},
        message_id=properties.message_id or "",
        correlation_id=properties.correlation_id or "",
        attempt=attempt if isinstance(attempt, int) and attempt > 0 else 1,
        is_redelivered=bool(getattr(message.delivery, "redelivered", False)),
        published_at=_time(ours.get(FIRST_TS)) or now,
        not_before=_time(ours.get(NOT_BEFORE)),
    )


def _death(raw: Mapping[str, Any]) -> Headers:
    """Say why the broker itself dead-lettered a message, from its newest `x-death` entry; expiry is a rung's normal end."""
    entries = raw.get("x-death")
    match entries[0] if isinstance(entries, list) and entries else None:
        case {"reason": str(reason), "queue": str(queue)} if reason != "expired":
            return {REASON: reason, HOME: queue.removesuffix(VERSION_SUFFIX)}
        case _:
            return {}


def _time(value: str | int | None) -> datetime | None:
    """Read epoch milliseconds or ISO 8601; anything else is as good as absent."""
    try:
        if isinstance(value, int):
            return datetime.fromtimestamp(value / 1000, UTC)
        parsed = datetime.fromisoformat(value) if value else None
    except (ValueError, OverflowError, OSError):
        return None
    return parsed if parsed is None or parsed.tzinfo else parsed.replace(tzinfo=UTC)


def retry_copy(
    message: Received, after: timedelta, headers: Headers, now: datetime, *, is_counted: bool
) -> WireMessage:
    """Return the copy that comes back to the same queue not earlier than *after*: at once by name, else over a rung."""
    kept = _kept(message, message.attempt + is_counted, headers)
    if after <= timedelta(0):
        return WireMessage("", wire_name(message.queue), message.body, kept, message.correlation_id)
    rung = rung_for(after)
    if RUNGS[rung] != after:  # else the rung alone is exact, whatever our clocks say
        kept[NOT_BEFORE] = math.ceil((now + after).timestamp() * 1000)
    return _over(rung, message, kept)


def waiting_copy(message: Received, now: datetime) -> WireMessage | None:
    """Return the copy that goes round again, or None when *message* may be shown now."""
    if message.not_before is None or message.not_before <= now:
        return None
    kept = _kept(message, message.attempt, {})
    kept[NOT_BEFORE] = math.ceil(message.not_before.timestamp() * 1000)
    return _over(rung_for(message.not_before - now), message, kept)


def dead_copy(message: Received, reason: str) -> WireMessage:
    """Return the copy for the dead letters."""
    why = {REASON: reason[:MAX_REASON_CHARACTERS], HOME: message.queue}
    kept = _kept(message, message.attempt, why)
    return WireMessage(DEAD, dead_letter_key(message.queue), message.body, kept, message.correlation_id)


def _kept(message: Received, attempt: int, headers: Headers) -> dict[str, str | int]:
    return {**message.headers, **headers, ATTEMPT: attempt, FIRST_TS: int(message.published_at.timestamp() * 1000)}


def _over(rung: str, message: Received, headers: Headers) -> WireMessage:
    """Route over *rung*; the key is the home queue's wire name, by which `bridge.retry.back` brings it home."""
    return WireMessage(RUNG_PREFIX + rung, wire_name(message.queue), message.body, headers, message.correlation_id)
