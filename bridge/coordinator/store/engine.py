"""One connection pool to SQLite or PostgreSQL, its transactions, and the errors at their edge."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bridge.core.errors import StoreUnavailable

T = TypeVar("T")

_BUSY_TIMEOUT_S = 10
_POOL_SIZE = 8
_COMMAND_TIMEOUT_S = 15
_CONNECT_TIMEOUT_S = 3
_MIGRATION_LOCK = 0x6272_6467


class Database:
    """The engine. Writing transactions are `BEGIN IMMEDIATE` on SQLite and READ COMMITTED with row locks on PostgreSQL.

    url: `sqlite:///path` or `postgresql://…`, as in the config.
    """

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite:")
        self._engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        # SQLite has one writer: our own queue for it is fair and wakes at once, its busy handler sleeps.
        self._writer: AbstractAsyncContextManager[Any] = asyncio.Lock() if self.is_sqlite else nullcontext()
        self._made: dict[Callable[[Database], Any], Any] = {}

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Open one transaction; it is committed when the block ends without an error.

        Raises:
            StoreUnavailable: the database did not answer; nothing is known to have been written.
        """
        async with self._writer:
            with _translated():
                async with self._engine.begin() as connection:
                    yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open one reading transaction.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        with _translated():
            async with self._engine.connect() as connection:
                await connection.execution_options(bridge_reads=True)
                yield connection

    async def migrate(self) -> None:
        """Bring the schema up to date. Several processes may call it at once: one works, the others wait.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        async with self.write() as connection:
            if not self.is_sqlite:
                await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            await connection.run_sync(_upgrade)

    async def ping(self) -> bool:
        """Return True when the database answers."""
        try:
            async with self.read() as connection:
                await connection.execute(sa.text("SELECT 1"))
        except StoreUnavailable:
            return False
        return True

    async def close(self) -> None:
        await self._engine.dispose()

    def statement(self, make: Callable[["Database"], T]) -> T:
        """Return what *make* makes, made once: to build a statement takes as long as to execute it."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    def among(self, column: sa.ColumnElement[str], values: Sequence[str] | str) -> sa.ColumnElement[bool]:
        """Return `column IN values` as one statement text for any number of values, so that it stays prepared.

        values: themselves, or the name of a parameter whose value is listed() of them.
        """
        name, given = (values, None) if isinstance(values, str) else (None, self.listed(values))
        if self.is_sqlite:
            items = sa.func.json_each(sa.bindparam(name, given, required=name is not None)).table_valued("value")
            return column.in_(sa.select(items.c.value))
        return column == sa.any_(sa.bindparam(name, given, type_=sa.ARRAY(sa.Text), required=name is not None))

    def listed(self, values: Sequence[str]) -> Any:
        """Return *values* as a parameter of among()."""
        return orjson.dumps(list(values)).decode() if self.is_sqlite else list(values)


def insert_new(db: Database, table: sa.Table) -> Any:
    """Return an insert that leaves a row alone which is there already."""
    return _insert_new(table, is_sqlite=db.is_sqlite)


@cache
def _insert_new(table: sa.Table, *, is_sqlite: bool) -> Any:
    return (sqlite_insert if is_sqlite else postgresql_insert)(table).on_conflict_do_nothing()


class _translated:  # noqa: N801 - reads as a verb where it is used
    """Turn the drivers' errors about a database that is away into StoreUnavailable; programming errors pass."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and _is_outage(error):
            raise StoreUnavailable(type(error).__name__) from error


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, sa.exc.IntegrityError | sa.exc.DataError | sa.exc.ProgrammingError):
        return False
    if isinstance(error, sa.exc.DBAPIError):
        return True
    return isinstance(error, OSError | TimeoutError | sa.exc.TimeoutError)


def _postgres_engine(url: str) -> AsyncEngine:
    _, _, rest = url.partition("://")
    return create_async_engine(
        f"postgresql+asyncpg://{rest}",
        pool_size=_POOL_SIZE,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=_COMMAND_TIMEOUT_S,
        connect_args={"timeout": _CONNECT_TIMEOUT_S, "command_timeout": _COMMAND_TIMEOUT_S},
    )


def _sqlite_engine(url: str) -> AsyncEngine:
    path = sqlite_path(url)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        pool_size=4,
        max_overflow=0,
        hide_parameters=True,  # an error's text must not hold what was stored
        connect_args={"timeout": _BUSY_TIMEOUT_S},
    )
    sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def sqlite_path(url: str) -> str:
    """Return the file of a `sqlite:///path` URL (four slashes: an absolute path)."""
    return url.removeprefix("sqlite:///")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would be a deferred one
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get("bridge_reads")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _upgrade(connection: sa.Connection) -> None:
    """Run the migrations on *connection*, inside its transaction."""
    from alembic import command  # noqa: PLC0415 - only a starting coordinator needs it
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
