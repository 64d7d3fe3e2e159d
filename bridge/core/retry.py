"""RetryPolicy: how long to wait before the next attempt, with full jitter from a given random."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Full jitter: uniform between 0 and `first * 2**(n-1)`, that capped at `ceiling`."""

    first: timedelta
    ceiling: timedelta

    def delay(self, attempt: int, *, random: Callable[[], float], at_least: timedelta | None = None) -> timedelta:
        """Return the wait before the attempt after *attempt* (from 1).

        random: a number in [0, 1).
        at_least: a Retry-After; the jitter is then added on top, so that many waiters do not come back together.
        """
        top = min(self.ceiling, self.first * (1 << min(attempt - 1, 30)))
        return top * random() + (at_least or timedelta(0))


NOT_YET = RetryPolicy(first=timedelta(seconds=0.5), ceiling=timedelta(seconds=30))
LATER = RetryPolicy(first=timedelta(seconds=1), ceiling=timedelta(minutes=2))
