"""Kinds of values that the config knows beside plain ones: addresses, URLs, and which fields hold secrets.

No check here repeats the value: a URL may hold a password.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, SecretStr, WithJsonSchema

_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class MayBeWritten:
    """Marks a secret field that may stand in the file itself: a URL which often holds no password."""


@dataclass(frozen=True, slots=True)
class SecretField:
    """A field of a section that is named by `<name>_env` or `<name>_file` instead of written."""

    name: str
    is_many: bool
    """It takes several values, as during a rotation."""
    may_be_written: bool


def secret_fields(model: type[BaseModel]) -> dict[str, SecretField]:
    """Return the fields of *model* that hold secrets, by name."""
    found = {}
    for name, field in model.model_fields.items():
        inner = set(_walk(field.annotation))
        if SecretStr in inner:
            is_written = any(isinstance(item, MayBeWritten) for item in field.metadata)
            found[name] = SecretField(name, bool(inner & {tuple, list, frozenset}), is_written)
    return found


def _walk(annotation: Any) -> list[Any]:
    inner = [part for argument in get_args(annotation) for part in _walk(argument)]
    return [get_origin(annotation) or annotation, *inner]


def _split(url: str) -> SplitResult:
    if _BLANK.search(url):
        raise ValueError("must not contain blanks")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - a port that is no number raises here
    except ValueError:
        raise ValueError("expected a URL") from None
    return parts


def check_base_url(url: str) -> str:
    """Accept an absolute http(s) URL without credentials, query and fragment; return it without a slash at its end."""
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError('expected an absolute URL such as "https://bridge.example.com"')
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must not hold credentials, a query or a fragment")
    return url.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(check_base_url), WithJsonSchema({"type": "string", "format": "uri"})]

_SQLITE = "sqlite:///"
MEMORY = "memory:"


def _check_broker(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    if url == MEMORY or _is_sqlite(url):
        return secret
    parts = _split(url)
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise ValueError('expected "amqp://host/", "amqps://host/", "sqlite:///path" or "memory:"')
    return secret


def _check_store(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    if _is_sqlite(url):
        return secret
    parts = _split(url)
    if parts.scheme != "postgresql" or not parts.path.strip("/"):
        raise ValueError('expected "postgresql://host/database" or "sqlite:///path"')
    return secret


def _is_sqlite(url: str) -> bool:
    return url.startswith(_SQLITE) and len(url) > len(_SQLITE)


BrokerUrl = Annotated[SecretStr, MayBeWritten(), AfterValidator(_check_broker)]
StoreUrl = Annotated[SecretStr, MayBeWritten(), AfterValidator(_check_store)]


def redact_url(url: str) -> str:
    """Return *url* without its password, to be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "********"
    user, has_user, host = parts.netloc.rpartition("@")
    if not has_user:
        return url.partition("?")[0]
    name, has_password, _ = user.partition(":")
    shown = f"{name}:********@{host}" if has_password else f"{name}@{host}"
    return parts._replace(netloc=shown, query="").geturl()


def split_listen(text: str) -> tuple[str, int]:
    """Read `host:port`; an IPv6 address stands in brackets, an empty host means all addresses.

    Raises:
        ValueError: with what was expected.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:  # noqa: PLR2004 - the largest port
        raise ValueError('expected "host:port" such as "127.0.0.1:8080" or "[::1]:8080"')
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    if ":" in host or _BLANK.search(host):
        raise ValueError('expected "host:port"; an IPv6 address stands in brackets')
    return host or "0.0.0.0", int(port)  # noqa: S104 - what an empty host says


def check_listen(text: str) -> str:
    split_listen(text)
    return text


Listen = Annotated[str, AfterValidator(check_listen)]


def is_loopback(host: str) -> bool:
    """Return True when only this machine can reach *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_local_url(url: str) -> bool:
    """Return True when *url* points at this machine."""
    return is_loopback(urlsplit(url).hostname or "")
