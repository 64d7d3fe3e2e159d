"""Steers the emulator over HTTP, beside what every emulator has.

    GET,PATCH /_emulator/knobs                        all switches; a JSON object of those to change
    POST   /_emulator/tokens                          {value, login?, kind?, access?, is_valid?, has_new_format?}: 204
    POST   /_emulator/projects                        ProjectSpec: 201
    POST   /_emulator/pipelines                       PipelineSpec: 201 the pipeline with workflows and jobs
    GET    /_emulator/pipelines, /pipelines/{id}      as it is, without lag or disguise
    GET    /_emulator/workflows/{id}, /jobs/{id}      ?status=a,b&wait=10 waits for one of them: 200, or 408 with what it is
    POST   /_emulator/workflows/{id}/cancel           {by?}
    POST   /_emulator/workflows/{id}/rerun            {by?, from_failed?}: 201 the new workflow
    POST   /_emulator/workflows/{id}/show             {status}
    POST   /_emulator/workflows/{id}/webhook          send its workflow-completed again at once, under the same id
    POST   /_emulator/jobs/{id}/finish                {result?}
    POST   /_emulator/jobs/{id}/approve, /cancel      {by?}
    POST   /_emulator/jobs/{id}/show                  {status}
    GET,POST,DELETE /_emulator/webhooks               {url, secret?, events?, project?, name?}: 201 {id}
    POST   /_emulator/webhooks/{id}/ping              send its test event
    POST   /_emulator/webhooks/flush                  what waits for its time goes at once
    GET    /_emulator/deliveries                      what was sent, with each attempt
    POST   /_emulator/clock                           {advance_s}

Bad input is 400, an unknown id 404, what the state forbids 409, each with {"message"}.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from bridge.testing.circleci.engine import Refused
from bridge.testing.circleci.model import Job, Pipeline, Workflow
from bridge.testing.circleci.webhooks import Delivery
from bridge.testing.circleci.world import Unknown
from bridge.testing.emulator import CONTROL, Handler, json_response

if TYPE_CHECKING:
    from bridge.testing.circleci.emulator import CircleciEmulator

Given = dict[str, Any]
_REFUSALS = (ValidationError, Unknown, Refused, KeyError, ValueError, TypeError)
Endpoint = Callable[[web.Request, Given], Awaitable[web.Response]]


def pipeline_state(pipeline: Pipeline) -> Given:
    """Return a pipeline with its workflows and jobs as they are."""
    return {
        "id": pipeline.id,
        "number": pipeline.number,
        "project": pipeline.project.slug,
        "project_id": pipeline.project.id,
        "state": pipeline.state,
        "parameters": pipeline.parameters,
        "continuation_key": pipeline.continuation_key,
        "workflows": [workflow_state(workflow) for workflow in pipeline.workflows],
    }


def workflow_state(workflow: Workflow) -> Given:
    return {
        "id": workflow.id,
        "name": workflow.name,
        "status": workflow.status,
        "pipeline_id": workflow.pipeline.id,
        "jobs": [job_state(job) for job in workflow.jobs],
    }


def job_state(job: Job) -> Given:
    return {
        "id": job.id,
        "name": job.name,
        "type": job.spec.type,
        "status": job.status,
        "number": job.number,
        "approval_request_id": job.approval_request_id if job.is_approval else None,
        "approved_by": job.approved_by.login if job.approved_by else None,
        "canceled_by": job.canceled_by.login if job.canceled_by else None,
    }


def delivery_state(delivery: Delivery) -> Given:
    return {
        "id": delivery.id,
        "hook": delivery.hook.id,
        "event": delivery.event,
        "is_delivered": delivery.is_delivered,
        "is_over": delivery.is_over,
        "attempts": [{"at": attempt.at.isoformat(), "status": attempt.status} for attempt in delivery.attempts],
    }


class Control:
    """The control calls of one emulator."""

    def __init__(self, emulator: "CircleciEmulator") -> None:
        self._emulator = emulator
        self._world = emulator.world

    def routes(self) -> list[web.RouteDef]:
        calls: list[tuple[str, str, Endpoint]] = [
            ("GET", "knobs", self._get_knobs),
            ("PATCH", "knobs", self._patch_knobs),
            ("POST", "tokens", self._post_token),
            ("POST", "projects", self._post_project),
            ("POST", "pipelines", self._post_pipeline),
            ("GET", "pipelines", self._get_pipelines),
            ("GET", "pipelines/{id}", self._get_pipeline),
            ("GET", "workflows/{id}", self._get_workflow),
            ("POST", "workflows/{id}/cancel", self._cancel_workflow),
            ("POST", "workflows/{id}/rerun", self._rerun),
            ("POST", "workflows/{id}/show", self._show_workflow),
            ("POST", "workflows/{id}/webhook", self._send_again),
            ("GET", "jobs/{id}", self._get_job),
            ("POST", "jobs/{id}/finish", self._finish),
            ("POST", "jobs/{id}/approve", self._approve),
            ("POST", "jobs/{id}/cancel", self._cancel_job),
            ("POST", "jobs/{id}/show", self._show_job),
            ("GET", "webhooks", self._get_webhooks),
            ("POST", "webhooks", self._post_webhook),
            ("DELETE", "webhooks", self._delete_webhooks),
            ("POST", "webhooks/flush", self._flush),
            ("POST", "webhooks/{id}/ping", self._ping),
            ("GET", "deliveries", self._get_deliveries),
            ("POST", "clock", self._turn_clock),
        ]
        return [web.route(method, f"{CONTROL}/{path}", self._guarded(endpoint)) for method, path, endpoint in calls]

    def _guarded(self, endpoint: Endpoint) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            self._emulator.advance()
            try:
                given = orjson.loads(await request.read() or b"{}")
                if not isinstance(given, dict):
                    return _refusal(400, "the body is a JSON object")
                return await endpoint(request, given)
            except _REFUSALS as error:
                return _refused(error)

        return answer

    # --- knobs, tokens, clock

    async def _get_knobs(self, _request: web.Request, _given: Given) -> web.Response:
        return json_response(self._emulator.knobs.model_dump())

    async def _patch_knobs(self, request: web.Request, given: Given) -> web.Response:
        self._emulator.knobs.change(**given)
        return await self._get_knobs(request, given)

    async def _post_token(self, _request: web.Request, given: Given) -> web.Response:
        self._emulator.add_token(given.pop("value"), **given)
        return web.Response(status=204)

    async def _turn_clock(self, _request: web.Request, given: Given) -> web.Response:
        self._emulator.turn_clock(float(given["advance_s"]))
        return json_response({"now": self._emulator.now().isoformat()})

    # --- projects and pipelines

    async def _post_project(self, _request: web.Request, given: Given) -> web.Response:
        project = self._emulator.add_project(given.pop("slug"), **given)
        return json_response({"id": project.id, "slug": project.slug}, status=201)

    async def _post_pipeline(self, _request: web.Request, given: Given) -> web.Response:
        pipeline = self._emulator.start_pipeline(given.pop("project"), **given)
        return json_response(pipeline_state(pipeline), status=201)

    async def _get_pipelines(self, _request: web.Request, _given: Given) -> web.Response:
        return json_response([pipeline_state(pipeline) for pipeline in self._world.pipelines.values()])

    async def _get_pipeline(self, request: web.Request, _given: Given) -> web.Response:
        return json_response(pipeline_state(self._world.pipeline(request.match_info["id"])))

    # --- workflows and jobs

    def _workflow(self, request: web.Request) -> Workflow:
        return self._world.workflow(request.match_info["id"])

    def _job(self, request: web.Request) -> Job:
        return self._world.job(request.match_info["id"])[1]

    async def _get_workflow(self, request: web.Request, _given: Given) -> web.Response:
        workflow = self._workflow(request)
        is_reached = await self._reached(request, lambda: workflow.status)
        return json_response(workflow_state(workflow), status=200 if is_reached else 408)

    async def _get_job(self, request: web.Request, _given: Given) -> web.Response:
        job = self._job(request)
        is_reached = await self._reached(request, lambda: job.status)
        return json_response(job_state(job), status=200 if is_reached else 408)

    async def _reached(self, request: web.Request, status: Callable[[], str]) -> bool:
        wanted = request.query.get("status", "").split(",")
        if wanted == [""]:
            return True
        try:
            await self._emulator.wait_until(lambda: status() in wanted, float(request.query.get("wait", "0")))
        except TimeoutError:
            return status() in wanted
        return True

    async def _cancel_workflow(self, request: web.Request, given: Given) -> web.Response:
        workflow = self._workflow(request)
        self._emulator.cancel(workflow, **given)
        return json_response(workflow_state(workflow))

    async def _rerun(self, request: web.Request, given: Given) -> web.Response:
        return json_response(workflow_state(self._emulator.rerun(self._workflow(request), **given)), status=201)

    async def _show_workflow(self, request: web.Request, given: Given) -> web.Response:
        self._emulator.show(self._workflow(request), str(given["status"]))
        return web.Response(status=204)

    async def _send_again(self, request: web.Request, _given: Given) -> web.Response:
        workflow = self._workflow(request)
        if not workflow.has_ended:
            raise Refused(f"workflow {workflow.name} has not ended: it is {workflow.status}")
        sent = self._emulator.webhooks.workflow_completed(workflow)
        for delivery in sent:
            delivery.at_once.set()
        return json_response([delivery_state(delivery) for delivery in sent], status=201)

    async def _finish(self, request: web.Request, given: Given) -> web.Response:
        job = self._job(request)
        self._emulator.finish(job, **given)
        return json_response(job_state(job))

    async def _approve(self, request: web.Request, given: Given) -> web.Response:
        job = self._job(request)
        self._emulator.approve(job, **given)
        return json_response(job_state(job))

    async def _cancel_job(self, request: web.Request, given: Given) -> web.Response:
        job = self._job(request)
        self._emulator.cancel(job, **given)
        return json_response(job_state(job))

    async def _show_job(self, request: web.Request, given: Given) -> web.Response:
        self._emulator.show(self._job(request), str(given["status"]))
        return web.Response(status=204)

    # --- webhooks

    async def _get_webhooks(self, _request: web.Request, _given: Given) -> web.Response:
        hooks = self._emulator.webhooks.hooks.values()
        return json_response(
            [
                {
                    "id": hook.id,
                    "name": hook.name,
                    "url": hook.url,
                    "events": sorted(hook.events),
                    "project": hook.project,
                }
                for hook in hooks
            ]
        )

    async def _post_webhook(self, _request: web.Request, given: Given) -> web.Response:
        hook = self._emulator.add_webhook(given.pop("url"), **given)
        return json_response({"id": hook.id}, status=201)

    async def _delete_webhooks(self, _request: web.Request, _given: Given) -> web.Response:
        self._emulator.webhooks.hooks.clear()
        return web.Response(status=204)

    async def _ping(self, request: web.Request, _given: Given) -> web.Response:
        hook = self._emulator.webhooks.hooks.get(request.match_info["id"])
        if hook is None:
            raise Unknown("Webhook")
        self._emulator.ping(hook)
        return web.Response(status=204)

    async def _flush(self, _request: web.Request, _given: Given) -> web.Response:
        self._emulator.webhooks.flush()
        return web.Response(status=204)

    async def _get_deliveries(self, _request: web.Request, _given: Given) -> web.Response:
        return json_response([delivery_state(delivery) for delivery in self._emulator.webhooks.deliveries])


def _refused(error: Exception) -> web.Response:
    match error:
        case ValidationError():
            return _refusal(400, "; ".join(f"{_path(one['loc'])}: {one['msg']}" for one in error.errors()))
        case Unknown():
            return _refusal(404, str(error))
        case Refused():
            return _refusal(409, str(error))
        case KeyError():
            return _refusal(400, f"missing: {error.args[0]}")
        case _:
            return _refusal(400, str(error))


def _path(location: tuple[int | str, ...]) -> str:
    return "/".join(str(step) for step in location)


def _refusal(status: int, message: str) -> web.Response:
    return json_response({"message": message}, status=status)
