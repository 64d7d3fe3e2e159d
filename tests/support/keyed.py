"""A bridge whose platform's addresses hold secrets, and looks into everything that it keeps."""

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aio_pika
import pytest
import sqlalchemy as sa

from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.tables import metadata
from tests.support.in_process import Bridge, bridge

KEYED = '[targets.keyed]\nconsumer = "tests.support.acme.keyed:KeyedAcme"\nbase_url = "$ACME"\ntoken_env = "T_ACME"\n'
KEYS = {"T_OLD": "o" * 32, "T_NEW": "n" * 32}


def config(*keys: str) -> str:
    """Return the sections of the target `keyed` and of the sealing keys, by the names of KEYS in lower case."""
    listed = ", ".join(f'{{ id = "{key}", env = "T_{key.upper()}" }}' for key in keys)
    return f"{KEYED}[secrets]\nkeys = [{listed}]\n"


def files(folder: Path) -> str:
    """Return what stands in the files of databases."""
    return "".join(path.read_bytes().decode("latin-1") for path in folder.glob("*.db*"))


@dataclass
class Place:
    """Where a bridge keeps what it must not forget."""

    folder: Path
    broker_url: str
    store_url: str

    @classmethod
    def of(cls, kind: str, request: pytest.FixtureRequest, folder: Path) -> Self:
        """Return SQLite for both, or (`servers`) RabbitMQ with PostgreSQL."""
        if kind == "sqlite":
            return cls(folder, f"sqlite:///{folder}/broker.db", f"sqlite:///{folder}/store.db")
        return cls(folder, request.getfixturevalue("vhost_url"), request.getfixturevalue("database_url"))

    def run(self, *keys: str, more: str = "", environ: Mapping[str, str] = KEYS) -> AbstractAsyncContextManager[Bridge]:
        """Run a bridge here that has *keys* to seal with."""
        sections = config(*keys) + more
        return bridge(self.folder, broker=self.broker_url, store=self.store_url, more=sections, environ=environ)

    async def stored(self) -> str:
        """Return every row of the store, and the database's files where it is one."""
        found = [files(self.folder)]
        database = Database(self.store_url)
        async with database.read() as tx:
            for table in metadata.sorted_tables:
                rows = (await tx.execute(sa.text(f"SELECT * FROM {table.name}"))).mappings()  # noqa: S608 - our own name
                found += [str(dict(row)) for row in rows]
        await database.close()
        return "\n".join(found)

    async def bodies(self, queue: str) -> list[str]:
        """Return what lies in *queue*, and leave it there."""
        if self.broker_url.startswith("sqlite:"):
            with sqlite3.connect(f"file:{self.folder}/broker.db?mode=ro", uri=True) as file:
                rows = file.execute("SELECT body FROM broker_messages WHERE queue = ?", (queue,)).fetchall()
            return [body.decode() for (body,) in rows]
        connection = await aio_pika.connect(self.broker_url)
        async with connection:
            channel = await connection.channel()
            there = await channel.get_queue(f"{queue}.v1")
            taken = [await there.get() for _ in range(there.declaration_result.message_count or 0)]
            for message in taken:
                await message.nack(requeue=True)
            return [message.body.decode() for message in taken]


async def paused(made: Bridge) -> None:
    """Let the worker take nothing, so that what is sent to it stays in its queue."""
    assert (await made.api.call("POST", "/v1/targets/keyed/pause"))[0] == 202
    async with asyncio.timeout(15):
        while True:
            _, queues = await made.api.call("GET", "/v1/queues")
            if next(item["consumers"] for item in queues["items"] if item["name"] == "bridge.target.keyed") == 0:
                return
            await asyncio.sleep(0.02)


async def sent_body(place: Place) -> str:
    """Return the one message in the target's queue, once it is there."""
    async with asyncio.timeout(15):
        while True:
            if bodies := await place.bodies("bridge.target.keyed"):
                (body,) = bodies
                return body
            await asyncio.sleep(0.02)


async def letter(made: Bridge) -> Any:
    """Return the one dead letter, once it is there."""
    async with asyncio.timeout(15):
        while True:
            _, listed = await made.api.call("GET", "/v1/dead-letters")
            if listed["items"]:
                (item,) = listed["items"]
                return item
            await asyncio.sleep(0.02)
