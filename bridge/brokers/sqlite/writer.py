"""The one thread that uses the file, as the event loop sees it.

Law: `Committer` and what it owns belong to the thread, futures and deliveries to the event loop. The two meet in a
queue of jobs (in) and in one callback a transaction (out).
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from bridge.brokers.sqlite.committer import Committer, Job, Served
from bridge.brokers.sqlite.ledger import Ledger
from bridge.core.errors import BridgeError, BrokerUnavailable, ConfigError

MAX_BATCH = 1_000
"""Jobs a transaction: it stays short, because the store may be waiting for the same file."""

T = TypeVar("T")


class Writer:
    """Changes and questions in, outcomes out."""

    def __init__(self, path: Path, *, busy_timeout: timedelta) -> None:
        self.is_healthy = False
        """The thread runs, and its last transaction worked."""
        self._path = path
        self._busy_timeout = busy_timeout
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._lock: int | None = None

    async def start(self) -> None:
        """Lock and open the file and start the thread.

        Raises:
            ConfigError: another process uses the file, or it cannot be opened.
            BrokerUnavailable: somebody kept it locked for the whole busy time-out.
        """
        self._lock = _lock(self._path)
        self._loop = asyncio.get_running_loop()
        self._jobs = SimpleQueue()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = Thread(target=self._run, args=(partial(_resolve, opened),), name="sqlite-broker", daemon=True)
        self._thread.start()
        try:
            await opened
        except BridgeError:
            await self.stop()
            raise
        self.is_healthy = True

    @property
    def is_running(self) -> bool:
        return self._thread is not None

    async def stop(self) -> None:
        """Finish what was asked for, close the file and unlock it."""
        self.is_healthy = False
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def change(self, note: Callable[[Ledger], None]) -> None:
        """Return when the change that *note* makes is stored durably.

        Raises:
            BrokerUnavailable: it is not.
        """
        await self._submit(note, is_change=True)

    async def ask(self, note: Callable[[Ledger], T]) -> T:
        """Return what *note* returns; it writes nothing."""
        answer: T = await self._submit(note, is_change=False)
        return answer

    async def _submit(self, note: Callable[[Ledger], Any], *, is_change: bool) -> Any:
        if self._thread is None:
            raise BrokerUnavailable("the broker is not started, or closed")
        done: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put(Job(note, partial(_resolve, done), is_change))
        return await done

    def _tell(self, served: Served) -> None:
        """On the loop: what was handed out first, so that whoever paused finds it when the pause is answered."""
        self.is_healthy = served.is_healthy and self._thread is not None
        for consumer, deliveries in served.handed:
            consumer.receive(deliveries)
        for job, outcome in served.outcomes:
            job.resolve(outcome)

    # From here on: the thread.

    def _run(self, opened: Callable[[Any], None]) -> None:
        with suppress(RuntimeError):  # the loop was closed without us: nobody is left to tell
            try:
                committer = Committer(self._path, busy_timeout=self._busy_timeout)
            except (ConfigError, OSError, sqlite3.Error) as exc:
                self._loop.call_soon_threadsafe(opened, _why_not_opened(self._path, exc))
                return
            with closing(committer):
                self._loop.call_soon_threadsafe(opened, None)
                while self._turn(committer):
                    pass

    def _turn(self, committer: Committer) -> bool:
        """Serve what is there, or what comes next; return False at the end."""
        jobs = self._gather(committer.idle_s)
        served = committer.serve([job for job in jobs if job is not None])
        self._loop.call_soon_threadsafe(self._tell, served)
        return None not in jobs

    def _gather(self, wait_s: float | None) -> list[Job | None]:
        jobs: list[Job | None] = []
        with suppress(Empty):
            jobs.append(self._jobs.get(timeout=wait_s))
            while len(jobs) < MAX_BATCH:
                jobs.append(self._jobs.get_nowait())
        return jobs


def _resolve(done: "asyncio.Future[Any]", outcome: Any) -> None:
    if done.done():
        return  # nobody waits any more
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


def _lock(path: Path) -> int:
    """Return the descriptor that keeps every other process out until it is closed, at the latest by our end.

    Raises:
        ConfigError: another process has it, or there is no such folder.
    """
    lock_path = path.with_name(path.name + ".broker-lock")
    try:
        descriptor = os.open(lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigError([f"broker.url: cannot use {path}: {lock_path}: {exc.strerror}"]) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        raise ConfigError(
            [f"broker.url: {path} is in use by another process; a SQLite broker serves one (lock file {lock_path})"]
        ) from exc
    return descriptor


def _why_not_opened(path: Path, exc: Exception) -> BridgeError:
    if isinstance(exc, ConfigError):
        return exc
    is_busy = isinstance(exc, sqlite3.Error) and getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
    error = BrokerUnavailable(f"{path}: {exc}") if is_busy else ConfigError([f"broker.url: cannot use {path}: {exc}"])
    error.__cause__ = exc
    return error
