"""CircleCI API v2, as far as a bridge needs it.

Contract: GET  /api/v2/me, /user/{id}                                       200 {id, login, name}
          GET  /api/v2/pipeline/{id}, /pipeline/{id}/values                 200
          GET  /api/v2/pipeline/{id}/workflow, /workflow/{id}/job           200 {items, next_page_token}, ?page-token=
          GET  /api/v2/workflow/{id}                                        200
          POST /api/v2/workflow/{id}/approve/{approval_request_id}          202 {message}
          POST /api/v2/workflow/{id}/cancel                                 202 {message}
          POST /api/v2/workflow/{id}/rerun                                  202 {workflow_id}
          POST /api/v2/jobs/{id}/cancel                                     200 {message}
          GET  /api/v2/project/{slug}/job/{n}; POST …/cancel                200
          GET, POST /api/v2/project/{slug}/pipeline                         200 list; 201 {id, state, number, created_at}
          POST /api/v2/project/{provider}/{org}/{project}/pipeline/run      201; 200 {message}: not triggered
          POST /api/v2/pipeline/continue                                    200 {message}; no token, the key alone
          Errors: {message}; every other status is a knob.
Source:   OpenAPI 3.0.3 "CircleCI API v2" (2025-02) and the CircleCI documentation (2026-08)
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from aiohttp import web

from bridge.testing.circleci import views
from bridge.testing.circleci.approving import Approvals
from bridge.testing.circleci.engine import Refused
from bridge.testing.circleci.gate import ApiError, Limiter, Token, Tokens, render
from bridge.testing.circleci.knobs import Knobs
from bridge.testing.circleci.model import Job, Project, Workflow
from bridge.testing.circleci.paging import page
from bridge.testing.circleci.triggering import Triggers
from bridge.testing.circleci.world import Unknown, World
from bridge.testing.emulator import Handler, json_response

BASE = "/api/v2"
Endpoint = Callable[[web.Request, Token], Awaitable[web.Response]]
OpenEndpoint = Callable[[web.Request], Awaitable[web.Response]]


class Api:
    """The routes. advance: lets the world catch up with the clock; called before and after each request."""

    def __init__(
        self, world: World, knobs: Knobs, tokens: Tokens, limiter: Limiter, advance: Callable[[], datetime]
    ) -> None:
        self._world = world
        self._knobs = knobs
        self._tokens = tokens
        self._limiter = limiter
        self._advance = advance
        self._approvals = Approvals(world, knobs)
        self._triggers = Triggers(world, knobs)

    def routes(self) -> list[web.RouteDef]:
        reads = [
            web.get(f"{BASE}/me", self._behind(self._me, "me")),
            web.get(f"{BASE}/user/{{id}}", self._behind(self._user, "User")),
            web.get(f"{BASE}/pipeline/{{id}}", self._behind(self._pipeline, "Pipeline")),
            web.get(f"{BASE}/pipeline/{{id}}/values", self._behind(self._values, "Pipeline")),
            web.get(f"{BASE}/pipeline/{{id}}/workflow", self._behind(self._pipeline_workflows, "Pipeline")),
            web.get(f"{BASE}/workflow/{{id}}", self._behind(self._workflow, "Workflow")),
            web.get(f"{BASE}/workflow/{{id}}/job", self._behind(self._workflow_jobs, "Workflow")),
            web.get(f"{BASE}/project/{{slug:.+}}/job/{{number:[0-9]+}}", self._behind(self._job_detail, "Job")),
            web.get(f"{BASE}/project/{{slug:.+}}/pipeline", self._behind(self._project_pipelines, "Project")),
        ]
        writes = [
            web.post(f"{BASE}/workflow/{{id}}/approve/{{approval}}", self._changing(self._approve, "Workflow")),
            web.post(f"{BASE}/workflow/{{id}}/cancel", self._changing(self._cancel_workflow, "Workflow")),
            web.post(f"{BASE}/workflow/{{id}}/rerun", self._changing(self._rerun, "Workflow")),
            web.post(f"{BASE}/jobs/{{id}}/cancel", self._changing(self._cancel_job, "Job")),
            web.post(
                f"{BASE}/project/{{slug:.+}}/job/{{number:[0-9]+}}/cancel",
                self._changing(self._cancel_numbered, "Job"),
            ),
            web.post(f"{BASE}/pipeline/continue", self._open(self._triggers.resume)),
            web.post(f"{BASE}/project/{{provider}}/{{org}}/{{project}}/pipeline/run", self._newer(self._triggers.run)),
            web.post(f"{BASE}/project/{{slug:.+}}/pipeline", self._changing(self._triggers.trigger, "Project")),
        ]
        return [*reads, *writes, web.route("*", f"{BASE}/{{tail:.*}}", self._open(self._nothing))]

    # --- what stands before every endpoint

    def _open(self, endpoint: OpenEndpoint) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            headers: dict[str, str] = {}
            try:
                headers = self._limiter.take(self._advance())
                response = await endpoint(request)
            except Unknown as missing:
                response = render(ApiError(404, f"{missing.entity} not found"), self._knobs)
            except ApiError as error:
                response = render(error, self._knobs)
            self._advance()
            response.headers.update(headers)
            return response

        return answer

    def _behind(self, endpoint: Endpoint, entity: str) -> Handler:
        async def admitted(request: web.Request) -> web.Response:
            return await endpoint(request, self._tokens.admit(request, entity))

        return self._open(admitted)

    def _changing(self, endpoint: Endpoint, entity: str) -> Handler:
        async def admitted(request: web.Request, token: Token) -> web.Response:
            self._tokens.check_write(token, entity)
            return await endpoint(request, token)

        return self._behind(admitted, entity)

    def _newer(self, endpoint: Endpoint) -> Handler:
        async def admitted(request: web.Request) -> web.Response:
            token = self._tokens.admit_newer(request)
            self._tokens.check_write(token, "Project")
            return await endpoint(request, token)

        return self._open(admitted)

    async def _nothing(self, _request: web.Request) -> web.Response:
        raise ApiError(404, "Not found.")

    # --- reads

    async def _me(self, _request: web.Request, token: Token) -> web.Response:
        return json_response(views.user_json(token.user))

    async def _user(self, request: web.Request, _token: Token) -> web.Response:
        user = self._world.users.get(self._id(request))
        if user is None:
            raise ApiError(404, "User not found")
        return json_response(views.user_json(user))

    async def _pipeline(self, request: web.Request, _token: Token) -> web.Response:
        return json_response(views.pipeline_json(self._world.pipeline(self._id(request)), self._knobs))

    async def _values(self, request: web.Request, _token: Token) -> web.Response:
        pipeline = self._world.pipeline(self._id(request))
        values = {"id": pipeline.id, "number": pipeline.number, "git.revision": pipeline.revision}
        reference = {"git.tag": pipeline.tag} if pipeline.tag else {"git.branch": pipeline.branch or ""}
        return json_response(values | reference | {"trigger_source": pipeline.trigger_type})

    async def _pipeline_workflows(self, request: web.Request, _token: Token) -> web.Response:
        pipeline = self._world.pipeline(self._id(request))
        seen = [workflow.as_of(self._seen_at(self._knobs.read_lag_s)) for workflow in pipeline.workflows]
        visible = views.listed([workflow for workflow in seen if workflow is not None], self._knobs.order_workflows)
        items = [views.workflow_json(workflow, self._knobs) for workflow in visible]
        return json_response(page(items, _page_token(request), self._knobs.page_size_workflows, self._knobs))

    async def _workflow(self, request: web.Request, _token: Token) -> web.Response:
        past = self._world.workflow(self._id(request)).as_of(self._seen_at(self._knobs.detail_lag_s))
        if past is None:
            raise Unknown("Workflow")
        return json_response(views.workflow_json(past, self._knobs))

    async def _workflow_jobs(self, request: web.Request, _token: Token) -> web.Response:
        past = self._world.workflow(self._id(request)).as_of(self._seen_at(self._knobs.read_lag_s))
        jobs = [] if past is None else [job for job in past.jobs if self._is_listed(job)]
        ordered = views.listed(jobs, self._knobs.order_jobs)
        items = [views.job_json(past, job, self._knobs) for job in ordered] if past is not None else []
        return json_response(page(items, _page_token(request), self._knobs.page_size_jobs, self._knobs))

    def _is_listed(self, job: Job) -> bool:
        return not (self._knobs.approval_listed == "once-held" and job.is_approval and job.status == "blocked")

    async def _job_detail(self, request: web.Request, _token: Token) -> web.Response:
        project = self._world.project(request.match_info["slug"])
        workflow, job = self._world.job_by_number(project, int(request.match_info["number"]))
        past = workflow.as_of(self._seen_at(self._knobs.detail_lag_s))
        if past is None or (job.is_approval and self._knobs.approval_job_detail == 404):  # noqa: PLR2004 - a status
            raise Unknown("Job")
        return json_response(views.job_detail_json(past, past.job(job.name), self._knobs))

    async def _project_pipelines(self, request: web.Request, _token: Token) -> web.Response:
        project = self._world.project(request.match_info["slug"])
        branch = request.query.get("branch")
        seen_at = self._seen_at(self._knobs.read_lag_s)
        seen = [one for one in project.pipelines if one.created_at <= seen_at]
        newest_first = [one for one in reversed(seen) if branch in (None, one.branch)]
        items = [views.pipeline_json(pipeline, self._knobs) for pipeline in newest_first]
        return json_response(page(items, _page_token(request), self._knobs.page_size_pipelines, self._knobs))

    # --- changes

    async def _approve(self, request: web.Request, token: Token) -> web.Response:
        workflow = self._world.workflow(self._id(request))
        return self._approvals.approve(workflow, self._id(request, "approval"), token.user)

    async def _cancel_workflow(self, request: web.Request, token: Token) -> web.Response:
        return self._approvals.cancel_workflow(self._world.workflow(self._id(request)), token.user)

    async def _cancel_job(self, request: web.Request, token: Token) -> web.Response:
        return self._approvals.cancel_job(*self._world.job(self._id(request)), token.user)

    async def _cancel_numbered(self, request: web.Request, token: Token) -> web.Response:
        project: Project = self._world.project(request.match_info["slug"])
        found: tuple[Workflow, Job] = self._world.job_by_number(project, int(request.match_info["number"]))
        return self._approvals.cancel_job(*found, token.user)

    async def _rerun(self, request: web.Request, token: Token) -> web.Response:
        workflow = self._world.workflow(self._id(request))
        options = rerun_options(await request.read())
        try:
            again = self._world.engine.rerun(
                workflow, token.user, from_failed=options.get("from_failed", False), job_ids=options.get("jobs", [])
            )
        except Refused as refused:
            raise ApiError(self._knobs.on_rerun_refused, str(refused)) from None
        return json_response({"workflow_id": again.id}, status=202)

    # --- small things

    def _seen_at(self, lag_s: float) -> datetime:
        return self._world.now - timedelta(seconds=lag_s)

    def _id(self, request: web.Request, name: str = "id") -> str:
        """Return the id in the path in its one spelling.

        Raises:
            ApiError: it is no UUID; the status is a knob.
        """
        try:
            return str(UUID(request.match_info[name]))
        except ValueError:
            raise ApiError(self._knobs.on_malformed_id, "Not found.") from None


def _page_token(request: web.Request) -> str:
    return request.query.get("page-token", "")


def rerun_options(body: bytes) -> dict[str, Any]:
    """Return the options of a rerun; no body means none.

    Raises:
        ApiError: 400.
    """
    if not body:
        return {}
    types = {"jobs": list, "from_failed": bool, "enable_ssh": bool, "sparse_tree": bool}
    try:
        options = orjson.loads(body)
    except orjson.JSONDecodeError:
        options = None
    if not isinstance(options, dict) or any(
        not isinstance(options.get(name, kind()), kind) for name, kind in types.items()
    ):
        raise ApiError(400, "Invalid request body.")
    if options.get("from_failed") and options.keys() & {"jobs", "enable_ssh", "sparse_tree"}:
        raise ApiError(400, "from_failed excludes jobs, enable_ssh and sparse_tree.")
    return options
