"""A small HTTP load generator: prepared requests over keep-alive connections, closed or open loop."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
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
        length = _answer_length(self._buffer)
        if length is None or len(self._buffer) < length:
            return
        status = int(self._buffer[9:12])
        self._buffer = self._buffer[length:]
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


class _Busy(asyncio.Protocol):
    """A connection that sends the next request as soon as the answer is there: no task, no future, little of the machine."""

    def __init__(self, prepared: bytes, end: float, wanted: bytes, done: asyncio.Future[None]) -> None:
        self._prepared = prepared
        self._end = end
        self._wanted = wanted
        self._done = done
        self._transport: asyncio.Transport | None = None
        self._began = 0.0
        self._buffer = b""
        self.latencies_s: list[float] = []
        self.others = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        self._began = time.perf_counter()
        if self._began < self._end:
            self._transport.write(self._prepared)
        elif not self._done.done():
            self._done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        length = _answer_length(self._buffer)
        if length is None or len(self._buffer) < length:
            return
        if self._buffer[9:12] == self._wanted:
            self.latencies_s.append(time.perf_counter() - self._began)
        else:
            self.others += 1
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionResetError())

    def close(self) -> None:
        if self._transport:
            self._transport.close()


def _answer_length(buffer: bytes) -> int | None:
    """Return the length of the answer that *buffer* begins with; None: its head is not whole yet."""
    end = buffer.find(_HEAD_END)
    if end < 0:
        return None
    head = buffer[:end].lower()
    at = head.find(b"content-length:")
    return end + 4 + (int(head[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else 0)


async def closed_loop(url: str, prepared: bytes, *, connections: int, seconds: float, wanted: int = 202) -> Measured:
    """Keep *connections* busy for *seconds*, each with the next request as soon as the answer is there."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    began = time.perf_counter()
    ends = [loop.create_future() for _ in range(connections)]
    opened: list[_Busy] = []
    for done in ends:
        _, protocol = await loop.create_connection(
            partial(_Busy, prepared, began + seconds, str(wanted).encode(), done),
            parts.hostname or "",
            parts.port or 80,
        )
        opened.append(protocol)
    await asyncio.gather(*ends)
    took = time.perf_counter() - began
    for busy in opened:
        busy.close()
    latencies = [latency for busy in opened for latency in busy.latencies_s]
    return Measured(took, latencies, sum(busy.others for busy in opened))


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
