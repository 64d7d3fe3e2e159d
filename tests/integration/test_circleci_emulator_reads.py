"""The CircleCI emulator over HTTP: reads, pages, shapes, credentials and limits."""

import asyncio
import base64
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import orjson
import pytest
from aiohttp import ClientConnectionError

from bridge.testing.circleci import BOT, PROJECT_TOKEN, READ_TOKEN, TOKEN, CircleciEmulator
from tests.support.circleci_client import GATED, HOLD, RawClient, served

WORKFLOW = {
    "id", "name", "status", "created_at", "stopped_at", "pipeline_id", "pipeline_number", "project_slug", "started_by", "tag",
}  # fmt: skip
JOB = {
    "dependencies", "id", "started_at", "name", "project_slug", "status", "type", "requires", "stopped_at", "job_number",
}  # fmt: skip


async def pages(client: RawClient, path: str) -> list[list[str]]:
    """Return the names on every page of a list."""
    found, token = [], ""
    while True:
        body = (await client.get(f"{path}?page-token={quote(token, safe='')}")).json
        found.append([item["name"] for item in body["items"]])
        if not body["next_page_token"]:
            return found
        token = body["next_page_token"]


async def test_a_pipeline_and_its_workflow() -> None:
    """Pipeline, workflow and jobs have the documented fields, and the pipeline names no workflow."""
    circleci = CircleciEmulator()
    pipeline = circleci.start_pipeline("gh/acme/app", GATED)
    workflow = pipeline.workflow("build")
    async with served(circleci) as client:
        whole = (await client.get(f"/pipeline/{pipeline.id}")).json
        assert whole["state"] == "created"
        assert whole["vcs"]["branch"] == "main"
        assert whole["trigger"]["actor"]["login"] == "octocat"
        assert workflow.id not in orjson.dumps(whole).decode()
        listed = (await client.get(f"/pipeline/{pipeline.id}/workflow")).json
        assert listed == {"items": [(await client.get(f"/workflow/{workflow.id}")).json], "next_page_token": None}
        assert listed["items"][0].keys() == WORKFLOW
        assert (listed["items"][0]["status"], listed["items"][0]["stopped_at"]) == ("on_hold", None)
        jobs = await client.jobs(workflow.id)
        assert jobs["test"].keys() == JOB
        assert jobs["hold"].keys() == JOB | {"approval_request_id"}
        assert jobs["hold"]["requires"] == {jobs["test"]["id"]: ["success"]}
        assert jobs["hold"]["dependencies"] == [jobs["test"]["id"]]
        assert (await client.get(f"/pipeline/{pipeline.id}/values")).json["number"] == 1


async def test_the_users() -> None:
    """`/me` is the bot of the token, `/user/{id}` resolves anybody."""
    circleci = CircleciEmulator()
    async with served(circleci) as client:
        me = (await client.get("/me")).json
        assert me["login"] == BOT
        assert (await client.get(f"/user/{me['id']}")).json == me
        assert (await client.get(f"/user/{uuid4()}")).status == 404


async def test_pages_of_jobs_and_workflows() -> None:
    """Lists come in pages of the knob's size; tokens must be URL-encoded; an empty one is the first page."""
    circleci = CircleciEmulator(page_size_jobs=2, page_size_workflows=1)
    names = [f"job-{number}" for number in range(5)]
    pipeline = circleci.start_pipeline("gh/acme/app", [{"name": "a", "jobs": names}, {"name": "b", "jobs": []}])
    async with served(circleci) as client:
        path = f"/workflow/{pipeline.workflow('a').id}/job"
        assert await pages(client, path) == [names[:2], names[2:4], names[4:]]
        assert await pages(client, f"/pipeline/{pipeline.id}/workflow") == [["b"], ["a"]]
        assert (await client.get(f"{path}?page-token=")).json["items"][0]["name"] == "job-0"
        token = (await client.get(path)).json["next_page_token"]
        async with client.session.get(
            f"{client.url}/api/v2{path}?page-token={token.replace(' ', '%20')}", headers={"Circle-Token": TOKEN}
        ) as raw:
            assert raw.status == 400
        assert (await client.get(f"{path}?page_token={quote(token, safe='')}")).json["items"][0]["name"] == "job-0"


@pytest.mark.parametrize(
    ("knob", "rest"), [("null", {"next_page_token": None}), ("missing", {}), ("empty", {"next_page_token": ""})]
)
async def test_the_end_of_a_list(knob: str, rest: dict[str, Any]) -> None:
    """The last page says so by null, by nothing, or by an empty string."""
    circleci = CircleciEmulator(last_page_token=knob)
    pipeline = circleci.start_pipeline("gh/acme/app")
    async with served(circleci) as client:
        assert (await client.get(f"/pipeline/{pipeline.id}/workflow")).json == {"items": [], **rest}


async def test_the_order_of_lists_is_a_knob() -> None:
    """Workflows come newest first, oldest first, or shuffled in a stable way."""
    circleci = CircleciEmulator()
    names = [f"w-{number}" for number in range(8)]
    pipeline = circleci.start_pipeline("gh/acme/app", [{"name": name} for name in names])
    async with served(circleci) as client:
        path = f"/pipeline/{pipeline.id}/workflow"
        assert await pages(client, path) == [names[::-1]]
        circleci.knobs.order_workflows = "created"
        assert await pages(client, path) == [names]
        circleci.knobs.order_workflows = "shuffled"
        [shuffled] = await pages(client, path)
        assert sorted(shuffled) == names
        assert await pages(client, path) == [shuffled]


async def test_workflows_are_not_there_at_once() -> None:
    """`pipeline_appear_delay_s`: the pipeline is pending, its list is empty, then the workflow is there."""
    circleci = CircleciEmulator(pipeline_appear_delay_s=3)
    pipeline = circleci.start_pipeline("gh/acme/app", GATED)
    async with served(circleci) as client:
        assert (await client.get(f"/pipeline/{pipeline.id}")).json["state"] == "pending"
        assert (await client.get(f"/pipeline/{pipeline.id}/workflow")).json["items"] == []
        circleci.turn_clock(3)
        assert len((await client.get(f"/pipeline/{pipeline.id}/workflow")).json["items"]) == 1


async def test_lists_lag_behind() -> None:
    """`read_lag_s`: lists show what was; the single workflow has a lag of its own."""
    circleci = CircleciEmulator(read_lag_s=60)
    workflow = circleci.start_pipeline("gh/acme/app", GATED).workflow()
    async with served(circleci) as client:
        listed = f"/pipeline/{workflow.pipeline.id}/workflow"
        assert (await client.get(f"/workflow/{workflow.id}/job")).json["items"] == []
        assert (await client.get(listed)).json["items"] == []
        circleci.turn_clock(60)
        circleci.approve(workflow.job("hold"))
        assert (await client.jobs(workflow.id))["hold"]["status"] == "on_hold"
        assert (await client.get(listed)).json["items"][0]["status"] == "on_hold"
        assert (await client.get(f"/workflow/{workflow.id}")).json["status"] == "success"
        circleci.knobs.detail_lag_s = 30
        assert (await client.get(f"/workflow/{workflow.id}")).json["status"] == "on_hold"
        circleci.turn_clock(60)
        assert (await client.jobs(workflow.id))["hold"]["status"] == "success"


async def test_a_legacy_approval() -> None:
    """`approval_shape=legacy` without approval_request_id: no number, no stop, no start, ever."""
    circleci = CircleciEmulator(approval_shape="legacy", approval_request_id="never")
    workflow = circleci.start_pipeline("gh/acme/app", GATED).workflow()
    async with served(circleci) as client:
        circleci.approve(workflow.job("hold"))
        hold = (await client.jobs(workflow.id))["hold"]
        assert hold.keys() == {
            "dependencies",
            "id",
            "started_at",
            "name",
            "project_slug",
            "status",
            "type",
            "approved_by",
        }
        assert hold["started_at"] is None


async def test_when_an_approval_shows_its_request_id() -> None:
    """`once-held`: not while blocked; `distinct`: another id than the job's."""
    circleci = CircleciEmulator(approval_request_id="once-held", hold_delay_s=9)
    workflow = circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": [HOLD]}]).workflow()
    async with served(circleci) as client:
        assert "approval_request_id" not in (await client.jobs(workflow.id))["hold"]
        circleci.turn_clock(9)
        hold = (await client.jobs(workflow.id))["hold"]
        assert hold["approval_request_id"] == hold["id"]
        circleci.knobs.change(approval_request_id="distinct", hold_delay_s=0)
        other = circleci.start_pipeline("gh/acme/app", GATED).workflow()
        hold = (await client.jobs(other.id))["hold"]
        assert hold["approval_request_id"] != hold["id"]


async def test_a_blocked_approval_may_be_invisible() -> None:
    """`approval_listed=once-held` hides the approval until it is on hold."""
    circleci = CircleciEmulator(approval_listed="once-held", hold_delay_s=9)
    workflow = circleci.start_pipeline("gh/acme/app", GATED).workflow()
    async with served(circleci) as client:
        assert "hold" not in await client.jobs(workflow.id)
        circleci.turn_clock(9)
        assert (await client.jobs(workflow.id))["hold"]["status"] == "on_hold"


async def test_unknown_statuses() -> None:
    """Any string, or null for a workflow, can be shown, for all that run or for one."""
    circleci = CircleciEmulator(shown_workflow_status="queued", shown_job_status="frobnicated")
    workflow = circleci.start_pipeline("gh/acme/app", GATED).workflow()
    async with served(circleci) as client:
        assert (await client.get(f"/workflow/{workflow.id}")).json["status"] == "queued"
        assert (await client.jobs(workflow.id))["hold"]["status"] == "frobnicated"
        assert (await client.jobs(workflow.id))["test"]["status"] == "success"
        circleci.knobs.change(shown_workflow_status="null", shown_job_status="")
        assert (await client.get(f"/workflow/{workflow.id}")).json["status"] is None
        circleci.show(workflow, "odd")
        circleci.show(workflow.job("test"), "odd")
        assert (await client.get(f"/workflow/{workflow.id}")).json["status"] == "odd"
        assert (await client.jobs(workflow.id))["test"]["status"] == "odd"


async def test_job_detail() -> None:
    """A build job has a detail under its number; an approval is 404, or 200 with `approved_by` by the knob."""
    circleci = CircleciEmulator()
    workflow = circleci.start_pipeline("gh/acme/app", GATED).workflow()
    async with served(circleci) as client:
        circleci.approve(workflow.job("hold"))
        build = (await client.get(f"/project/gh/acme/app/job/{workflow.job('test').number}")).json
        assert (build["name"], build["status"], build["latest_workflow"]["id"]) == ("test", "success", workflow.id)
        approval = f"/project/github%2Facme%2Fapp/job/{workflow.job('hold').number}"
        assert (await client.get(approval)).status == 404
        circleci.knobs.approval_job_detail = 200
        detail = (await client.get(approval)).json
        assert (detail["name"], detail["approved_by"]) == ("hold", circleci.world.user("ana").id)


@pytest.mark.parametrize(
    "headers",
    [
        {"Circle-Token": TOKEN},
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": "Basic " + base64.b64encode(f"{TOKEN}:".encode()).decode()},
    ],
)
async def test_good_credentials(headers: dict[str, str]) -> None:
    """Circle-Token, Bearer and Basic are accepted."""
    async with served(CircleciEmulator()) as client:
        assert (await client.get("/me", headers=headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Circle-Token": "wrong"},
        {"Circle-Token": PROJECT_TOKEN},
        {"Authorization": "Basic %%"},
        {"Authorization": "Bearer"},
    ],
)
async def test_bad_credentials_look_like_absence(headers: dict[str, str]) -> None:
    """Without a good personal token everything is 404 by design and `/me` is 401; strict is 401 everywhere."""
    circleci = CircleciEmulator()
    pipeline = circleci.start_pipeline("gh/acme/app", GATED)
    paths = {
        f"/pipeline/{pipeline.id}": "Pipeline not found",
        f"/pipeline/{pipeline.id}/workflow": "Pipeline not found",
        f"/workflow/{pipeline.workflow().id}": "Workflow not found",
        f"/workflow/{pipeline.workflow().id}/job": "Workflow not found",
        "/project/gh/acme/app/pipeline": "Project not found",
    }
    async with served(circleci) as client:
        me = await client.get("/me", headers=headers)
        assert (me.status, me.json) == (401, {"message": "You must log in first."})
        for path, message in paths.items():
            answer = await client.get(path, headers=headers)
            assert (answer.status, answer.json) == (404, {"message": message})
        circleci.knobs.auth_mode = "strict"
        assert {(await client.get(path, headers=headers)).status for path in paths} == {401}


async def test_older_servers_and_the_query() -> None:
    """A server may not know Bearer; a token in the query is still taken by older endpoints."""
    async with served(CircleciEmulator(accepts_bearer=False)) as client:
        assert (await client.get("/me", headers={"Authorization": f"Bearer {TOKEN}"})).status == 401
        assert (await client.get(f"/me?circle-token={TOKEN}", headers={})).status == 200


async def test_a_revoked_token() -> None:
    """A token is revoked in mid-run and made good again."""
    circleci = CircleciEmulator()
    async with served(circleci) as client:
        circleci.add_token(TOKEN, is_valid=False)
        assert (await client.get("/me")).status == 401
        circleci.add_token(TOKEN)
        assert (await client.get("/me")).status == 200


@pytest.mark.parametrize(("knob", "body"), [(403, "Permission denied."), (404, "Workflow not found")])
async def test_a_read_only_token(knob: int, body: str) -> None:
    """It reads, and every change is refused without an effect."""
    circleci = CircleciEmulator(on_no_permission=knob)
    workflow = circleci.start_pipeline("gh/acme/app", GATED).workflow()
    headers = {"Circle-Token": READ_TOKEN}
    async with served(circleci) as client:
        assert (await client.get(f"/workflow/{workflow.id}", headers=headers)).status == 200
        answer = await client.post(f"/workflow/{workflow.id}/approve/{workflow.job('hold').id}", headers=headers)
        assert (answer.status, answer.json) == (knob, {"message": body})
        assert workflow.job("hold").status == "on_hold"


async def test_unknown_and_malformed_ids() -> None:
    """An unknown id is 404, a malformed one 404 or 400 by the knob, an unknown path 404 in JSON."""
    circleci = CircleciEmulator()
    async with served(circleci) as client:
        assert (await client.get(f"/workflow/{uuid4()}")).json == {"message": "Workflow not found"}
        assert (await client.get("/workflow/x")).status == 404
        assert (await client.post(f"/workflow/{uuid4()}/approve/")).json == {"message": "Not found."}
        circleci.knobs.on_malformed_id = 400
        assert (await client.get("/workflow/x")).status == 400


@pytest.mark.parametrize(
    ("shape", "content", "text"),
    [
        ("message", "application/json", '{"message":"Workflow not found"}'),
        ("error", "application/json", '{"error":"Workflow not found"}'),
        ("empty", "application/json", "{}"),
        ("text", "text/plain", "Workflow not found"),
        ("html", "text/html", "<html><body><h1>404</h1></body></html>"),
        ("truncated", "application/json", '{"message":"Work'),
    ],
)
async def test_shapes_of_errors(shape: str, content: str, text: str) -> None:
    """An error can have any body that was seen from CircleCI and the proxies before it."""
    async with served(CircleciEmulator(error_body=shape)) as client:
        answer = await client.get(f"/workflow/{uuid4()}")
        assert (answer.status, answer.text) == (404, text)
        assert answer.headers["Content-Type"].startswith(content)


async def test_two_rate_limits_both_count() -> None:
    """Each family tells its own; the one that is used up refuses, until its own end."""
    limits: dict[str, Any] = {
        "rate_limit": {"limit": 9, "window_s": 1},
        "rate_limit_legacy": {"limit": 1, "window_s": 60},
    }
    async with served(CircleciEmulator(**limits)) as client:
        first, second = await client.get("/me"), await client.get("/me")
        assert (first.status, second.status) == (200, 429)
        assert (second.headers["RateLimit-Limit"], second.headers["RateLimit-Remaining"]) == ("9", "7")
        assert second.headers["X-RateLimit-Limit-Minute"] == "1"
        assert second.headers["X-RateLimit-Remaining"] == "0"
        assert int(second.headers["Retry-After"]) > 50


async def test_the_rate_limit() -> None:
    """Both header families count down; then 429 with Retry-After until the window is over."""
    circleci = CircleciEmulator(rate_limit={"limit": 2, "window_s": 60})
    async with served(circleci) as client:
        first = await client.get("/me")
        assert (first.headers["RateLimit-Limit"], first.headers["RateLimit-Remaining"]) == ("2", "1")
        assert (first.headers["X-RateLimit-Limit-Minute"], first.headers["X-RateLimit-Remaining"]) == ("2", "1")
        assert 1 <= int(first.headers["RateLimit-Reset"]) <= 60
        await client.get("/me")
        refused = await client.get("/me")
        assert (refused.status, refused.json) == (429, {"message": "Rate limit exceeded."})
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        circleci.turn_clock(60)
        assert (await client.get("/me")).status == 200


async def test_what_a_429_says() -> None:
    """Retry-After as a date, absurd, or missing; either header family or none."""
    circleci = CircleciEmulator(rate_limit={"limit": 0, "window_s": 10}, retry_after="date")
    async with served(circleci) as client:
        answer = await client.get("/me")
        assert 0 < (parsedate_to_datetime(answer.headers["Retry-After"]) - datetime.now(UTC)).total_seconds() <= 12
        circleci.knobs.change(retry_after="seconds", retry_after_s=86_400, rate_limit_headers="standard")
        answer = await client.get("/me")
        assert answer.headers["Retry-After"] == "86400"
        assert "X-RateLimit-Remaining" not in answer.headers
        circleci.knobs.change(retry_after="missing", rate_limit_headers="none")
        answer = await client.get("/me")
        assert answer.status == 429
        assert not {"Retry-After", "RateLimit-Limit"} & set(answer.headers)


async def test_faults_of_every_emulator_work_here() -> None:
    """A reset after the effect leaves the approval approved; a proxy's page has status 200."""
    circleci = CircleciEmulator()
    workflow = circleci.start_pipeline("gh/acme/app", GATED).workflow()
    async with served(circleci) as client:
        circleci.fault("reset-after", method="POST")
        with pytest.raises(ClientConnectionError):
            await client.post(f"/workflow/{workflow.id}/approve/{workflow.job('hold').id}")
        assert workflow.job("hold").status == "success"
        circleci.fault("html", status=200)
        assert (await client.get("/me")).headers["Content-Type"].startswith("text/html")


async def test_waiting_for_a_state() -> None:
    """wait_until returns when a job that takes its time has ended, and raises when it does not end."""
    circleci = CircleciEmulator()
    async with served(circleci):
        jobs = [{"name": "a", "duration_s": 0.05}, {"name": "b", "duration_s": None}]
        workflow = circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": jobs}]).workflow()
        await circleci.wait_until(lambda: workflow.job("a").has_ended)
        with pytest.raises(TimeoutError):
            await circleci.wait_until(lambda: workflow.has_ended, timeout_s=0.05)
        asyncio.get_running_loop().call_soon(circleci.finish, workflow.job("b"))
        await circleci.wait_until(lambda: workflow.has_ended)
