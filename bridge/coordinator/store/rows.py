"""Between rows and values: the only place that knows which column holds which field of a Wait."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bridge.core.event import Outcome
from bridge.core.wait import Expectation, Progress, Reason, State, Wait

MAX_INDEXED_CHARACTERS = 200
"""A longer value is found by its hash: an index entry must stay far below the databases' page size."""


def indexed(value: str) -> str:
    """Return *value* as the indexes hold it: itself, or its hash where it is long or holds NUL."""
    if len(value) <= MAX_INDEXED_CHARACTERS and "\x00" not in value:
        return value
    return "sha256:" + hashlib.sha256(value.encode()).hexdigest()


def shown(text: str | None) -> str | None:
    """Return *text* without NUL, which PostgreSQL's text cannot hold."""
    return None if text is None else text.replace("\x00", "\ufffd")


def wait_from_row(row: Mapping[Any, Any]) -> Wait:
    return Wait(
        id=row["id"],
        target=row["target"],
        address=row["address"],
        canonical=row["canonical"],
        is_repeated=row["is_repeated"],
        client=row["client"],
        third_party_client=row["third_party_client"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        labels=row["labels"],
        state=State(row["state"]),
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        reason=Reason(row["reason"]) if row["reason"] else None,
        decided_at=row["decided_at"],
        event_id=row["event_id"],
        caused_at=row["caused_at"],
        progress=Progress(**row["progress"]) if row["progress"] else Progress(),
        dispatch=row["dispatch"],
        deliver_until=row["deliver_until"],
        sent_at=row["sent_at"],
        attempted=row["attempted"],
    )


def changing_columns(wait: Wait) -> dict[str, Any]:
    """Return the columns that a transition may change."""
    return {
        "state": wait.state.value,
        "outcome": wait.outcome.value if wait.outcome else None,
        "reason": wait.reason.value if wait.reason else None,
        "decided_at": wait.decided_at,
        "event_id": wait.event_id,
        "caused_at": wait.caused_at,
        "progress": asdict(wait.progress) if wait.progress != Progress() else None,
        "dispatch": wait.dispatch,
        "deliver_until": wait.deliver_until,
        "sent_at": wait.sent_at,
        "attempted": wait.attempted,
    }


def all_columns(
    wait: Wait, *, needs_look: bool, idempotency_key: str | None, request_hash: str | None
) -> dict[str, Any]:
    """Return the whole row of a new wait."""
    return {
        "id": wait.id,
        "target": wait.target,
        "address": dict(wait.address),
        "canonical": indexed(wait.canonical),
        "is_repeated": wait.is_repeated,
        "client": wait.client,
        "third_party_client": wait.third_party_client,
        "idempotency_key": idempotency_key,
        "request_hash": request_hash,
        "labels": dict(wait.labels),
        "created_at": wait.created_at,
        "expires_at": wait.expires_at,
        "needs_look": needs_look,
        "claimed_at": None,
        **changing_columns(wait),
    }


def expectation_row(wait_id: str, position: int, expectation: Expectation) -> dict[str, Any]:
    """Return the row of one expectation; its anchor is the longest value, the likeliest to be its own."""
    name, value = max(expectation.keys.items(), key=lambda pair: (len(pair[1]), pair[0]))
    return {
        "wait_id": wait_id,
        "position": position,
        "source": expectation.source,
        "type": expectation.type,
        "keys": dict(expectation.keys),
        "early": expectation.early,
        "anchor_name": indexed(name),
        "anchor_value": indexed(value),
    }
