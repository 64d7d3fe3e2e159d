"""Secrets are named, not written: `token_env` names a variable, `token_file` a file. A role reads only those it uses."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, SecretStr, create_model, model_validator

from bridge.config.problems import Problems
from bridge.config.values import SecretField, secret_fields

MAX_SECRET_BYTES = 64 * 1024
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]{0,30}(_[A-Z0-9]{1,30})*")


class Unreadable(Exception):
    """A named variable or file gives no secret; the text tells why, without the value."""


@dataclass(frozen=True, slots=True)
class SecretReader:
    """Where secrets are looked up. folder: what relative `*_file` paths are relative to."""

    environ: Mapping[str, str]
    folder: Path

    def read(self, kind: str, name: str) -> SecretStr:
        """Return the secret in the variable or file *name*; kind: `env` or `file`.

        Raises:
            Unreadable: there is none.
        """
        text = self._variable(name) if kind == "env" else self._file(name)
        if not text:
            raise Unreadable(f"the {_shown(kind, name)} is empty")
        return SecretStr(text)

    def _variable(self, name: str) -> str:
        if name not in self.environ:
            raise Unreadable(f"the {_shown('env', name)} is not set")
        return self.environ[name]

    def _file(self, name: str) -> str:
        try:
            with (self.folder / name).open("rb") as file:
                raw = file.read(MAX_SECRET_BYTES + 1)
        except OSError as exc:
            raise Unreadable(f"the file cannot be read: {exc.strerror}") from None
        except ValueError:
            raise Unreadable("expected the name of a file") from None
        if len(raw) > MAX_SECRET_BYTES:
            raise Unreadable(f"the file is larger than {MAX_SECRET_BYTES} bytes")
        try:
            return raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise Unreadable("the file is not UTF-8 text") from None


def _shown(kind: str, name: str) -> str:
    """Return what *name* is, with the name only where it cannot be the secret itself, written there by mistake."""
    if kind == "file":
        return "file"
    return f"variable {name}" if _VARIABLE.fullmatch(name) else "variable"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A section whose secrets are looked up.

    data: the section with each secret under its field's own name.
    blank: secret fields that hold nothing: not read by this role, or a problem that is noted already.
    unread: some of them were named and not read by this role.
    """

    data: dict[str, Any]
    blank: frozenset[str]
    unread: bool


def resolve(
    model: type[BaseModel],
    data: Mapping[str, Any],
    key: str,
    *,
    reader: SecretReader | None,
    problems: Problems,
) -> Resolved:
    """Replace every `<field>_env` and `<field>_file` of the section *key* by what it names.

    reader: None: this process has no use for the section's secrets, so nothing is looked up and nothing may be missing.
    """
    rest = dict(data)
    blank = set()
    is_unread = False
    for field in secret_fields(model).values():
        named = _take_names(field, rest, key, problems)
        if named is None:
            blank.add(field.name)
        elif reader is None and field.name not in rest:
            is_unread = is_unread or bool(named)
            if named or not field.may_be_written:
                blank.add(field.name)
        elif named and reader is not None:
            values = _read_all(field, named, key, reader, problems)
            if values is None:
                blank.add(field.name)
            else:
                rest[field.name] = tuple(values) if field.is_many else values[0]
    return Resolved(rest, frozenset(blank), is_unread)


def _take_names(field: SecretField, rest: dict[str, Any], key: str, problems: Problems) -> list[tuple[str, str]] | None:
    """Take the references of *field* out of *rest*: (`env` or `file`, name) each; None when they are wrong."""
    is_wrong = False
    named = []
    for kind in ("env", "file"):
        written = rest.pop(f"{field.name}_{kind}", None)
        names = [written] if isinstance(written, str) else written
        if names is None:
            continue
        if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
            what = "variable" if kind == "env" else "file"
            problems.add(f"{key}.{field.name}_{kind}", f"expected the name of a {what}{_or_list(field)}")
            is_wrong = True
            continue
        named += [(kind, name) for name in names]
    is_literal = field.name in rest
    if is_literal and not field.may_be_written:
        del rest[field.name]
        problems.add(
            f"{key}.{field.name}", f"a secret is named, not written: use {field.name}_env or {field.name}_file"
        )
        is_wrong = True
    elif not field.is_many and len(named) + is_literal > 1:
        problems.add(f"{key}.{field.name}_{named[0][0]}", "expected one secret, named once")
        is_wrong = True
    return None if is_wrong else named


def _or_list(field: SecretField) -> str:
    return ", or a list of them" if field.is_many else ""


def _read_all(
    field: SecretField, named: list[tuple[str, str]], key: str, reader: SecretReader, problems: Problems
) -> list[SecretStr] | None:
    values = []
    for kind, name in named:
        try:
            values.append(reader.read(kind, name))
        except Unreadable as exc:
            problems.add(f"{key}.{field.name}_{kind}", str(exc))
    return values if len(values) == len(named) else None


def without(model: type[BaseModel], blank: frozenset[str]) -> type[BaseModel]:
    """Return *model* with its secret fields *blank* optional and empty.

    No rule is applied to a placeholder: not the field's own, and none of the model as a whole, which may look at secrets.
    """
    if not blank:
        return model
    many = {name: field.is_many for name, field in secret_fields(model).items()}
    empty = SecretStr("")
    fields: dict[str, Any] = {
        name: (model.model_fields[name].annotation, Field(default=(empty,) if many[name] else empty)) for name in blank
    }
    return create_model(
        model.__name__,
        __base__=model,
        __module__=model.__module__,
        __doc__=model.__doc__,
        __validators__=dict.fromkeys(model.__pydantic_decorators__.model_validators, _accept),
        **fields,
    )


def _accept_any(self: Any) -> Any:
    return self


_accept: Any = model_validator(mode="after")(_accept_any)
