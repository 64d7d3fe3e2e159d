"""The queue: items wait out their quiet period, are blocked or buildable, leave, and are forgotten."""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bridge.testing.jenkins.model.builds import Build
from bridge.testing.jenkins.model.jobs import Job


class ItemState(StrEnum):
    """The class name that `api/json` shows behind `hudson.model.Queue$`."""

    WAITING = "WaitingItem"
    BLOCKED = "BlockedItem"
    BUILDABLE = "BuildableItem"
    LEFT = "LeftItem"


@dataclass(eq=False)
class QueueItem:
    """One item. Times in seconds since 1970."""

    id: int
    job: Job
    parameters: dict[str, Any]
    since: float
    until: float
    """The end of its quiet period."""
    state: ItemState = ItemState.WAITING
    why: str | None = None
    is_cancelled: bool = False
    left_at: float | None = None
    build: Build | None = None

    @property
    def is_left(self) -> bool:
        return self.state is ItemState.LEFT

    def wait(self, state: ItemState, why: str) -> None:
        self.state, self.why = state, why


@dataclass
class Queue:
    """All items not forgotten yet, by id. `open`: those that still wait, or left and have no build yet."""

    items: dict[int, QueueItem] = field(default_factory=dict)
    open: dict[int, QueueItem] = field(default_factory=dict)
    last_id: int = 0
    _left: deque[tuple[float, int]] = field(default_factory=deque)
    """When items left, and their ids, the first to leave first."""

    def new_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def add(self, job: Job, parameters: dict[str, Any], now: float, quiet_s: float) -> QueueItem:
        item = QueueItem(self.new_id(), job, parameters, now, now + quiet_s)
        item.wait(ItemState.WAITING, f"In the quiet period. Expires in {quiet_s:g} sec")
        self.items[item.id] = self.open[item.id] = item
        return item

    def twin(self, job: Job, parameters: dict[str, Any]) -> QueueItem | None:
        """Return the identical item that still waits."""
        return next((each for each in self.waiting() if each.job is job and each.parameters == parameters), None)

    def waiting(self) -> list[QueueItem]:
        return [each for each in self.open.values() if not each.is_left]

    def leave(self, item: QueueItem, now: float, *, is_cancelled: bool = False) -> None:
        """Let an item leave, to be built, or for good when it is cancelled."""
        item.state, item.left_at, item.is_cancelled, item.why = ItemState.LEFT, now, is_cancelled, None
        self._left.append((now, item.id))
        if is_cancelled:
            self.close(item)

    def close(self, item: QueueItem) -> None:
        """Note that nothing more becomes of *item*."""
        self.open.pop(item.id, None)

    def forget(self, now: float, keep_s: float) -> None:
        """Drop what left the queue long ago."""
        while self._left and now - self._left[0][0] > keep_s:
            self.items.pop(self._left.popleft()[1], None)

    def restart(self, *, keeps_waiting: bool) -> None:
        """Keep what a restart leaves: at most the waiting items."""
        self._left.clear()
        self.items = {each.id: each for each in self.waiting()} if keeps_waiting else {}
        self.open = dict(self.items)
