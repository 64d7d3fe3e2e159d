"""/openapi.json: the calls of /v1, their bodies from the models that read and write them."""

from functools import cache
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bridge import __version__
from bridge.core import api
from bridge.core.problem import Problem

_REF = "#/components/schemas/{model}"

# (method, path, summary, role, request body, answers by status)
_CALLS: list[tuple[str, str, str, str, type[BaseModel] | None, dict[int, type[BaseModel] | None]]] = [
    ("post", "/v1/waits", "Register a wait", "register", api.RegisterRequest, {201: api.WaitCreated}),
    ("get", "/v1/waits", "List waits, newest first", "read", None, {200: api.WaitList}),
    ("get", "/v1/waits/{id}", "Show a wait", "read", None, {200: api.WaitView}),
    ("delete", "/v1/waits/{id}", "Take an open wait back", "register", None, {204: None}),
    ("get", "/v1/waits/{id}/result", "Result of a wait", "read", None, {200: api.ResultView, 202: api.ResultPending}),
    ("get", "/v1/events", "List events, newest first", "read", None, {200: api.EventList}),
    (
        "post",
        "/v1/events",
        "Send an event in the name of a source",
        "operate",
        api.EventSendRequest,
        {202: api.Accepted},
    ),
    ("get", "/v1/events/{id}", "Show an event", "read", None, {200: api.EventView}),
    ("get", "/v1/targets", "List targets", "read", None, {200: api.TargetList}),
    ("post", "/v1/targets/{name}/pause", "Hold a target's resolutions back", "operate", None, {202: None}),
    ("post", "/v1/targets/{name}/resume", "Let them flow again", "operate", None, {202: None}),
    ("get", "/v1/queues", "Figures of the queues", "read", None, {200: api.QueueList}),
    ("get", "/v1/dead-letters", "List dead letters, newest first", "read", None, {200: api.DeadLetterList}),
    ("get", "/v1/dead-letters/{id}", "Show a dead letter", "read", None, {200: api.DeadLetterView}),
    ("post", "/v1/dead-letters/{id}/replay", "Send it on its way again", "operate", None, {202: None}),
    ("delete", "/v1/dead-letters/{id}", "Forget it", "operate", None, {204: None}),
    (
        "put",
        "/v1/third-party-clients/{client_id}",
        "Set the token of a platform's third-party client",
        "admin",
        api.ThirdPartyClientRequest,
        {204: None},
    ),
    ("delete", "/v1/third-party-clients/{client_id}", "Forget its token", "admin", None, {204: None}),
    (
        "post",
        "/v1/agents/{agent}/jobs",
        "Hand a job of a Lambda action over",
        "register",
        api.HandOverRequest,
        {202: api.WorkAccepted},
    ),
]
_PAGE = ("limit", "cursor")
_QUERY = {
    "/v1/waits": ("state", "target", "label", *_PAGE),
    "/v1/waits/{id}/result": ("wait",),
    "/v1/events": ("source", "verdict", *_PAGE),
    "/v1/dead-letters": _PAGE,
}


@cache
def openapi_document() -> bytes:
    """Return the OpenAPI 3.1 document as JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, summary, role, body, answers in _CALLS:
        paths.setdefault(path, {})[method] = _operation(method, path, summary, role, body=body, answers=answers)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "callback-bridge", "version": __version__},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
        "security": [{"token": []}],
    }
    return orjson.dumps(document)


def _operation(
    method: str,
    path: str,
    summary: str,
    role: str,
    *,
    body: type[BaseModel] | None,
    answers: dict[int, type[BaseModel] | None],
) -> dict[str, Any]:
    responses = {str(status): {"description": summary, **_content(model)} for status, model in answers.items()}
    responses["default"] = {"description": "A problem (RFC 9457)", **_content(Problem, "application/problem+json")}
    operation: dict[str, Any] = {
        "summary": summary,
        "description": f"Role: `{role}`.",
        "parameters": _parameters(method, path),
        "responses": responses,
    }
    if body is not None:
        operation["requestBody"] = {"required": True, **_content(body)}
    return operation


def _parameters(method: str, path: str) -> list[dict[str, Any]]:
    found = [
        {"name": part.strip("{}"), "in": "path", "required": True, "schema": {"type": "string"}}
        for part in path.split("/")
        if part.startswith("{")
    ]
    if method == "get":
        found += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _QUERY.get(path, ())]
    if (method, path) == ("post", "/v1/waits"):
        found.append({"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}})
    return found


def _content(model: type[BaseModel] | None, media_type: str = "application/json") -> dict[str, Any]:
    if model is None:
        return {}
    return {"content": {media_type: {"schema": {"$ref": _REF.format(model=model.__name__)}}}}


def _schemas() -> dict[str, Any]:
    models = {model for *_, answers in _CALLS for model in answers.values() if model} | {Problem}
    bodies = {body for *_, body, _ in _CALLS if body}
    wanted = [(model, "serialization") for model in models] + [(model, "validation") for model in bodies]
    ordered = sorted(wanted, key=lambda pair: pair[0].__name__)
    _, document = models_json_schema(ordered, ref_template=_REF)  # type: ignore[arg-type]  # the mode is one of two literals
    schemas: dict[str, Any] = document["$defs"]
    return schemas
