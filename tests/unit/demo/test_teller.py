"""What people are told of effects and of waits."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bridge.demo.teller import new_lines
from bridge.testing.emulator import Effect

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def effect(kind: str, subject: str, after_s: float = 0, **detail: Any) -> Effect:
    return Effect(at=NOW + timedelta(seconds=after_s), kind=kind, subject=subject, detail=detail)


def entry(kind: str, after_s: float = 0, **fields: Any) -> tuple[dict[str, Any], str]:
    return {"at": (NOW + timedelta(seconds=after_s)).isoformat(), "kind": kind, **fields}, "jenkins"


def test_lines_come_in_the_order_of_what_happened() -> None:
    """Platforms and waits are told in one order, whichever was asked first."""
    effects = [effect("input.reached", "job/a/1/input/Go", 2), effect("build.finished", "job/a/1", 4, result="SUCCESS")]
    entries = [entry("decided", 1, note="succeeded"), entry("report", 3, attempt=2, ending="already-done")]
    assert [(line.who, line.text) for line in new_lines(effects, entries)] == [
        ("bridge", "the wait is decided: succeeded"),
        ("Jenkins", "job/a/1 waits at input Go, without an agent"),
        ("bridge", "jenkins: attempt 2: already done"),
        ("Jenkins", "job/a/1 ends SUCCESS"),
    ]


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (entry("attempt", attempt=1, ending="not-yet", note="no input"), "attempt 1: not yet (no input); tries again"),
        (entry("report", attempt=3, ending="gone", note="aborted"), "attempt 3: gone (aborted)"),
    ],
)
def test_attempts_tell_why(told: tuple[dict[str, Any], str], text: str) -> None:
    """Whatever is not done has its reason beside it."""
    assert [line.text for line in new_lines([], [told])] == [f"jenkins: {text}"]


def test_nothing_is_told_of_what_has_no_ending_yet() -> None:
    """Openings, sends and announcements are the machine's business."""
    entries = [entry("opened"), entry("sent"), entry("attempt", attempt=1), entry("event", note="resumed")]
    assert new_lines([effect("pipeline.created", "p1")], entries) == []


def test_long_values_are_cut() -> None:
    """A file in a parameter takes one line."""
    proceeded = effect("input.proceeded", "job/a/1/input/Go", user="bridge", values={"RESULTS": "<a/>\n" * 50})
    [line] = new_lines([proceeded], [])
    assert "\n" not in line.text
    assert len(line.text) < 120
