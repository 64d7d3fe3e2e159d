"""Problem: an error as the API answers it, `application/problem+json` (RFC 9457).

No problem holds a value of a request: a pointer names fields of ours, and at most an unknown field that looks like a name.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any, Self

import orjson
from pydantic import Field, ValidationError

from bridge.core.event import Frozen


class Slug(StrEnum):
    """The stable part of a problem's `type`."""

    INVALID = "invalid"
    NOT_SUPPORTED = "not-supported"
    UNKNOWN_TARGET = "unknown-target"
    ADDRESS_TAKEN = "address-taken"
    KEY_REUSED = "key-reused"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    DECIDED = "decided"
    CANCELLED = "cancelled"
    GONE = "gone"
    TOO_LARGE = "too-large"
    UNSUPPORTED_ENCODING = "unsupported-encoding"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"

    @property
    def type(self) -> str:
        """What `type` holds: `/problems/<slug>`."""
        return f"/problems/{self.value}"

    @property
    def status(self) -> HTTPStatus:
        return _STATUS[self]


_STATUS = {
    Slug.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Slug.NOT_SUPPORTED: HTTPStatus.UNPROCESSABLE_ENTITY,
    Slug.UNKNOWN_TARGET: HTTPStatus.UNPROCESSABLE_ENTITY,
    Slug.ADDRESS_TAKEN: HTTPStatus.CONFLICT,
    Slug.KEY_REUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    Slug.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Slug.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Slug.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Slug.DECIDED: HTTPStatus.CONFLICT,
    Slug.CANCELLED: HTTPStatus.GONE,
    Slug.GONE: HTTPStatus.GONE,
    Slug.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Slug.UNSUPPORTED_ENCODING: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Slug.BUSY: HTTPStatus.TOO_MANY_REQUESTS,
    Slug.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""What each is answered with, where the caller has no better one (400 for bytes that are no JSON)."""


class FieldError(Frozen):
    """One field that is wrong."""

    pointer: Annotated[str, Field(description="RFC 6901; empty: the whole body")]
    detail: Annotated[str, Field(description="what was expected")]


class Problem(Frozen):
    """An error, `application/problem+json` (RFC 9457); absent members are left out."""

    type: Annotated[str, Field(description="`/problems/<slug>`", pattern=r"^/problems/[a-z-]+$")]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    errors: tuple[FieldError, ...] | None = None
    wait: Annotated[str | None, Field(description="with `address-taken`: the wait that holds the address")] = None

    @classmethod
    def of(
        cls,
        slug: Slug,
        title: str,
        *,
        errors: Sequence[FieldError] = (),
        wait: str | None = None,
        status: HTTPStatus | None = None,
    ) -> Self:
        """Return the problem of *slug*; status: where another than the slug's own fits better."""
        return cls(type=slug.type, title=title, status=status or slug.status, errors=tuple(errors) or None, wait=wait)

    def serialise(self) -> bytes:
        return orjson.dumps(self.model_dump(mode="json", exclude_none=True))


def field_errors(exc: ValidationError, *, prefix: str = "") -> tuple[FieldError, ...]:
    """Return what is wrong, by pointer, without a value of the request.

    prefix: where the model stands in the request's body, such as `/address`.
    """
    errors = exc.errors(include_url=False, include_input=False, include_context=False)
    return tuple(FieldError(pointer=prefix + pointer(error["loc"]), detail=_detail(error)) for error in errors)


_LIKE_A_NAME = re.compile(r"[a-z][a-z_]{0,30}")


def pointer(location: tuple[int | str, ...]) -> str:
    """Return *location* as an RFC 6901 pointer, cut before the first part that does not look like a field of ours.

    Keys of a map and unknown fields are the client's bytes: what is no plain lower-case name is not repeated.
    """
    parts = []
    for part in location:
        if isinstance(part, str) and not _LIKE_A_NAME.fullmatch(part):
            break
        parts.append(f"/{part}")
    return "".join(parts)


_OWN_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a field here",
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
    "dict_type": "expected an object",
    "json_invalid": "expected JSON",
    "string_type": "expected a string",
    "string_too_short": "must not be empty",
}


def _detail(error: Any) -> str:
    text = _OWN_WORDS.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
