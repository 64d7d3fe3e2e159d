"""Who may call, how often, and how errors look: what stands before every endpoint."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil
from typing import Literal

import orjson
from aiohttp import web

from bridge.testing.circleci.knobs import Knobs, RateLimit
from bridge.testing.circleci.model import User

_LOG_IN = "You must log in first."
_INVALID = "Invalid token provided."
_OLD_TOKEN = "New format tokens are needed to authenticate this API endpoint. Create a new API token for access."  # noqa: S105 - a message
_QUERY_REFUSED = (
    "Support for query parameter authentication has been deprecated to improve security. "
    "Please use a supported authentication method such as header-based, or basic authentication."
)
_UNITS = {1: "Second", 60: "Minute", 3600: "Hour", 86_400: "Day"}


class ApiError(Exception):
    """An answer of 4xx or 5xx."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def render(error: ApiError, knobs: Knobs) -> web.Response:
    """Return *error* in the body shape of the knob."""
    content, body = "application/json", orjson.dumps({"message": error.message})
    match knobs.error_body:
        case "message":
            pass
        case "error":
            body = orjson.dumps({"error": error.message})
        case "empty":
            body = b"{}"
        case "text":
            content, body = "text/plain", error.message.encode()
        case "html":
            content, body = "text/html", f"<html><body><h1>{error.status}</h1></body></html>".encode()
        case "truncated":
            body = body[: len(body) // 2]
    return web.Response(status=error.status, body=body, content_type=content, headers=dict(error.headers))


@dataclass(slots=True)
class Token:
    """One API token. A project token is refused on v2; `has_new_format` False: made before 2023-06-23."""

    value: str
    user: User
    kind: Literal["personal", "project"] = "personal"
    access: Literal["write", "read"] = "write"
    is_valid: bool = True
    has_new_format: bool = True


class Tokens:
    """The tokens that exist."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self.known: dict[str, Token] = {}

    def add(self, token: Token) -> Token:
        self.known[token.value] = token
        return token

    def caller(self, request: web.Request) -> Token | None:
        """Return the good token of *request*, or None."""
        token = self._token(request)
        return token if token is not None and token.is_valid and token.kind == "personal" else None

    def _token(self, request: web.Request) -> Token | None:
        value = given(request, accepts_bearer=self._knobs.accepts_bearer)
        return self.known.get(value) if value else None

    def admit(self, request: web.Request, entity: str) -> Token:
        """Return the good token of *request*.

        Raises:
            ApiError: 404 "… not found" by design, or 401 (strict, and always for `/me`).
        """
        token = self.caller(request)
        if token is not None:
            return token
        if entity == "me" or self._knobs.auth_mode == "strict":
            raise ApiError(401, _LOG_IN)
        raise ApiError(404, f"{entity} not found")

    def admit_newer(self, request: web.Request) -> Token:
        """Return the good token of a request to `pipeline/run`, which documents its 401s and takes no token in the query.

        Raises:
            ApiError: 401.
        """
        if "circle-token" in request.query and not _header_value(request, accepts_bearer=True):
            raise ApiError(401, _QUERY_REFUSED)
        token = self.caller(request)
        if token is None:
            raise ApiError(401, _INVALID)
        if not token.has_new_format:
            raise ApiError(401, _OLD_TOKEN)
        return token

    def check_write(self, token: Token, entity: str) -> None:
        """Refuse a token that may only read.

        Raises:
            ApiError: 403 or 404, by the knob.
        """
        if token.access == "read":
            status = self._knobs.on_no_permission
            raise ApiError(status, "Permission denied." if status == 403 else f"{entity} not found")  # noqa: PLR2004 - a status


def given(request: web.Request, *, accepts_bearer: bool) -> str:
    """Return the token that *request* carries: Circle-Token, Bearer, Basic (as the user name), or the query."""
    return _header_value(request, accepts_bearer=accepts_bearer) or request.query.get("circle-token", "")


def _header_value(request: web.Request, *, accepts_bearer: bool) -> str:
    direct = request.headers.get("Circle-Token", "")
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    match scheme.lower():
        case "bearer" if accepts_bearer and not direct:
            return value.strip()
        case "basic" if not direct:
            return _basic_user(value)
        case _:
            return direct


def _basic_user(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


class Window:
    """A fixed window for the whole organization; it starts with its first request."""

    def __init__(self) -> None:
        self._ends_at = datetime.min.replace(tzinfo=UTC)
        self._limit: RateLimit | None = None
        self._used = 0

    @property
    def is_over(self) -> bool:
        """True when more was asked for than the limit allows."""
        return self._limit is not None and self._used > self._limit.limit

    def count(self, limit: RateLimit | None, now: datetime) -> None:
        """Count one request against *limit*."""
        self._limit = limit
        if limit is None:
            return
        if now >= self._ends_at:
            self._ends_at, self._used = now + timedelta(seconds=limit.window_s), 0
        self._used += 1

    def rest_s(self, now: datetime) -> int:
        return max(1, ceil((self._ends_at - now).total_seconds()))

    def standard(self, now: datetime) -> dict[str, str]:
        if self._limit is None:
            return {}
        left, reset = str(max(0, self._limit.limit - self._used)), str(self.rest_s(now))
        return {"RateLimit-Limit": str(self._limit.limit), "RateLimit-Remaining": left, "RateLimit-Reset": reset}

    def legacy(self, now: datetime) -> dict[str, str]:
        if self._limit is None:
            return {}
        unit = _UNITS[max((seconds for seconds in _UNITS if seconds <= self._limit.window_s), default=1)]
        names = {"RateLimit-Limit": f"X-RateLimit-Limit-{unit}"}
        return {names.get(name, f"X-{name}"): value for name, value in self.standard(now).items()}


class Limiter:
    """The limits of the knobs: one, or with `rate_limit_legacy` two, of which both count."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._first, self._second = Window(), Window()

    def take(self, now: datetime) -> dict[str, str]:
        """Count one request; return the headers of its answer.

        Raises:
            ApiError: 429, with the same headers and Retry-After by the knob.
        """
        self._first.count(self._knobs.rate_limit, now)
        self._second.count(self._knobs.rate_limit_legacy, now)
        headers = self._headers(now)
        over = [window.rest_s(now) for window in (self._first, self._second) if window.is_over]
        if over:
            raise ApiError(429, "Rate limit exceeded.", headers | self._retry_after(now, max(over)))
        return headers

    def _headers(self, now: datetime) -> dict[str, str]:
        told_by_x = self._second if self._knobs.rate_limit_legacy else self._first
        standard, legacy = self._first.standard(now), told_by_x.legacy(now)
        families = {"both": standard | legacy, "standard": standard, "legacy": legacy, "none": {}}
        return families[self._knobs.rate_limit_headers]

    def _retry_after(self, now: datetime, rest_s: int) -> dict[str, str]:
        wait_s = self._knobs.retry_after_s if self._knobs.retry_after_s is not None else rest_s
        match self._knobs.retry_after:
            case "missing":
                return {}
            case "seconds":
                return {"Retry-After": str(ceil(wait_s))}
            case "date":  # whole seconds: rounded up, so that waiting for it is enough
                moment = now.replace(microsecond=0) + timedelta(seconds=ceil(wait_s) + 1)
                return {"Retry-After": format_datetime(moment, usegmt=True)}
