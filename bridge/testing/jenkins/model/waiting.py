"""The queue: items wait out their quiet period, are blocked or buildable, leave, and are forgotten."""

from collections.abc import Iterator
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

    def leave(self, now: float, *, is_cancelled: bool = False) -> None:
        self.state, self.left_at, self.is_cancelled, self.why = ItemState.LEFT, now, is_cancelled, None

    def wait(self, state: ItemState, why: str) -> None:
        self.state, self.why = state, why


@dataclass
class Queue:
    """All items not forgotten yet, by id."""

    items: dict[int, QueueItem] = field(default_factory=dict)
    last_id: int = 0

    def new_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def add(self, job: Job, parameters: dict[str, Any], now: float, quiet_s: float) -> QueueItem:
        item = QueueItem(self.new_id(), job, parameters, now, now + quiet_s)
        item.wait(ItemState.WAITING, f"In the quiet period. Expires in {quiet_s:g} sec")
        self.items[item.id] = item
        return item

    def twin(self, job: Job, parameters: dict[str, Any]) -> QueueItem | None:
        """Return the identical item that still waits."""
        return next((each for each in self.waiting() if each.job is job and each.parameters == parameters), None)

    def waiting(self) -> Iterator[QueueItem]:
        return (each for each in list(self.items.values()) if not each.is_left)

    def forget(self, now: float, keep_s: float) -> None:
        """Drop what left the queue long ago."""
        self.items = {
            id_: each for id_, each in self.items.items() if each.left_at is None or now - each.left_at <= keep_s
        }

    def restart(self, *, keeps_waiting: bool) -> None:
        """Keep what a restart leaves: at most the waiting items."""
        self.items = {id_: each for id_, each in self.items.items() if keeps_waiting and not each.is_left}
