"""The control calls under `/_emulator` that make and steer builds, for tests and demos in another process.

    POST   /_emulator/jobs                {name, parameters?, script?, disabled?, refuses?, blocked?, trigger_token?}
    POST   /_emulator/builds              {job, inputs? | script?, parameters?}: starts a build now; 201, the build
    GET    /_emulator/builds              all builds
    GET    /_emulator/builds/{run}        one build; {run} is its raw path: job/mb/job/feature%252Fx/1
    POST   /_emulator/builds/{run}/reach  {id?}: lets the next held input go on
    POST   /_emulator/builds/{run}/stop   {result?}: interrupts it; NOT_BUILT as a newer build does
    POST   /_emulator/builds/{run}/executions  {state: loaded | loading | unloadable}
    DELETE /_emulator/builds/{run}        deletes the build
    POST   /_emulator/users               a User: {name, token?, password?, groups?, permissions?, jobs?}
    POST   /_emulator/switches            the switches to change; GET shows all
    POST   /_emulator/restart             {for_s?, requests?}
    POST   /_emulator/crash               {lose_answers?, for_s?, requests?}
    POST   /_emulator/phase               {phase: up | starting | restarting}: stays so
    POST   /_emulator/quiet-down          DELETE cancels it

Wrong input is 422 with pydantic's list of errors; what is not there is 404.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.testing.emulator import CONTROL, json_response
from bridge.testing.jenkins.model.accounts import User
from bridge.testing.jenkins.model.builds import Build, Executions
from bridge.testing.jenkins.model.inputs import InputExecution
from bridge.testing.jenkins.model.jobs import JobSpec
from bridge.testing.jenkins.model.world import Phase

if TYPE_CHECKING:
    from bridge.testing.jenkins.emulator import JenkinsEmulator

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StartBody(Body):
    job: str
    inputs: list[Any] | None = None
    script: list[Any] | None = None
    parameters: dict[str, Any] = {}


class ReachBody(Body):
    id: str | None = None


class StopBody(Body):
    result: str = Field(default="ABORTED", pattern="^(ABORTED|NOT_BUILT)$")


class ExecutionsBody(Body):
    state: Executions


class RestartBody(Body):
    for_s: float = 0.0
    requests: int = 0


class CrashBody(RestartBody):
    lose_answers: bool = True


class PhaseBody(Body):
    phase: Phase


class Control:
    """The handlers; each does what the method of the same name of the emulator does."""

    def __init__(self, jenkins: "JenkinsEmulator") -> None:
        self._jenkins = jenkins

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(f"{CONTROL}/jobs", _checked(self._add_job)),
            web.post(f"{CONTROL}/builds", _checked(self._start)),
            web.get(f"{CONTROL}/builds", _checked(self._list)),
            web.route("*", f"{CONTROL}/builds/{{run:.*}}", _checked(self._build)),
            web.post(f"{CONTROL}/users", _checked(self._add_user)),
            web.get(f"{CONTROL}/switches", _checked(self._get_switches)),
            web.post(f"{CONTROL}/switches", _checked(self._set_switches)),
            web.post(f"{CONTROL}/restart", _checked(self._restart)),
            web.post(f"{CONTROL}/crash", _checked(self._crash)),
            web.post(f"{CONTROL}/phase", _checked(self._phase)),
            web.post(f"{CONTROL}/quiet-down", _checked(self._quiet_down)),
            web.delete(f"{CONTROL}/quiet-down", _checked(self._cancel_quiet_down)),
        ]

    async def _add_job(self, request: web.Request) -> web.Response:
        job = self._jenkins.add_job(JobSpec.model_validate_json(await request.read()))
        return json_response({"name": job.full_name, "path": job.path}, status=201)

    async def _start(self, request: web.Request) -> web.Response:
        body = StartBody.model_validate_json(await request.read())
        build = self._jenkins.start_build(body.job, inputs=body.inputs, script=body.script, parameters=body.parameters)
        return json_response(self._shown(build), status=201)

    async def _list(self, _request: web.Request) -> web.Response:
        self._jenkins.refresh()
        return json_response([self._shown(build) for build in self._jenkins.world.builds()])

    async def _build(self, request: web.Request) -> web.Response:
        self._jenkins.refresh()
        run, verb = _split(request.raw_path.partition("?")[0].removeprefix(f"{CONTROL}/builds/"))
        build = self._jenkins.find_build(run)
        if build is None:
            return json_response({"error": f"no such build: {run}"}, status=404)
        body = await request.read() or b"{}"
        match request.method, verb:
            case "GET", "":
                pass
            case "DELETE", "":
                self._jenkins.delete_build(build)
                return web.Response(status=204)
            case "POST", "reach":
                self._jenkins.reach(build, ReachBody.model_validate_json(body).id)
            case "POST", "stop":
                self._jenkins.stop(build, StopBody.model_validate_json(body).result)
            case "POST", "executions":
                self._jenkins.set_executions(build, ExecutionsBody.model_validate_json(body).state)
            case _:
                return json_response({"error": f"{request.method} {verb or 'build'} is not known"}, status=405)
        return json_response(self._shown(build))

    async def _add_user(self, request: web.Request) -> web.Response:
        self._jenkins.add_user(User.model_validate_json(await request.read()))
        return web.Response(status=204)

    async def _get_switches(self, _request: web.Request) -> web.Response:
        return json_response(self._jenkins.switches.model_dump())

    async def _set_switches(self, request: web.Request) -> web.Response:
        self._jenkins.set_switches(await request.json())
        return await self._get_switches(request)

    async def _restart(self, request: web.Request) -> web.Response:
        body = RestartBody.model_validate_json(await request.read() or b"{}")
        self._jenkins.restart(for_s=body.for_s, requests=body.requests)
        return web.Response(status=204)

    async def _crash(self, request: web.Request) -> web.Response:
        body = CrashBody.model_validate_json(await request.read() or b"{}")
        self._jenkins.crash(lose_answers=body.lose_answers, for_s=body.for_s, requests=body.requests)
        return web.Response(status=204)

    async def _phase(self, request: web.Request) -> web.Response:
        self._jenkins.hold(PhaseBody.model_validate_json(await request.read()).phase)
        return web.Response(status=204)

    async def _quiet_down(self, _request: web.Request) -> web.Response:
        self._jenkins.quiet_down()
        return web.Response(status=204)

    async def _cancel_quiet_down(self, _request: web.Request) -> web.Response:
        self._jenkins.cancel_quiet_down()
        return web.Response(status=204)

    def _shown(self, build: Build) -> dict[str, Any]:
        return {
            "job": build.job,
            "path": build.path,
            "url": self._jenkins.url_of(build),
            "number": build.number,
            "queue_id": build.queue_id,
            "building": build.building,
            "in_progress": build.in_progress,
            "result": build.result,
            "parameters": build.parameters,
            "executions": build.executions,
            "had_input": build.had_input,
            "pending": [_pending(each) for each in build.pending],
            "returned": [_returned(each) for each in build.program.answered],
        }


def _pending(execution: InputExecution) -> dict[str, Any]:
    return {
        "id": execution.id,
        "occurrence": execution.occurrence,
        "message": execution.spec.message,
        "settled": execution.is_settled,
    }


def _returned(execution: InputExecution) -> dict[str, Any]:
    answer = execution.answer
    assert answer is not None  # noqa: S101 - only answered ones are listed
    return {
        "id": execution.id,
        "occurrence": execution.occurrence,
        "verb": answer.verb,
        "user": answer.user,
        "is_abort": answer.is_abort,
        "values": answer.values,
        "returned": answer.returned,
    }


def _split(path: str) -> tuple[str, str]:
    """Split `job/app/1/reach` into the run and the verb, empty when there is none."""
    run, _, last = path.rstrip("/").rpartition("/")
    return (path.rstrip("/"), "") if last.isdigit() else (run, last)


def _checked(handler: Handler) -> Handler:
    """Answer wrong input with 422."""

    async def checked(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ValidationError as wrong:
            errors = wrong.errors(include_url=False, include_context=False, include_input=False)
            return json_response({"errors": errors}, status=422)
        except ValueError as wrong:
            return json_response({"errors": [{"msg": str(wrong)}]}, status=422)

    return checked
