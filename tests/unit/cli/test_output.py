"""What people read: times, ages and text of others."""

from datetime import UTC, datetime, timedelta

import pytest

from bridge.cli.output import age, clean, relative

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (timedelta(0), "now"),
        (timedelta(seconds=-1), "1 s ago"),
        (timedelta(seconds=-59), "59 s ago"),
        (timedelta(minutes=-1), "1 min ago"),
        (timedelta(hours=5, minutes=59), "in 6 h"),
        (timedelta(days=7), "in 7 d"),
    ],
)
def test_times_are_relative(delta: timedelta, text: str) -> None:
    """The largest unit, cut; past and future differ."""
    assert relative(NOW + delta, now=NOW) == relative((NOW + delta).isoformat(), now=NOW) == text


def test_no_time_is_no_text() -> None:
    """A wait that is not decided has no time of it."""
    assert relative(None) == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "?"), (0.0, "0 s"), (0.9, "0 s"), (61.0, "1 min"), (90000.0, "1 d")]
)
def test_ages_are_in_the_largest_unit(seconds: float | None, text: str) -> None:
    """Unknown is not zero."""
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\r\nb", "a\\x0d\nb"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp", "\\x202egnp"),
        (None, ""),
        (5, "5"),
    ],
)
def test_control_characters_are_shown_not_obeyed(text: object, shown: str) -> None:
    """No remote moves the cursor, hides text or turns its direction."""
    assert clean(text) == shown
