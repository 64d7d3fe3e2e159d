"""Alembic's entry: runs inside the transaction that the store has opened."""

from alembic import context

from bridge.coordinator.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
