"""The emulator's time, which a test can push forward, and the list of what is to happen at a time."""

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count


def utc_now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """A given clock plus what was added to it; it runs on by itself when the given one does."""

    def __init__(self, source: Callable[[], datetime] = utc_now) -> None:
        self._source = source
        self._ahead = timedelta()

    def now(self) -> datetime:
        """Return aware UTC."""
        return self._source() + self._ahead

    def advance(self, seconds: float) -> None:
        """Go forward; raises ValueError for a negative number, for time does not go back."""
        if seconds < 0:
            raise ValueError("time is advanced by 0 s or more")
        self._ahead += timedelta(seconds=seconds)


class Agenda:
    """What happens at a time. Entries are never withdrawn: each looks for itself whether it still applies."""

    def __init__(self) -> None:
        self._entries: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._numbers = count()

    def add(self, when: datetime, do: Callable[[datetime], None]) -> None:
        """Call *do* with *when* once that time has come and run_due() is called."""
        heapq.heappush(self._entries, (when, next(self._numbers), do))

    def run_due(self, now: datetime) -> None:
        """Do what is due by *now*, in the order of time, and what that adds, when it is due too."""
        while self._entries and self._entries[0][0] <= now:
            when, _, do = heapq.heappop(self._entries)
            do(when)
