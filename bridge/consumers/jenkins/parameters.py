"""What goes into an input's declared parameters: from a resolution to the form that Jenkins reads.

Contract: form field `json` = {"parameter": [{"name", "value"} | {"name", "base64"} | {"name", "file": "<part>"} | {"name", "runId"}]}
          urlencoded, or multipart with one part for each file; what is not named is absent from what the step returns
Source:   pipeline-input-step-plugin @ d2b888dfb50d (InputStepExecution.parseValue); file-parameters-plugin @ 59e1249584e1
"""

import json
from base64 import b64decode, b64encode
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jmespath
import orjson

from bridge.core.event import File
from bridge.core.multipart import as_file
from bridge.core.outcome import Refused
from bridge.core.request import Part
from bridge.core.resolution import Resolution

MAX_FORM_BYTES = 200_000
"""What Jetty reads of an urlencoded form by default; a longer one is an error that Jenkins shows as 400 or 500."""

_TRUE = frozenset({"true", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "no", "n", "off", "0", ""})


@dataclass(frozen=True, slots=True)
class Declared:
    """One parameter of an input. kind: the short name of its class; choices: None where it has none."""

    name: str
    kind: str = "StringParameterDefinition"
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """The entries of the form, and the files that they name."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        """Return the body as arguments of a Call.

        Raises:
            Refused: the form is longer than Jenkins reads.
        """
        form = {"parameter": self.entries}
        if self.parts:  # a part's charset is its own business on the other side: ASCII means the same in all
            return {"multipart": [Part("json", json.dumps(form).encode()), *self.parts]}
        text = orjson.dumps(form).decode()
        size = len(urlencode({"json": text}))
        if size > MAX_FORM_BYTES:
            raise Refused(f"the parameters make a form of {size} bytes; Jenkins reads {MAX_FORM_BYTES}")
        return {"form": {"json": text}}


def fill(declared: Sequence[Declared], resolution: Resolution, expressions: Mapping[str, str] | None) -> Filled:
    """Return the values of *resolution* for *declared*; what has none is left out.

    expressions: JMESPath by parameter; None: the values are found by name.

    Raises:
        Refused: a value that its parameter cannot take.
    """
    found = _found(resolution) if expressions is None else _computed(resolution, expressions)
    roles = _roles(resolution) if expressions is None else {}
    filled = Filled()
    for parameter in declared:
        value = found.get(parameter.name)
        if value is None:
            value = roles.get(parameter.name.upper())
        if value is not None:
            filled.entries.append({"name": parameter.name, **_take(parameter, value, filled.parts)})
    return filled


# --- where values come from -------------------------------------------------------------------------------------------


def _found(resolution: Resolution) -> Mapping[str, Any]:
    """Return what the remote sent, by name: the form field `json`, then files, then the body's fields."""
    files = dict(resolution.event.data.files) if resolution.event else {}
    body = resolution.body if isinstance(resolution.body, dict) else {}
    fields = {name: value for name, value in body.items() if value is not None}
    return ChainMap(dict(_submitted(fields.get("json"), files)), files, fields)


def _submitted(text: Any, files: Mapping[str, File]) -> Iterator[tuple[str, Any]]:
    """Yield what a form field `json` gives, as a Jenkins form has it; one in another shape gives nothing."""
    try:
        form = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        form = None
    given = form.get("parameter") if isinstance(form, dict) else None
    entries: list[Any] = given if isinstance(given, list) else [given]
    for entry in entries:
        match entry:
            case {"name": str(name), "file": str(part)} if entry.get("value") is None:
                value: Any = files.get(part)
            case {"name": str(name), "base64": str(encoded)} if entry.get("value") is None:
                value = _decoded(name, encoded)
            case {"name": str(name)}:
                value = entry.get("runId") if entry.get("value") is None else entry["value"]
            case _:
                continue
        if value is not None:
            yield name, value


def _decoded(name: str, encoded: str) -> File:
    try:
        return as_file(b64decode(encoded, validate=True))
    except ValueError:
        raise Refused(f"parameter {name}: its base64 cannot be read") from None


def _roles(resolution: Resolution) -> dict[str, Any]:
    """Return what a parameter gets for its name alone, whatever the remote sent."""
    return {
        "PAYLOAD": _payload(resolution),
        "OUTCOME": resolution.outcome.value,
        "SUMMARY": resolution.summary,
        "URL": resolution.url,
    }


def _payload(resolution: Resolution) -> Any:
    """Return the whole body; one that is not text is kept as the file `body`."""
    body = resolution.body
    if body is None:
        return resolution.event.data.files.get("body", "") if resolution.event else ""
    return _text_of(body)


def _computed(resolution: Resolution, expressions: Mapping[str, str]) -> dict[str, Any]:
    return {name: _search(expression, _document(resolution)) for name, expression in expressions.items()}


def _document(resolution: Resolution) -> dict[str, Any]:
    """Return what the expressions see: the event at one level, with what was decided; without an event the latter alone."""
    seen = resolution.event.flat if resolution.event else {"body": None}
    decided = {"outcome": resolution.outcome.value, "summary": resolution.summary, "url": resolution.url}
    return {**seen, **decided}


def _search(expression: str, document: dict[str, Any]) -> Any:
    """Return the result, a file as a file; None where the expression does not fit what was sent."""
    try:
        value = jmespath.search(expression, document)
    except (ValueError, TypeError, RecursionError):  # a function of something that is not there
        return None
    return File.model_validate(value) if isinstance(value, dict) and set(value) == set(File.model_fields) else value


# --- what parameters take ---------------------------------------------------------------------------------------------


def _take(parameter: Declared, value: Any, parts: list[Part]) -> dict[str, Any]:
    """Return the entry, without its name, that gives *value* to *parameter*; a file is added to *parts*."""
    match parameter.kind:
        case "Base64FileParameterDefinition" if isinstance(value, File):
            parts.append(Part(f"file{len(parts)}", _bytes_of(value), filename=value.filename or "file"))
            return {"file": parts[-1].name}
        case "Base64FileParameterDefinition":
            return {"base64": b64encode(_text_of(value).encode()).decode()}
        case "BooleanParameterDefinition":
            return {"value": _boolean(parameter, value)}
        case "RunParameterDefinition":
            return {"runId": _text(parameter, value)}
        case _:
            return {"value": _choice(parameter, _text(parameter, value))}


def _text(parameter: Declared, value: Any) -> str:
    if not isinstance(value, File):
        return _text_of(value)
    if value.encoding == "base64":
        raise Refused(f"parameter {parameter.name}: the file is not UTF-8 text")
    return value.content


def _text_of(value: Any) -> str:
    """Return text as it is, everything else as compact JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _boolean(parameter: Declared, value: Any) -> bool:
    """Return the claim; Jenkins would take a word that it does not know for false without a word."""
    word = _text(parameter, value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise Refused(f"parameter {parameter.name}: not a boolean")
    return word in _TRUE


def _choice(parameter: Declared, text: str) -> str:
    if parameter.choices is not None and text not in parameter.choices:
        raise Refused(f"parameter {parameter.name}: not one of its choices")
    return text


def _bytes_of(file: File) -> bytes:
    return b64decode(file.content) if file.encoding == "base64" else file.content.encode()
