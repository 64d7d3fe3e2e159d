"""Quota: what an answer says of the requests that are left. Allowance: whose turn it is, so that a platform need not throttle."""

from dataclasses import dataclass
from math import inf

MAX_WINDOW_S = 60.0
"""The longest that a window is believed to last without asking again: one request then tells."""
ROUNDING_S = 1.0
"""Platforms tell whole seconds, so that a window may end this much before what was told."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of the present window.

    remaining: requests, after the one that was answered.
    reset_s: seconds until the next window.
    limit: requests of a whole window, where told.
    """

    remaining: int
    reset_s: float
    limit: int | None = None


class Allowance:
    """Counts requests against the quota that was told last; *now* is any clock in seconds that is never set back.

    Before anything was told there is no limit. When a window is over, the next one is taken to be like it until an answer
    tells. Others may use the same quota, so an answer is believed where it says less than our own count.
    """

    def __init__(self) -> None:
        self._limit = self._left = inf
        self._ends_at = 0.0
        self._is_guessed = False
        self._window_s = 0.0
        self._under_way = 0

    def take(self, now: float) -> float:
        """Take a turn and return 0, or return the seconds until it is worth asking again."""
        if now >= self._ends_at:
            self._left, self._ends_at, self._is_guessed = self._limit, now + self._window_s, True
        if self._left < 1:
            return self._ends_at - now
        self._left -= 1
        self._under_way += 1
        return 0.0

    def give_back(self) -> None:
        """Note that a request which had taken its turn has ended, answered or not."""
        self._under_way -= 1

    def learn(self, quota: Quota, now: float) -> None:
        """Take in what the answer to a request that has ended says."""
        reset_s = min(quota.reset_s, MAX_WINDOW_S)
        if now >= self._ends_at:  # nothing is known of this window: what is under way may not be counted in it yet
            self._left, self._ends_at = quota.remaining - self._under_way, now + reset_s
        else:
            self._left = min(self._left, quota.remaining)
            self._ends_at = self._end(quota, now + reset_s)
        self._is_guessed = False
        self._window_s = max(self._window_s, reset_s)
        self._limit = self._limit if quota.limit is None else max(quota.limit, 1)

    def _end(self, quota: Quota, told: float) -> float:
        """Return when the present window ends: what is told first counts; later rounding never puts it off.

        Another limit that is used up does.
        """
        is_another = quota.remaining < 1 and told - self._ends_at > ROUNDING_S
        return told if self._is_guessed or is_another else min(self._ends_at, told)
