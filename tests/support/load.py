"""A small HTTP load generator: prepared requests over keep-alive connections, closed or open loop."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"


@dataclass(slots=True)
class Measured:
    """What one run saw. latencies_s: of answers with the status wanted, unsorted."""

    seconds: float
    latencies_s: list[float]
    others: int

    @property
    def per_s(self) -> float:
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return the latency below which *percent* of the answers lie."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1000 if ordered else float("nan")


def request(url: str, *, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a POST as bytes on the wire."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + _HEAD_END + body


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way. Answers must carry a Content-Length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without inheriting from it

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    async def send(self, prepared: bytes) -> int:
        """Send *prepared*; return the status of its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(prepared)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 : head.find(b"\r\n", at) if b"\r\n" in head[at:] else None]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        status = int(self._buffer[9:12])
        self._buffer = self._buffer[end + 4 + length :]
        if self._answer and not self._answer.done():
            self._answer.set_result(status)

    def close(self) -> None:
        if self._transport:
            self._transport.close()


async def connect(url: str) -> _Connection:
    parts = urlsplit(url)
    _, protocol = await asyncio.get_running_loop().create_connection(
        _Connection, parts.hostname or "", parts.port or 80
    )
    return protocol


async def closed_loop(url: str, prepared: bytes, *, connections: int, seconds: float, wanted: int = 202) -> Measured:
    """Keep *connections* busy for *seconds*, each with the next request as soon as the answer is there."""
    opened = [await connect(url) for _ in range(connections)]
    latencies: list[float] = []
    others = 0
    began = time.perf_counter()
    end = began + seconds

    async def keep_busy(connection: _Connection) -> None:
        nonlocal others
        while (started := time.perf_counter()) < end:
            status = await connection.send(prepared)
            if status == wanted:
                latencies.append(time.perf_counter() - started)
            else:
                others += 1

    await asyncio.gather(*(keep_busy(connection) for connection in opened))
    took = time.perf_counter() - began
    for connection in opened:
        connection.close()
    return Measured(took, latencies, others)


@dataclass(slots=True)
class Pool:
    """Keep-alive connections for an open loop: one is made when all are busy."""

    url: str
    _idle: deque[_Connection] = field(default_factory=deque)

    async def send(self, prepared: bytes) -> int:
        """Send one request; return the status of its answer.

        Raises:
            OSError: no connection, or it broke; the request may have been received.
        """
        connection = self._idle.pop() if self._idle else await connect(self.url)
        if connection.is_lost:
            connection = await connect(self.url)
        status = await connection.send(prepared)
        self._idle.append(connection)
        return status

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


async def open_loop(pool: Pool, prepared: Sequence[bytes], *, per_s: float) -> list[tuple[float, int]]:
    """Send each request at its due time, however long the answers take; return (due, time.time() based; status) in order."""
    loop = asyncio.get_running_loop()
    began, epoch = loop.time(), time.time()
    sent: list[asyncio.Task[int]] = []
    due: list[float] = []
    for at, one in _schedule(prepared, per_s):
        delay = began + at - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        due.append(epoch + at)
        sent.append(asyncio.create_task(_status(pool, one)))
    return list(zip(due, await asyncio.gather(*sent), strict=True))


def _schedule(prepared: Sequence[bytes], per_s: float) -> Iterator[tuple[float, bytes]]:
    for number, one in enumerate(prepared):
        yield number / per_s, one


async def _status(pool: Pool, prepared: bytes) -> int:
    try:
        return await pool.send(prepared)
    except OSError:
        return 0
