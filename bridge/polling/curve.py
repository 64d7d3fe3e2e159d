"""When to look again: tightly at first, since the list that a webhook is ahead of catches up in seconds; then seldom.

Somebody who tells nothing, such as a pipeline that errored after its webhook was lost, is found at the latest shortly before a
wait's deadline, early enough for the event to be there in time.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from bridge.core.retry import LATER, RetryPolicy

OPEN = RetryPolicy(first=timedelta(seconds=0.5), ceiling=timedelta(minutes=10))
LAST = (timedelta(seconds=20), timedelta(seconds=8))
"""Before each deadline: the second is for what ended a moment before the first."""


def next_at(
    now: datetime,
    deadlines: Sequence[datetime],
    *,
    step: int,
    tries: int,
    random: Callable[[], float],
    at_least: timedelta | None = None,
) -> datetime:
    """Return when to look again; at the last of *deadlines* nobody looks any more, so never later.

    step: looks so far; tries: failed ones in a row, 0 when the last went well.
    random: a number in [0, 1).
    at_least: a Retry-After, which the looks before a deadline keep too.
    """
    policy, number = (LATER, tries) if tries else (OPEN, step)
    at = now + policy.delay(number, random=lambda: 0.5 + random() / 2)
    before = [moment for deadline in deadlines for last in LAST if (moment := deadline - last) > now]
    earliest = now + (at_least or timedelta(0))
    return min(max(min([at, *before]), earliest), max(deadlines))
