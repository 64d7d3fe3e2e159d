"""What will happen by itself, in order of time."""

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta

Action = Callable[[], object]


class Agenda:
    """A clockwork that only turns when it is told the time. `now`: the moment of the action that runs, or the last time told."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._count = 0
        self._due: list[tuple[datetime, int, Action]] = []

    def after(self, seconds: float, action: Action) -> None:
        """Let *action* happen *seconds* from `now`; equal moments keep their order. It happens in run(), never at once."""
        self._count += 1
        heapq.heappush(self._due, (self.now + timedelta(seconds=seconds), self._count, action))

    def next_at(self) -> datetime | None:
        """Return the moment of the next action, or None."""
        return self._due[0][0] if self._due else None

    def run(self, now: datetime) -> None:
        """Let everything happen that is due at *now*, each at its own moment."""
        while self._due and self._due[0][0] <= now:
            at, _, action = heapq.heappop(self._due)
            self.now = max(self.now, at)
            action()
        self.now = max(self.now, now)
