"""The CircleCI emulator as a process of its own, steered over HTTP alone."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bridge.testing.circleci import CircleciEmulator
from tests.support.circleci_client import GATED, RawClient, served

C = "/_emulator"


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[RawClient]:
    """Run `python -m bridge.testing.circleci` and yield a client of it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bridge.testing.circleci",
        "--port",
        "0",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    assert child.stdout is not None
    try:
        url = (await asyncio.wait_for(child.stdout.readline(), 30)).decode().strip()
        async with aiohttp.ClientSession() as session:
            yield RawClient(session, url)
    finally:
        child.terminate()
        await child.wait()


async def start(client: RawClient, **more: Any) -> dict[str, Any]:
    answer = await client.post(f"{C}/pipelines", json={"project": "gh/acme/app", "workflows": GATED, **more})
    assert answer.status == 201, answer.text
    body: dict[str, Any] = answer.json
    return body


def job(pipeline: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [one for one in pipeline["workflows"][0]["jobs"] if one["name"] == name]
    return dict(found)


async def test_a_process_can_be_steered() -> None:
    """The first line is the base URL; switches come from the command line; a pipeline is made, approved and awaited."""
    knobs = '{"approve_effect_delay_s": 0.05, "page_size_jobs": 1}'
    async with process("--knobs", knobs, "--token", "mine") as client:
        assert client.url.startswith("http://127.0.0.1:")
        pipeline = await start(client)
        workflow, hold = pipeline["workflows"][0]["id"], job(pipeline, "hold")
        assert (pipeline["workflows"][0]["status"], hold["status"]) == ("on_hold", "on_hold")
        headers = {"Circle-Token": "mine"}
        assert len((await client.get(f"/workflow/{workflow}/job", headers=headers)).json["items"]) == 1
        answer = await client.post(f"/workflow/{workflow}/approve/{hold['approval_request_id']}", headers=headers)
        assert answer.status == 202
        done = await client.get(f"{C}/workflows/{workflow}?status=success,failed&wait=10")
        assert (done.status, done.json["status"]) == (200, "success")
        effects = (await client.get(f"{C}/effects")).json
        assert [effect["kind"] for effect in effects] == ["pipeline.created", "approval.approved", "workflow.finished"]


async def test_knobs_over_http() -> None:
    """Knobs are read and changed together; a wrong one changes none and says what is wrong."""
    async with served(CircleciEmulator()) as client:
        changed = await client.send("PATCH", f"{C}/knobs", json={"on_already_approved": 409, "hold_delay_s": 2})
        assert (changed.json["on_already_approved"], changed.json["hold_delay_s"]) == (409, 2)
        wrong = await client.send("PATCH", f"{C}/knobs", json={"hold_delay_s": -1, "read_lag_s": 9})
        assert wrong.status == 400
        assert "hold_delay_s" in wrong.json["message"]
        assert (await client.get(f"{C}/knobs")).json["read_lag_s"] == 0


async def test_people_act_over_http() -> None:
    """Finish, approve, cancel and rerun by a person, each visible in the state."""
    async with served(CircleciEmulator()) as client:
        jobs = [{"name": "test", "duration_s": None}, {"name": "hold", "type": "approval", "requires": ["test"]}]
        pipeline = await start(client, workflows=[{"name": "build", "jobs": jobs}])
        test, hold, workflow = job(pipeline, "test")["id"], job(pipeline, "hold")["id"], pipeline["workflows"][0]["id"]
        assert (await client.post(f"{C}/jobs/{hold}/approve")).status == 409
        assert (await client.post(f"{C}/jobs/{hold}/finish")).status == 400
        assert (await client.post(f"{C}/jobs/{test}/finish", json={"result": "success"})).json["status"] == "success"
        assert (await client.get(f"{C}/jobs/{hold}?status=on_hold&wait=5")).status == 200
        approved = (await client.post(f"{C}/jobs/{hold}/approve", json={"by": "eva"})).json
        assert (approved["status"], approved["approved_by"]) == ("success", "eva")
        again = await client.post(f"{C}/workflows/{workflow}/rerun", json={"by": "eva"})
        assert again.status == 201
        canceled = await client.post(f"{C}/workflows/{again.json['id']}/cancel", json={"by": "eva"})
        assert canceled.json["status"] == "canceled"
        state = (await client.get(f"{C}/pipelines/{pipeline['id']}")).json
        assert [one["status"] for one in state["workflows"]] == ["success", "canceled"]
        assert (await client.get(f"{C}/pipelines")).json == [state]


async def test_canceled_and_shown_over_http() -> None:
    """An approval is canceled by a person; any status can be shown."""
    async with served(CircleciEmulator()) as client:
        pipeline = await start(client)
        hold, workflow = job(pipeline, "hold")["id"], pipeline["workflows"][0]["id"]
        await client.post(f"{C}/jobs/{hold}/show", json={"status": "frobnicated"})
        await client.post(f"{C}/workflows/{workflow}/show", json={"status": "queued"})
        assert (await client.jobs(workflow))["hold"]["status"] == "frobnicated"
        assert (await client.get(f"/workflow/{workflow}")).json["status"] == "queued"
        canceled = (await client.post(f"{C}/jobs/{hold}/cancel")).json
        assert (canceled["status"], canceled["canceled_by"]) == ("canceled", "ana")


async def test_waiting_ends() -> None:
    """A state that is not reached in time is 408 with the state there is."""
    async with served(CircleciEmulator()) as client:
        workflow = (await start(client))["workflows"][0]["id"]
        answer = await client.get(f"{C}/workflows/{workflow}?status=success&wait=0.05")
        assert (answer.status, answer.json["status"]) == (408, "on_hold")


async def test_tokens_projects_and_clock_over_http() -> None:
    """A token is revoked, a project is triggered, and six hours pass."""
    async with served(CircleciEmulator()) as client:
        await client.post(f"{C}/tokens", json={"value": "circleci-token", "is_valid": False})
        assert (await client.get("/me")).status == 401
        await client.post(f"{C}/tokens", json={"value": "circleci-token", "login": "eva"})
        assert (await client.get("/me")).json["login"] == "eva"
        assert (await client.post(f"{C}/projects", json={"slug": "gh/acme/b", "workflows": GATED})).status == 201
        assert (await client.post("/project/gh/acme/b/pipeline")).status == 201
        setup = await start(client, workflows=[{"name": "setup", "tag": "setup", "jobs": ["a"]}])
        await client.post(f"{C}/clock", json={"advance_s": 6 * 3600})
        body = {"continuation-key": setup["continuation_key"], "configuration": ""}
        assert (await client.post("/pipeline/continue", json=body)).status == 409


async def test_webhooks_over_http() -> None:
    """A hook is registered, pinged, told of an end, and told again under the same id."""
    got: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        got.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    circleci = CircleciEmulator()
    async with served(circleci) as client:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        hook = await client.post(f"{C}/webhooks", json={"url": url, "secret": "s", "events": ["workflow-completed"]})
        assert hook.status == 201
        assert "secret" not in (await client.get(f"{C}/webhooks")).json[0]
        await client.post(f"{C}/webhooks/{hook.json['id']}/ping")
        pipeline = await start(client)
        workflow = pipeline["workflows"][0]["id"]
        assert (await client.post(f"{C}/workflows/{workflow}/webhook")).status == 409
        await client.post(f"{C}/jobs/{job(pipeline, 'hold')['id']}/approve")
        circleci.knobs.webhook_delay_s = 3600
        assert (await client.post(f"{C}/workflows/{workflow}/webhook")).status == 201
        await client.post(f"{C}/webhooks/flush")
        await circleci.wait_until(lambda: len(got) == 3 and all(one.is_over for one in circleci.webhooks.deliveries))
        deliveries = (await client.get(f"{C}/deliveries")).json
        assert [one["event"] for one in deliveries] == ["ping", "workflow-completed", "workflow-completed"]
        assert deliveries[1]["id"] == deliveries[2]["id"]
        await client.send("DELETE", f"{C}/webhooks")
        assert circleci.webhooks.hooks == {}
    await runner.cleanup()


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("pipelines", {}, 400, "missing: project"),
        ("pipelines", {"project": "gh/acme/app", "workflows": [{"jobs": []}]}, 400, "workflows/0/name"),
        ("pipelines", {"project": "app"}, 400, "three parts"),
        ("pipelines", [], 400, "JSON object"),
        ("webhooks", {"url": "http://x", "events": ["started"]}, 400, "job-completed"),
        ("webhooks", {"url": "http://x", "port": 1}, 400, "port"),
        ("workflows/none/cancel", {}, 404, "Workflow not found"),
        ("webhooks/none/ping", {}, 404, "Webhook not found"),
        ("clock", {"advance_s": "soon"}, 400, "soon"),
    ],
)
async def test_bad_control_calls(path: str, body: Any, status: int, message: str) -> None:
    """A wrong control call is refused with a message that names what is wrong."""
    async with served(CircleciEmulator()) as client:
        answer = await client.post(f"{C}/{path}", json=body)
        assert answer.status == status
        assert message in answer.json["message"]
