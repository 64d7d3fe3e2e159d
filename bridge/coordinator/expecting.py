"""What a registration expects: read and checked, and which wholes it asks for."""

from collections.abc import Iterable, Mapping
from typing import Any

from bridge.coordinator.store.rows import MAX_INDEXED_CHARACTERS
from bridge.core.api import ExpectationRequest
from bridge.core.problem import FieldError
from bridge.core.source import Source, Whole
from bridge.core.wait import Expectation


def expectation(one: ExpectationRequest, wholes: Mapping[str, Whole]) -> Expectation:
    """Return *one* as it is stored: without a type it is for the whole, where it can be.

    wholes: by source, what its events add up to, where a poller asks for that.
    """
    whole = wholes.get(one.source)
    kind = whole.type if whole and one.type is None and whole.is_meant(one.keys) else one.type
    return Expectation(one.source, one.keys, kind, one.early)


def names_of_wholes(expected: Iterable[Expectation], wholes: Mapping[str, Whole]) -> set[tuple[str, str]]:
    """Return the wholes (source, name) that *expected* asks for."""
    found = ((one, wholes.get(one.source)) for one in expected)
    return {(one.source, one.keys[whole.key]) for one, whole in found if whole and one.type == whole.type}


def wrong_keys(
    place: int, one: ExpectationRequest, kind: type[Source[Any]], wholes: Mapping[str, Whole]
) -> list[FieldError]:
    """Return what is wrong with the expectation at *place*, of an event of *kind*."""
    kept = expectation(one, wholes)
    if missing := sorted(required_keys(kind, one.type) - set(one.keys)):
        return [
            _at(place, "keys", f"must also name {', '.join(missing)}, so that a fact about something else never counts")
        ]
    if kind.whole is None or kept.type != kind.whole.type:
        return []
    return _wrong_whole(place, one, kind.whole, is_asked_for=one.source in wholes)


def _wrong_whole(place: int, one: ExpectationRequest, whole: Whole, *, is_asked_for: bool) -> list[FieldError]:
    if not is_asked_for:
        return [
            _at(place, "type", f"no sender tells it: the source needs {whole.setting}, a target to ask, in its config")
        ]
    if whole.key not in one.keys:
        return [_at(place, "keys", f"must name {whole.key}")]
    if not whole.keys.issuperset(one.keys):
        detail = f"a whole has the keys {', '.join(sorted(whole.keys))}: leave out others, or name the type of a part's event"
        return [_at(place, "keys", detail)]
    if len(name := one.keys[whole.key]) > MAX_INDEXED_CHARACTERS or not name:
        return [_at(place, f"keys/{whole.key}", f"must have 1 to {MAX_INDEXED_CHARACTERS} characters")]
    return []


def _at(place: int, where: str, detail: str) -> FieldError:
    return FieldError(pointer=f"/expects/{place}/{where}", detail=detail)


def required_keys(kind: type[Source[Any]], event_type: str | None) -> frozenset[str]:
    """Return the keys that an expectation of *event_type* must name; without a type those of the strictest."""
    if event_type is not None:
        return kind.required_keys.get(event_type, frozenset())
    return max(kind.required_keys.values(), key=len, default=frozenset())
