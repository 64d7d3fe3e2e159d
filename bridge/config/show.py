"""The effective config as TOML, with its secrets redacted: what `bridge config show` prints."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson
from pydantic import BaseModel, SecretStr

from bridge.config.models import Config, NamedKey
from bridge.config.values import redact_url, secret_fields
from bridge.core.settings import show_duration

HIDDEN = "********"
UNREAD = "(not read)"


def redacted(config: Config) -> dict[str, Any]:
    """Return the config as plain values that may be shown."""
    shown: dict[str, Any] = {"public_url": config.public_url}
    for name in ("http", "broker", "store", "waits", "callbacks", "secrets"):
        shown[name] = _section(getattr(config, name))
    for name in ("clients", "sources", "targets", "agents"):
        shown[name] = {key: _section(settings) for key, settings in getattr(config, name).items()}
    return shown


def _section(settings: BaseModel) -> dict[str, Any]:
    secrets = secret_fields(type(settings))
    shown = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is None:
            continue
        if name in secrets and secrets[name].may_be_written:
            shown[name] = redact_url(value.get_secret_value()) or UNREAD
        else:
            shown[name] = f"{value:g}/s" if name == "rate" else _plain(value)
    return shown


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one arm for each kind of value
    match value:
        case SecretStr():
            return HIDDEN if value.get_secret_value() else UNREAD
        case NamedKey():
            return {"id": value.id, "key": _plain(value.key)}
        case BaseModel():
            return _section(value)
        case timedelta():
            return show_duration(value)
        case frozenset():
            return sorted(_plain(item) for item in value)
        case tuple() | list():
            return [_plain(item) for item in value]
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case bool() | int() | float():
            return value
        case _:
            return str(value)


def to_toml(document: Mapping[str, Any]) -> str:
    """Return *document* as TOML: plain values first, then one table a section."""
    return "\n".join(_lines(document, "")).strip() + "\n"


def _lines(table: Mapping[str, Any], prefix: str) -> list[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            name = f"{prefix}{_key(key)}"
            inner = _lines(value, f"{name}.")
            has_own = any(not isinstance(item, Mapping) for item in value.values())
            lines += ["", f"[{name}]", *inner] if has_own else inner
    return lines


def _key(key: str) -> str:
    is_bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if is_bare else orjson.dumps(key).decode()


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return orjson.dumps(value).decode()
