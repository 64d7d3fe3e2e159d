"""The HTTP server of every role: aiohttp, without the habits that hurt at an open door.

Observed with 3.14: by itself it inflates bodies, so that the signed bytes are gone; sends `100 Continue` for any length;
repeats bytes of a bad request in its 400 page and in its log; has no page of ours for 404, 405 and 500.
"""

import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import cache, partial
from http import HTTPStatus
from typing import Any, Protocol, cast

import structlog
from aiohttp import HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestPayloadError

from bridge.ops.faults import where
from bridge.ops.problems import problem

MAX_LINE_BYTES = 8190
KEEPALIVE_S = 75.0
"""Longer than the usual 60 s of a proxy, so that it closes first. Also the end of a request whose head never comes."""
LINGERING_S = 1.0
"""How long what is left of a refused body is read and dropped, so that its sender sees the answer before the end."""

log = structlog.get_logger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Door(Protocol):
    """What takes requests past the app's router, and checks lengths, encodings and `Expect` by itself."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Beginnings of the raw paths that it takes."""
        ...

    async def handle(self, request: web.BaseRequest) -> "web.StreamResponse | Short":
        """Answer one request; never raises web.HTTPException."""
        ...


def make_runner(
    routes: Iterable[web.AbstractRouteDef],
    *,
    max_body_bytes: int,
    door: Door | None = None,
    keepalive_s: float = KEEPALIVE_S,
    shutdown_s: float = 10.0,
) -> web.AppRunner:
    """Return the runner that serves *routes*; set it up and give it sites as any other.

    max_body_bytes: longer announced bodies are 413 before anything of them is asked for.
    keepalive_s: after so much silence a connection is closed, also one whose request has no end of its head yet.
    shutdown_s: how long cleanup() lets running requests finish.
    """
    app = web.Application(client_max_size=max_body_bytes)
    app.add_routes(routes)
    return _Runner(
        app,
        front=_Front(max_body_bytes, door),
        access_log=None,
        auto_decompress=False,
        handle_signals=False,
        keepalive_timeout=keepalive_s,
        lingering_time=LINGERING_S,
        max_field_size=MAX_LINE_BYTES,
        max_line_size=MAX_LINE_BYTES,
        shutdown_timeout=shutdown_s,
    )


class Short:
    """JSON, or nothing, in one write: the library's way through the headers takes a tenth of a webhook's time.

    For a connection of HTTP/1.1 that stays open; see fits(). It has what a connection asks of a response.
    """

    __slots__ = ("_body", "status")
    keep_alive = True

    def __init__(self, status: HTTPStatus, body: bytes) -> None:
        self.status = status
        self._body = body

    @staticmethod
    def fits(request: web.BaseRequest) -> bool:
        """Return True when the answer to *request* may be one of these."""
        return request.keep_alive and request.version == HttpVersion11

    async def prepare(self, request: web.BaseRequest) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the sender has gone")
        head = f"{_head(self.status, bool(self._body))}{len(self._body)}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
        transport.write(head.encode("ascii") + self._body)
        await request.writer.drain()

    async def write_eof(self) -> None:
        """All was written."""


@cache
def _head(status: int, has_body: bool) -> str:  # noqa: FBT001 - a key of the cache
    media = "Content-Type: application/json\r\n" if has_body else ""
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{media}Content-Length: "


class _Front:
    """What every request passes before the app sees it."""

    def __init__(self, max_body_bytes: int, door: Door | None) -> None:
        self._max_body_bytes = max_body_bytes
        self._door = door

    def before(self, app: Handler) -> Handler:
        """Return the handler of all requests; *app* gets what the door does not take."""
        door = self._door
        if door is None:
            return partial(self._pass, app)
        take, prefixes = door.handle, door.prefixes

        def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse | Short]:
            return take(request) if request.raw_path.startswith(prefixes) else self._pass(app, request)

        return cast("Handler", handle)

    async def _pass(self, app: Handler, request: web.BaseRequest) -> web.StreamResponse:
        if not request.raw_path.startswith("/"):
            return closing(problem(400, title="expected a path"))
        if (refusal := self._refusal(request)) is not None:
            return refusal
        try:
            return await app(request)
        except web.HTTPException as exc:
            response = _as_problem(exc)
            return response if request.content.is_eof() else closing(response)

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        headers = request.headers
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            return closing(problem(415))
        if "Content-Length" in headers and (request.content_length or 0) > self._max_body_bytes:
            return closing(problem(413))
        return None


def closing(response: web.Response) -> web.Response:
    """Return *response* as the last one of its connection."""
    response.force_close()
    return response


def _as_problem(exc: web.HTTPException) -> web.Response:
    """Return the app's own exception without its text, which may repeat the request; redirects stay."""
    if exc.status < 400:  # noqa: PLR2004 - HTTP's own bound
        return web.Response(status=exc.status, headers={"Location": exc.headers.get("Location", "/")})
    kept = {name: exc.headers[name] for name in ("Allow", "Retry-After", "WWW-Authenticate") if name in exc.headers}
    return problem(exc.status, headers=kept)


class _Runner(web.AppRunner):
    """An AppRunner whose server is ours."""

    __slots__ = ("_front",)

    def __init__(self, app: web.Application, *, front: _Front, **options: Any) -> None:
        super().__init__(app, **options)
        self._front = front

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(self._front.before(made.request_handler), request_factory=made.request_factory, **made._kwargs)  # noqa: SLF001 - aiohttp offers no other way to its connections


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """One connection; its errors tell nothing of what was received."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        reading = self._current_request
        if self._messages and reading is not None and not reading.content.is_eof():
            # A next message before the end of this body is the parser's error: without this nobody tells who reads it.
            reading.content.set_exception(RequestPayloadError())

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - the library's own signature
        """Do nothing where nothing is paused: the library would parse nothing once more for each body that it has read."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's text, which repeats the request
    ) -> web.StreamResponse:
        if isinstance(exc, HttpProcessingError | RequestPayloadError):
            status = 431 if _is_too_long(exc) else 400
            log.info("request_unreadable", reason=type(exc).__name__, status=status)
        elif isinstance(exc, ConnectionError):
            log.info("request_abandoned")
        else:
            log.error("request_failed", status=status, **where(exc))
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        return closing(problem(status))

    def log_exception(self, *_args: Any, **_more: Any) -> None:
        exc = sys.exc_info()[1]
        if not isinstance(exc, RequestPayloadError):  # that one was told and answered
            log.error("connection_failed", **where(exc))


def _is_too_long(exc: Exception) -> bool:
    return isinstance(exc, LineTooLong) or (
        isinstance(exc, BadHttpMessage) and exc.message.startswith("Too many headers")
    )
