"""Http over aiohttp, and open_target(): what a consumer needs to talk to its platform.

One client is for one configured host: every connection is checked against it, no redirect is followed, no proxy of the
environment is used, and a path goes out byte for byte. What failed is told apart by one question only: may the request
have arrived? Errors name the host and the kind of fault, never a path, query, header or body.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from secrets import token_hex
from typing import Any
from urllib.parse import quote, unquote, urlencode

import aiohttp
import orjson
from aiohttp.abc import AbstractCookieJar
from multidict import CIMultiDict
from yarl import URL

import bridge
from bridge.core.consumer import Consumer, load_consumer
from bridge.core.errors import HttpFault, Unanswered, Unreachable
from bridge.core.ports import Clock
from bridge.core.request import Call, Part, Reply
from bridge.core.settings import TargetSettings
from bridge.paced import PacedHttp

CONNECT_TIMEOUT_S = 3.0
KEEP_ALIVE_S = 4.0
"""Shorter than what common servers keep an idle connection for: a request on one that is being closed is a doubt for nothing."""
MAX_REPLY_BYTES = 1024 * 1024
USER_AGENT = f"callback-bridge/{bridge.__version__}"

_UNSAID_TIMEOUT = Call("GET", "/").timeout


class Unsendable(HttpFault):
    """The call can never be sent as it is: an unsafe path, a line break in a header. Nothing was delivered."""


class AiohttpHttp:
    """The Http port for one host."""

    def __init__(
        self,
        base_url: str,
        auth_headers: Mapping[str, str] | None = None,
        *,
        concurrency: int = 8,
        timeout: timedelta = _UNSAID_TIMEOUT,
        keeps_cookies: bool = False,
        max_reply_bytes: int = MAX_REPLY_BYTES,
    ) -> None:
        """Remember how to connect; the session is made by the first call.

        base_url: scheme and host, perhaps a port and a path prefix; a trailing slash makes no difference.
        auth_headers: sent with every signed call; a call's own header of the same name wins.
        concurrency: calls under way at once; further ones wait.
        timeout: for the whole of a call that names none of its own.
        """
        base = URL(base_url, encoded=True)
        if base.scheme not in ("http", "https") or not base.host or base.user is not None or base.raw_query_string:
            raise ValueError("base_url must be http(s)://host[:port][/prefix], without credentials and query")
        self._origin = base.origin()
        self._prefix = base.raw_path.rstrip("/")
        self._auth_headers = dict(auth_headers or {})
        self._timeout = timeout
        self._keeps_cookies = keeps_cookies
        self._max_reply_bytes = max_reply_bytes
        self._slots = asyncio.Semaphore(concurrency)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, call: Call) -> Reply:
        """Send *call*; see the port.

        Raises:
            Unsendable: the call itself is at fault; nothing was sent.
            Unreachable: no connection was made within 3 s; nothing was sent.
            Unanswered: anything after that, also a reply over the size limit.
        """
        url, headers, body = self._url(call), self._headers(call), None
        body, content_type = _body(call)
        if content_type:
            headers.setdefault("Content-Type", content_type)
        async with self._slots:
            return await self._exchange(call, url, headers, body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _url(self, call: Call) -> URL:
        """Return the one URL of *call*; nothing in it is decoded, encoded or normalised on the way."""
        if not call.path.startswith("/") or not is_safe(call.path):
            raise Unsendable(f"{self._origin.host}: the path is not safe to send")
        query = "?" + urlencode(call.query, quote_via=quote) if call.query else ""
        return URL(f"{self._origin}{self._prefix}{call.path}{query}", encoded=True)

    def _headers(self, call: Call) -> CIMultiDict[str]:
        auth = self._auth_headers if call.is_signed else {}
        headers: CIMultiDict[str] = CIMultiDict({"User-Agent": USER_AGENT, **auth})
        headers.update(call.headers)
        if any(character in value for value in headers.values() for character in "\r\n\0"):
            raise Unsendable(f"{self._origin.host}: a header holds a line break")
        return headers

    async def _exchange(self, call: Call, url: URL, headers: CIMultiDict[str], body: bytes | None) -> Reply:
        seconds = (self._timeout if call.timeout == _UNSAID_TIMEOUT else call.timeout).total_seconds()
        timeout = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_TIMEOUT_S)
        host = f"{self._origin.host}:{self._origin.port}"
        try:
            async with self._open().request(
                call.method,
                url,
                headers=headers,
                data=body,
                timeout=timeout,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",) if body is None else None,  # what has no body has no type
            ) as response:
                return await self._read(response, host)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise Unreachable(f"{host}: {_name(exc)}") from None  # the driver's text may hold the whole URL
        except TimeoutError:
            raise Unanswered(f"{host}: no answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as exc:
            raise Unanswered(f"{host}: {_name(exc)}") from None

    async def _read(self, response: aiohttp.ClientResponse, host: str) -> Reply:
        chunks = bytearray()
        async for chunk in response.content.iter_any():
            chunks += chunk
            if len(chunks) > self._max_reply_bytes:
                response.close()
                raise Unanswered(f"{host}: the reply is larger than {self._max_reply_bytes} bytes")
        return Reply(response.status, {name.lower(): value for name, value in response.headers.items()}, bytes(chunks))

    def _open(self) -> aiohttp.ClientSession:
        """Return the session; made here, because it belongs to the running loop."""
        if self._session is None:
            jar: AbstractCookieJar = aiohttp.CookieJar(unsafe=True) if self._keeps_cookies else aiohttp.DummyCookieJar()
            self._session = aiohttp.ClientSession(
                connector=_OneHost(self._origin), cookie_jar=jar, trust_env=False, middlewares=(_send_once,)
            )
        return self._session


class _OneHost(aiohttp.TCPConnector):
    """Connects to one origin; whatever else somebody asks for is a fault of ours, found before a packet leaves."""

    def __init__(self, origin: URL) -> None:
        super().__init__(limit=0, keepalive_timeout=KEEP_ALIVE_S)  # AiohttpHttp bounds the calls
        self._only = origin

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the base class's shape
    ) -> aiohttp.connector.Connection:
        if req.url.origin() != self._only:
            raise Unsendable(f"{req.url.host}: not the configured host")
        return await super().connect(req, traces, timeout)


class _Broken(aiohttp.ClientError):
    """The connection broke after the request may have arrived."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a PUT or DELETE by itself: whether a repeat is safe is the worker's to say."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        if request.method in ("GET", "HEAD"):
            raise
        raise _Broken from None


def _name(exc: BaseException) -> str:
    """Return the kind of fault in words: the text of an exception may hold a URL, so only its type is told."""
    return next((words for kinds, words in _FAULTS if isinstance(exc, kinds)), f"no answer ({type(exc).__name__})")


_BROKEN = "the connection broke before the answer"
_FAULTS: Sequence[tuple[tuple[type[BaseException], ...], str]] = (  # the first that fits
    ((aiohttp.ClientConnectorDNSError,), "the name does not resolve"),
    ((aiohttp.ClientSSLError,), "the TLS handshake failed"),
    ((aiohttp.ConnectionTimeoutError,), f"no connection within {CONNECT_TIMEOUT_S:g} s"),
    ((aiohttp.ClientConnectorError,), "no connection"),
    ((_Broken, aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, OSError), _BROKEN),
)


def is_safe(path: str) -> bool:
    """Return True when *path* stays what it is on every server: no dot segment, no query, nothing that needs encoding."""
    if any(not "!" <= character <= "~" or character in '?#\\"<>^`{|}' for character in path):
        return False
    return all(unquote(part) not in (".", "..") for part in path.split("/"))


def _body(call: Call) -> tuple[bytes | None, str | None]:
    """Return the bytes of *call* and their media type."""
    if call.json is not None:
        return orjson.dumps(call.json), "application/json"
    if call.form is not None:
        return urlencode(call.form).encode(), "application/x-www-form-urlencoded"
    if call.multipart is not None:
        boundary = f"callback-bridge-{token_hex(16)}"
        return multipart(call.multipart, boundary), f"multipart/form-data; boundary={boundary}"
    return call.content, None


def multipart(parts: Sequence[Part], boundary: str) -> bytes:
    """Return multipart/form-data as browsers and curl write it (RFC 7578; names escaped as the HTML standard says)."""
    body = bytearray()
    for part in parts:
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{_escape(part.name)}"'.encode()
        if part.filename is not None:
            body += f'; filename="{_escape(part.filename)}"'.encode()
        kind = part.content_type or ("application/octet-stream" if part.filename is not None else None)
        if kind:
            body += f"\r\nContent-Type: {_escape(kind)}".encode()
        body += b"\r\n\r\n" + part.content + b"\r\n"
    return bytes(body + f"--{boundary}--\r\n".encode())


def _escape(text: str) -> str:
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


class _NoHttp:
    """For a platform that is reached through a library of its own."""

    async def send(self, call: Call) -> Reply:  # noqa: ARG002 - the port's shape
        raise Unsendable("this target has no base_url")

    async def close(self) -> None:
        return


def open_target(
    name: str, settings: TargetSettings, *, clock: Clock, kind: type[Consumer[Any, Any]] | None = None
) -> Consumer[Any, Any]:
    """Return the consumer of the target *name*, with its own connection pool and auth. Close it with close_target().

    kind: in place of the class that `consumer` names; it inherits from that.

    Raises:
        ValueError: `consumer` names no consumer, or base_url is not one.
    """
    try:
        kind = kind or load_consumer(settings.consumer)
        base_url = getattr(settings, "base_url", None)
        if base_url is None:
            return kind(settings, _NoHttp(), clock=clock)
        http = AiohttpHttp(
            str(base_url),
            kind.auth.headers(settings),
            concurrency=settings.concurrency,
            timeout=settings.timeout,
            keeps_cookies=kind.keeps_cookies(settings),
        )
    except ValueError as exc:
        raise ValueError(f"targets.{name}: {exc}") from None
    return kind(settings, PacedHttp(http, kind.quota), clock=clock)


async def close_target(consumer: Consumer[Any, Any]) -> None:
    """Close what open_target() made."""
    await consumer.close()
    await consumer.raw_http.close()
