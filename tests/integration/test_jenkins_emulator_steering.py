"""The Jenkins emulator steered over HTTP and run as a process, and the shared faults in front of it."""

import asyncio
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bridge.testing import fixtures
from bridge.testing.jenkins import JenkinsEmulator
from tests.support.jenkins_client import TOKEN, RawClient, raw_client

jenkins = fixtures.jenkins

GO = "/job/app/1/input/Go"
NESTED = [
    {"step": "sleep", "seconds": 0.01},
    {"step": "hold", "name": "start"},
    {"step": "catch", "result": "UNSTABLE", "body": [{"step": "input", "id": "go"}]},
    {"step": "parallel", "branches": [[{"step": "input", "id": "A"}], [{"step": "timeout", "seconds": 60, "body": [{"step": "input", "id": "B"}]}]]},
]  # fmt: skip


@pytest_asyncio.fixture
async def client(jenkins: JenkinsEmulator) -> AsyncIterator[RawClient]:
    async with raw_client(jenkins) as opened:
        yield opened


async def test_a_build_is_started_reached_answered_and_shown(client: RawClient) -> None:
    """The whole life of a build over the control calls, and what its step returned."""
    started = await client.control(
        "POST",
        "/builds",
        {
            "job": "job/app",
            "inputs": [{"id": "go", "held": True, "step": "input", "parameters": [{"name": "P"}]}],
            "parameters": {"X": "1"},
        },
    )
    assert started.status == 201
    assert (started.json["path"], started.json["number"], started.json["had_input"]) == ("job/app/1", 1, False)
    reached = await client.control("POST", "/builds/job/app/1/reach", {"id": "go"})
    assert reached.json["pending"] == [{"id": "Go", "occurrence": 1, "message": "Proceed?", "settled": False}]
    await client.answer(f"{GO}/proceed", {"name": "P", "value": "v"})
    shown = (await client.control("GET", "/builds/job/app/1")).json
    assert (shown["result"], shown["building"], shown["parameters"]) == ("SUCCESS", False, {"X": "1"})
    assert shown["returned"] == [
        {
            "id": "Go",
            "occurrence": 1,
            "verb": "proceed",
            "user": "bridge",
            "is_abort": False,
            "values": {"P": "v"},
            "returned": "v",
        }
    ]
    assert [each["path"] for each in (await client.control("GET", "/builds")).json] == ["job/app/1"]
    effects = (await client.control("GET", "/effects")).json
    assert [each["kind"] for each in effects] == ["build.started", "input.reached", "input.proceeded", "build.finished"]


async def test_a_branch_is_steered_under_its_raw_path(client: RawClient) -> None:
    """The path of a build is the one of its URL, encoding untouched."""
    await client.control("POST", "/builds", {"job": "mb/feature%2Fx", "inputs": ["Go"]})
    shown = await client.control("GET", "/builds/job/mb/job/feature%252Fx/1")
    assert shown.json["url"].endswith("/job/mb/job/feature%252Fx/1/")
    assert (await client.control("POST", "/builds/job/mb/job/feature%252Fx/1/stop")).json["result"] == "ABORTED"
    assert (await client.control("DELETE", "/builds/job/mb/job/feature%252Fx/1")).status == 204
    assert (await client.control("GET", "/builds/job/mb/job/feature%252Fx/1")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/builds", {"job": "", "inputs": []}, 422),
        ("POST", "/builds", {"job": "job/app/job", "inputs": []}, 422),
        ("POST", "/builds", {"job": "app", "inputs": [{"step": "nap"}]}, 422),
        ("POST", "/builds", {"job": "app", "steps": []}, 422),
        ("POST", "/jobs", {}, 422),
        ("POST", "/users", {"name": "x", "colour": "red"}, 422),
        ("POST", "/switches", {"settle": 1}, 422),
        ("POST", "/switches", {"settle_s": "long"}, 422),
        ("POST", "/phase", {"phase": "down"}, 422),
        ("GET", "/builds/job/app/7", None, 404),
        ("GET", "/builds/job/app/x", None, 422),
        ("POST", "/builds/job/app/1/paint", {}, 405),
        ("POST", "/builds/job/app/1/stop", {"result": "SUCCESS"}, 422),
    ],
)
async def test_wrong_control_calls_are_refused(
    jenkins: JenkinsEmulator, client: RawClient, *, method: str, path: str, body: Any, status: int
) -> None:
    """Wrong input is 422, what is missing 404, an unknown verb 405."""
    jenkins.start_build("job/app", inputs=["Go"])
    assert (await client.control(method, path, body)).status == status


async def test_jobs_users_and_switches_are_configured(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Everything that Python can set, HTTP can."""
    job = {"name": "app", "parameters": [{"name": "P"}], "script": [{"step": "input", "id": "Go"}]}
    assert (await client.control("POST", "/jobs", job)).json == {"name": "app", "path": "job/app"}
    await client.control("POST", "/users", {"name": "alice", "token": "t", "permissions": ["Overall/Read"]})
    assert (await client.get("/whoAmI/api/json", auth=("alice", "t"))).json["name"] == "alice"
    assert (await client.get("/job/app/api/json", auth=("alice", "t"))).status == 404
    changed = await client.control("POST", "/switches", {"settle_s": 60, "csrf": False})
    assert (changed.json["settle_s"], changed.json["csrf"]) == (60, False)
    assert jenkins.switches.csrf is False
    assert (await client.control("GET", "/switches")).json == changed.json
    assert (await client.post("/job/app/buildWithParameters?P=1")).status == 201
    assert [each["parameters"] for each in (await client.control("GET", "/builds")).json] == [{"P": "1"}]


async def test_restart_crash_phase_and_quiet_down(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The states of the whole Jenkins can be set from outside."""
    build = jenkins.start_build("job/app", inputs=["Go", "Next"])
    await client.control("POST", "/restart", {"requests": 1})
    assert [(await client.get("/api/json")).status for _ in range(2)] == [503, 200]
    await client.control("POST", "/phase", {"phase": "starting"})
    assert (await client.get("/api/json")).status == 503
    await client.control("POST", "/phase", {"phase": "up"})
    await client.control("POST", "/quiet-down")
    await client.post(f"{GO}/proceedEmpty")
    assert build.pending == []
    await client.control("DELETE", "/quiet-down")
    assert [each.id for each in build.pending] == ["Next"]
    await client.control("POST", "/crash", {"lose_answers": True})
    assert [each.id for each in build.pending] == ["Go"]
    await client.control("POST", "/builds/job/app/1/executions", {"state": "unloadable"})
    assert (await client.post(f"{GO}/proceedEmpty")).status == 404


async def test_the_process_prints_its_url_and_serves() -> None:
    """Run apart, it takes a script in JSON, runs it by its own clock, and honours its command line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge.testing.jenkins", "--port", "0", "--context", "/jenkins",
        "--switch", "pipeline_rest_api=false", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        async with aiohttp.ClientSession() as session:
            await _run_nested(session, url)
    finally:
        process.terminate()
        await process.wait()


async def _run_nested(session: aiohttp.ClientSession, url: str) -> None:
    control = f"{url}/_emulator"
    headers = {"Authorization": "Basic " + b64encode(":".join(TOKEN).encode()).decode()}
    body = {"job": "app", "script": NESTED}
    async with session.post(f"{control}/builds", json=body) as response:
        assert response.status == 201
    await session.post(f"{control}/builds/job/app/1/reach", json={"id": "start"})

    async def pending() -> list[str]:
        async with session.get(f"{control}/builds/job/app/1") as response:
            return [each["id"] for each in (await response.json())["pending"]]

    async with asyncio.timeout(10):
        while await pending() != ["Go"]:
            pass  # each look is a request, and the sleep of the script is short
    async with session.get(f"{url}/jenkins/job/app/1/wfapi/describe", headers=headers) as response:
        assert response.status == 404
    async with session.post(f"{url}/jenkins/job/app/1/input/Go/abort", headers=headers) as response:
        assert response.status == 200
    assert await pending() == ["A", "B"]


async def test_faults_stand_in_front_of_the_emulator(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A proxy's 502 after the effect, its login page, and a reset after the effect: effects tell what happened."""
    build = jenkins.start_build("job/app", inputs=["Go", "Next"])
    jenkins.fault("status-after", path="proceedEmpty", status=502)
    jenkins.fault("html", path="proceedEmpty", status=200)
    assert (await client.post(f"{GO}/proceedEmpty")).status == 502
    login = await client.post("/job/app/1/input/Next/proceedEmpty")
    assert (login.status, "Please sign in" in login.text) == (200, True)
    assert [each.id for each in build.pending] == ["Next"]
    jenkins.fault("reset-after", path="proceedEmpty")
    with pytest.raises(aiohttp.ClientError):
        await client.post("/job/app/1/input/Next/proceedEmpty")
    assert build.result == "SUCCESS"
    assert [effect.kind for effect in jenkins.effects].count("input.proceeded") == 2


async def test_until_gives_up(jenkins: JenkinsEmulator) -> None:
    """A condition that never holds ends in TimeoutError."""
    with pytest.raises(TimeoutError, match=r"did not hold within 0\.05 s"):
        await jenkins.until(lambda: False, timeout_s=0.05)
