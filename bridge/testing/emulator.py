"""What every emulator shares: a server on loopback, faults, a log of requests, a list of effects, a control API.

An emulator follows its contract page, never the convenience of the code that calls it. It can be used in the test's own
process (`async with JenkinsEmulator().serve() as url`) or as a process of its own (`python -m bridge.testing.jenkins --port 0`),
which outlives a killed bridge; then it is steered over HTTP under `/_emulator`:

    GET    /_emulator/log       requests as received, oldest first
    GET    /_emulator/effects   what changed at the platform, oldest first: count these to find a second effect
    POST   /_emulator/faults    one Fault as JSON, added behind those already there
    DELETE /_emulator/faults    forget the faults not used yet
"""

import argparse
import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict

CONTROL = "/_emulator"
_RESET_LINGER = struct.pack("ii", 1, 0)


class FaultKind(StrEnum):
    REFUSE = "refuse"
    """From the next matching request on the port is closed for `delay_s`: connection refused; that request is reset."""
    RESET_BEFORE = "reset-before"
    """The connection is reset before the request has an effect."""
    RESET_AFTER = "reset-after"
    """The request has its effect, then the connection is reset instead of an answer."""
    SLOW = "slow"
    """The request has its effect, the answer comes `delay_s` later."""
    SLOW_BEFORE = "slow-before"
    """The request has its effect `delay_s` later, then the answer."""
    STATUS = "status"
    """`status` is answered, with `headers` and `body`, without effect."""
    STATUS_AFTER = "status-after"
    """The request has its effect, then `status` is answered (a proxy's 502)."""
    HTML = "html"
    """A proxy's page is answered with `status` (200: a login page), without effect."""


class Fault(BaseModel):
    """One thing that goes wrong, for the next `times` requests that match."""

    model_config = ConfigDict(extra="forbid")

    kind: FaultKind
    method: str = "*"
    path: str = ".*"
    """A regular expression, searched in the raw path, or in what the platform adds to it: `fault_subject()`."""
    times: int = 1
    skip: int = 0
    """Let this many matching requests pass first."""
    status: int = 503
    headers: dict[str, str] = {}
    body: str = ""
    delay_s: float = 1.0

    def matches(self, request: web.Request, subject: str) -> bool:
        return self.method in ("*", request.method) and re.search(self.path, subject) is not None


class LoggedRequest(BaseModel):
    """One request as received. `path`: raw, percent-encoding untouched, without query. `status`: None after a reset."""

    at: datetime
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: str
    status: int | None = None
    fault: FaultKind | None = None


class Effect(BaseModel):
    """One change at the platform."""

    at: datetime
    kind: str
    subject: str
    detail: dict[str, Any] = {}


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


SHUTDOWN_S = 1.0
"""A call whose caller was cut off before its body came would otherwise be waited for two minutes at the end."""


class Emulator:
    """Base class: a platform adds its routes in routes() and its own control calls in control_routes()."""

    name = "emulator"

    def __init__(self) -> None:
        self.log: list[LoggedRequest] = []
        self.effects: list[Effect] = []
        self.faults: list[Fault] = []
        self.base_url = ""
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._port = 0
        self._closing: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """Return the platform's own routes."""
        raise NotImplementedError

    def control_routes(self) -> list[web.RouteDef]:
        """Return the calls under `/_emulator` that make and steer builds, pipelines and jobs."""
        return []

    def fault_subject(self, request: web.Request) -> str:
        """Return what `Fault.path` is searched in; a platform with one path for every call adds the call's name."""
        return request.raw_path

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the platform's own switches to the command line."""

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> "Emulator":  # noqa: ARG003 - for those that add switches
        """Return an emulator as the command line asks for it."""
        return cls()

    def fault(self, kind: FaultKind | str, **more: Any) -> Fault:
        """Add a fault for the next matching request(s)."""
        fault = Fault(kind=FaultKind(kind), **more)
        self.faults.append(fault)
        return fault

    def effect(self, kind: str, subject: str, **detail: Any) -> None:
        """Record a change at the platform."""
        self.effects.append(Effect(at=datetime.now(UTC), kind=kind, subject=subject, detail=detail))

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on loopback; yield the base URL, without a trailing slash."""
        app = web.Application(middlewares=[self._middleware], client_max_size=64 * 1024 * 1024)
        app.add_routes([*self._common_control(), *self.control_routes(), *self.routes()])
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        await self._listen(port)
        try:
            yield self.base_url
        finally:
            for task in self._closing:
                task.cancel()
            await self._runner.cleanup()

    async def _listen(self, port: int) -> None:
        assert self._runner is not None  # noqa: S101 - serve() made it
        self._site = web.TCPSite(self._runner, "127.0.0.1", port)
        await self._site.start()
        self._port = self._runner.addresses[-1][1]
        self.base_url = f"http://127.0.0.1:{self._port}"

    def _common_control(self) -> list[web.RouteDef]:
        return [
            web.get(f"{CONTROL}/log", self._get_log),
            web.get(f"{CONTROL}/effects", self._get_effects),
            web.post(f"{CONTROL}/faults", self._post_fault),
            web.delete(f"{CONTROL}/faults", self._delete_faults),
        ]

    async def _get_log(self, _request: web.Request) -> web.Response:
        return json_response([entry.model_dump(mode="json") for entry in self.log])

    async def _get_effects(self, _request: web.Request) -> web.Response:
        return json_response([entry.model_dump(mode="json") for entry in self.effects])

    async def _post_fault(self, request: web.Request) -> web.Response:
        self.faults.append(Fault.model_validate_json(await request.read()))
        return web.Response(status=204)

    async def _delete_faults(self, _request: web.Request) -> web.Response:
        self.faults.clear()
        return web.Response(status=204)

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(CONTROL):
            return await handler(request)
        entry = LoggedRequest(
            at=datetime.now(UTC),
            method=request.method,
            path=request.raw_path.partition("?")[0],
            query=request.raw_path.partition("?")[2],
            headers={name.lower(): value for name, value in request.headers.items()},
            body=(await request.read()).decode("utf-8", "replace"),
        )
        self.log.append(entry)
        response = await self._with_fault(request, handler, self._take_fault(request), entry)
        was_reset = request.transport is None or request.transport.is_closing()
        entry.status = None if was_reset else response.status
        return response

    def _take_fault(self, request: web.Request) -> Fault | None:
        subject = self.fault_subject(request)
        for fault in self.faults:
            if not fault.matches(request, subject):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
            return fault
        return None

    async def _with_fault(  # noqa: PLR0911 - one arm for each kind
        self, request: web.Request, handler: Handler, fault: Fault | None, entry: LoggedRequest
    ) -> web.StreamResponse:
        if fault is None:
            return await handler(request)
        entry.fault = fault.kind
        match fault.kind:
            case FaultKind.REFUSE:
                self._keep(asyncio.create_task(self._go_down(fault.delay_s)))
                return reset(request)
            case FaultKind.RESET_BEFORE:
                return reset(request)
            case FaultKind.RESET_AFTER:
                await handler(request)
                return reset(request)
            case FaultKind.SLOW:
                response = await handler(request)
                await asyncio.sleep(fault.delay_s)
                return response
            case FaultKind.SLOW_BEFORE:
                await asyncio.sleep(fault.delay_s)
                return await handler(request)
            case FaultKind.STATUS_AFTER:
                await handler(request)
                return web.Response(status=fault.status, headers=fault.headers, text=fault.body)
            case FaultKind.STATUS:
                return web.Response(status=fault.status, headers=fault.headers, text=fault.body)
            case FaultKind.HTML:
                page = fault.body or "<html><head><title>Sign in</title></head><body>Please sign in</body></html>"
                return web.Response(status=fault.status, headers=fault.headers, text=page, content_type="text/html")

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _go_down(self, seconds: float) -> None:
        site, self._site = self._site, None
        if site is None:  # an earlier fault's time is not over
            return
        await site.stop()
        await asyncio.sleep(seconds)
        await self._listen(self._port)


def reset(request: web.Request) -> web.Response:
    """Reset the connection of *request* (RST, no answer)."""
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_LINGER)
        transport.abort()
    return web.Response(status=500)


def json_response(value: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


def main(emulator_type: type[Emulator]) -> None:
    """Run one emulator as a process: `--port 0` takes a free port; the first line printed is the base URL."""
    parser = argparse.ArgumentParser(description=(emulator_type.__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one (default)")
    emulator_type.add_arguments(parser)
    arguments = parser.parse_args()
    emulator = emulator_type.from_arguments(arguments)

    async def run() -> None:
        async with emulator.serve(arguments.port) as url:
            print(url, flush=True)  # noqa: T201 - a command's output
            await asyncio.Event().wait()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        return
