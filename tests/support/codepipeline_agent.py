"""A bridge with CodePipeline agents, the emulator of AWS, and a remote that the agents start work at."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from bridge.app import serve
from bridge.config import Role, load_config
from bridge.core.ports import Clock
from bridge.testing.codepipeline import CodepipelineEmulator, PipelineExecution
from bridge.testing.emulator import Emulator
from tests.support.bridge_process import KEY, TOKEN, Api
from tests.support.codepipeline_boto3 import REGION
from tests.support.fakes import eventually

LOAD_TEST = "Test/Custom/LoadTest/1"
REMOTE_TOKEN = "remote-t0ken-of-the-tests"  # noqa: S105 - a dummy
PUBLIC = "https://bridge.example.com"
SECRETS = {
    "T_KEY": KEY,
    "T_TEST": TOKEN,
    "T_AWS": "secret",
    "T_AWS_ID": "AKIDEXAMPLE",
    "T_REMOTE": REMOTE_TOKEN,
    "T_SEAL": "s" * 32,
}


class Remote(Emulator):
    """A load test service: POST /jobs starts a run, the same Idempotency-Key the same one."""

    name = "remote"

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, dict[str, Any]] = {}
        """What was asked for, by idempotency key."""

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/jobs", self._start)]

    async def _start(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        if key not in self.runs:
            self.runs[key] = orjson.loads(await request.read())
            self.effect("run.started", key)
        number = list(self.runs).index(key) + 1
        return web.json_response({"id": f"run-{number}"}, status=201)

    @property
    def starts(self) -> int:
        """How many runs were really started."""
        return sum(effect.kind == "run.started" for effect in self.effects)


@dataclass
class Stage:
    """Everything of one story; the bridge may be started and stopped in it."""

    folder: Path
    aws: CodepipelineEmulator
    remote: Remote
    session: aiohttp.ClientSession
    config: str
    running: list["Running"] = field(default_factory=list)

    def begin(self, pipeline: str = "demo", **fields: Any) -> PipelineExecution:
        """Start an execution of one action."""
        return self.aws.start_execution(pipeline, **{"action_type": LOAD_TEST, **fields})

    def operations(self, *wanted: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the calls that the bridge made of AWS, in order, without polls unless wanted by name."""
        found = [
            (entry.headers["x-amz-target"].partition(".")[2], orjson.loads(entry.body))
            for entry in self.aws.log
            if entry.path == "/"
        ]
        return [one for one in found if (one[0] in wanted if wanted else "Poll" not in one[0])]

    def names(self) -> list[str]:
        return [name for name, _ in self.operations()]

    def count(self, operation: str) -> int:
        return len(self.operations(operation))

    @property
    def effects(self) -> list[tuple[str, str]]:
        return [(effect.kind, effect.subject) for effect in self.aws.effects]

    async def until(self, claim: Any, within_s: float = 20.0) -> None:
        await eventually(claim, within_s)

    async def held(self, execution: PipelineExecution, *, generation: int = 1) -> str:
        """Wait until the job number *generation* (from 0) of the action is acknowledged; return its id."""
        action = execution.action
        await eventually(
            lambda: len(action.jobs) > generation and action.jobs[generation].state.value == "InProgress", 20
        )
        return action.jobs[generation].id

    async def hand_over(self, bridge: "Running", number: int = -1) -> tuple[int, Any]:
        """Do what the Lambda function does with the event of an invocation; return status and answer."""
        event = self.aws.lambda_event(self.aws.invocations[number])["CodePipeline.job"]
        token = event["data"].get("continuationToken")
        body = {"job_id": event["id"], "account_id": event["accountId"], "region": REGION}
        more = {"continuation_token": token} if token else {}
        return await bridge.api.call("POST", "/v1/agents/lambda/jobs", json={**body, **more})

    def forward(self, clock: "Shifted", **by: float) -> None:
        """Let time pass on both sides."""
        step = timedelta(**by)
        clock.ahead += step
        self.aws.advance(step.total_seconds())

    async def answer(self, bridge: "Running", key: str | None = None, **body: Any) -> None:
        """Post the remote's webhook for the run with *key* (None: the only one); it must be taken."""
        run = self.remote.runs[key or next(iter(self.remote.runs))]
        url = run["callback_url"].replace(PUBLIC, bridge.url)
        async with self.session.post(url, json={"outcome": "succeeded", **body}) as response:
            assert response.status == 202, await response.text()

    @asynccontextmanager
    async def bridge(
        self,
        *,
        roles: list[Role] | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        config: str = "",
        is_ready: bool = True,
    ) -> AsyncIterator["Running"]:
        """Run a bridge until the block ends, then stop it as SIGTERM does. is_ready: wait until it is."""
        path = self.folder / "bridge.toml"
        path.write_text(config or self.config)
        loaded = load_config(path, environ={**SECRETS, **(environ or {})}, roles=roles)
        stop = asyncio.Event()
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(loaded, stop=stop, started=started.set_result, clock=clock))
        watched: list[asyncio.Future[Any]] = [started, task]
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        url = await started
        running = Running(url, Api(self.session, url), stop, task)
        try:
            if is_ready:
                await running.ready(self.session)
            yield running
        finally:
            stop.set()
            await task


class Shifted:
    """The system's time, put forward by a test."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Running:
    """A running bridge."""

    url: str
    api: Api
    stop: asyncio.Event
    task: "asyncio.Task[None]"

    async def ready(self, session: aiohttp.ClientSession) -> None:
        async with asyncio.timeout(15):
            while True:
                async with session.get(f"{self.url}/readyz") as response:
                    if response.status == 200:
                        return
                await asyncio.sleep(0.01)


def stored(folder: Path) -> bytes:
    """Return all that broker and store have written."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


def agent_section(remote: str, *, name: str = "loadtest", action_type: str = LOAD_TEST, more: str = "") -> str:
    category, owner, provider, version = action_type.split("/")
    return (
        f'[agents.{name}]\nkind = "codepipeline"\ntarget = "aws"\ntoken_env = "T_REMOTE"\npoll = "1s"\n'
        f'action_type = {{ category = "{category}", owner = "{owner}", provider = "{provider}", version = "{version}" }}\n'
        f'start = {{ url = "{remote}/jobs", configuration = ["Project", "UserParameters"] }}\n{more}'
    )


@asynccontextmanager
async def stage(
    folder: Path, *, agents: str | None = None, more: str = "", broker: str = "", store: str = "", **knobs: Any
) -> AsyncIterator[Stage]:
    """Serve AWS and the remote. agents: the sections, with `{remote}` where its URL stands; more: keys of the default one."""
    aws, remote = CodepipelineEmulator(**knobs), Remote()
    async with aws.serve() as url, remote.serve() as remote_url, aiohttp.ClientSession() as session:
        sections = agents.replace("{remote}", remote_url) if agents else agent_section(remote_url, more=more)
        config = (
            f'public_url = "{PUBLIC}"\n[http]\nlisten = "127.0.0.1:0"\n'
            f'[broker]\nurl = "{broker or f"sqlite:///{folder}/bridge.db"}"\n'
            f'[store]\nurl = "{store or f"sqlite:///{folder}/bridge.db"}"\n'
            '[callbacks]\nkeys = [{ id = "test", env = "T_KEY" }]\n[secrets]\nkeys = [{ id = "test", env = "T_SEAL" }]\n'
            '[clients.test]\ntoken_env = "T_TEST"\nroles = ["register", "read", "operate", "admin"]\ntargets = ["*"]\nsources = ["*"]\n'
            f'[targets.aws]\nconsumer = "codepipeline"\nregion = "{REGION}"\nendpoint_url = "{url}"\ntimeout = "5s"\n'
            f's3_endpoint_url = "{url}/s3"\n'
            f'access_key_id_env = "T_AWS_ID"\nsecret_access_key_env = "T_AWS"\n{sections}'
        )
        yield Stage(folder, aws, remote, session, config)
