"""HTTP in: `/cb/…` and `/hooks/…`. The only module that sees an aiohttp request; it hands plain values to the intake.

Law: a refusal holds no byte of the request, and no log line holds a body, a path or a header.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from time import monotonic
from typing import Any

import orjson
import structlog
from aiohttp import HttpVersion11, StreamReader, web

from bridge.core.errors import (
    BrokerUnavailable,
    ErrandFailed,
    IntakeError,
    Malformed,
    TooLarge,
    UnknownSource,
    Unroutable,
    UnsupportedEncoding,
)
from bridge.core.ports import Broker, Clock
from bridge.core.signing import CallbackKeys
from bridge.core.source import Answer, Source
from bridge.ingress.errands import Errands
from bridge.ingress.intake import Intake
from bridge.ingress.limits import Budget, Busy, Guesses, Limits, Room
from bridge.ops.problems import problem
from bridge.ops.server import Short, closing
from bridge.sources.callback import Callback

RETRY_AFTER_S = "5"
_UNKNOWN = "unknown"
_POST = frozenset({"POST"})
_POST_PUT = frozenset({"POST", "PUT"})

log = structlog.get_logger(__name__)

Observe = Callable[[str, int, float], None]
"""Called once for each answer: the source's configured name or `unknown`, the status, seconds."""


class BodyTimeout(IntakeError):
    """The body did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT


class Ingress:
    """Receives callbacks and webhooks for one broker.

    sources: by the name in `/hooks/<name>`.
    observe: the metrics of this role.
    """

    prefixes = ("/cb/", "/hooks/")

    def __init__(
        self,
        *,
        broker: Broker,
        keys: CallbackKeys,
        sources: Mapping[str, Source[Any]],
        clock: Clock,
        max_body_bytes: int = 1_048_576,
        limits: Limits | None = None,
        observe: Observe | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._errands = Errands()
        self._intake = Intake(
            broker=broker, clock=clock, sources=sources, callback=Callback(keys), errands=self._errands
        )
        self._max_body_bytes = max_body_bytes
        self._budget = Budget(max(self._limits.max_bytes_under_way, 4 * max_body_bytes))
        self._guesses = Guesses(self._limits.guesses_per_minute)
        self._observe = observe or (lambda _source, _status, _seconds: None)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse | Short:
        """Answer one request below `prefixes`: the door of `bridge.ops.server.make_runner`."""
        began_s = monotonic()
        path, _, query = request.raw_path.partition("?")
        name = _UNKNOWN
        response: web.StreamResponse | Short
        try:
            if (refusal := _refuse_method(request.method, path)) is not None:
                return refusal
            source = self._intake.find(path)
            if source.settings.unsigned:
                self._intake.check_path(source, request.method, path)
            name = source.name
            response = await self._take(request, source, path, query)
        except IntakeError as exc:
            response = self._refuse(request, name, exc)
        except (BrokerUnavailable, Unroutable) as exc:
            log.warning("webhook_not_stored", source=name, reason=type(exc).__name__)
            response = problem(503, headers={"Retry-After": RETRY_AFTER_S})
        except ErrandFailed as exc:
            log.warning("webhook_not_settled", source=name, reason=str(exc))
            response = problem(503, headers={"Retry-After": RETRY_AFTER_S})
        self._observe(name, response.status, monotonic() - began_s)
        return response

    async def close(self) -> None:
        """Let go of the connections to senders' own hosts."""
        await self._errands.close()

    async def _take(
        self, request: web.BaseRequest, source: Source[Any], path: str, query: str
    ) -> web.StreamResponse | Short:
        """Read the body within its bounds and have it accepted; its room is taken until the answer is known."""
        _check_head(request, self._max_body_bytes)
        room = Room(self._budget)
        try:
            body = self._at_hand(request.content, room)
            if body is None:
                body = await self._read(request, room)
            raw = self._intake.received(request.method, path, query, _headers(request), body)
            return _respond(request, await self._intake.accept(source, raw))
        finally:
            room.give_back()

    def _at_hand(self, content: StreamReader, room: Room) -> bytes | None:
        """Return the body if it came with the head, as it usually does."""
        if not content.is_eof():
            return None
        body = content.read_nowait()
        if len(body) > self._max_body_bytes:
            raise TooLarge("the body is longer than allowed")
        room.take(len(body))
        return body

    async def _read(self, request: web.BaseRequest, room: Room) -> bytes:
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                await _continue(request)
                return await _collect(request.content, self._max_body_bytes, room)
        except TimeoutError:
            raise BodyTimeout("the body did not arrive in time") from None

    def _refuse(self, request: web.BaseRequest, name: str, exc: IntakeError) -> web.Response:
        if isinstance(exc, UnknownSource):
            wait_s = self._guesses.count(request.remote or "", monotonic())
            if wait_s:
                exc = Busy("too many guesses", retry_after_s=wait_s)
        if not isinstance(exc, Busy):
            log.info("webhook_refused", source=name, status=int(exc.status), reason=type(exc).__name__, detail=str(exc))
        response = problem(
            exc.status,
            title=str(exc) if isinstance(exc, Malformed) else "",
            headers={"Retry-After": str(int(exc.retry_after_s) + 1)} if isinstance(exc, Busy) else {},
        )
        # What is left of a body that nobody reads must not be taken for the next request.
        return response if request.content.is_eof() else closing(response)


def _refuse_method(method: str, path: str) -> web.Response | None:
    allowed = _POST_PUT if path.startswith("/cb/") else _POST
    return None if method in allowed else closing(problem(405, headers={"Allow": ", ".join(sorted(allowed))}))


def _headers(request: web.BaseRequest) -> list[tuple[str, str]]:
    return [(_lower(name), value.decode("latin-1")) for name, value in request.raw_headers]


@lru_cache(maxsize=1024)
def _lower(name: bytes) -> str:
    """Return a header's name as text in lower case; the same few come with every request."""
    return name.decode("latin-1").lower()


def _check_head(request: web.BaseRequest, limit: int) -> None:
    """Check what the head says of the body, before a byte of it is asked for.

    Raises:
        TooLarge, UnsupportedEncoding, Malformed: it is refused.
    """
    headers = request.headers
    if (encoding := headers.get("Content-Encoding")) and encoding.lower() != "identity":
        raise UnsupportedEncoding("a Content-Encoding")
    if (expected := headers.get("Expect")) and expected.lower() != "100-continue":
        raise Malformed("only 100-continue can be expected")
    if int(headers.get("Content-Length", 0)) > limit:
        raise TooLarge("the announced body is longer than allowed")


async def _continue(request: web.BaseRequest) -> None:
    """Ask for the body where the sender waits to be asked (RFC 9110 10.1.1)."""
    if "Expect" in request.headers and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


async def _collect(content: StreamReader, limit: int, room: Room) -> bytes:
    chunks = bytearray()
    while chunk := await content.readany():
        room.take(len(chunk))
        chunks += chunk
        if len(chunks) > limit:
            raise TooLarge("the body is longer than allowed")
    return bytes(chunks)


_JSON = {"Content-Type": "application/json"}


def _respond(request: web.BaseRequest, answer: Answer) -> web.StreamResponse | Short:
    body = b"" if answer.json is None else orjson.dumps(answer.json)
    if not answer.headers and Short.fits(request):
        return Short(answer.status, body)
    return web.Response(status=answer.status, body=body, headers={**(_JSON if body else {}), **answer.headers})
