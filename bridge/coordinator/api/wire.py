"""Between aiohttp and the API's models: reading bounded JSON, answering models and problems."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from bridge.coordinator.errors import Rejected
from bridge.coordinator.store.views import BadCursor, Page
from bridge.core.errors import BrokerUnavailable, StoreUnavailable, Unroutable
from bridge.core.problem import FieldError, Problem, Slug, field_errors

M = TypeVar("M", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_REQUEST_BYTES = 512 * 1024
_DEFAULT_LIMIT = 50
_MAX_LIMIT = 500
_RETRY_AFTER_S = "2"


def answer(model: BaseModel, *, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(
        body=orjson.dumps(model.model_dump(mode="json")), status=status, content_type="application/json"
    )


def answer_problem(problem: Problem) -> web.Response:
    headers = {}
    if problem.type == Slug.UNAUTHENTICATED.type:
        headers["WWW-Authenticate"] = 'Bearer realm="bridge"'
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = _RETRY_AFTER_S
    return web.Response(
        body=problem.serialise(), status=problem.status, headers=headers, content_type="application/problem+json"
    )


def guarded(handler: Handler) -> Handler:
    """Return *handler* with every refusal and outage as a problem."""

    async def guard(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Rejected as exc:
            return answer_problem(exc.problem)
        except BadCursor:
            return answer_problem(_invalid_query("cursor", "expected the next_cursor of a list"))
        except (StoreUnavailable, BrokerUnavailable, Unroutable):
            return answer_problem(Problem.of(Slug.UNAVAILABLE, "Store or broker do not answer at the moment"))

    return guard


async def read_body(request: web.Request) -> bytes:
    """Return the request's body.

    Raises:
        Rejected: too large, or encoded.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Rejected(Problem.of(Slug.UNSUPPORTED_ENCODING, "Send the body without a Content-Encoding"))
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            raise Rejected(Problem.of(Slug.TOO_LARGE, f"At most {MAX_REQUEST_BYTES} bytes are taken"))
    return bytes(body)


def read_model(model: type[M], body: bytes) -> M:
    """Return *body* as *model*.

    Raises:
        Rejected: 400 for what is no JSON, 422 with a pointer for each wrong field.
    """
    try:
        return model.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError:
        problem = Problem.of(Slug.INVALID, "The body is not JSON", status=HTTPStatus.BAD_REQUEST)
    except ValidationError as exc:
        problem = Problem.of(Slug.INVALID, "The request is not valid", errors=field_errors(exc))
    raise Rejected(problem)


def read_page(request: web.Request) -> Page:
    """Return `limit` and `cursor` of the query.

    Raises:
        Rejected: the limit is no number from 1 to 500.
    """
    limit = read_number(request, "limit", default=_DEFAULT_LIMIT, lowest=1, highest=_MAX_LIMIT)
    return Page(limit, request.query.get("cursor"))


def read_number(request: web.Request, name: str, *, default: int, lowest: int, highest: int) -> int:
    """Return a whole number of the query.

    Raises:
        Rejected: it is none, or outside its bounds.
    """
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and lowest <= int(text) <= highest):  # noqa: PLR2004 - far above any bound
        raise Rejected(_invalid_query(name, f"expected a number from {lowest} to {highest}"))
    return int(text)


def _invalid_query(name: str, detail: str) -> Problem:
    error = FieldError(pointer="", detail=f"query parameter {name}: {detail}")
    return Problem.of(Slug.INVALID, "The query is not valid", errors=[error])


def not_found() -> Rejected:
    return Rejected(Problem.of(Slug.NOT_FOUND, "There is no such thing, or this client may not see it"))
