"""The emulator over HTTP: under `/_emulator`, besides the log, effects and faults that every emulator has.

    GET    /knobs            PATCH /knobs                    {"follow_up_delay_s": 60}
    GET    /clock            POST  /clock                    {"advance_s": 3600}
    PUT    /pipelines/{name}                                 PipelineSpec without its name
    GET    /executions       POST  /executions               as start_execution(): {"pipeline", "action", …}
    GET    /executions/{id}  POST  /executions/{id}/stop     {"abandon": true}
    GET    /actions/{actionExecutionId}
    GET    /actions/{actionExecutionId}/message              the JSON in an approval's notification
    GET    /invocations      the events of Lambda functions, oldest first
    POST   /action-types     ActionType
    PUT    /clients/{clientId}                               {"client_token": "…"}
    PUT    /credentials/{accessKey}                          Credential
    POST   /credentials/{accessKey}/expire
    POST   /roles            Role, which STS below `/sts/` lets callers enter
    POST   /errors           as fail(): {"code": "ThrottlingException", "operation": "PutJobSuccessResult", "times": 3}

Bad input is 422, an unknown id 404, each with `{"error": "…"}`.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bridge.testing.codepipeline.spec import ActionSpec, ActionType, ClientId, ClientToken, Credential, PipelineSpec
from bridge.testing.codepipeline.state import ActionExecution, Job, PipelineExecution
from bridge.testing.codepipeline.sts import Role
from bridge.testing.codepipeline.views import JsonObject, error_details
from bridge.testing.emulator import CONTROL, json_response

if TYPE_CHECKING:
    from bridge.testing.codepipeline.emulator import CodepipelineEmulator

Handler = Callable[[web.Request], Awaitable[web.Response]]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Advance(_Body):
    advance_s: Annotated[float, Field(ge=0)]


class _Stop(_Body):
    abandon: bool = True


class _Client(_Body):
    client_token: ClientToken


class _Error(_Body):
    code: Annotated[str, Field(min_length=1)]
    operation: str = ""
    times: Annotated[int, Field(ge=1)] = 1
    skip: Annotated[int, Field(ge=0)] = 0
    status: Annotated[int, Field(ge=400, le=599)] = 400
    text: str = ""


def _guarded(handler: Handler) -> Handler:
    """Turn bad input into 422 and an unknown id into 404, with the reason."""

    @wraps(handler)
    async def guarded(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except LookupError as error:
            return json_response({"error": str(error)}, status=404)
        except (TypeError, ValueError) as error:
            return json_response({"error": str(error)}, status=422)

    return guarded


class Control:
    """The handlers of the control API."""

    def __init__(self, emulator: "CodepipelineEmulator") -> None:
        self._emulator = emulator

    def routes(self) -> list[web.RouteDef]:
        """Return the calls, each under `/_emulator`."""
        calls: list[tuple[str, str, Handler]] = [
            ("GET", "/knobs", self._get_knobs),
            ("PATCH", "/knobs", self._patch_knobs),
            ("GET", "/clock", self._get_clock),
            ("POST", "/clock", self._post_clock),
            ("PUT", "/pipelines/{name}", self._put_pipeline),
            ("GET", "/executions", self._get_executions),
            ("POST", "/executions", self._post_execution),
            ("GET", "/executions/{id}", self._get_execution),
            ("POST", "/executions/{id}/stop", self._post_stop),
            ("GET", "/actions/{id}", self._get_action),
            ("GET", "/actions/{id}/message", self._get_message),
            ("GET", "/invocations", self._get_invocations),
            ("POST", "/action-types", self._post_action_type),
            ("PUT", "/clients/{id}", self._put_client),
            ("PUT", "/credentials/{key}", self._put_credential),
            ("POST", "/credentials/{key}/expire", self._post_expire),
            ("POST", "/roles", self._post_role),
            ("POST", "/errors", self._post_error),
        ]
        return [web.route(method, f"{CONTROL}{path}", _guarded(handler)) for method, path, handler in calls]

    async def _get_knobs(self, _request: web.Request) -> web.Response:
        return json_response(self._emulator.knobs.model_dump(mode="json"))

    async def _patch_knobs(self, request: web.Request) -> web.Response:
        return json_response(self._emulator.set_knobs(**await _object(request)).model_dump(mode="json"))

    async def _get_clock(self, _request: web.Request) -> web.Response:
        return json_response({"now": self._emulator.now.isoformat()})

    async def _post_clock(self, request: web.Request) -> web.Response:
        self._emulator.advance(_Advance.model_validate(await _object(request)).advance_s)
        return await self._get_clock(request)

    async def _put_pipeline(self, request: web.Request) -> web.Response:
        spec = PipelineSpec.model_validate(await _object(request) | {"name": request.match_info["name"]})
        return json_response(self._emulator.define_pipeline(spec).model_dump(mode="json"))

    async def _get_executions(self, _request: web.Request) -> web.Response:
        return json_response([execution_view(execution) for execution in self._emulator.executions])

    async def _post_execution(self, request: web.Request) -> web.Response:
        fields = await _object(request)
        if isinstance(fields.get("action"), dict):
            fields["action"] = ActionSpec.model_validate(fields["action"])
        return json_response(execution_view(self._emulator.start_execution(**fields)), status=201)

    async def _get_execution(self, request: web.Request) -> web.Response:
        return json_response(execution_view(self._emulator.execution(request.match_info["id"])))

    async def _post_stop(self, request: web.Request) -> web.Response:
        stop = _Stop.model_validate(await _object(request))
        execution = self._emulator.stop_execution(request.match_info["id"], abandon=stop.abandon)
        return json_response(execution_view(execution))

    async def _get_action(self, request: web.Request) -> web.Response:
        return json_response(action_view(self._emulator.action(request.match_info["id"])))

    async def _get_message(self, request: web.Request) -> web.Response:
        return json_response(self._emulator.approval_message(self._emulator.action(request.match_info["id"])))

    async def _get_invocations(self, _request: web.Request) -> web.Response:
        return json_response([self._emulator.lambda_event(job) for job in self._emulator.invocations])

    async def _post_action_type(self, request: web.Request) -> web.Response:
        registered = self._emulator.register_action_type(ActionType.model_validate(await _object(request)))
        return json_response(registered.model_dump(mode="json"))

    async def _put_client(self, request: web.Request) -> web.Response:
        client_id = TypeAdapter(ClientId).validate_python(request.match_info["id"])
        self._emulator.connect_client(client_id, _Client.model_validate(await _object(request)).client_token)
        return web.Response(status=204)

    async def _put_credential(self, request: web.Request) -> web.Response:
        credential = Credential.model_validate(await _object(request))
        self._emulator.set_credential(request.match_info["key"], credential)
        return web.Response(status=204)

    async def _post_expire(self, request: web.Request) -> web.Response:
        self._emulator.expire_credential(request.match_info["key"])
        return web.Response(status=204)

    async def _post_role(self, request: web.Request) -> web.Response:
        role = self._emulator.add_role(Role.model_validate(await _object(request)))
        return json_response(role.model_dump(mode="json"))

    async def _post_error(self, request: web.Request) -> web.Response:
        self._emulator.fail(**_Error.model_validate(await _object(request)).model_dump())
        return web.Response(status=204)


async def _object(request: web.Request) -> dict[str, Any]:
    """Return the body, a JSON object or nothing at all; raises ValueError."""
    value = orjson.loads(await request.read() or b"{}")
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - answered as bad input
    return value


def execution_view(execution: PipelineExecution) -> JsonObject:
    """Return an execution for the control API; names that the service has too are written as it writes them."""
    return {
        "id": execution.id,
        "pipeline": execution.spec.name,
        "mode": execution.spec.mode,
        "status": execution.status,
        "actions": [action_view(action) for action in execution.actions],
    }


def action_view(action: ActionExecution) -> JsonObject:
    """Return an action with its jobs for the control API; `token`: the approval's, also after its answer."""
    return {
        "actionExecutionId": action.id,
        "pipelineExecutionId": action.execution.id,
        "pipeline": action.execution.spec.name,
        "stage": action.stage_name,
        "action": action.name,
        "status": action.status,
        "summary": action.summary,
        "externalExecutionId": action.external_execution_id,
        "percentComplete": action.percent_complete,
        "errorDetails": error_details(action),
        "outputVariables": dict(action.output_variables),
        "token": action.token,
        "jobs": [job_view(job) for job in action.jobs],
    }


def job_view(job: Job) -> JsonObject:
    """Return a job for the control API; `continuationToken`: the one it was made with."""
    return {"id": job.id, "status": job.state, "continuationToken": job.continuation_token}
