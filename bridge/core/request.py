"""HTTP as plain values: what came in (RawRequest, VerifiedRequest), what goes out (Call, Reply), and how it is signed (Auth)."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol, Self
from urllib.parse import quote

import orjson
from pydantic import SecretStr

from bridge.core.errors import Malformed

_NO_HEADERS: Mapping[str, str] = {}


class RawRequest(NamedTuple):
    """A request as received: nothing in it is believed yet.

    headers: names in lower case, values as Latin-1 text; one entry per header line, in order.
    query: the raw query string without `?`.
    body: the bytes exactly as received.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    received_at: datetime

    def header(self, name: str) -> str | None:
        """Return the one value of header *name* (lower case), or None.

        Raises:
            Malformed: it was sent more than once; neither the first nor the last wins silently.
        """
        found = None
        for key, value in self.headers:
            if key == name:
                if found is not None:
                    raise Malformed(f"header {name} was sent more than once")
                found = value
        return found


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request whose sender is proven. Only a source's verify() makes one; normalise() takes nothing else."""

    raw: RawRequest


class Auth(Protocol):
    """How a call proves who we are: from the target's settings to headers."""

    def headers(self, settings: Any) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class NoAuth:
    """Nothing to prove."""

    def headers(self, settings: Any) -> dict[str, str]:  # noqa: ARG002 - the port's shape
        return {}


@dataclass(frozen=True, slots=True)
class Bearer:
    """`Authorization: Bearer <token>`; *token* names the settings field."""

    token: str

    def headers(self, settings: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {_reveal(settings, self.token)}"}


@dataclass(frozen=True, slots=True)
class Basic:
    """`Authorization: Basic`; both name settings fields."""

    username: str
    password: str

    def headers(self, settings: Any) -> dict[str, str]:
        pair = f"{_reveal(settings, self.username)}:{_reveal(settings, self.password)}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


@dataclass(frozen=True, slots=True)
class TokenHeader:
    """`<header>: <token>`; *token* names the settings field."""

    header: str
    token: str

    def headers(self, settings: Any) -> dict[str, str]:
        return {self.header: _reveal(settings, self.token)}


def _reveal(settings: Any, name: str) -> str:
    value = getattr(settings, name)
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart form."""

    name: str
    content: bytes
    filename: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One outbound request, relative to the target's base URL.

    path: begins with `/`, percent-encoded already (see segment()); sent byte for byte.
    Of json, form, multipart and content at most one is given.
    is_signed: False for a call that carries a credential of its own and must not be seen with the target's.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    multipart: Sequence[Part] | None = None
    content: bytes | None = None
    timeout: timedelta = timedelta(seconds=30)
    is_signed: bool = True

    @classmethod
    def get(cls, path: str, *, query: Mapping[str, str] = _NO_HEADERS, **more: Any) -> Self:
        return cls("GET", path, query=query, **more)

    @classmethod
    def post(cls, path: str, **more: Any) -> Self:
        return cls("POST", path, **more)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    headers: names in lower case; of a repeated one the last.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's own bounds

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the parsed body, or None where it is not JSON (an HTML page of a proxy, an empty body)."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    def retry_after(self, now: datetime) -> timedelta | None:
        """Return the Retry-After header's wait (RFC 9110 10.2.3: seconds or a date), None where absent or unreadable."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return timedelta(seconds=min(int(value[:9]), 10**8))
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(moment - now, timedelta(0))


def segment(text: str) -> str:
    """Return *text* as one path segment: everything outside RFC 3986's unreserved set percent-encoded."""
    return quote(text, safe="")
