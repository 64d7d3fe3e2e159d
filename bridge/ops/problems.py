"""Errors as HTTP answers: `application/problem+json` (RFC 9457). No answer holds a byte of the request it answers."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from aiohttp import web

from bridge.core.problem import FieldError, Problem, Slug

_HEADERS = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}

BY_STATUS: Mapping[int, tuple[Slug, str]] = {
    400: (Slug.INVALID, "the request cannot be read"),
    401: (Slug.UNAUTHENTICATED, "the request is not authenticated"),
    403: (Slug.FORBIDDEN, "not allowed"),
    404: (Slug.NOT_FOUND, "there is nothing here"),
    405: (Slug.NOT_SUPPORTED, "this method is not supported here"),
    408: (Slug.INVALID, "the request did not arrive in time"),
    410: (Slug.GONE, "the wait of this callback URL is over"),
    413: (Slug.TOO_LARGE, "the body is too large"),
    415: (Slug.UNSUPPORTED_ENCODING, "this encoding of a body is not supported"),
    417: (Slug.NOT_SUPPORTED, "only 100-continue can be expected"),
    429: (Slug.BUSY, "too many requests"),
    431: (Slug.TOO_LARGE, "the head of the request is too large"),
    503: (Slug.UNAVAILABLE, "not available at the moment, try again"),
}
"""What a status is called where nothing more is to say."""


def problem(
    status: int,
    slug: Slug | None = None,
    title: str = "",
    errors: Sequence[FieldError] = (),
    *,
    wait: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return the answer of *status*; slug and title: the status's own where none is given."""
    own_slug, own_title = BY_STATUS.get(status, (Slug.UNAVAILABLE if status >= 500 else Slug.INVALID, ""))  # noqa: PLR2004 - HTTP's own bound
    body = Problem.of(
        slug or own_slug,
        title or own_title or HTTPStatus(status).phrase.lower(),
        errors=errors,
        wait=wait,
        status=HTTPStatus(status),
    )
    return web.Response(status=status, body=body.serialise(), headers={**_HEADERS, **(headers or {})})
