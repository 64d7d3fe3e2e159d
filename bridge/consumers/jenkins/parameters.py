"""What goes into an input's declared parameters: from a resolution to the form that Jenkins reads.

Contract: form field `json` = {"parameter": [{"name", "value"} | {"name", "base64"} | {"name", "file": "<part>"} | {"name", "runId"}]}
          urlencoded, or multipart with one part for each file; what is not named is absent from what the step returns
          a text stays as it is, `null` and what looks like JSON too (json-lib read those as JSON until 2013)
          core `file` parameters are waited for only where the administrator allows them, `stashedFile` never
Source:   pipeline-input-step-plugin @ d2b888dfb50d (InputStepExecution.parseValue); file-parameters-plugin @ 59e1249584e1;
          jenkinsci/json-lib @ 0e9de8a (JSONObject.element, JSONNull.equals)
"""

import json
import re
from base64 import b64decode, b64encode
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson

from bridge.core.event import File
from bridge.core.expression import document_of, search
from bridge.core.multipart import as_file
from bridge.core.outcome import Refused
from bridge.core.request import Part
from bridge.core.resolution import Resolution

MAX_FORM_BYTES = 200_000
"""What Jetty reads of an urlencoded form by default; a longer one is an error that Jenkins shows as 400 or 500."""

_TRUE = frozenset({"true", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "no", "n", "off", "0", ""})
_RUN = re.compile(r"[^\x00-\x1f\x7f#]+#[1-9][0-9]{0,8}")
_CREDENTIAL = re.compile(r"[^\x00-\x1f\x7f]{0,255}")
"""Jenkins takes a blank one for the default."""


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
    return {name: _search(expression, document_of(resolution)) for name, expression in expressions.items()}


def _search(expression: str, document: dict[str, Any]) -> Any:
    """Return the result, a file as a file; None where the expression does not fit what was sent."""
    value = search(expression, document)
    return File.model_validate(value) if isinstance(value, dict) and set(value) == set(File.model_fields) else value


# --- what parameters take ---------------------------------------------------------------------------------------------


def _take(parameter: Declared, value: Any, parts: list[Part]) -> dict[str, Any]:
    """Return the entry, without its name, that gives *value* to *parameter*; a file is added to *parts*."""
    match parameter.kind:
        case "Base64FileParameterDefinition" if not isinstance(value, File):
            return {"base64": b64encode(_text_of(value).encode()).decode()}
        case "Base64FileParameterDefinition" | "FileParameterDefinition" | "StashedFileParameterDefinition":
            file = value if isinstance(value, File) else as_file(_text_of(value).encode())
            parts.append(Part(f"file{len(parts)}", _bytes_of(file), filename=file.filename or "file"))
            return {"file": parts[-1].name}
        case "BooleanParameterDefinition":
            return {"value": _boolean(parameter, value)}
        case "RunParameterDefinition":
            return {"runId": _matching(_RUN, "a run such as folder/job#12", parameter, value)}
        case "CredentialsParameterDefinition":
            return {"value": _matching(_CREDENTIAL, "the id of a credential", parameter, value)}
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


def _matching(form: re.Pattern[str], what: str, parameter: Declared, value: Any) -> str:
    text = _text(parameter, value)
    if not (isinstance(value, str | File) and form.fullmatch(text)):
        raise Refused(f"parameter {parameter.name}: not {what}")
    return text


def _bytes_of(file: File) -> bytes:
    return b64decode(file.content) if file.encoding == "base64" else file.content.encode()
