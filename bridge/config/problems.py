"""Every problem of a config, one `key: what was expected` line each. A line never holds a value of the config."""

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError

from bridge.config.values import secret_fields
from bridge.core.errors import ConfigError

_OWN_WORDS = {
    "string_type": "expected a string",
    "dict_type": "expected a table",
    "model_type": "expected a table",
    "model_attributes_type": "expected a table",
    "tuple_type": "expected a list",
    "frozen_set_type": "expected a list",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
}


class Problems:
    """Collects; nothing is raised before all is looked at."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines)

    def add(self, key: str, text: str) -> None:
        self.add_line(f"{key}: {text}")

    def add_line(self, line: str) -> None:
        self._lines.append(line)

    def has(self, key: str) -> bool:
        """Return True when something is noted whose key begins with *key*."""
        return any(line.startswith(key) for line in self._lines)

    def add_unknown(self, key: str, known: Iterable[str]) -> None:
        """Note a key that nobody reads, with the one that was probably meant."""
        close = difflib.get_close_matches(key.rpartition(".")[2], list(known), n=1)
        self.add(key, f"unknown key; did you mean {close[0]}?" if close else "unknown key")

    def add_invalid(self, key: str, exc: ValidationError, model: type[BaseModel]) -> None:
        """Note what *model* refused in the section *key*."""
        secrets = secret_fields(model)
        for error in exc.errors(include_url=False, include_input=False, include_context=False):
            place = join(key, error["loc"])
            field = str(error["loc"][-1]) if error["loc"] else ""
            if error["type"] == "extra_forbidden":
                known = written_names(model) if len(error["loc"]) == 1 else []
                self.add_unknown(place, known)
            elif error["type"] == "missing" and field in secrets:
                self.add(f"{place}_env", f"is required; it names a variable ({field}_file: a file)")
            elif error["type"] == "missing":
                self.add(place, "is required")
            else:
                self.add(*_placed(place, _text(error["type"], error["msg"]), model))

    def raise_if_any(self) -> None:
        """Raise ConfigError when anything was noted."""
        if self._lines:
            raise ConfigError(self._lines)


def _placed(key: str, text: str, model: type[BaseModel]) -> tuple[str, str]:
    """Return key and text; a rule of the whole model may begin its text with the key that it means."""
    name, colon, rest = text.partition(": ")
    return (f"{key}.{name}", rest) if colon and name in written_names(model) else (key, text)


def written_names(model: type[BaseModel]) -> list[str]:
    """Return the keys that the section of *model* may hold in the file."""
    names = []
    secrets = secret_fields(model)
    for name in model.model_fields:
        if name not in secrets or secrets[name].may_be_written:
            names.append(name)
        if name in secrets:
            names += [f"{name}_env", f"{name}_file"]
    return names


def join(key: str, location: Iterable[int | str]) -> str:
    """Return the dotted key of *location* below *key*."""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    return key


def _text(kind: str, message: str) -> str:
    text = _OWN_WORDS.get(kind) or message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
