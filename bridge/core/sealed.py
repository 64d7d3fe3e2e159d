"""Secret fields of an address: where they are, and how their sealed text looks. What seals and opens is bridge/sealing.py.

A field is secret when its model types it `SecretStr`, at whatever depth. From the registration to the worker's hands its text
is sealed: `sealed:v1:<key id>:<base64url>`. The coordinator seals what it stores, the worker opens what it got, and between
them nobody can.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin
from urllib.parse import quote

from pydantic import AliasChoices, BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from bridge.core.errors import Unopened

Location: TypeAlias = tuple[str | int, ...]
"""Where a value stands in an address, such as `("approval", "token")`."""
Binding: TypeAlias = tuple[str | int, ...]
"""What a sealed text is for; under any other binding it cannot be opened."""
Seal: TypeAlias = Callable[[str, Binding], str]
Unseal: TypeAlias = Callable[[str, Binding], str]

HIDDEN = "**********"
"""What is shown in place of a secret."""
_SEALED = re.compile(r"sealed:v[0-9]{1,3}:[a-z0-9-]{1,63}:[A-Za-z0-9_-]+")


def of_address(target: str, wait: str, location: Location) -> Binding:
    """Return the binding of an address field: of this field, of this wait, at this target."""
    return ("address", target, wait, *location)


def of_client(client: str) -> Binding:
    """Return the binding of a third-party client's token."""
    return ("client", client)


def is_sealed(text: str) -> bool:
    return _SEALED.fullmatch(text) is not None


def hidden(value: Any) -> Any:
    """Return the JSON *value* with HIDDEN in place of every sealed text, wherever it stands."""
    match value:
        case str():
            return _SEALED.sub(HIDDEN, value)
        case Mapping():
            return {key: hidden(inner) for key, inner in value.items()}
        case list() | tuple():
            return [hidden(inner) for inner in value]
        case _:
            return value


def secrets_of(value: Any) -> Iterator[str]:
    """Yield the text of every secret inside *value*: of a model, of what it holds, or of a collection of them."""
    match value:
        case SecretStr():
            if value.get_secret_value():
                yield value.get_secret_value()
        case BaseModel():
            for name in type(value).model_fields:
                yield from secrets_of(getattr(value, name))
            yield from secrets_of(value.__pydantic_private__ or {})
        case Mapping():
            for inner in value.values():
                yield from secrets_of(inner)
        case list() | tuple() | set() | frozenset():
            for inner in value:
                yield from secrets_of(inner)


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return *text* without *secrets*, as they are and as a URL spells them; the longest goes first."""
    spelled = {spelling for secret in secrets if secret for spelling in (secret, quote(secret, safe=""))}
    for secret in sorted(spelled, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def no_key(sealed: str, binding: Binding) -> str:  # noqa: ARG001 - an Unseal
    """Open nothing: the Unseal of a process without keys.

    Raises:
        Unopened: always.
    """
    raise Unopened("is sealed, and this process has no [secrets] keys")


@cache
def has_secrets(model: type[BaseModel]) -> bool:
    """Return True when *model* has a secret field, at whatever depth."""
    return _leads_to_secret([model], set())


def secret_fields(model: type[BaseModel]) -> list[str]:
    """Return the fields of *model* that are secret, or have a secret inside."""
    return [name for name, field in model.model_fields.items() if _leads_to_secret([field.annotation], set())]


def given_secrets(model: type[BaseModel], raw: Mapping[str, Any]) -> dict[Location, str]:
    """Return the secret texts of *raw*, an address at its registration, by where they stand."""
    found: dict[Location, str] = {}

    def note(location: Location, text: str) -> str:
        found[location] = text
        return text

    with_secrets(model, raw, note)
    return found


def with_secrets(
    model: type[BaseModel], raw: Mapping[str, Any], change: Callable[[Location, str], str]
) -> dict[str, Any]:
    """Return *raw* with `change(location, text)` in place of each secret text.

    raw: as JSON has it; the types of *model* alone say what is secret in it, so that sealed text is found as plain text is.
    """
    if not has_secrets(model):
        return dict(raw)
    return {key: _changed(value, _inside([model], key), (key,), change) for key, value in raw.items()}


def _changed(value: Any, kinds: list[Any], location: Location, change: Callable[[Location, str], str]) -> Any:
    if not kinds:
        return value
    match value:
        case str() if any(_is_secret(kind) for kind in kinds):
            return change(location, value)
        case dict():
            return {key: _changed(inner, _inside(kinds, key), (*location, key), change) for key, inner in value.items()}
        case list():
            return [
                _changed(inner, _inside(kinds, place), (*location, place), change) for place, inner in enumerate(value)
            ]
        case _:
            return value


def _is_secret(kind: Any) -> bool:
    return get_origin(kind) is Secret or (isinstance(kind, type) and issubclass(kind, SecretStr | SecretBytes | Secret))


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _inside(kinds: Iterable[Any], key: str | int) -> list[Any]:
    """Return what may stand under *key* of a value of one of *kinds*: every member of a union counts."""
    found: list[Any] = []
    for kind in kinds:
        if _is_model(kind):
            found += [field.annotation for name, field in kind.model_fields.items() if key in _names(name, field)]
        elif not _is_secret(kind):
            arguments = get_args(kind)
            found += arguments[1:] if isinstance(key, str) else arguments
    return [member for annotation in found for member in _members(annotation)]


def _names(name: str, field: FieldInfo) -> set[Any]:
    """Return the keys under which a field may be given."""
    alias = field.validation_alias
    return {name, field.alias, *(alias.choices if isinstance(alias, AliasChoices) else (alias,))}


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, each without what only annotates it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _leads_to_secret(kinds: Iterable[Any], seen: set[Any]) -> bool:
    for kind in kinds:
        if _is_secret(kind):
            return True
        if _is_model(kind):
            if kind in seen:
                continue
            seen.add(kind)
            inner = [field.annotation for field in kind.model_fields.values()]
        else:
            inner = list(get_args(kind))
        if _leads_to_secret([member for annotation in inner for member in _members(annotation)], seen):
            return True
    return False
