"""Reading for the API: lists by page, newest first, limited to what a client may see."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.store import rows
from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.tables import (
    IS_RESOLVING,
    dead_letters,
    events,
    targets,
    timeline,
    verdicts,
    wait_labels,
    waits,
)
from bridge.core.event import CALLBACK
from bridge.core.wait import State, Wait


@dataclass(frozen=True, slots=True)
class Scope:
    """What a client may see; None is everything."""

    targets: frozenset[str] | None
    sources: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: at most `limit` items after `cursor` (as a list gave it)."""

    limit: int
    cursor: str | None


class BadCursor(ValueError):
    """A cursor that no list of ours gave."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One page of rows and the cursor of the next, None at the end."""

    rows: list[Any]
    next_cursor: str | None


async def _page(
    tx: AsyncConnection, statement: sa.Select[Any], moment: sa.Column[Any], key: sa.Column[Any], page: Page
) -> Slice:
    if page.cursor is not None:
        at, last = read_cursor(page.cursor)
        statement = statement.where(
            sa.tuple_(moment, key) < sa.tuple_(sa.literal(at, moment.type), sa.literal(last, key.type))
        )
    ordered = statement.order_by(moment.desc(), key.desc()).limit(page.limit + 1)
    found = list((await tx.execute(ordered)).mappings())
    kept = found[: page.limit]
    more = len(found) > page.limit
    return Slice(kept, write_cursor(kept[-1][moment.name], kept[-1][key.name]) if more else None)


def write_cursor(moment: datetime, key: str) -> str:
    return base64.urlsafe_b64encode(f"{moment.isoformat()} {key}".encode()).decode()


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """Return the moment and id that a cursor stands for.

    Raises:
        BadCursor: it is none of ours.
    """
    try:
        moment, _, key = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode().partition(" ")
        read = datetime.fromisoformat(moment)
    except (binascii.Error, ValueError):
        raise BadCursor from None
    if read.tzinfo is None:
        raise BadCursor
    return read, key


def _seen(column: sa.ColumnElement[str], names: frozenset[str] | None) -> sa.ColumnElement[bool]:
    return sa.true() if names is None else column.in_(sorted(names))


async def list_waits(
    tx: AsyncConnection,
    scope: Scope,
    page: Page,
    *,
    state: str | None,
    target: str | None,
    label: tuple[str, str] | None,
) -> tuple[list[Wait], str | None]:
    """Return one page of waits."""
    statement = sa.select(waits).where(_seen(waits.c.target, scope.targets))
    if state is not None:
        statement = statement.where(waits.c.state == state)
    if target is not None:
        statement = statement.where(waits.c.target == target)
    if label is not None:
        labelled = sa.select(wait_labels.c.wait_id).where(
            wait_labels.c.name == label[0], wait_labels.c.value == label[1]
        )
        statement = statement.where(waits.c.id.in_(labelled))
    found = await _page(tx, statement, waits.c.created_at, waits.c.id, page)
    return [rows.wait_from_row(row) for row in found.rows], found.next_cursor


async def get_wait(tx: AsyncConnection, scope: Scope, wait_id: str) -> Wait | None:
    """Return the wait, or None where there is none that the client may see."""
    statement = sa.select(waits).where(waits.c.id == wait_id, _seen(waits.c.target, scope.targets))
    row = (await tx.execute(statement)).mappings().first()
    return rows.wait_from_row(dict(row)) if row else None


async def timelines(db: Database, tx: AsyncConnection, wait_ids: Sequence[str]) -> dict[str, list[Any]]:
    """Return the timeline rows of waits, oldest first."""
    found: dict[str, list[Any]] = {wait_id: [] for wait_id in wait_ids}
    if wait_ids:
        for row in await tx.execute(
            sa.select(timeline).where(db.among(timeline.c.wait_id, wait_ids)).order_by(timeline.c.id)
        ):
            found[row.wait_id].append(row)
    return found


def _visible_events(scope: Scope) -> sa.ColumnElement[bool]:
    """Events of the client's sources, and callbacks of waits at its targets."""
    if scope.sources is None:
        return sa.true()
    own_waits = (
        sa.exists()
        .where(
            verdicts.c.event_id == events.c.id, verdicts.c.wait_id == waits.c.id, _seen(waits.c.target, scope.targets)
        )
        .correlate(events)
    )
    return sa.or_(events.c.source.in_(sorted(scope.sources)), sa.and_(events.c.source == CALLBACK, own_waits))


async def list_events(
    tx: AsyncConnection, scope: Scope, page: Page, *, source: str | None, verdict: str | None
) -> Slice:
    """Return one page of events."""
    statement = sa.select(events).where(_visible_events(scope))
    if source is not None:
        statement = statement.where(events.c.source == source)
    if verdict is not None:
        statement = statement.where(events.c.verdict == verdict)
    return await _page(tx, statement, events.c.received_at, events.c.id, page)


async def get_event(tx: AsyncConnection, scope: Scope, event_id: str) -> Any | None:
    """Return the event's row, or None."""
    statement = sa.select(events).where(events.c.id == event_id, _visible_events(scope))
    return (await tx.execute(statement)).mappings().first()


async def verdicts_of(tx: AsyncConnection, scope: Scope, event_id: str) -> list[tuple[str, str]]:
    """Return (wait id, verdict) of an event, for waits that the client may see."""
    statement = (
        sa.select(verdicts.c.wait_id, verdicts.c.verdict)
        .join(waits, waits.c.id == verdicts.c.wait_id)
        .where(verdicts.c.event_id == event_id, _seen(waits.c.target, scope.targets))
        .order_by(verdicts.c.wait_id)
    )
    return [(row.wait_id, row.verdict) for row in await tx.execute(statement)]


async def list_dead(tx: AsyncConnection, scope: Scope, page: Page) -> Slice:
    """Return one page of dead letters."""
    return await _page(
        tx, sa.select(dead_letters).where(_visible_dead(scope)), dead_letters.c.at, dead_letters.c.id, page
    )


async def get_dead(tx: AsyncConnection, scope: Scope, letter_id: str) -> Any | None:
    """Return the dead letter's row, or None."""
    statement = sa.select(dead_letters).where(dead_letters.c.id == letter_id, _visible_dead(scope))
    return (await tx.execute(statement)).mappings().first()


def _visible_dead(scope: Scope) -> sa.ColumnElement[bool]:
    return sa.true() if scope.targets is None else dead_letters.c.target.in_(sorted(scope.targets))


async def target_counts(tx: AsyncConnection) -> dict[str, dict[State, int]]:
    """Return for each target how many waits are open, resolving and undeliverable."""
    shown = (State.OPEN, State.RESOLVING, State.UNDELIVERABLE)
    statement = (
        sa.select(waits.c.target, waits.c.state, sa.func.count())
        .where(waits.c.state.in_([state.value for state in shown]))
        .group_by(waits.c.target, waits.c.state)
    )
    counts: dict[str, dict[State, int]] = {}
    for name, state, count in await tx.execute(statement):
        counts.setdefault(name, {})[State(state)] = count
    return counts


async def oldest_unreported(tx: AsyncConnection) -> dict[str, datetime]:
    """Return for each target since when its oldest resolution is without a report."""
    since = sa.func.min(sa.func.coalesce(waits.c.sent_at, waits.c.decided_at), type_=waits.c.decided_at.type)
    statement = sa.select(waits.c.target, since).where(IS_RESOLVING).group_by(waits.c.target)
    return {row[0]: row[1] for row in await tx.execute(statement)}


async def paused_targets(tx: AsyncConnection) -> set[str]:
    """Return the targets that an operator has paused."""
    return set((await tx.execute(sa.select(targets.c.name).where(targets.c.is_paused))).scalars())
