"""Values of parameters: what an input takes from the `json` form field, and what a trigger takes from its fields.

Contract: sections 1.3 and 4 of the Jenkins page.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bridge.testing.jenkins.model.script import Parameter, ParameterType

STORED_DEFAULT = "<DEFAULT>"
_TRUE_WORDS = frozenset({"true", "yes", "y", "on", "1"})
_FALSE_WORDS = frozenset({"false", "no", "n", "off", "0"})


class BadParameterError(Exception):
    """The parameters are wrong; Jenkins answers 500 and hides this text."""


@dataclass(frozen=True)
class Upload:
    """One multipart part with a file name."""

    filename: str
    content: bytes


@dataclass(frozen=True)
class Surroundings:
    """What a value may refer to beyond its own entry."""

    uploads: Mapping[str, Upload]
    run_exists: Callable[[str], bool]
    unknown_boolean: Literal["false", "error"]
    file_folder: str
    """Where a core `file` would be kept on the controller."""


def parse_form(text: str, declared: Sequence[Parameter], surroundings: Surroundings) -> dict[str, Any]:
    """Return the values in a `json` field by name, in the order sent; what is not sent is absent.

    Raises BadParameterError for anything that Jenkins does not take.
    """
    values: dict[str, Any] = {}
    by_name = {parameter.name: parameter for parameter in declared}
    for entry in _entries(text):
        name = entry.get("name") if isinstance(entry, dict) else None
        parameter = by_name.get(name) if isinstance(name, str) else None
        if parameter is None:
            raise BadParameterError(f"No such parameter definition: {name}")
        values[parameter.name] = value_of(parameter, entry, surroundings)
    return values


def _entries(text: str) -> list[Any]:
    try:
        form = json.loads(text)
    except ValueError as broken:
        raise BadParameterError("not JSON") from broken
    if not isinstance(form, dict):
        raise BadParameterError("not a JSON object")
    if "parameter" not in form:
        return []
    entries = form["parameter"]
    return entries if isinstance(entries, list) else [entries]


def value_of(parameter: Parameter, entry: Mapping[str, Any], surroundings: Surroundings) -> Any:  # noqa: PLR0911 - one arm for each kind
    """Return the value that *entry* gives to *parameter*. Raises BadParameterError."""
    given = entry.get("value")
    match parameter.type:
        case ParameterType.STRING | ParameterType.TEXT:
            text = _text(given)
            return text.strip() if parameter.trim else text
        case ParameterType.BOOLEAN:
            return _boolean(given, surroundings.unknown_boolean)
        case ParameterType.CHOICE:
            return _choice(parameter, given)
        case ParameterType.PASSWORD:
            return _password(parameter, given)
        case ParameterType.CREDENTIALS:
            text = _text(given)
            return _text(parameter.default) if parameter.required and not text.strip() else text
        case ParameterType.RUN:
            return _run(entry.get("runId"), surroundings)
        case ParameterType.BASE64_FILE:
            return _base64(entry, surroundings)
        case ParameterType.FILE | ParameterType.STASHED_FILE:
            _upload(entry, surroundings)
            return f"{surroundings.file_folder}/{parameter.name}"


def _text(given: Any) -> str:
    if given is None:
        return ""
    if isinstance(given, str):
        return given
    if isinstance(given, bool | int | float):
        return json.dumps(given)
    raise BadParameterError("a string cannot be an object or a list")


def _boolean(given: Any, unknown: Literal["false", "error"]) -> bool:
    word = _text(given).lower()
    if unknown == "error" and given is not None and word not in _TRUE_WORDS | _FALSE_WORDS:
        raise BadParameterError("not a boolean")
    return word in _TRUE_WORDS


def _choice(parameter: Parameter, given: Any) -> str:
    if given is None or _text(given) not in parameter.choices:
        raise BadParameterError(f"Illegal choice for parameter {parameter.name}")
    return _text(given)


def _password(parameter: Parameter, given: Any) -> str:
    if given is None:
        raise BadParameterError("no password")
    return _text(parameter.default) if given == STORED_DEFAULT else _text(given)


def _run(given: Any, surroundings: Surroundings) -> str:
    if not isinstance(given, str) or "#" not in given or not surroundings.run_exists(given):
        raise BadParameterError("no such run")
    return given


def _base64(entry: Mapping[str, Any], surroundings: Surroundings) -> str:
    inline = entry.get("base64")
    return inline if isinstance(inline, str) else b64encode(_upload(entry, surroundings).content).decode()


def _upload(entry: Mapping[str, Any], surroundings: Surroundings) -> Upload:
    upload = surroundings.uploads.get(str(entry.get("file")))
    if upload is None:
        raise BadParameterError("no such file in the request")
    return upload


def trigger_values(declared: Sequence[Parameter], fields: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the values of a `buildWithParameters`: defaults for what is omitted, fields not declared left out.

    Raises BadParameterError for a repeated field or an illegal choice.
    """
    values: dict[str, Any] = {}
    for parameter in declared:
        given = fields.get(parameter.name, ())
        if len(given) > 1:
            raise BadParameterError(f"Illegal number of parameter values for {parameter.name}")
        values[parameter.name] = _trigger_value(parameter, given[0]) if given else default_of(parameter)
    return values


def _trigger_value(parameter: Parameter, given: str) -> Any:
    match parameter.type:
        case ParameterType.BOOLEAN:
            return given.lower() in _TRUE_WORDS
        case ParameterType.CHOICE:
            return _choice(parameter, given)
        case _:
            return given.strip() if parameter.trim else given


def default_of(parameter: Parameter) -> Any:
    """Return the value that a job's parameter takes when the trigger leaves it out."""
    match parameter.type:
        case ParameterType.BOOLEAN:
            return bool(parameter.default)
        case ParameterType.CHOICE if parameter.default is None:
            return parameter.choices[0] if parameter.choices else ""
        case _:
            return _text(parameter.default)
