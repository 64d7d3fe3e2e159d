"""The TOML file as a plain document, and the environment's overrides over it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.config.problems import Problems
from bridge.core.errors import ConfigError

DEFAULT_NAME = "bridge.toml"
NAMED_SECTIONS = ("clients", "sources", "targets")
"""Tables of tables: their second word is a name, written with `-` where a variable has `_`."""
_PREFIX = "BRIDGE_"
_TESTS = "BRIDGE_TEST_"

Place = tuple[str, ...]


def find_file(path: Path | None) -> Path | None:
    """Return the file to read: *path*, else `bridge.toml` here where there is one, else None."""
    if path is not None:
        return path
    return Path(DEFAULT_NAME) if Path(DEFAULT_NAME).is_file() else None


def read_document(path: Path | None) -> dict[str, Any]:
    """Return the file's tables; nothing for no file.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise ConfigError([f"{path}: {exc.strerror or 'cannot be read'}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError([f"{path}: is not TOML: {exc}"]) from None


def apply_environment(
    document: dict[str, Any], environ: Mapping[str, str], sections: Mapping[str, Any], problems: Problems
) -> dict[Place, str]:
    """Put the overrides of *environ* into *document*; return the raw text of each, by its place.

    `BRIDGE_PUBLIC_URL` and every `BRIDGE_` variable with `__` count; other `BRIDGE_` variables belong to others.
    sections: the top-level keys that there are.
    """
    raw = {}
    for variable, text in sorted(environ.items()):
        words = _words(variable)
        if not words:
            continue
        if words[0] not in sections or "" in words:
            problems.add(variable, f"overrides no key; sections are {', '.join(sorted(sections))}")
            continue
        place = _put(document, words, _parse(text))
        if place is None:
            problems.add(variable, "overrides a key inside something that is no table")
        else:
            raw[place] = text
    return raw


def _words(variable: str) -> list[str]:
    if variable == "BRIDGE_PUBLIC_URL":
        return ["public_url"]
    rest = variable.removeprefix(_PREFIX)
    if rest == variable or variable.startswith(_TESTS) or "__" not in rest.lstrip("_"):
        return []
    return rest.lower().split("__")


def _parse(text: str) -> Any:
    """Return *text* as the TOML value that it is, else as a string."""
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return document["value"] if list(document) == ["value"] else text


def _put(document: dict[str, Any], words: list[str], value: Any) -> Place | None:
    table: Any = document
    place: list[str] = []
    for depth, word in enumerate(words):
        if not isinstance(table, dict):
            return None
        is_name = depth == 1 and words[0] in NAMED_SECTIONS
        key = word.replace("_", "-") if is_name else word
        place.append(key)
        if depth < len(words) - 1:
            table = table.setdefault(key, {})
    _release(table, place[-1])
    table[place[-1]] = value
    return tuple(place)


def _release(table: dict[str, Any], key: str) -> None:
    """Drop the other ways to say what *key* says (`url`, `url_env`, `url_file`): an override replaces them."""
    stem = key.removesuffix("_env").removesuffix("_file")
    for other in (stem, f"{stem}_env", f"{stem}_file"):
        table.pop(other, None)
