"""`bridge verify`: why a saved request was refused, or the events that it makes. It works alone and sends nothing."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.loading import load
from bridge.cli.options import ConfigPath, Json, read_bytes
from bridge.cli.output import details, dump, fail, say

if TYPE_CHECKING:  # help and version do not load it
    from bridge.config import Config
    from bridge.core.event import Event
    from bridge.core.request import RawRequest

_HINT = "REQUEST"


@dataclass(frozen=True, slots=True)
class Saved:
    """A request as it was saved. target: path and query; headers: names in lower case."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    at: datetime | None = None


def verify(
    request: Annotated[
        str,
        typer.Argument(
            help="A file (- for standard input): JSON {method, path, headers, body or body_base64}, or the raw HTTP request."
        ),
    ],
    *,
    source: Annotated[
        str | None, typer.Option(help="The configured source; default: the one that the path names.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="When it came, such as 2026-01-31T12:00:00Z; default: as saved, else now.")
    ] = None,
    config: ConfigPath = None,
    as_json: Json = False,
) -> None:
    """Verify a saved request as ingress would, and say why it is refused or what it makes."""
    saved = parse(read_bytes(request, _HINT))
    raw = _raw(saved, _moment(at) or saved.at or datetime.now(UTC))
    name = source or _source_of(raw.path)
    events = _judge(raw, name, config)
    if as_json:
        dump({"source": name, "events": [event.model_dump(mode="json") for event in events]})
        return
    say(f"accepted by {name}: {len(events)} event{'' if len(events) == 1 else 's'}")
    for event in events:
        data = event.data
        keys = "  ".join(f"{key}={value}" for key, value in data.keys.items())
        details({"type": event.type, "outcome": data.outcome, "keys": keys, "summary": data.summary, "link": data.url})


def _judge(raw: "RawRequest", name: str, config: Path | None) -> list["Event"]:
    from bridge.core.errors import IntakeError  # noqa: PLC0415 - help and version do not load it

    section = "callbacks" if name == "callback" else f"sources.{name}"
    loaded = load(config, secrets_of=[section])
    handler = _handler(loaded, name)
    try:
        return list(handler.normalise(handler.verify(raw, now=raw.received_at)))
    except IntakeError as exc:
        fail(f"refused by {name}: {exc.status.value} {type(exc).__name__}: {exc}")


def _handler(loaded: "Config", name: str) -> Any:
    from bridge.config.kinds import source_kind  # noqa: PLC0415 - help and version do not load it
    from bridge.sources.callback import Callback  # noqa: PLC0415

    if name == "callback":
        return Callback(loaded.callback_keys)
    settings = loaded.sources.get(name)
    if settings is None:
        fail(f"there is no [sources.{name}]; there are {', '.join(loaded.sources) or 'none'}")
    return source_kind(settings.kind)(name, settings)


def _source_of(path: str) -> str:
    parts = path.split("/")
    if parts[1:2] == ["cb"]:
        return "callback"
    if parts[1:2] == ["hooks"] and len(parts) > 2 and parts[2]:  # noqa: PLR2004 - /hooks/<source>
        return parts[2]
    raise typer.BadParameter("is required: the path names none (/hooks/<source>)", param_hint="--source")


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("expected a time such as 2026-01-31T12:00:00Z", param_hint="--at") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _raw(saved: Saved, at: datetime) -> "RawRequest":
    from bridge.core.request import RawRequest  # noqa: PLC0415 - help and version do not load it

    path, _, query = saved.target.partition("?")
    return RawRequest(saved.method, path, query, tuple(saved.headers), saved.body, at)


def parse(content: bytes) -> Saved:
    """Read a saved request: JSON where it begins with `{`, else HTTP/1.1 as it was on the line.

    Raises:
        typer.BadParameter: it is neither.
    """
    return _from_json(content) if content.lstrip()[:1] == b"{" else _from_http(content)


def _from_json(content: bytes) -> Saved:
    import json  # noqa: PLC0415

    try:
        document = json.loads(content)
        headers = document.get("headers") or {}
        listed = headers.items() if isinstance(headers, dict) else [(name, value) for name, value in headers]
        lines = [
            (str(name).lower(), str(value))
            for name, given in listed
            for value in (given if isinstance(given, list) else [given])
        ]
        moment = document.get("now")
        at = datetime.fromtimestamp(moment, UTC) if isinstance(moment, int | float) else None
        return Saved(str(document.get("method", "POST")), str(document["path"]), lines, _body(document), at)
    except (ValueError, KeyError, TypeError, AttributeError):
        wanted = "expected {method, path, headers, body or body_base64}"
        raise typer.BadParameter(wanted, param_hint=_HINT) from None


def _body(document: dict[str, Any]) -> bytes:
    encoded = document.get("body_base64")
    text = document.get("body") or ""
    if encoded is None and document.get("body_encoding") == "base64":
        encoded = text
    try:
        return text.encode() if encoded is None else base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ValueError("body_base64") from None


def _from_http(content: bytes) -> Saved:
    head, separator, body = content.partition(b"\r\n\r\n")
    if not separator:
        head, separator, body = content.partition(b"\n\n")
    first, *rest = head.decode("latin-1").splitlines() or [""]
    words = first.split(" ")
    if len(words) not in (2, 3) or not words[1].startswith("/"):
        raise typer.BadParameter("expected JSON, or HTTP beginning with POST /hooks/…", param_hint=_HINT)
    headers = [
        (name.strip().lower(), value.strip()) for name, colon, value in (line.partition(":") for line in rest) if colon
    ]
    return Saved(words[0], words[1], headers, body)
