"""The tables. What a row means stands here; what may change it stands in ledger.py (waits) and intake.py (events)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC moment, as microseconds since 1970: the same order and precision on every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - the base's shape
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the base's shape
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Json(TypeDecorator[Any]):
    """JSON as text: never searched in by the database, and NUL stays an escape that PostgreSQL can hold."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 - the base's shape
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002 - the base's shape
        return None if value is None else orjson.loads(value)


waits = sa.Table(
    "waits",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("address", Json, nullable=False),
    sa.Column("canonical", sa.Text, nullable=False, comment="one spelling of the address; hashed when long"),
    sa.Column("is_repeated", sa.Boolean, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("third_party_client", sa.Text, comment="the platform's client whose token its resolutions carry"),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("request_hash", sa.Text, comment="a keyed hash of the body; only with an idempotency key"),
    sa.Column("labels", Json, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("outcome", sa.String(16)),
    sa.Column("reason", sa.String(16)),
    sa.Column("decided_at", Instant),
    sa.Column("event_id", sa.Text),
    sa.Column("caused_at", Instant),
    sa.Column("progress", Json),
    sa.Column("dispatch", sa.Integer, nullable=False),
    sa.Column("deliver_until", Instant),
    sa.Column("sent_at", Instant),
    sa.Column("attempted", sa.Integer, nullable=False),
    sa.Column(
        "needs_look", sa.Boolean, nullable=False, comment="the look at events before its registration is not made yet"
    ),
    sa.Column("claimed_at", Instant, comment="when a coordinator last took the row for its expiry or for (re)sending"),
)
# Conditions with literals: a partial index serves only a query that repeats its condition, not one with a parameter.
HOLDS_ADDRESS = sa.text("state IN ('open', 'resolving')")
IS_OPEN = sa.text("state = 'open'")
IS_RESOLVING = sa.text("state = 'resolving'")
IS_UNSENT = sa.text("state = 'resolving' AND sent_at IS NULL")
_HAS_KEY = sa.text("idempotency_key IS NOT NULL")


def _partial(name: str, *columns: sa.Column[Any], where: sa.TextClause, unique: bool = False) -> None:
    sa.Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_partial("uq_waits_address", waits.c.target, waits.c.canonical, unique=True, where=HOLDS_ADDRESS)
_partial("uq_waits_idempotency", waits.c.client, waits.c.idempotency_key, unique=True, where=_HAS_KEY)
_partial("ix_waits_expiry", waits.c.expires_at, where=IS_OPEN)
sa.Index(
    "ix_waits_needs_look",
    waits.c.created_at,
    sqlite_where=sa.text("needs_look = 1"),  # as SQLAlchemy writes a boolean column on each of them
    postgresql_where=sa.text("needs_look"),
)
_partial("ix_waits_delivery", waits.c.deliver_until, where=IS_RESOLVING)
_partial("ix_waits_unsent", waits.c.claimed_at, where=IS_UNSENT)
sa.Index("ix_waits_created", waits.c.created_at, waits.c.id)
sa.Index("ix_waits_event", waits.c.event_id)

wait_labels = sa.Table(
    "wait_labels",
    metadata,
    sa.Column("wait_id", sa.String(32), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Index("ix_wait_labels_pair", "name", "value"),
)

expectations = sa.Table(
    "expectations",
    metadata,
    sa.Column("wait_id", sa.String(32), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("type", sa.Text),
    sa.Column("keys", Json, nullable=False),
    sa.Column("early", sa.Boolean, nullable=False),
    sa.Column(
        "anchor_name", sa.Text, nullable=False, comment="the most telling of the keys: found by it, then compared whole"
    ),
    sa.Column("anchor_value", sa.Text, nullable=False),
    sa.Index("ix_expectations_anchor", "source", "anchor_name", "anchor_value"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("duplicate_of", sa.Text),
    sa.Column("is_kept", sa.Boolean, nullable=False, comment="later waits may still look at it"),
    sa.Column("document", sa.LargeBinary, nullable=False, comment="the event as published"),
    sa.Index("ix_events_received", "received_at", "id"),
)
sa.Index(
    "ix_events_kept",
    events.c.source,
    events.c.received_at,
    sqlite_where=sa.text("is_kept = 1"),
    postgresql_where=sa.text("is_kept"),
)

event_keys = sa.Table(
    "event_keys",
    metadata,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Index("ix_event_keys_lookup", "source", "name", "value"),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("wait_id", sa.String(32), primary_key=True),
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("verdict", sa.String(16), nullable=False),
)

dedupe = sa.Table(
    "dedupe",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Index("ix_dedupe_expires_at", "expires_at"),
)

timeline = sa.Table(
    "timeline",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("wait_id", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("event", sa.Text),
    sa.Column("attempt", sa.Integer),
    sa.Column("ending", sa.Text),
    sa.Column("note", sa.Text),
    sa.Index("ix_timeline_wait_id", "wait_id", "id"),
)

dead_letters = sa.Table(
    "dead_letters",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="the broker's message id: a redelivery is the same row"),
    sa.Column("queue", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("wait_id", sa.Text),
    sa.Column("target", sa.Text),
    sa.Column("dispatch", sa.Integer),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("ix_dead_letters_at", "at", "id"),
)

works = sa.Table(
    "works",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column(
        "key", sa.Text, nullable=False, comment="what the platform calls the same work, whichever job it hands out"
    ),
    sa.Column("context", Json, nullable=False, comment="names for people and for the remote; never a secret"),
    sa.Column("client_id", sa.Text),
    sa.Column("generation", sa.Integer, nullable=False, comment="how many of its jobs were ended with a token"),
    sa.Column("job_id", sa.Text, comment="the open job; null between two"),
    sa.Column("nonce", sa.Text),
    sa.Column("acknowledged", sa.String(8), nullable=False),
    sa.Column("putting", sa.String(8), comment="the result that is, or may have been, put on the open job"),
    sa.Column("wait_id", sa.String(32)),
    sa.Column("remote_id", sa.Text),
    sa.Column("started_at", Instant),
    sa.Column("progress", Json, comment="what the last result told"),
    sa.Column("put_at", Instant),
    sa.Column("claimed_by", sa.Text, comment="who alone may change the row until claimed_until"),
    sa.Column("claimed_until", Instant),
    sa.Column("due_at", Instant, comment="when somebody is to look at it again"),
    sa.Column("tries", sa.Integer, nullable=False, comment="failed steps in a row"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("ending", sa.Text),
    sa.Index("uq_works_key", "target", "key", unique=True),
)
IS_UNENDED = sa.text("ended_at IS NULL")
_partial("ix_works_due", works.c.target, works.c.due_at, where=IS_UNENDED)
_partial("ix_works_agent", works.c.agent, where=IS_UNENDED)
sa.Index("ix_works_ended", works.c.ended_at)

wholes = sa.Table(
    "wholes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="of the event that will tell what it came to"),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("due_at", Instant, nullable=False, comment="when it is to be looked at"),
    sa.Column("step", sa.Integer, nullable=False, comment="looks since it was touched"),
    sa.Column("tries", sa.Integer, nullable=False, comment="failed looks in a row"),
    sa.Column("deadlines", Json, nullable=False, comment="of the waits that asked, as text, ascending"),
    sa.Column("until", Instant, nullable=False, comment="the last of them: nobody wants it any more"),
    sa.Column("touched", sa.Integer, nullable=False, comment="counts waits that asked and parts that ended"),
    sa.Column("claimed_until", Instant, comment="somebody looks at it until then"),
    sa.Index("uq_wholes_name", "source", "name", unique=True),
    sa.Index("ix_wholes_due", "source", "due_at"),
    sa.Index("ix_wholes_until", "until"),
)

targets = sa.Table(
    "targets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("is_paused", sa.Boolean, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
)

third_party_clients = sa.Table(
    "third_party_clients",
    metadata,
    sa.Column("client_id", sa.Text, primary_key=True),
    sa.Column("sealed", sa.Text, nullable=False, comment="its token, as [secrets] keys seal it"),
    sa.Column("changed_at", Instant, nullable=False),
)
