"""An ingress on a loopback port, a broker that remembers, and a client that sends bytes exactly as they are."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import web

from bridge.brokers.memory import MemoryBroker
from bridge.core.event import Event
from bridge.core.ports import Outgoing
from bridge.core.request import RawRequest
from bridge.core.signing import CallbackKeys, new_wait_id
from bridge.core.source import Source
from bridge.ingress import Ingress, Limits
from bridge.ops.server import make_runner
from bridge.sources import load_source_kind
from tests.support.senders import SECRET, WHSEC

KEYS = CallbackKeys([b"k" * 32])
WAIT = new_wait_id()
PATH_SECRET = "path-secret-of-the-tests"  # noqa: S105 - of these tests only
MAX_BODY = 64 * 1024


class Now:
    """The system's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class RecordingBroker(MemoryBroker):
    """Remembers what was confirmed; fails, or holds its confirms, when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[Outgoing] = []
        self.fault: Exception | None = None
        self.confirms = asyncio.Event()
        self.confirms.set()
        self.waiting = 0

    async def publish(self, *messages: Outgoing) -> None:
        self.waiting += 1
        await self.confirms.wait()
        self.waiting -= 1
        if self.fault:
            raise self.fault
        self.published += messages

    @property
    def events(self) -> list[Event]:
        return [Event.parse(message.body) for message in self.published]


def token(*, hours: float = 1.0) -> str:
    """Return a live token of WAIT, or with negative *hours* one that is over."""
    return KEYS.sign(WAIT, datetime.now(UTC) + timedelta(hours=hours))


def sources() -> dict[str, Source[Any]]:
    """Return one source of each sort: signed in three ways, and one that is known by its path."""
    configured: dict[str, dict[str, Any]] = {
        "gh": {"kind": "github", "secret": SECRET},
        "gh-b": {"kind": "github", "secret": SECRET[::-1]},
        "circleci-b": {"kind": "circleci", "secret": SECRET},
        "farm": {"kind": "standard-webhooks", "secret": WHSEC},
        "plain": {"kind": "circleci", "secret": PATH_SECRET, "unsigned": True},
    }
    return {name: _source(name, **settings) for name, settings in configured.items()}


def _source(name: str, **settings: Any) -> Source[Any]:
    kind = load_source_kind(settings["kind"])
    return kind(name, kind.settings_type.model_validate(settings))


@dataclass
class Answer:
    """What came back for one request."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_closed: bool = False
    """The server ended the connection after it."""
    interim: list[int] = field(default_factory=list)
    """Statuses before the last one, such as 100."""

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Served:
    """A running ingress."""

    port: int
    broker: RecordingBroker
    observed: list[tuple[str, int]]

    async def send(self, *parts: bytes, within_s: float = 10.0) -> Answer:
        """Send *parts* as they are on a connection of their own, and read one answer."""
        async with self.connected() as (reader, writer):
            for part in parts:
                writer.write(part)
                await writer.drain()
            async with asyncio.timeout(within_s):
                return await read_answer(reader, is_head=parts[0].startswith(b"HEAD"))

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def call(
        self,
        path: str,
        body: bytes = b"",
        content_type: str | None = None,
        *,
        method: str = "POST",
        headers: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """Send one well-formed request."""
        return await self.send(wire(path, body, content_type, method=method, headers=headers))

    async def deliver(self, path: str, request: RawRequest) -> Answer:
        """Send what a sender made."""
        return await self.call(path, request.body, headers=request.headers)


def wire(
    path: str,
    body: bytes = b"",
    content_type: str | None = None,
    *,
    method: str = "POST",
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Return a request as it stands on the line."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bridge.example", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


async def read_answer(reader: asyncio.StreamReader, *, is_head: bool = False) -> Answer:
    """Read one answer, and see for a moment whether the connection ends after it."""
    interim: list[int] = []
    while True:
        status, headers = await _read_head(reader)
        if status >= 200:
            break
        interim.append(status)
    body = b"" if is_head else await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(status, headers, body, is_closed=headers.get("connection") == "close", interim=interim)


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = [line.partition(": ") for line in lines[1:] if line]
    return int(lines[0].split(" ")[1]), {name.lower(): value for name, _, value in pairs}


@asynccontextmanager
async def served(
    *,
    limits: Limits | None = None,
    max_body_bytes: int = MAX_BODY,
    keepalive_s: float = 75.0,
    routes: Sequence[web.AbstractRouteDef] = (),
) -> AsyncIterator[Served]:
    """Run an ingress with every source of sources() and, beside it, *routes*."""
    broker = RecordingBroker()
    observed: list[tuple[str, int]] = []
    ingress = Ingress(
        broker=broker,
        keys=KEYS,
        sources=sources(),
        clock=Now(),
        max_body_bytes=max_body_bytes,
        limits=limits,
        observe=lambda source, status, _seconds: observed.append((source, status)),
    )
    runner = make_runner(routes, max_body_bytes=max_body_bytes, door=ingress, keepalive_s=keepalive_s, shutdown_s=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield Served(runner.addresses[0][1], broker, observed)
    finally:
        await runner.cleanup()
