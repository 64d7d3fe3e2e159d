"""The tables of the broker, and the only place with its SQL. Synchronous; one thread uses it; transactions are the caller's.

A message is one row, in one of three states. It is inserted ready (or delayed), handed out, and deleted when it is
acked. `position` orders a queue: what comes back keeps its own, a copy gets a new one. Times are whole microseconds
since 1970.
"""

import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from bridge.core.errors import ConfigError
from bridge.core.local import LocalMessage

SCHEMA_VERSION = 1
_BUSY_TRY_MS = 5

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS broker_meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS broker_queues (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS broker_topics (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS broker_messages (
    id INTEGER PRIMARY KEY,
    state INTEGER NOT NULL, -- 0 ready, 1 handed out, 2 delayed
    queue TEXT NOT NULL,
    position INTEGER NOT NULL,
    due INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    published_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    returns INTEGER NOT NULL,
    is_redelivered INTEGER NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS broker_ready ON broker_messages (queue, position) WHERE state = 0;
CREATE INDEX IF NOT EXISTS broker_handed_out ON broker_messages (queue) WHERE state = 1;
CREATE INDEX IF NOT EXISTS broker_delayed ON broker_messages (due) WHERE state = 2;
"""
_COLUMNS = "queue, body, headers, message_id, published_at, attempt, returns, is_redelivered"


_CHANGE = """
UPDATE broker_messages SET
    state = ?, due = ?, position = coalesce(?, position),
    queue = ?, message_id = ?, attempt = ?, returns = ?, is_redelivered = ?, headers = ?
WHERE id = ?
"""


def microseconds(moment: datetime) -> int:
    """Return *moment* as the tables keep it."""
    return (moment - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one row: *message* with the body that it has, ready, or delayed until *due*."""

    row: int
    message: LocalMessage
    position: int | None = None
    """None: it keeps its place."""
    due: int | None = None

    @property
    def values(self) -> tuple[int | str | None, ...]:
        """As `_CHANGE` takes them."""
        message = self.message
        return (
            0 if self.due is None else 2,
            self.due or 0,
            self.position,
            message.queue,
            message.message_id,
            message.attempt,
            message.returns,
            message.is_redelivered,
            orjson.dumps(message.headers).decode(),
            self.row,
        )


class Rows:
    """One connection to the file, with the broker's tables in it."""

    def __init__(self, path: Path, *, busy_timeout: timedelta) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives its side files the same mode
        self._busy_timeout_s = busy_timeout.total_seconds()
        self._db = sqlite3.connect(path, timeout=self._busy_timeout_s, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    def begin(self) -> None:
        """Open a transaction as its writer; waits for another connection's one up to the busy time-out.

        The file's lock has no queue: whoever asks often gets it. SQLite's own waiting slows down to 100 ms a try, and
        then loses for seconds against a busy store; so its time-out is a few milliseconds and we ask again.
        """
        end = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
            else:
                return

    def commit(self) -> None:
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        if self._db.in_transaction:  # a full disk has rolled back already
            self._db.execute("ROLLBACK")

    def probe(self) -> None:
        """Ask for room, so that a transaction without work shows whether the disk has some."""
        self._db.execute("INSERT OR REPLACE INTO broker_topics VALUES ('', zeroblob(65536))")
        self._db.execute("DELETE FROM broker_topics WHERE name = ''")

    def insert(self, messages: Iterable[tuple[LocalMessage, int]]) -> None:
        """Add ready messages, each with its position."""
        self._db.executemany(
            f"INSERT INTO broker_messages (state, position, due, {_COLUMNS}) VALUES (0, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own column names
            [
                (
                    position,
                    message.queue,
                    message.body,
                    orjson.dumps(message.headers).decode(),
                    message.message_id,
                    microseconds(message.published_at),
                    message.attempt,
                    message.returns,
                    message.is_redelivered,
                )
                for message, position in messages
            ],
        )

    def delete(self, rows: Iterable[int]) -> None:
        self._db.executemany("DELETE FROM broker_messages WHERE id = ?", [(row,) for row in rows])

    def change(self, changes: Iterable[Change]) -> None:
        """Turn rows into other messages; the body of each stays the same."""
        self._db.executemany(_CHANGE, [change.values for change in changes])

    def give_back(self, rows: Iterable[int]) -> None:
        """Make *rows* ready again as they stand."""
        self._db.executemany("UPDATE broker_messages SET state = 0 WHERE id = ?", [(row,) for row in rows])

    def give_back_redelivered(self, rows: Collection[int]) -> set[str]:
        """Make *rows* ready again as handed out before; return their queues."""
        mark = "UPDATE broker_messages SET state = 0, is_redelivered = 1 WHERE id = ?"
        self._db.executemany(mark, [(row,) for row in rows])
        return self.busy_queues() if rows else set()

    def claim(self, queue: str, limit: int) -> list[tuple[int, LocalMessage]]:
        """Mark the next *limit* ready messages of *queue* as handed out; return them by row, in their order."""
        found = self._messages("state = 0 AND queue = ? ORDER BY position LIMIT ?", queue, limit)
        self._db.executemany("UPDATE broker_messages SET state = 1 WHERE id = ?", [(row,) for row, _ in found])
        return found

    def handed_out(self) -> list[tuple[int, LocalMessage]]:
        """Return what was handed out and not settled."""
        return self._messages("state = 1 ORDER BY position")

    def due(self, now: int) -> list[tuple[int, str]]:
        """Return row and queue of the delayed messages that are due, the longest due one first."""
        query = "SELECT id, queue FROM broker_messages WHERE state = 2 AND due <= ? ORDER BY due, id"
        return [(row, queue) for row, queue in self._db.execute(query, (now,))]

    def promote(self, row: int, position: int) -> None:
        """Make the delayed *row* ready at the end of its queue."""
        self._db.execute("UPDATE broker_messages SET state = 0, position = ? WHERE id = ?", (position, row))

    def next_due(self) -> int | None:
        return self._value("SELECT min(due) FROM broker_messages WHERE state = 2")

    def last_position(self) -> int:
        return self._value("SELECT max(position) FROM broker_messages") or 0

    def busy_queues(self) -> set[str]:
        """Return the queues with ready messages."""
        return {queue for (queue,) in self._db.execute("SELECT DISTINCT queue FROM broker_messages WHERE state = 0")}

    def count(self, queue: str) -> tuple[int, int]:
        """Return how many messages of *queue* are ready and how many handed out."""
        ready = self._value("SELECT count(*) FROM broker_messages WHERE state = 0 AND queue = ?", queue)
        return ready or 0, self._value("SELECT count(*) FROM broker_messages WHERE state = 1 AND queue = ?", queue) or 0

    def declare(self, queues: Iterable[str]) -> None:
        self._db.executemany("INSERT OR IGNORE INTO broker_queues VALUES (?)", [(queue,) for queue in queues])

    def declared(self) -> set[str]:
        return {name for (name,) in self._db.execute("SELECT name FROM broker_queues")}

    def announce(self, topics: Mapping[str, bytes]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO broker_topics VALUES (?, ?)", list(topics.items()))

    def topics(self) -> dict[str, bytes]:
        return dict(self._db.execute("SELECT name, body FROM broker_topics"))

    def _prepare(self) -> None:
        with closing(self._db.execute("PRAGMA journal_mode = WAL")):
            pass  # first, and before any transaction; the store on the same file asks for the same
        self._db.execute(f"PRAGMA busy_timeout = {_BUSY_TRY_MS}")
        self._db.execute("PRAGMA synchronous = FULL")  # WAL needs it for durability: a commit ends with an fsync
        self.begin()
        try:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._db.execute(statement)
            self._db.execute("INSERT OR IGNORE INTO broker_meta VALUES ('schema', ?)", (SCHEMA_VERSION,))
            self._check_version()
            self.commit()
        except BaseException:
            self.rollback()
            raise

    def _check_version(self) -> None:
        version = self._value("SELECT value FROM broker_meta WHERE name = 'schema'")
        if version != SCHEMA_VERSION:
            raise ConfigError([f"broker.url: the file has broker tables of version {version}, not {SCHEMA_VERSION}"])

    def _messages(self, condition: str, *values: str | int) -> list[tuple[int, LocalMessage]]:
        query = f"SELECT id, {_COLUMNS} FROM broker_messages WHERE {condition}"  # noqa: S608 - our own words
        return [(row, _message(fields)) for row, *fields in self._db.execute(query, values)]

    def _value(self, query: str, *values: str) -> int | None:
        found: tuple[int | None] | None = self._db.execute(query, values).fetchone()
        return found[0] if found else None


def _message(fields: Sequence[Any]) -> LocalMessage:
    """Return the message in *fields*: `_COLUMNS`."""
    queue, body, headers, message_id, published_at, attempt, returns, is_redelivered = fields
    return LocalMessage(
        queue,
        body,
        orjson.loads(headers),
        message_id,
        _EPOCH + published_at * _MICROSECOND,
        attempt,
        returns,
        bool(is_redelivered),
    )
