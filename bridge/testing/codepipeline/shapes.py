"""What a request may hold: members, types, limits and patterns, and the errors for what breaks them.

A wrong JSON type is a SerializationException; everything else that is wrong is gathered into one ValidationException.
An optional member that is null counts as absent, an unknown one is passed over.
Source: AWS service model 2015-07-09, compared with botocore's copy in the tests.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bridge.testing.codepipeline.errors import ServiceError, invalid


@dataclass(frozen=True, slots=True)
class Text:
    """`least`, `most`: characters."""

    least: int | None = None
    most: int | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Whole:
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Seconds since 1970, a number."""


@dataclass(frozen=True, slots=True)
class Mapping:
    key: Text
    value: Text
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Struct:
    members: dict[str, "Shape"]
    required: frozenset[str] = field(default_factory=frozenset)


Shape = Text | Whole | Moment | Mapping | Struct


def check(shape: Struct, value: Any) -> dict[str, Any]:
    """Return *value* without its nulls and unknown members.

    Raises ServiceError: SerializationException for a wrong type, else one ValidationException that names every problem.
    """
    cleaned = _typed(shape, value, "")
    problems = list(_problems(shape, cleaned, ""))
    if problems:
        plural = "" if len(problems) == 1 else "s"
        raise invalid(f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}")
    result: dict[str, Any] = cleaned
    return result


def _typed(shape: Shape, value: Any, path: str) -> Any:
    match shape:
        case Struct(members) if isinstance(value, dict):
            return {
                name: _typed(member, value[name], _join(path, name))
                for name, member in members.items()
                if value.get(name) is not None
            }
        case Mapping(key, item) if isinstance(value, dict):
            return {_typed(key, name, path): _typed(item, text, _join(path, name)) for name, text in value.items()}
        case Text() if isinstance(value, str):
            return value
        case Whole() if isinstance(value, int) and not isinstance(value, bool):
            return value
        case Moment() if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    raise ServiceError("SerializationException", f"Unexpected type at '{path or 'the request'}'")


def _problems(shape: Shape, value: Any, path: str) -> Iterator[str]:
    match shape:
        case Struct(members, required):
            for name in sorted(required - set(value)):
                yield f"Value null at '{_join(path, name)}' failed to satisfy constraint: Member must not be null"
            for name, member in value.items():
                yield from _problems(members[name], member, _join(path, name))
        case Mapping(key, item, most):
            if most is not None and len(value) > most:
                yield _problem(value, path, f"Member must have length less than or equal to {most}")
            for name, text in value.items():
                yield from _problems(key, name, path)
                yield from _problems(item, text, _join(path, name))
        case Text():
            yield from (_problem(value, path, rule) for rule in _broken_text(shape, value))
        case Whole():
            yield from (_problem(value, path, rule) for rule in _broken_whole(shape, value))


def _broken_whole(shape: Whole, value: int) -> Iterator[str]:
    if shape.least is not None and value < shape.least:
        yield f"Member must have value greater than or equal to {shape.least}"
    if shape.most is not None and value > shape.most:
        yield f"Member must have value less than or equal to {shape.most}"


def _broken_text(shape: Text, value: str) -> Iterator[str]:
    if shape.least is not None and len(value) < shape.least:
        yield f"Member must have length greater than or equal to {shape.least}"
    if shape.most is not None and len(value) > shape.most:
        yield f"Member must have length less than or equal to {shape.most}"
    if shape.pattern is not None and re.fullmatch(shape.pattern, value) is None:
        yield f"Member must satisfy regular expression pattern: {shape.pattern}"
    if shape.choices and value not in shape.choices:
        yield f"Member must satisfy enum value set: [{', '.join(shape.choices)}]"


def _problem(value: Any, path: str, rule: str) -> str:
    return f"Value '{value}' at '{path}' failed to satisfy constraint: {rule}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
