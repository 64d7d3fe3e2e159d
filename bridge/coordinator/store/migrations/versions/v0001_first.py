"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Text(), nullable=False, comment="the broker's message id: a redelivery is the same row"),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("wait_id", sa.Text(), nullable=True),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("dispatch", sa.Integer(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_index("ix_dead_letters_at", "dead_letters", ["at", "id"], unique=False)
    op.create_table(
        "dedupe",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "key", name=op.f("pk_dedupe")),
    )
    op.create_index("ix_dedupe_expires_at", "dedupe", ["expires_at"], unique=False)
    op.create_table(
        "event_keys",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "name", name=op.f("pk_event_keys")),
    )
    op.create_index("ix_event_keys_lookup", "event_keys", ["source", "name", "value"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("duplicate_of", sa.Text(), nullable=True),
        sa.Column("is_kept", sa.Boolean(), nullable=False, comment="later waits may still look at it"),
        sa.Column("document", sa.LargeBinary(), nullable=False, comment="the event as published"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(
        "ix_events_kept",
        "events",
        ["source", "received_at"],
        unique=False,
        sqlite_where=sa.text("is_kept = 1"),
        postgresql_where=sa.text("is_kept"),
    )
    op.create_index("ix_events_received", "events", ["received_at", "id"], unique=False)
    op.create_table(
        "expectations",
        sa.Column("wait_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("keys", sa.Text(), nullable=False),
        sa.Column("early", sa.Boolean(), nullable=False),
        sa.Column(
            "anchor_name",
            sa.Text(),
            nullable=False,
            comment="the most telling of the keys: found by it, then compared whole",
        ),
        sa.Column("anchor_value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("wait_id", "position", name=op.f("pk_expectations")),
    )
    op.create_index("ix_expectations_anchor", "expectations", ["source", "anchor_name", "anchor_value"], unique=False)
    op.create_table(
        "targets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_targets")),
    )
    op.create_table(
        "third_party_clients",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False, comment="its token, as [secrets] keys seal it"),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_third_party_clients")),
    )
    op.create_table(
        "timeline",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("wait_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("ending", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timeline")),
    )
    op.create_index("ix_timeline_wait_id", "timeline", ["wait_id", "id"], unique=False)
    op.create_table(
        "verdicts",
        sa.Column("wait_id", sa.String(length=32), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("wait_id", "event_id", name=op.f("pk_verdicts")),
    )
    op.create_table(
        "wait_labels",
        sa.Column("wait_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("wait_id", "name", name=op.f("pk_wait_labels")),
    )
    op.create_index("ix_wait_labels_pair", "wait_labels", ["name", "value"], unique=False)
    op.create_table(
        "waits",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("canonical", sa.Text(), nullable=False, comment="one spelling of the address; hashed when long"),
        sa.Column("is_repeated", sa.Boolean(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column(
            "third_party_client",
            sa.Text(),
            nullable=True,
            comment="the platform's client whose token its resolutions carry",
        ),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column(
            "request_hash",
            sa.Text(),
            nullable=True,
            comment="a keyed hash of the body; only with an idempotency key",
        ),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.String(length=16), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("caused_at", sa.BigInteger(), nullable=True),
        sa.Column("progress", sa.Text(), nullable=True),
        sa.Column("dispatch", sa.Integer(), nullable=False),
        sa.Column("deliver_until", sa.BigInteger(), nullable=True),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("attempted", sa.Integer(), nullable=False),
        sa.Column(
            "needs_look",
            sa.Boolean(),
            nullable=False,
            comment="the look at events before its registration is not made yet",
        ),
        sa.Column(
            "claimed_at",
            sa.BigInteger(),
            nullable=True,
            comment="when a coordinator last took the row for its expiry or for (re)sending",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waits")),
    )
    op.create_index("ix_waits_created", "waits", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_waits_delivery",
        "waits",
        ["deliver_until"],
        unique=False,
        sqlite_where=sa.text("state = 'resolving'"),
        postgresql_where=sa.text("state = 'resolving'"),
    )
    op.create_index("ix_waits_event", "waits", ["event_id"], unique=False)
    op.create_index(
        "ix_waits_expiry",
        "waits",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "ix_waits_needs_look",
        "waits",
        ["created_at"],
        unique=False,
        sqlite_where=sa.text("needs_look = 1"),
        postgresql_where=sa.text("needs_look"),
    )
    op.create_index(
        "ix_waits_unsent",
        "waits",
        ["claimed_at"],
        unique=False,
        sqlite_where=sa.text("state = 'resolving' AND sent_at IS NULL"),
        postgresql_where=sa.text("state = 'resolving' AND sent_at IS NULL"),
    )
    op.create_index(
        "uq_waits_address",
        "waits",
        ["target", "canonical"],
        unique=True,
        sqlite_where=sa.text("state IN ('open', 'resolving')"),
        postgresql_where=sa.text("state IN ('open', 'resolving')"),
    )
    op.create_index(
        "uq_waits_idempotency",
        "waits",
        ["client", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_table(
        "wholes",
        sa.Column("id", sa.Text(), nullable=False, comment="of the event that will tell what it came to"),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False, comment="when it is to be looked at"),
        sa.Column("step", sa.Integer(), nullable=False, comment="looks since it was touched"),
        sa.Column("tries", sa.Integer(), nullable=False, comment="failed looks in a row"),
        sa.Column("deadlines", sa.Text(), nullable=False, comment="of the waits that asked, as text, ascending"),
        sa.Column("until", sa.BigInteger(), nullable=False, comment="the last of them: nobody wants it any more"),
        sa.Column("touched", sa.Integer(), nullable=False, comment="counts waits that asked and parts that ended"),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True, comment="somebody looks at it until then"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wholes")),
    )
    op.create_index("ix_wholes_due", "wholes", ["source", "due_at"], unique=False)
    op.create_index("ix_wholes_until", "wholes", ["until"], unique=False)
    op.create_index("uq_wholes_name", "wholes", ["source", "name"], unique=True)
    op.create_table(
        "works",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column(
            "key",
            sa.Text(),
            nullable=False,
            comment="what the platform calls the same work, whichever job it hands out",
        ),
        sa.Column("context", sa.Text(), nullable=False, comment="names for people and for the remote; never a secret"),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False, comment="how many of its jobs were ended with a token"),
        sa.Column("job_id", sa.Text(), nullable=True, comment="the open job; null between two"),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.Column("acknowledged", sa.String(length=8), nullable=False),
        sa.Column(
            "putting",
            sa.String(length=8),
            nullable=True,
            comment="the result that is, or may have been, put on the open job",
        ),
        sa.Column("wait_id", sa.String(length=32), nullable=True),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("progress", sa.Text(), nullable=True, comment="what the last result told"),
        sa.Column("put_at", sa.BigInteger(), nullable=True),
        sa.Column("claimed_by", sa.Text(), nullable=True, comment="who alone may change the row until claimed_until"),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True, comment="when somebody is to look at it again"),
        sa.Column("tries", sa.Integer(), nullable=False, comment="failed steps in a row"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ending", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_works")),
    )
    for name, columns in (("ix_works_agent", ["agent"]), ("ix_works_due", ["target", "due_at"])):
        op.create_index(
            name,
            "works",
            columns,
            unique=False,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )
    op.create_index("ix_works_ended", "works", ["ended_at"], unique=False)
    op.create_index("uq_works_key", "works", ["target", "key"], unique=True)
