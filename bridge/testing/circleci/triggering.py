"""Trigger, run and continue: the calls that make pipelines and workflows."""

from typing import Any

import orjson
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from bridge.testing.circleci.gate import ApiError, Token
from bridge.testing.circleci.knobs import Knobs
from bridge.testing.circleci.model import Pipeline, Project
from bridge.testing.circleci.specs import PipelineSpec, WorkflowSpec
from bridge.testing.circleci.views import created_json
from bridge.testing.circleci.world import ContinueRefused, Unknown, World
from bridge.testing.emulator import json_response

_MAX_PARAMETERS, _MAX_KEY, _MAX_VALUE = 100, 128, 512
_RUN_PROVIDERS = ("github", "gh", "bitbucket", "bb", "circleci")
_RUN_KEYS = {"definition_id", "config", "checkout", "parameters"}
_WORKFLOWS = TypeAdapter(list[WorkflowSpec])
_TYPES = {"string": str, "enum": str, "integer": int, "boolean": bool}


class Triggers:
    """The endpoints that make pipelines."""

    def __init__(self, world: World, knobs: Knobs) -> None:
        self._world = world
        self._knobs = knobs

    async def trigger(self, request: web.Request, token: Token) -> web.Response:
        """`POST /project/{slug}/pipeline`; not for projects of a GitHub App or GitLab."""
        project = self._world.project(request.match_info["slug"])
        if project.slug.startswith("circleci/"):
            raise Unknown("Project")
        body = json_object(await request.read(), "Invalid request body.")
        if body.get("branch") and body.get("tag"):
            raise ApiError(400, "branch and tag are mutually exclusive.")
        pipeline = self._trigger(project, token, body.get("parameters", {}), body)
        return json_response(created_json(pipeline, self._knobs), status=201)

    async def run(self, request: web.Request, token: Token) -> web.Response:
        """`POST /project/{provider}/{org}/{project}/pipeline/run`."""
        project = self._run_project(request)
        body = json_object(await request.read(), "Unexpected request body provided.")
        check_run(body)
        if project.spec.definition_id not in (None, body.get("definition_id")):
            raise ApiError(404, "Pipeline definition does not exist.")
        if self._knobs.on_run == "200_not_triggered":
            return json_response({"message": "Pipeline was not triggered."})
        reference = body.get("checkout") or body.get("config") or {}
        pipeline = self._trigger(project, token, body.get("parameters", {}), reference)
        return json_response(created_json(pipeline, self._knobs), status=201)

    def _run_project(self, request: web.Request) -> Project:
        names = [request.match_info[name] for name in ("provider", "org", "project")]
        try:
            project = self._world.project("/".join(names))
        except Unknown:
            project = None
        is_gitlab = project is not None and project.family != "vcs" and project.spec.provider == "gitlab"
        is_routed = names[0] in _RUN_PROVIDERS and not self._knobs.is_server
        if project is None or is_gitlab or not is_routed:
            raise ApiError(404, "Project does not exist.")
        return project

    def _trigger(self, project: Project, token: Token, parameters: Any, reference: dict[str, Any]) -> Pipeline:
        check_parameters(parameters)
        self._check_declared(project, parameters)
        spec = PipelineSpec(
            project=project.slug,
            parameters=parameters,
            trigger_type="api",
            by=token.user.login,
            branch=reference.get("branch", "main"),
            tag=reference.get("tag"),
        )
        return self._world.trigger(project, spec)

    def _check_declared(self, project: Project, parameters: dict[str, Any]) -> None:
        declared = project.spec.parameters
        if parameters.keys() - declared.keys() and self._knobs.on_undeclared_parameter != "errored":
            raise ApiError(self._knobs.on_undeclared_parameter, "Project not found")
        for name, value in parameters.items():
            if name in declared and type(value) is not _TYPES[declared[name]]:
                raise ApiError(400, f"Type error for argument {name}.")

    async def resume(self, request: web.Request) -> web.Response:
        """`POST /pipeline/continue`: the key is the only credential."""
        body = json_object(await request.read(), "Invalid request body.")
        key, configuration = body.get("continuation-key"), body.get("configuration")
        if not isinstance(key, str) or not isinstance(configuration, str):
            raise ApiError(400, "continuation-key and configuration are required.")
        parameters = body.get("parameters", {})
        check_parameters(parameters)
        try:
            self._world.continue_pipeline(key, configured(configuration), parameters)
        except ContinueRefused as refused:
            raise ApiError(getattr(self._knobs, refused.knob), str(refused)) from None
        return json_response({"message": "Accepted."})


def configured(configuration: str) -> list[WorkflowSpec] | None:
    """Return the workflows of a configuration that is JSON `{"workflows": […]}`; None for any other text."""
    try:
        return _WORKFLOWS.validate_python(orjson.loads(configuration)["workflows"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError):
        return None


def json_object(body: bytes, refusal: str) -> dict[str, Any]:
    """Return *body* as an object; no body is an empty one.

    Raises:
        ApiError: 400.
    """
    try:
        value = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise ApiError(400, refusal)
    return value


def check_run(body: dict[str, Any]) -> None:
    """Refuse a body with anything that `pipeline/run` does not know."""
    parts = [body.get("config", {}), body.get("checkout", {})]
    is_known = body.keys() <= _RUN_KEYS and all(isinstance(part, dict) for part in parts)
    if not is_known or any(part.keys() - {"branch", "tag"} or len(part) > 1 for part in parts):
        raise ApiError(400, "Unexpected request body provided.")


def check_parameters(parameters: Any) -> None:
    """Refuse parameters outside the documented limits: 100 entries, keys of 128, values of 512 characters."""
    if not isinstance(parameters, dict) or any(type(value) not in (str, int, bool) for value in parameters.values()):
        raise ApiError(400, "parameters is a map of strings, integers and booleans.")
    is_long = any(len(key) > _MAX_KEY or len(str(value)) > _MAX_VALUE for key, value in parameters.items())
    if len(parameters) > _MAX_PARAMETERS or is_long:
        raise ApiError(400, "parameters: at most 100 entries, keys of 128 and values of 512 characters.")
