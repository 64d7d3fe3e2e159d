"""Which builds have something to do: those touched since they last ran, and those whose time has come.

Thousands of builds may wait; a look at the clock must not cost a look at each of them.
"""

import heapq
from dataclasses import dataclass, field

from bridge.testing.jenkins.model.builds import Build


@dataclass
class Agenda:
    """The builds to run next."""

    touched: dict[Build, None] = field(default_factory=dict)
    """In order of their first touch."""
    _timed: list[tuple[float, int, Build]] = field(default_factory=list)
    _count: int = 0

    def touch(self, build: Build) -> None:
        """Note that something happened to *build*."""
        self.touched[build] = None

    def take_due(self, now: float) -> list[Build]:
        """Return the builds to run now; each must be run(), or touched again."""
        while self._timed and self._timed[0][0] <= now:
            self.touch(heapq.heappop(self._timed)[2])
        builds = [build for build in self.touched if not build.is_deleted]
        self.touched.clear()
        return builds

    def sleep(self, build: Build) -> None:
        """Note when time alone next changes *build*."""
        due = build.due()
        if due is not None:
            self._count += 1
            heapq.heappush(self._timed, (due, self._count, build))

    def due(self) -> float | None:
        """Return the next moment at which a build has something to do."""
        return self._timed[0][0] if self._timed else None
