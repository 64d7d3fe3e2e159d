"""When a poller looks again."""

from datetime import timedelta

import pytest

from bridge.polling.curve import next_at
from tests.support.fakes import START

HOUR = timedelta(hours=1)


def after_s(
    *, step: int = 0, tries: int = 0, left: float = 3600, random: float = 0, at_least: float | None = None
) -> float:
    """Return the seconds until the next look, with a deadline in *left* seconds."""
    wanted = None if at_least is None else timedelta(seconds=at_least)
    at = next_at(
        START, [START + timedelta(seconds=left)], step=step, tries=tries, random=lambda: random, at_least=wanted
    )
    return (at - START).total_seconds()


@pytest.mark.parametrize(
    ("step", "least", "most"), [(1, 0.25, 0.5), (2, 0.5, 1), (5, 4, 8), (11, 256, 512), (12, 300, 600), (40, 300, 600)]
)
def test_looks_grow_apart(step: int, least: float, most: float) -> None:
    """0.5 s doubling to ten minutes, of which the jitter takes half at most: a look is neither at once nor all at once."""
    assert (after_s(step=step), after_s(step=step, random=1)) == (least, most)


@pytest.mark.parametrize(("tries", "most"), [(1, 1), (3, 4), (8, 120), (100, 120)])
def test_faults_back_off_by_themselves(tries: int, most: float) -> None:
    """However far the looks were apart: a platform that comes back is not asked ten minutes later."""
    assert after_s(step=20, tries=tries, random=1) == most


@pytest.mark.parametrize(
    ("left", "after"), [(3600, 600), (600, 580), (30, 10), (20, 12), (19, 11), (8, 8), (5, 5), (619, 599), (609, 589)]
)
def test_a_look_is_made_shortly_before_the_deadline(left: float, after: float) -> None:
    """20 s and 8 s before it, where nothing is due sooner; and none after it."""
    assert after_s(step=20, random=1, left=left) == after


def test_every_deadline_has_its_look() -> None:
    """The first that is still ahead counts, not the last of all."""
    deadlines = [START + timedelta(seconds=seconds) for seconds in (5, 300, 7200)]
    assert next_at(START, deadlines, step=20, tries=0, random=lambda: 1.0) == deadlines[1] - timedelta(seconds=20)


def test_a_retry_after_is_kept_before_a_deadline_too() -> None:
    """But nothing is put off beyond the end, at which the row goes."""
    assert after_s(step=20, tries=1, left=60, at_least=50) == 50
    assert after_s(step=20, tries=1, left=60, at_least=500) == 60
