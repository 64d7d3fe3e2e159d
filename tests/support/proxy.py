"""A TCP proxy on loopback that can cut, stall and restore: the network's bad days."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL

from tests.support.processes import LOOPBACK


class TcpProxy:
    """Forwards every connection to one upstream."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.accepted = 0
        """How many connections came so far, refused ones not counted."""

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the proxy is not started")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def through(self, url: str) -> str:
        """Return *url* with this proxy in place of its host and port."""
        return str(URL(url).with_host(LOOPBACK).with_port(self.port))

    def cut(self) -> None:
        """Reset every connection and let no new one live, until `restore`."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Keep the connections and forward nothing more, either way, until `restore`."""
        self._flowing.clear()

    def restore(self) -> None:
        """Forward again, first what was held back."""
        self._is_cut = False
        self._flowing.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)

    async def close(self) -> None:
        """Cut everything and stop listening."""
        self.cut()
        self._flowing.set()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        self.accepted += 1
        task: asyncio.Task[None] | None = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        try:
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        finally:
            self._writers -= {writer, up_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one direction to its end."""
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[TcpProxy]:
    """Run a proxy in front of the server at *url* while the context is open."""
    at = URL(url)
    proxy = TcpProxy(at.host or LOOPBACK, at.port or 5672)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
