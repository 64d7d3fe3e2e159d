"""Group commit: everything that was asked for since the last transaction is the next one. Synchronous; one thread's own."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from bridge.brokers.sqlite.ledger import Consumer, Handed, Ledger
from bridge.brokers.sqlite.rows import Rows
from bridge.core.errors import BrokerUnavailable

REPAIR_INTERVAL_S = 1.0
"""After a failed transaction: how long until one is tried that nobody asked for."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What somebody asks for. *resolve* is not called here: it is the event loop's."""

    note: Callable[[Ledger], Any]
    """Applied to the ledger; may raise BrokerUnavailable, and then changes nothing."""
    resolve: Callable[[Any], None]
    """Takes what *note* returned, or what it raised."""
    is_change: bool
    """Done when its transaction is; otherwise a question, answered at once."""


@dataclass(slots=True)
class Served:
    """What became of some jobs."""

    outcomes: list[tuple[Job, Any]] = field(default_factory=list)
    handed: list[tuple[Consumer, list[Handed]]] = field(default_factory=list)
    is_healthy: bool = True


class Committer:
    """Serves jobs, a transaction for all that come together."""

    def __init__(self, path: Path, *, busy_timeout: timedelta) -> None:
        """Open the file, and take back what a process that died had in its hands.

        Raises:
            ConfigError, OSError, sqlite3.Error: it cannot be used.
        """
        self._rows = Rows(path, busy_timeout=busy_timeout)
        self._pause = _Pause()
        self._repair_at: float | None = None
        """Monotonic; set while transactions fail."""
        try:
            self._ledger = Ledger(self._rows)
            self._ledger.recover()
            self._transact()
        except BaseException:
            self._rows.close()
            raise

    def close(self) -> None:
        self._rows.close()

    @property
    def idle_s(self) -> float | None:
        """How long to wait for jobs before `serve` has work without any; None: as long as it takes."""
        if self._repair_at is not None:
            return max(0.0, self._repair_at - time.monotonic())
        return self._ledger.next_due_s

    def serve(self, jobs: Sequence[Job]) -> Served:
        """Do *jobs* and what is due. Whatever goes wrong is the outcome of those that it concerns."""
        served = Served()
        changes = []
        for job in jobs:
            outcome = self._note(job)
            if job.is_change and not isinstance(outcome, Exception):
                changes.append(job)
            else:
                served.outcomes.append((job, outcome))
        try:
            if self._ledger.has_work or self._repair_at is not None:
                served.handed = self._transact()
                self._repair_at = None
            served.outcomes += [(job, None) for job in changes]
        except Exception as exc:  # noqa: BLE001 - a bug in one change fails its batch, it does not end the thread
            self._fail(exc)
            served.outcomes += [(job, _unavailable(exc)) for job in changes]
        served.is_healthy = self._repair_at is None
        return served

    def _note(self, job: Job) -> Any:
        try:
            return job.note(self._ledger)
        except sqlite3.Error as exc:  # a question that the file did not answer
            return _unavailable(exc)
        except Exception as exc:  # noqa: BLE001 - the outcome of this job alone
            return exc

    def _transact(self) -> list[tuple[Consumer, list[Handed]]]:
        self._pause.wait()
        self._rows.begin()
        self._pause.lock_taken()
        if self._repair_at is not None:
            self._rows.probe()
        self._ledger.write()
        self._rows.commit()
        self._pause.lock_left()
        return self._ledger.committed()

    def _fail(self, exc: Exception) -> None:
        _log.warning("broker_transaction_failed", reason=str(exc))
        self._repair_at = time.monotonic() + REPAIR_INTERVAL_S
        self._ledger.failed()
        try:
            self._rows.rollback()
        except sqlite3.Error as again:
            _log.warning("broker_rollback_failed", reason=str(again))


class _Pause:
    """Leaves the file alone for a while between transactions, half as long as the last one lasted.

    Its lock has no queue, and another connection (the store) asks for it in growing intervals, so under load it would
    hardly ever find it free. A lone publish does not wait: its answer takes longer than this.
    """

    def __init__(self) -> None:
        self._taken_at = self._left_at = 0.0

    def wait(self) -> None:
        pause_s = (self._left_at - self._taken_at) / 2 - (time.monotonic() - self._left_at)
        if pause_s > 0:
            time.sleep(pause_s)

    def lock_taken(self) -> None:
        self._taken_at = time.monotonic()

    def lock_left(self) -> None:
        self._left_at = time.monotonic()


def _unavailable(exc: Exception) -> BrokerUnavailable:
    failure = BrokerUnavailable(f"SQLite: {exc}")
    failure.__cause__ = exc
    return failure
