"""Bodies as senders post them: strict JSON, forms, text. One reading for every stage, so that no two of them disagree.

Every parser here is linear in the body, allocates no more than a small multiple of it, and raises Malformed,
UnsupportedEncoding or nothing. What PostgreSQL cannot store, U+0000, becomes U+FFFD in values and is refused in names.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

import orjson

from bridge.core.errors import Malformed, UnsupportedEncoding

MAX_DEPTH = 100
"""Levels of JSON; the serialiser's own end is at 254, and an event wraps its body in two."""
MAX_FIELDS = 1000

Fields: TypeAlias = dict[str, str | list[str]]
"""The fields of a form by name; a repeated one is the list of its values, in order."""

SINGLE = frozenset({"outcome", "status", "result", "state", "summary", "message", "url", "percent"})
"""Fields that are refused when given twice: a verdict must not depend on which one a reader takes."""

_NUL = "\0"
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type: `name` in lower case, empty where none was sent or it is unreadable; parameters by lower-case name."""

    name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_json(self) -> bool:
        return self.name == "application/json" or self.name.endswith("+json")

    @property
    def is_form(self) -> bool:
        return self.name == "application/x-www-form-urlencoded"

    @property
    def is_multipart(self) -> bool:
        return self.name.startswith("multipart/")

    @property
    def is_text(self) -> bool:
        """Text, and XML, which is never parsed."""
        return self.name.startswith("text/") or self.name == "application/xml" or self.name.endswith("+xml")


_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER = re.compile(
    r""";[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)|"((?:[^"\\]|\\.)*)")"""
)


@lru_cache(maxsize=128)
def media_type(header: str | None) -> MediaType:
    """Read a Content-Type header.

    Raises:
        Malformed: a parameter is given twice.
    """
    name, _, _ = (header or "").partition(";")
    name = name.strip().lower()
    parameters: dict[str, str] = {}
    for match in _PARAMETER.finditer(header or ""):
        key = match[1].lower()
        if key in parameters:
            raise Malformed("a parameter of Content-Type is given twice")
        parameters[key] = match[2] or re.sub(r"\\(.)", r"\1", match[3] or "")
    return MediaType(name if _TYPE.fullmatch(name) else "", parameters)


def parse_json(body: bytes, charset: str = "utf-8") -> Any:
    """Return the value of *body*, read as RFC 8259 in UTF-8 and no more leniently.

    Integers beyond 64 bits become the nearest float.

    Raises:
        Malformed: not JSON, NaN, a BOM, a lone surrogate, a number beyond a float, a key given twice, nested too deep.
        UnsupportedEncoding: *charset* says that it is not UTF-8.
    """
    if charset.lower() not in _UTF8:
        raise UnsupportedEncoding("JSON in another charset than utf-8")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Malformed("the body is not JSON") from None
    if _count(body, b"[") + _count(body, b"{") > MAX_DEPTH:
        _check_depth(value)
    if b"\\" in body and _HIDING.search(body):
        return _read_slowly(body, value)
    written = orjson.dumps(value)
    # A repeated key loses a pair, and with it a colon: no other way changes their number. Most senders write as we do.
    if written != body and written.count(b":") != body.count(b":"):
        raise Malformed("a key of a JSON object is given twice")
    return value


def _count(body: bytes, byte: bytes) -> int:
    """Return how often *byte* is there. bytes.count() looks at each byte, replace() leaps from one found to the next."""
    return len(body) - len(body.replace(byte, b""))


_UTF8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_HIDING = re.compile(rb"\\u00(?:3[aA]|00)")
"""An escaped colon, which defeats counting, or an escaped NUL."""


def _read_slowly(body: bytes, value: Any) -> Any:
    """Return *value* without NUL, after a reading that sees every key."""
    json.loads(body, object_pairs_hook=_unique, parse_int=len, parse_float=len)
    return _without_nul(value)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    names = {name for name, _ in pairs}
    if len(names) < len(pairs):
        raise Malformed("a key of a JSON object is given twice")
    if any(_NUL in name for name in names):
        raise Malformed("U+0000 in a key of a JSON object")


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace(_NUL, _REPLACEMENT)
        case list():
            return [_without_nul(item) for item in value]
        case dict():
            return {name: _without_nul(item) for name, item in value.items()}
        case _:
            return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    raise Malformed(f"JSON nested deeper than {MAX_DEPTH} levels")


_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def parse_form(body: bytes) -> Fields:
    """Return the fields of an `application/x-www-form-urlencoded` body; blank values are kept.

    Raises:
        Malformed: a bad percent escape, not UTF-8, too many fields, or a deciding field given twice.
    """
    if body.count(b"&") >= MAX_FIELDS:
        raise Malformed(f"a form of more than {MAX_FIELDS} fields")
    if _BAD_ESCAPE.search(body):
        raise Malformed("a bad percent escape in a form")
    fields: Fields = {}
    for pair in body.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            add_field(fields, _unquote(name), _unquote(value))
    return fields


def _unquote(part: bytes) -> str:
    return utf8(unquote_to_bytes(part.replace(b"+", b" ")))


def add_field(fields: Fields, name: str, value: str) -> None:
    """Add one field of a form.

    Raises:
        Malformed: U+0000 in the name, or a deciding field given twice.
    """
    if _NUL in name:
        raise Malformed("U+0000 in the name of a field")
    value = value.replace(_NUL, _REPLACEMENT)
    match fields.get(name):
        case None:
            fields[name] = value
        case _ if name in SINGLE:
            raise Malformed("a deciding field of a form is given twice")
        case list() as values:
            values.append(value)
        case str() as first:
            fields[name] = [first, value]


def utf8(part: bytes) -> str:
    """Return *part* as text.

    Raises:
        Malformed: it is not UTF-8.
    """
    try:
        return part.decode()
    except UnicodeDecodeError:
        raise Malformed("text that is not UTF-8") from None


_LATIN1 = frozenset({"iso-8859-1", "latin1", "latin-1"})


def parse_text(body: bytes, charset: str = "utf-8") -> str:
    """Return a body of text; a BOM is dropped, U+0000 replaced.

    Raises:
        Malformed: it is not in its charset.
        UnsupportedEncoding: a charset other than UTF-8, US-ASCII and ISO-8859-1.
    """
    charset = charset.lower()
    if charset in _UTF8:
        text = utf8(body)
    elif charset in _LATIN1:
        text = body.decode("latin-1")
    else:
        raise UnsupportedEncoding("text in a charset that is not known here")
    return text.removeprefix("\ufeff").replace(_NUL, _REPLACEMENT)
