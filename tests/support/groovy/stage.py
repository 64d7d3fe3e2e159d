"""Pipelines on a Jenkins that is none: the library in a real Groovy, its inputs at the emulator, its calls at a real bridge.

One JVM plays every story at once. A story's pipeline has the steps of Steps.groovy; its remote system is a coroutine here.
"""

import asyncio
import json
import os
import shutil
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from bridge.testing.jenkins import Build, Hold, Input, JenkinsEmulator, Parameter
from bridge.testing.jenkins.model.inputs import InputExecution, fails_the_build
from tests.support.bridge_process import TOKEN, Api, Setup, running

HERE = Path(__file__).parent
FORBIDDEN = HERE / "forbidden"
LIBRARY = Path(__file__).parents[3] / "docs/jenkins-library"
JENKINS_TOKEN = "jenkins-token"  # noqa: S105 - the emulator's own
PLAYED_WITHIN_S = 100
INPUT_WITHIN_S = 40

_TARGET = """
[targets.jenkins-prod]
consumer = "jenkins"
base_url = "{url}/"
username = "bridge"
token_env = "TEST_JENKINS_TOKEN"
"""
_CURL = """#!/bin/sh
# Writes down what a process list would show.
printf '%s\\n' "$*" >>"$CURL_ARGUMENTS"
[ -z "$CURL_FAILS" ] || { printf 000; echo 'curl: (7) Failed to connect' >&2; exit 7; }
exec "$REAL_CURL" "$@"
"""


@dataclass
class Played:
    """What became of one build."""

    result: str
    returned: Any = None
    error: str = ""
    log: str = ""
    nodes: list[str] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    """What the `input` steps were given, as they were reached."""
    callbacks: list[str] = field(default_factory=list)
    """The callback URLs that reached the remote system."""
    arguments: str = ""
    """A line for each start of curl: its arguments."""
    calls: list[str] = field(default_factory=list)
    """What Jenkins was asked for by the bridge: method and path."""
    asked: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    """What the proxy with a login page was asked for: headers and body."""


@dataclass
class Everything:
    """What became of all builds, and what a library does that the sandbox does not permit: ours, and one made for it."""

    played: dict[str, Played]
    findings: list[str]
    findings_in_forbidden: list[str]


@dataclass
class Remote:
    """What a story's remote system can do, and what it can see."""

    stage: "Stage"
    name: str
    callback: str = ""

    async def call_back(self, result: Any = None, suffix: str = "") -> None:
        """Post to the callback URL; JSON, or nothing."""
        body = {} if result is None else {"json": result}
        async with self.stage.session.post(self.callback + suffix, **body) as response:
            assert response.status == 202

    async def reached(self, count: int = 1) -> InputExecution:
        """Wait until that many inputs are pending; return the first."""
        build = self.stage.builds[self.name]
        await self.stage.jenkins.until(lambda: len(build.pending) >= count, INPUT_WITHIN_S)
        return build.pending[0]

    async def in_vain(self) -> None:
        """Wait until the bridge has tried to answer, and found that nothing waits yet."""
        build_url = self.stage.jenkins.url_of(self.stage.builds[self.name])
        async with asyncio.timeout(INPUT_WITHIN_S):
            while True:
                _, listed = await self.stage.api.call("GET", "/v1/waits")
                ours = [wait for wait in listed["items"] if wait["address"]["build_url"] == build_url]
                if any(entry["ending"] == "not-yet" for wait in ours for entry in wait["timeline"]):
                    return
                await asyncio.sleep(0.05)

    async def answer_by_hand(self, verb: str, **parameters: str) -> None:
        """Answer the first input that is pending as a person does."""
        execution = await self.reached()
        entries = [{"name": name, "value": value} for name, value in parameters.items()]
        url = f"{self.stage.jenkins.url}/{self.stage.builds[self.name].path}/input/{execution.id}/{verb}"
        headers = {"Authorization": f"Basic {b64encode(f'bridge:{JENKINS_TOKEN}'.encode()).decode()}"}
        form = {"json": json.dumps({"parameter": entries})}
        async with self.stage.session.post(url, data=form, headers=headers) as response:
            assert response.status == 200


Behaviour = Callable[[Remote], Awaitable[None]]


@dataclass(frozen=True)
class Story:
    """One build. remote: what happens once it was called; early: it is done before the call is answered."""

    script: str
    remote: Behaviour | None = None
    early: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    token: str = TOKEN


@dataclass(frozen=True)
class Commands:
    """Where the real ones are."""

    groovy: str
    curl: str


@dataclass
class Stage:
    """The servers around the pipelines."""

    commands: Commands
    jenkins: JenkinsEmulator
    session: aiohttp.ClientSession
    stories: Mapping[str, Story]
    api: Api
    url: str = ""
    builds: dict[str, Build] = field(default_factory=dict)
    inputs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    callbacks: dict[str, list[str]] = field(default_factory=dict)
    asked: dict[str, list[tuple[Mapping[str, str], bytes]]] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/input", self._input)
        app.router.add_post("/farm/{story}", self._farm)
        app.router.add_post("/login/{story}/v1/waits", self._login_page)
        return app

    def begin(self, name: str) -> None:
        """Start a story's build; it ends when the test does."""
        self.builds[name] = self.jenkins.start_build(f"job/{name}", script=[Hold(name="end")])
        self.inputs[name], self.callbacks[name], self.asked[name] = [], [], []

    async def _input(self, request: web.Request) -> web.Response:
        """Be the `input` step: an input of the build that waits at the emulator."""
        given = await request.json()
        path = given["build_url"].removeprefix(self.jenkins.url)
        build = self.jenkins.find_build(path)
        assert build is not None
        parameters = tuple(_parameter(one) for one in given["parameters"])
        spec = Input(id=given["id"], message=given["message"], parameters=parameters, submitter=given.get("submitter"))
        assert fails_the_build(spec, ids_checked=True, unsafe_files=False) is None
        self.inputs[path.split("/")[2]].append(given)
        execution = build.program.reach(spec)
        self.jenkins.refresh()
        await self.jenkins.until(lambda: execution.answer is not None, INPUT_WITHIN_S)
        assert execution.answer is not None
        return web.json_response({"is_abort": execution.answer.is_abort, "returned": execution.answer.returned})

    async def _farm(self, request: web.Request) -> web.Response:
        """Be the remote system of a story."""
        name = request.match_info["story"]
        callback = json.loads(await request.read())["callback"]
        self.callbacks[name].append(callback)
        story = self.stories[name]
        if story.remote is not None:
            task = asyncio.ensure_future(story.remote(Remote(self, name, callback)))
            self.tasks.append(task)
            if story.early:
                await task
        return web.Response(status=201)

    async def _login_page(self, request: web.Request) -> web.Response:
        """Be a proxy that wants a login."""
        self.asked[request.match_info["story"]].append((request.headers, await request.read()))
        return web.Response(text="<html>Please sign in</html>", content_type="text/html")


def _parameter(given: dict[str, Any]) -> Parameter:
    return Parameter(
        name=given["name"],
        type=given["type"],
        default=given.get("defaultValue"),
        choices=tuple(given.get("choices", ())),
        description=given["description"],
    )


def java_home() -> str | None:
    """Return the Java that is found: Debian's `groovy` looks for one at a place where not every machine has it."""
    java = shutil.which("java")
    return str(Path(java).resolve().parents[1]) if java else None


async def play(stories: Mapping[str, Story], folder: Path, commands: Commands) -> Everything:
    """Play *stories*, in servers of their own."""
    jenkins = JenkinsEmulator()
    async with jenkins.serve(), aiohttp.ClientSession() as session:
        setup = Setup(
            folder,
            f"sqlite:///{folder}/bridge.db",
            f"sqlite:///{folder}/bridge.db",
            _TARGET.format(url=jenkins.url),
            {"TEST_JENKINS_TOKEN": JENKINS_TOKEN},
        )
        stage = Stage(commands, jenkins, session, stories, Api(session, setup.url))
        runner = web.AppRunner(stage.app())
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            stage.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            async with running(setup) as bridge:
                ends = await _in_groovy(stage, bridge.url, folder)
                await asyncio.gather(*stage.tasks)
                await _all_settled(stage.api)
        finally:
            await runner.cleanup()
        played = {name: _played(stage, name, end, folder) for name, end in ends["stories"].items()}
        return Everything(played, ends["lint"], ends["other_lint"])


async def _all_settled(api: Api) -> None:
    """Wait until no resolution is on its way any more: what was sent twice is then in the log."""
    async with asyncio.timeout(20):
        while (await api.call("GET", "/v1/waits?state=resolving"))[1]["items"]:  # noqa: ASYNC110 - the API has no push
            await asyncio.sleep(0.05)


async def _in_groovy(stage: Stage, bridge_url: str, folder: Path) -> Any:
    """Run the harness; return what it printed."""
    given = {name: _given(stage, name, bridge_url, folder) for name in stage.stories}
    process = await asyncio.create_subprocess_exec(
        *(
            stage.commands.groovy,
            "-cp",
            f"{HERE}:{HERE}/classes",
            str(HERE / "harness.groovy"),
            str(LIBRARY),
            stage.url,
            str(FORBIDDEN),
        ),
        env={**os.environ, "JAVA_HOME": java_home() or "", "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -Xshare:auto"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PLAYED_WITHIN_S):
            out, err = await process.communicate(json.dumps(given).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def _given(stage: Stage, name: str, bridge_url: str, folder: Path) -> dict[str, Any]:
    story = stage.stories[name]
    stage.begin(name)
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    (bin_folder / "curl").write_text(_CURL)
    (bin_folder / "curl").chmod(0o755)
    farm = f"{stage.url}/farm/{name}"
    environ = {
        "BUILD_URL": stage.jenkins.url_of(stage.builds[name]),
        "BRIDGE_URL": bridge_url,
        "BRIDGE_TARGET": "jenkins-prod",
        "FARM": farm,
        **{key: value.replace("STAGE", stage.url) for key, value in story.environ.items()},
    }
    shell = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "REAL_CURL": stage.commands.curl,
        "CURL_ARGUMENTS": str(folder / f"curl-{name}"),
        "CURL_FAILS": "",
    }
    script = story.script.replace("https://testfarm.example.com/runs", farm)
    return {"script": script, "env": environ, "shell": shell, "credentials": {"bridge-token": story.token}}


def _played(stage: Stage, name: str, end: dict[str, Any], folder: Path) -> Played:
    arguments = folder / f"curl-{name}"
    path = f"/{stage.builds[name].path}/"
    return Played(
        **end,
        inputs=stage.inputs[name],
        callbacks=stage.callbacks[name],
        asked=stage.asked[name],
        arguments=arguments.read_text() if arguments.exists() else "",
        calls=[f"{one.method} {one.path.removeprefix(path)}" for one in stage.jenkins.log if one.path.startswith(path)],
    )
