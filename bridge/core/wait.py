"""Wait, and decide(): the whole state machine as one pure function. The law of DESIGN section 3 is written here only.

    open ── first deciding event, or the timer ──▶ resolving ── report ──▶ resolved (terminal)
      │ cancel                                       │  ▲                     ▲ a late success still counts
      ▼                                              ▼  │ replay              │
    cancelled                                     undeliverable ──────────────┘

A wait's row is locked before decide() is called, and what it returns is written in the same transaction. Nothing else
changes a wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias, assert_never

from bridge.core.event import Outcome


class State(StrEnum):
    OPEN = "open"
    RESOLVING = "resolving"
    RESOLVED = "resolved"
    UNDELIVERABLE = "undeliverable"
    CANCELLED = "cancelled"

    @property
    def holds_address(self) -> bool:
        """True while no other wait may be registered for the same address."""
        return self in (State.OPEN, State.RESOLVING)


class Verdict(StrEnum):
    """What became of an event for a wait, in order of rank: an event shows the first of its verdicts."""

    RESUMED = "resumed"
    COUNTED = "counted"
    PROGRESS = "progress"
    DUPLICATE = "duplicate"
    LATE = "late"
    IGNORED = "ignored"
    EARLY = "early"
    NO_MATCH = "no_match"


class Reason(StrEnum):
    """Why a wait is undeliverable, or why it timed out."""

    NO_REPORT = "no_report"
    NOT_REACHED = "not_reached"
    NO_TARGET = "no_target"
    GONE = "gone"
    REFUSED = "refused"
    DOUBTFUL = "doubtful"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class Progress:
    """The last progress that a remote reported."""

    percent: int | None = None
    message: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Expectation:
    """An event of `source` (and `type`, where given) whose keys include `keys` is for this wait."""

    source: str
    keys: Mapping[str, str]
    type: str | None = None
    early: bool = True
    """False: only events received after the registration count."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A pipeline's registered wait. All times are aware UTC."""

    id: str
    target: str
    address: Mapping[str, Any]
    canonical: str
    is_repeated: bool
    client: str
    created_at: datetime
    expires_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    third_party_client: str | None = None
    """The platform's client whose token each copy of its resolution carries."""
    state: State = State.OPEN
    outcome: Outcome | None = None
    reason: Reason | None = None
    decided_at: datetime | None = None
    event_id: str | None = None
    """The event that decided; None when a timer did, or nothing yet."""
    caused_at: datetime | None = None
    """When that event was received."""
    progress: Progress = field(default_factory=Progress)
    dispatch: int = 0
    """Number of the current instruction; 0 while none was made."""
    deliver_until: datetime | None = None
    sent_at: datetime | None = None
    """When the current dispatch's publish was confirmed; None: it is an unsent outbox row."""
    attempted: int = 0
    """Highest dispatch that a worker said it is about to send: the mark of rule 9."""

    @property
    def is_cleared(self) -> bool:
        """True when the resolution of a repeated address may be sent: its mark is stored."""
        return self.is_repeated and self.attempted >= self.dispatch > 0


# --- inputs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventSeen:
    """An event that is for this wait. Whether this very event was applied before is the store's knowledge, not ours."""

    id: str
    outcome: Outcome
    received_at: datetime
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    """`wait.expired` was consumed."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The resolution of *dispatch* was published and confirmed."""

    dispatch: int


@dataclass(frozen=True, slots=True)
class Attempted:
    """A worker is about to send *dispatch* (no ending: the mark of rule 9), or an attempt ended without a decision."""

    dispatch: int
    attempt: int
    ending: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class MarkAsked:
    """A worker asks for the mark of a repeated address before it sends."""

    dispatch: int


@dataclass(frozen=True, slots=True)
class DoubtReported:
    """A worker cannot tell whether *dispatch* was applied."""

    dispatch: int
    attempt: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class ResolvedReported:
    """The platform has the answer of *dispatch*."""

    dispatch: int
    attempt: int
    ending: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class UndeliverableReported:
    """*dispatch* can never be applied."""

    dispatch: int
    reason: Reason
    attempt: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReportMissing:
    """The delivery window is over and nobody reported."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """An operator wants another dispatch."""

    by: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A client takes its wait back."""

    by: str


Input: TypeAlias = (
    EventSeen
    | DeadlineReached
    | Sent
    | Attempted
    | MarkAsked
    | DoubtReported
    | ResolvedReported
    | UndeliverableReported
    | ReportMissing
    | Replayed
    | Cancelled
)


# --- what follows -----------------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """Kinds of timeline entries."""

    OPENED = "opened"
    EVENT = "event"
    DECIDED = "decided"
    SENT = "sent"
    ATTEMPT = "attempt"
    REPORT = "report"
    REPLAYED = "replayed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a wait's timeline."""

    kind: Kind
    at: datetime
    event: str | None = None
    attempt: int | None = None
    ending: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """What one input makes of a wait.

    wait: as it is now; the same object when nothing changed.
    entries: new lines of its timeline.
    verdict: what became of the event, for an EventSeen.
    is_refused: the state forbids the input (409 for a client's).
    sends: a copy of the resolution is to be published; until it is confirmed the row is an unsent outbox row.
    """

    wait: Wait
    entries: tuple[Entry, ...] = ()
    verdict: Verdict | None = None
    is_refused: bool = False
    sends: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """The configured bounds that decide() needs."""

    delivery_window: timedelta = timedelta(hours=24)


def decide(wait: Wait, given: Input, *, now: datetime, rules: Rules) -> Transition:  # noqa: C901, PLR0911 - one arm for each input
    """Return what *given* makes of *wait*: total over all states and inputs, without side effects."""
    match given:
        case EventSeen():
            return _event(wait, given, now, rules)
        case DeadlineReached():
            return _deadline(wait, now, rules)
        case Sent(dispatch):
            return _sent(wait, dispatch, now)
        case Attempted():
            return _attempted(wait, given, now)
        case MarkAsked(dispatch):
            return _mark(wait, dispatch, now)
        case DoubtReported():
            return _doubt(wait, given, now)
        case ResolvedReported():
            return _resolved(wait, given, now)
        case UndeliverableReported():
            return _undeliverable(wait, given, now)
        case ReportMissing():
            return _undeliverable(wait, UndeliverableReported(wait.dispatch, Reason.NO_REPORT), now)
        case Replayed(by):
            return _replayed(wait, by, now, rules)
        case Cancelled(by):
            return _cancelled(wait, by, now)
        case _ as unreachable:
            assert_never(unreachable)


def _event(wait: Wait, event: EventSeen, now: datetime, rules: Rules) -> Transition:
    verdict = _verdict(wait, event.outcome)
    entries = (Entry(Kind.EVENT, now, event=event.id, note=verdict),)
    match verdict:
        case Verdict.PROGRESS:
            return Transition(replace(wait, progress=event.progress), entries, verdict)
        case Verdict.RESUMED:
            decided = replace(_decided(wait, event.outcome, now, rules), event_id=event.id, caused_at=event.received_at)
            decision = Entry(Kind.DECIDED, now, event=event.id, note=event.outcome)
            return Transition(decided, (*entries, decision), verdict, sends=True)
        case _:
            return Transition(wait, entries, verdict)


def _verdict(wait: Wait, outcome: Outcome) -> Verdict:
    if outcome is Outcome.NONE:
        return Verdict.IGNORED
    if wait.state is State.OPEN:
        return Verdict.RESUMED if outcome.decides else Verdict.PROGRESS
    return Verdict.DUPLICATE if outcome is wait.outcome else Verdict.LATE


def _decided(wait: Wait, outcome: Outcome, now: datetime, rules: Rules) -> Wait:
    return replace(
        wait,
        state=State.RESOLVING,
        outcome=outcome,
        decided_at=now,
        dispatch=1,
        sent_at=None,
        deliver_until=max(wait.expires_at, now + rules.delivery_window),
    )


def _deadline(wait: Wait, now: datetime, rules: Rules) -> Transition:
    if wait.state is not State.OPEN or now < wait.expires_at:
        return Transition(wait, is_refused=True)
    decided = replace(_decided(wait, Outcome.TIMED_OUT, now, rules), reason=Reason.DEADLINE)
    return Transition(decided, (Entry(Kind.DECIDED, now, note=Outcome.TIMED_OUT),), sends=True)


def _is_current(wait: Wait, dispatch: int) -> bool:
    return wait.state is State.RESOLVING and dispatch == wait.dispatch


def _sent(wait: Wait, dispatch: int, now: datetime) -> Transition:
    if not _is_current(wait, dispatch) or wait.sent_at is not None:
        return Transition(wait, is_refused=True)
    return Transition(replace(wait, sent_at=now), (Entry(Kind.SENT, now),))


def _attempted(wait: Wait, given: Attempted, now: datetime) -> Transition:
    if wait.state not in (State.RESOLVING, State.UNDELIVERABLE):
        return Transition(wait, is_refused=True)
    entry = Entry(Kind.ATTEMPT, now, attempt=given.attempt, ending=given.ending or None, note=given.note or None)
    if given.ending:
        return Transition(wait, (entry,))
    return Transition(replace(wait, attempted=max(wait.attempted, given.dispatch)), (entry,))


def _mark(wait: Wait, dispatch: int, now: datetime) -> Transition:
    if not _is_current(wait, dispatch) or wait.attempted >= dispatch:
        return Transition(wait, is_refused=True)
    marked = replace(wait, attempted=dispatch, sent_at=None)
    return Transition(marked, (Entry(Kind.ATTEMPT, now, note="marked"),), sends=True)


def _doubt(wait: Wait, given: DoubtReported, now: datetime) -> Transition:
    if not _is_current(wait, given.dispatch):
        return Transition(wait, is_refused=True)
    if wait.attempted < given.dispatch:  # nobody has sent anything under this number: a fresh copy starts over
        entry = Entry(
            Kind.REPORT, now, attempt=given.attempt, ending="doubtful", note="not attempted before; sent again"
        )
        return Transition(replace(wait, sent_at=None), (entry,), sends=True)
    if wait.is_repeated:
        return _undeliverable(
            wait, UndeliverableReported(given.dispatch, Reason.DOUBTFUL, given.attempt, given.note), now
        )
    return _resolved(
        wait, ResolvedReported(given.dispatch, given.attempt, "already-done", "answered by an earlier attempt"), now
    )


def _resolved(wait: Wait, given: ResolvedReported, now: datetime) -> Transition:
    if wait.state not in (State.RESOLVING, State.UNDELIVERABLE):
        return Transition(wait, is_refused=True)
    reason = wait.reason if wait.reason is Reason.DEADLINE else None
    entry = Entry(Kind.REPORT, now, attempt=given.attempt, ending=given.ending, note=given.note or None)
    return Transition(replace(wait, state=State.RESOLVED, reason=reason), (entry,))


def _undeliverable(wait: Wait, given: UndeliverableReported, now: datetime) -> Transition:
    if not _is_current(wait, given.dispatch):
        return Transition(wait, is_refused=True)
    entry = Entry(Kind.REPORT, now, attempt=given.attempt or None, ending=given.reason, note=given.note or None)
    return Transition(replace(wait, state=State.UNDELIVERABLE, reason=given.reason), (entry,))


def _replayed(wait: Wait, by: str, now: datetime, rules: Rules) -> Transition:
    if wait.state is not State.UNDELIVERABLE:
        return Transition(wait, is_refused=True)
    again = replace(
        wait,
        state=State.RESOLVING,
        reason=Reason.DEADLINE if wait.outcome is Outcome.TIMED_OUT else None,
        dispatch=wait.dispatch + 1,
        sent_at=None,
        deliver_until=max(wait.expires_at, now + rules.delivery_window),
    )
    return Transition(again, (Entry(Kind.REPLAYED, now, note=f"by {by}"),), sends=True)


def _cancelled(wait: Wait, by: str, now: datetime) -> Transition:
    if wait.state is not State.OPEN:
        return Transition(wait, is_refused=True)
    return Transition(replace(wait, state=State.CANCELLED), (Entry(Kind.CANCELLED, now, note=f"by {by}"),))
