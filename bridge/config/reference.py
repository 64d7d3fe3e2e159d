"""docs/reference/config.md, from the models: every section, key, default and meaning."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from bridge.config import kinds
from bridge.config.models import ClientSettings, ConfigFile, NamedKey
from bridge.config.schema import extension_model
from bridge.config.values import SecretField, secret_fields
from bridge.core.consumer import load_consumer
from bridge.core.settings import AgentSettings, Settings, SourceSettings, TargetSettings, show_duration

HEAD = """# Configuration reference

Written by `bridge schema` from the models; do not edit. The whole example is [bridge.toml](../bridge.toml), the schema
[config.json](../../schemas/config.json).

One TOML file, `./bridge.toml` or the one that `-c` names.
A key that nobody knows is an error, and every problem is told at once.
A secret is named, not written: `<key>_env` names a variable, `<key>_file` a file (relative to the config file; line ends at its end do not count).
A variable with `__` overrides a key: `BRIDGE_BROKER__URL` is `[broker] url`, `BRIDGE_TARGETS__JENKINS_PROD__RATE` is
`[targets.jenkins-prod] rate`; so does `BRIDGE_PUBLIC_URL`. Values are read as TOML where they are TOML, else as text.
Durations are `"90s"`, `"15m"`, `"8h"`, `"7d"` or whole seconds.
Names of sources, targets and clients are lower-case letters, digits and dashes, at most 63; `callback` and `bridge` are no source's.
"""


SECRETS = (
    "the first seals secret address fields and third-party client tokens, all open; read by the coordinator and by workers "
    "whose addresses may hold a secret. Without one no such address is taken"
)


def reference_page() -> str:
    """Return the page as Markdown."""
    parts = [HEAD, "## Top level\n", _table({"public_url": ConfigFile.model_fields["public_url"]}, {})]
    for name in ("http", "broker", "store", "waits"):
        parts += [f"## `[{name}]`\n", _model_table(cast("type[BaseModel]", ConfigFile.model_fields[name].annotation))]
    parts += ["## `[callbacks]`\n", _named_keys("the first signs, all verify; ingress and coordinator need one")]
    parts += ["## `[secrets]`\n", _named_keys(SECRETS)]
    parts += ["## `[clients.<name>]`\n", _model_table(ClientSettings)]
    parts += ["## `[sources.<name>]`\n", "Every source has these:\n", _model_table(SourceSettings)]
    for name in kinds.built_in("sources"):
        parts += _extension("sources", name, SourceSettings)
    parts += ["## `[targets.<name>]`\n", "Every target has these:\n", _model_table(TargetSettings)]
    for name in kinds.built_in("consumers"):
        parts += [*_extension("consumers", name, TargetSettings), "Its address:\n"]
        parts += [_model_table(load_consumer(name).address_type)]
    parts += ["## `[agents.<name>]`\n", "Every agent has these:\n", _model_table(AgentSettings)]
    for name in kinds.built_in("agents"):
        parts += _extension("agents", name, AgentSettings)
    return "\n".join(parts).rstrip() + "\n"


def _extension(package: str, name: str, base: type[BaseModel]) -> list[str]:
    model = extension_model(package, name)
    own = {key: field for key, field in model.model_fields.items() if key not in base.model_fields}
    chooser = "consumer" if package == "consumers" else "kind"
    return [f'### `{chooser} = "{name}"`\n', _table(own, secret_fields(model))]


def _named_keys(sense: str) -> str:
    entry = NamedKey.model_fields
    rows = [
        ("keys", "list", "none", sense),
        ("keys[].id", "text", "required", entry["id"].description or ""),
        ("keys[].env, keys[].file", "secret", "one of them", entry["key"].description or ""),
    ]
    return _rows(rows)


def _model_table(model: type[BaseModel]) -> str:
    return _table(model.model_fields, secret_fields(model))


def _table(fields: dict[str, FieldInfo], secrets: dict[str, SecretField]) -> str:
    if not fields:
        return "Nothing of its own.\n"
    return _rows(row for name, field in fields.items() for row in _field_rows(name, field, secrets))


def _field_rows(name: str, field: FieldInfo, secrets: dict[str, SecretField]) -> list[tuple[str, str, str, str]]:
    """Return the row of *field*; of a table inside a section those of its keys too."""
    row = (_names(name, secrets), _kind(field), _default(name, field), field.description or "")
    inner = field.annotation
    if not (isinstance(inner, type) and issubclass(inner, Settings)):
        return [row]
    return [row] + [_field_rows(f"{name}.{key}", part, {})[0] for key, part in inner.model_fields.items()]


def _rows(rows: Iterable[tuple[str, str, str, str]]) -> str:
    lines = ["| key | kind | default | sense |", "| --- | --- | --- | --- |"]
    for names, kind, default, sense in rows:
        shown = ", ".join(f"`{name}`" for name in names.split(", "))
        lines.append(f"| {shown} | {kind} | {_cell(default)} | {_cell(sense)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _names(name: str, secrets: dict[str, SecretField]) -> str:
    if name not in secrets:
        return name
    written = f"{name}, " if secrets[name].may_be_written else ""
    return f"{written}{name}_env, {name}_file"


_KINDS = {
    "float": "rate or number",
    "timedelta": "duration",
    "int": "number",
    "bool": "true or false",
    "str": "text",
    "SecretStr": "secret",
}


def _kind(field: FieldInfo) -> str:
    text = str(field.annotation)
    if "SecretStr" in text:
        return "secrets" if "tuple" in text else "secret"
    if any(word in text for word in ("tuple", "list", "frozenset")):
        return "list"
    if (
        "dict" in text
        or "Mapping" in text
        or (isinstance(field.annotation, type) and issubclass(field.annotation, Settings))
    ):
        return "table"
    return next((shown for kind, shown in _KINDS.items() if kind in text), "text")


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "see there" if name == "public_url" else "required"
    return _shown(field.get_default(call_default_factory=True))


def _shown(value: Any) -> str:
    match value:
        case None:
            return "none"
        case SecretStr():
            return f"`{value.get_secret_value()}`" if value.get_secret_value() else "none"
        case timedelta():
            return f"`{show_duration(value)}`"
        case bool():
            return str(value).lower()
        case str() | int() | float():
            return f"`{value}`" if str(value) else "empty"
        case _:
            return f"`{value}`" if value else "none"
