"""The state machine: every pair of state and input, as one table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.event import Outcome
from bridge.core.wait import (
    Attempted,
    Cancelled,
    DeadlineReached,
    DoubtReported,
    EventSeen,
    Input,
    Kind,
    MarkAsked,
    Progress,
    Reason,
    Replayed,
    ReportMissing,
    ResolvedReported,
    Rules,
    Sent,
    State,
    Transition,
    UndeliverableReported,
    Verdict,
    Wait,
    decide,
)

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
EXPIRES = CREATED + timedelta(hours=8)
NOW = CREATED + timedelta(hours=1)
WINDOW = timedelta(hours=24)

OPEN = Wait(
    id="w" * 32,
    target="jenkins",
    address={"gate": "a"},
    canonical="a",
    is_repeated=False,
    client="ci",
    created_at=CREATED,
    expires_at=EXPIRES,
)
RESOLVING = replace(
    OPEN,
    state=State.RESOLVING,
    outcome=Outcome.SUCCEEDED,
    decided_at=NOW,
    event_id="e0",
    caused_at=NOW,
    dispatch=1,
    deliver_until=NOW + WINDOW,
    sent_at=NOW,
)
RESOLVED = replace(RESOLVING, state=State.RESOLVED)
UNDELIVERABLE = replace(RESOLVING, state=State.UNDELIVERABLE, reason=Reason.GONE)
CANCELLED = replace(OPEN, state=State.CANCELLED)

WAITS = {
    State.OPEN: OPEN,
    State.RESOLVING: RESOLVING,
    State.RESOLVED: RESOLVED,
    State.UNDELIVERABLE: UNDELIVERABLE,
    State.CANCELLED: CANCELLED,
}

SAME = EventSeen("e1", Outcome.SUCCEEDED, NOW)
OTHER = EventSeen("e1", Outcome.FAILED, NOW)
STEP = EventSeen("e1", Outcome.PROGRESS, NOW, Progress(40, "linking", "https://ci.example/1"))
NOTHING = EventSeen("e1", Outcome.NONE, NOW)
INPUTS: dict[str, Input] = {
    "same outcome": SAME,
    "other outcome": OTHER,
    "progress": STEP,
    "none": NOTHING,
    "deadline": DeadlineReached(),
    "sent": Sent(1),
    "attempted": Attempted(1, 1),
    "mark asked": MarkAsked(1),
    "doubt": DoubtReported(1, 2),
    "resolved": ResolvedReported(1, 1, "done"),
    "undeliverable": UndeliverableReported(1, Reason.REFUSED, 1),
    "no report": ReportMissing(),
    "replayed": Replayed("ops"),
    "cancelled": Cancelled("ci"),
}

REFUSED = "refused"
# Per input: what follows in the states open, resolving, resolved, undeliverable, cancelled: the new state, then a verdict,
# `refused`, or nothing; `!` where a resolution is to be sent.
TABLE: dict[str, tuple[str, str, str, str, str]] = {
    "same outcome": ("resolving resumed !", "resolving duplicate", "resolved duplicate", "undeliverable duplicate", "cancelled late"),
    "other outcome": ("resolving resumed !", "resolving late", "resolved late", "undeliverable late", "cancelled late"),
    "progress": ("open progress", "resolving late", "resolved late", "undeliverable late", "cancelled late"),
    "none": ("open ignored", "resolving ignored", "resolved ignored", "undeliverable ignored", "cancelled ignored"),
    "deadline": ("resolving !", "resolving refused", "resolved refused", "undeliverable refused", "cancelled refused"),
    "sent": ("open refused", "resolving refused", "resolved refused", "undeliverable refused", "cancelled refused"),
    "attempted": ("open refused", "resolving", "resolved refused", "undeliverable", "cancelled refused"),
    "mark asked": ("open refused", "resolving !", "resolved refused", "undeliverable refused", "cancelled refused"),
    "doubt": ("open refused", "resolving !", "resolved refused", "undeliverable refused", "cancelled refused"),
    "resolved": ("open refused", "resolved", "resolved refused", "resolved", "cancelled refused"),
    "undeliverable": ("open refused", "undeliverable", "resolved refused", "undeliverable refused", "cancelled refused"),
    "no report": ("open refused", "undeliverable", "resolved refused", "undeliverable refused", "cancelled refused"),
    "replayed": ("open refused", "resolving refused", "resolved refused", "resolving !", "cancelled refused"),
    "cancelled": ("cancelled", "resolving refused", "resolved refused", "undeliverable refused", "cancelled refused"),
}  # fmt: skip


def run(wait: Wait, given: Input, *, now: datetime = NOW) -> Transition:
    return decide(wait, given, now=now, rules=Rules(delivery_window=WINDOW))


def described(transition: Transition) -> str:
    words = [transition.wait.state.value]
    words += [REFUSED] if transition.is_refused else []
    words += [transition.verdict.value] if transition.verdict else []
    words += ["!"] if transition.sends else []
    return " ".join(words)


def test_the_table_has_every_pair() -> None:
    """A state or an input that is added has to be added to the table too."""
    assert set(TABLE) == set(INPUTS)
    assert tuple(WAITS) == tuple(State)
    assert {type(given) for given in INPUTS.values()} == set(Input.__args__)


@pytest.mark.parametrize(
    ("name", "state", "expected"),
    [(name, state, cell) for name, cells in TABLE.items() for state, cell in zip(State, cells, strict=True)],
)
def test_every_pair(name: str, state: State, expected: str) -> None:
    """Each state answers each input as the table says."""
    now = EXPIRES if name == "deadline" else NOW
    assert described(run(WAITS[state], INPUTS[name], now=now)) == expected


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("state", State)
def test_refused_changes_nothing(name: str, state: State) -> None:
    """A refused input leaves the wait as it is and writes no line."""
    transition = run(WAITS[state], INPUTS[name])
    if transition.is_refused:
        assert transition.wait is WAITS[state]
        assert transition.entries == ()


def test_decision_keeps_its_cause_and_window() -> None:
    """The deciding event, its time and the end of delivery are on the row."""
    wait = run(OPEN, OTHER).wait
    assert (wait.outcome, wait.event_id, wait.caused_at, wait.dispatch) == (Outcome.FAILED, "e1", NOW, 1)
    assert wait.deliver_until == NOW + WINDOW
    assert wait.sent_at is None


def test_window_never_ends_before_the_deadline() -> None:
    """A wait decided early in a long life is delivered at least until it would have expired."""
    long = replace(OPEN, expires_at=NOW + timedelta(days=7))
    assert run(long, SAME).wait.deliver_until == long.expires_at


def test_deadline_before_its_time_is_refused() -> None:
    """An expiry that is consumed too early (a clock that was set back) decides nothing."""
    assert run(OPEN, DeadlineReached(), now=EXPIRES - timedelta(microseconds=1)).is_refused


def test_timer_alone_makes_timed_out() -> None:
    """The deadline decides as timed_out, with its reason."""
    wait = run(OPEN, DeadlineReached(), now=EXPIRES).wait
    assert (wait.outcome, wait.reason, wait.event_id) == (Outcome.TIMED_OUT, Reason.DEADLINE, None)


def test_event_after_the_deadline_is_late() -> None:
    """An event that the queue held back loses against the timer."""
    expired = run(OPEN, DeadlineReached(), now=EXPIRES).wait
    assert run(expired, SAME).verdict is Verdict.LATE


def test_sent_marks_only_the_current_dispatch() -> None:
    """A confirm of an older dispatch does not mark the new one."""
    unsent = replace(RESOLVING, sent_at=None, dispatch=2)
    assert run(unsent, Sent(1)).is_refused
    assert run(unsent, Sent(2)).wait.sent_at == NOW


def test_undeliverable_counts_for_the_current_dispatch_only() -> None:
    """A refusal of the first dispatch cannot end the second; a success of the first can."""
    again = run(UNDELIVERABLE, Replayed("ops")).wait
    assert again.dispatch == 2
    assert run(again, UndeliverableReported(1, Reason.GONE, 1)).is_refused
    assert run(again, ResolvedReported(1, 1, "done")).wait.state is State.RESOLVED


def test_late_success_counts_after_undeliverable() -> None:
    """A report that comes after the window still says the truth."""
    wait = run(UNDELIVERABLE, ResolvedReported(1, 3, "already-done")).wait
    assert (wait.state, wait.reason) == (State.RESOLVED, None)


def test_timed_out_keeps_its_reason_when_resolved() -> None:
    """`deadline` says why it timed out, also after the pipeline was told."""
    expired = run(OPEN, DeadlineReached(), now=EXPIRES).wait
    assert run(expired, ResolvedReported(1, 1, "done")).wait.reason is Reason.DEADLINE


def test_replay_opens_a_new_window() -> None:
    """A replay counts on, is unsent, and has a window of its own."""
    later = NOW + timedelta(days=3)
    again = run(UNDELIVERABLE, Replayed("ops"), now=later).wait
    assert (again.dispatch, again.sent_at, again.reason) == (2, None, None)
    assert again.deliver_until == later + WINDOW


def test_doubt_after_an_attempt_is_already_done() -> None:
    """An id taken as unique: what was attempted and is no longer pending was answered by us."""
    attempted = run(RESOLVING, Attempted(1, 1)).wait
    transition = run(attempted, DoubtReported(1, 2))
    assert transition.wait.state is State.RESOLVED
    assert not transition.sends


def test_doubt_of_a_repeated_address_is_doubtful() -> None:
    """Where an id repeats, an attempt in doubt ends undeliverable: never a second answer."""
    repeated = run(replace(RESOLVING, is_repeated=True), MarkAsked(1)).wait
    transition = run(repeated, DoubtReported(1, 2))
    assert (transition.wait.state, transition.wait.reason) == (State.UNDELIVERABLE, Reason.DOUBTFUL)


def test_doubt_without_an_attempt_starts_over() -> None:
    """A delivery that a dying worker had only prefetched is sent again, fresh."""
    transition = run(RESOLVING, DoubtReported(1, 2))
    assert (transition.wait.state, transition.wait.sent_at, transition.sends) == (State.RESOLVING, None, True)


def test_mark_is_given_once_for_a_dispatch() -> None:
    """A second worker that asks gets nothing, so that only one cleared copy exists; a replay may ask again."""
    marked = run(replace(RESOLVING, is_repeated=True), MarkAsked(1)).wait
    assert marked.is_cleared
    assert run(marked, MarkAsked(1)).is_refused
    again = replace(marked, state=State.UNDELIVERABLE)
    again = run(again, Replayed("ops")).wait
    assert not again.is_cleared
    assert run(again, MarkAsked(2)).wait.is_cleared


def test_attempt_with_an_ending_is_no_mark() -> None:
    """A look that found nothing to answer leaves the dispatch unattempted."""
    assert run(RESOLVING, Attempted(1, 1, "not-yet")).wait.attempted == 0
    assert run(RESOLVING, Attempted(1, 1)).wait.attempted == 1


def test_progress_is_kept() -> None:
    """The last progress shows on the wait, which stays open."""
    assert run(OPEN, STEP).wait.progress == Progress(40, "linking", "https://ci.example/1")


def test_every_change_has_a_line() -> None:
    """The timeline tells each step of a life by its kind."""
    kinds = []
    wait = OPEN
    for given in (STEP, SAME, Sent(1), Attempted(1, 1), UndeliverableReported(1, Reason.GONE, 1), Replayed("ops")):
        transition = run(wait, given)
        wait = transition.wait
        kinds += [entry.kind for entry in transition.entries]
    assert kinds == [Kind.EVENT, Kind.EVENT, Kind.DECIDED, Kind.SENT, Kind.ATTEMPT, Kind.REPORT, Kind.REPLAYED]
