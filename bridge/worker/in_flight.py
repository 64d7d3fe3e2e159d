"""InFlight: the deliveries that are worked on now, bounded, and waited for at the end."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import structlog

_log = structlog.get_logger(__name__)


class InFlight:
    """At most *limit* at once. The broker's prefetch bounds one connection's; after a lost one the old calls still run."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __len__(self) -> int:
        return len(self._tasks)

    async def room(self) -> int:
        """Wait until something may start; return how many."""
        await self._has_room.wait()
        return self._limit - len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* beside the others; what goes wrong in one never touches another."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if len(self._tasks) >= self._limit:
            self._has_room.clear()

    async def finish(self, within: timedelta) -> None:
        """Wait for what runs; cancel what still runs after *within*, and wait for that too."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(within.total_seconds(), 0))
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._has_room.set()
        if not task.cancelled() and (fault := task.exception()):
            _log.error("delivery_left_unsettled", fault=type(fault).__name__)
