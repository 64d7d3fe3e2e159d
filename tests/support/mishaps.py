"""All platforms at once, under faults and a `kill -9` at random moments: every pipeline goes on, once, and the right way.

The emulators outlive the bridge; what they list as effects is what counts.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from bridge.testing.circleci import TOKEN as CIRCLECI_TOKEN
from bridge.testing.circleci import CircleciEmulator
from bridge.testing.codepipeline import CodepipelineEmulator
from bridge.testing.emulator import Emulator, FaultKind
from bridge.testing.jenkins import JenkinsEmulator
from bridge.testing.jenkins.model.script import Input, Parameter
from tests.support.bridge_process import Api, BridgeProcess, Setup, api
from tests.support.circleci_client import HOLD
from tests.support.codepipeline_agent import LOAD_TEST, Remote, agent_section
from tests.support.codepipeline_boto3 import REGION
from tests.support.codepipeline_stage import endpoints, toml

_RETRY_S = 0.2
_SETTLE_S = 150.0
_FAULTS = 12
"""For each platform and round."""
_COPIES = 3
"""Of each place."""
_STATUSES = (500, 502, 503, 504)


class Place(NamedTuple):
    """Something that waits, and what has to become of it.

    late: lets a pipeline reach its place; called at a random moment.
    effects: what its platform lists for it, by kind.
    """

    title: str
    target: str
    address: dict[str, Any]
    outcome: str
    wanted: str
    effects: Callable[[], list[str]]
    late: Callable[[], None] | None = None


@dataclass
class Round:
    """What one round saw."""

    places: int = 0
    faults: int = 0
    twice: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.twice or self.wrong or self.waiting)


class World:
    """The platforms, and the remote that an agent starts work at."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.jenkins = JenkinsEmulator()
        self.circleci = CircleciEmulator()
        self.aws = CodepipelineEmulator(put_before_acknowledge=True)
        self.remote = Remote()

    @property
    def platforms(self) -> tuple[Emulator, ...]:
        return self.jenkins, self.circleci, self.aws

    def sections(self) -> str:
        """Return the config of the targets and of the agent, which has a target of its own."""
        aws = f'consumer = "codepipeline"\naccess_key_id_env = "T_AWS_ID"\nsecret_access_key_env = "T_AWS"\ntimeout = "3s"\n{toml(endpoints(self.aws.base_url, REGION))}'
        return (
            f'[targets.jenkins]\nconsumer = "jenkins"\nbase_url = "{self.jenkins.url}/"\nusername = "bridge"\n'
            'token_env = "T_JENKINS"\ntimeout = "3s"\n'
            f'[targets.circleci]\nconsumer = "circleci"\nbase_url = "{self.circleci.base_url}"\n'
            'token_env = "T_CIRCLECI"\ntimeout = "3s"\n'
            f"[targets.jobs]\n{aws}[targets.aws]\n{aws}{agent_section(self.remote.base_url)}"
        )

    def upset(self) -> int:
        """Lay faults at random moments of every platform's next requests; return how many."""
        for platform in self.platforms:
            for _ in range(_FAULTS):
                platform.fault(
                    self.dice.choice(list(FaultKind)),
                    skip=self.dice.randrange(60),
                    status=200 if self.dice.random() < 0.2 else self.dice.choice(_STATUSES),
                    delay_s=self.dice.uniform(0.05, 0.5),
                    body="<html>proxy</html>",
                )
        return _FAULTS * len(self.platforms)


def jenkins_places(world: World) -> list[Place]:
    """Inputs with and without parameters, aborted ones, two in one build, one that is not reached yet."""
    jenkins = world.jenkins

    def place(title: str, inputs: Sequence[Any], name: str, outcome: str = "succeeded", **more: Any) -> Place:
        build = more.pop("build", None) or jenkins.start_build("job/app", inputs=inputs)
        subject = f"{build.path}/input/{name}"
        late = (lambda: jenkins.reach(build, name)) if more.pop("is_late", False) else None
        address = {"build_url": jenkins.url_of(build), "input_id": name, **more}
        wanted = "input.proceeded" if outcome == "succeeded" or "on_failure" in more else "input.aborted"
        return Place(
            f"jenkins {title}", "jenkins", address, outcome, wanted, lambda: _kinds(jenkins, "input.", subject), late
        )

    two = jenkins.start_build("job/app", inputs=["First", "Second"])
    told = Input(id="Told", parameters=(Parameter(name="PAYLOAD"), Parameter(name="OUTCOME")))
    return [
        place("plain", ["Go"], "Go"),
        place("failed", ["Go"], "Go", "failed"),
        place("parameters", [told], "Told"),
        place("failed as data", [told], "Told", "failed", on_failure="proceed"),
        place("first of two", [], "First", build=two),
        place("second of two", [], "Second", build=two),
        place("late", [Input(id="Held", held=True)], "Held", is_late=True),
    ]


def circleci_places(world: World) -> list[Place]:
    """Approvals by workflow and by pipeline, cancelled ones in each way, one that is blocked at first."""
    circleci = world.circleci
    gated = [{"name": "build", "jobs": [HOLD, {"name": "deploy", "requires": ["hold"]}]}]
    running = {"name": "test", "duration_s": None}
    blocked = [{"name": "build", "jobs": [running, {**HOLD, "requires": ["test"]}]}]

    def place(title: str, wanted: str, outcome: str = "succeeded", *, is_late: bool = False, **more: Any) -> Place:
        pipeline = circleci.start_pipeline("gh/acme/app", blocked if is_late else gated)
        workflow = pipeline.workflow()
        by_pipeline = {"pipeline_id": pipeline.id, "workflow_name": "build"}
        where = by_pipeline if more.pop("by_pipeline", False) else {"workflow_id": workflow.id}
        subjects = (workflow.id, workflow.job("hold").id)
        late = (lambda: circleci.finish(workflow.job("test"))) if is_late else None
        address = {**where, "approval": "hold", **more}
        found = lambda: [kind for one in subjects for kind in _kinds(circleci, _ANSWERS, one)]  # noqa: E731
        return Place(f"circleci {title}", "circleci", address, outcome, wanted, found, late)

    return [
        place("by workflow", "approval.approved"),
        place("by pipeline", "approval.approved", by_pipeline=True),
        place("failed", "approval.canceled", "failed"),
        place("workflow cancelled", "workflow.canceled", "failed", on_failure="cancel-workflow"),
        place("failed, approved", "approval.approved", "failed", on_failure="approve"),
        place("blocked", "approval.approved", is_late=True),
    ]


_ANSWERS = ("approval.", "workflow.canceled")


def codepipeline_places(world: World) -> list[Place]:
    """Jobs that end well and badly, and manual approvals."""
    aws = world.aws

    def job(title: str, wanted: str, outcome: str = "succeeded") -> Place:
        action = aws.start_execution(f"p-{world.dice.getrandbits(40):x}").action
        (found,) = action.jobs
        return Place(
            f"codepipeline {title}",
            "jobs",
            {"job_id": found.id},
            outcome,
            wanted,
            lambda: _kinds(aws, "job.", found.id),
        )

    def approval(title: str, outcome: str = "succeeded") -> Place:
        name = f"a-{world.dice.getrandbits(40):x}"
        action = aws.start_execution(name, action_type="Approval/AWS/Manual/1").action
        address = {"approval": {"pipeline": name, "stage": action.stage_name, "action": action.name}}
        wanted = "Approved" if outcome == "succeeded" else "Rejected"

        def found() -> list[str]:
            return [
                str(effect.detail["status"])
                for effect in aws.effects
                if effect.kind == "approval.put" and effect.detail["pipeline"] == name
            ]

        return Place(f"codepipeline {title}", "jobs", address, outcome, wanted, found)

    return [
        job("job", "job.succeeded"),
        job("failed job", "job.failed", "failed"),
        approval("approval"),
        approval("rejected approval", "failed"),
    ]


def _kinds(platform: Emulator, prefix: str | tuple[str, ...], subject: str) -> list[str]:
    skipped = ("input.reached", "job.continued")
    return [
        effect.kind
        for effect in platform.effects
        if effect.subject == subject and effect.kind.startswith(prefix) and effect.kind not in skipped
    ]


async def run(folder: Path, *, seed: int) -> Round:
    """Play one round on SQLite, with everything at random from *seed*."""
    world = World(random.Random(seed))  # noqa: S311 - chance, not secrecy
    async with AsyncExitStack() as stack:
        for emulator in (*world.platforms, world.remote):
            await stack.enter_async_context(emulator.serve())
        environ = {"T_JENKINS": "jenkins-token", "T_CIRCLECI": CIRCLECI_TOKEN, "T_AWS_ID": "AKIDEXAMPLE"}
        environ |= {"T_AWS": "secret", "T_REMOTE": "remote"}
        url = f"sqlite:///{folder}/bridge.db"
        setup = Setup(folder, url, url, world.sections(), environ)
        setup.write()
        process = BridgeProcess(setup)
        await process.start()
        stack.push_async_callback(process.stop)
        await process.ready()
        timeout = aiohttp.ClientTimeout(total=5)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        client = await stack.enter_async_context(api(setup.url))
        return await _Player(world, setup, process, session, client).play()


@dataclass
class _Player:
    world: World
    setup: Setup
    process: BridgeProcess
    session: aiohttp.ClientSession
    client: Api
    seen: Round = field(default_factory=Round)

    async def play(self) -> Round:
        places = [
            place
            for _ in range(_COPIES)
            for make in (jenkins_places, circleci_places, codepipeline_places)
            for place in make(self.world)
        ]
        opened = [(place, await self.client.register(place.target, place.address)) for place in places]
        works = [
            self.world.aws.start_execution(f"w-{number}", action_type=LOAD_TEST).action for number in range(_COPIES)
        ]
        self.seen.places, self.seen.faults = len(places) + len(works), self.world.upset()
        async with asyncio.TaskGroup() as group:
            for place, made in opened:
                group.create_task(self._tell(made["callback_url"], place.outcome, place.late))
            group.create_task(self._tell_remotes(len(works)))
            group.create_task(self._kill())
        ends = [(place.title, place.wanted, place.effects) for place in places]
        ends += [("agent", "job.succeeded", partial(self._ends_of, work.jobs)) for work in works]
        await self._settle([effects for _, _, effects in ends])
        for title, wanted, effects in ends:
            self._judge(title, wanted, effects())
        if self.world.remote.starts != len(works):
            self.seen.twice.append(f"{self.world.remote.starts} starts of {len(works)} works")
        return self.seen

    def _judge(self, title: str, wanted: str, effects: Sequence[str]) -> None:
        if not effects:
            self.seen.waiting.append(title)
        elif len(effects) > 1:
            self.seen.twice.append(f"{title}: {effects}")
        elif effects[0] != wanted:
            self.seen.wrong.append(f"{title}: {effects}")

    def _ends_of(self, jobs: Sequence[Any]) -> list[str]:
        return [kind for job in jobs for kind in _kinds(self.world.aws, "job.", job.id)]

    async def _tell(self, url: str, outcome: str, late: Callable[[], None] | None = None) -> None:
        """Post the remote's webhook until it is taken, perhaps once more; let the pipeline come before or after it."""
        dice = self.world.dice
        reach = asyncio.create_task(self._later(late)) if late else None
        await asyncio.sleep(dice.uniform(0, 4))
        for _ in range(2 if dice.random() < 0.3 else 1):
            await self._send(url, {"outcome": outcome, "summary": "seen"})
        if reach:
            await reach

    async def _later(self, late: Callable[[], None]) -> None:
        await asyncio.sleep(self.world.dice.uniform(0, 6))
        late()

    async def _send(self, url: str, body: Mapping[str, Any]) -> None:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self.session.post(url, json=body) as response:
                    if response.status == 202:
                        return
            await asyncio.sleep(_RETRY_S)

    async def _tell_remotes(self, count: int) -> None:
        """Answer each work that the agent has started at the remote."""
        told: set[str] = set()
        async with asyncio.timeout(_SETTLE_S):
            while len(told) < count:
                for key in [key for key in self.world.remote.runs if key not in told]:
                    await self._tell(self.world.remote.runs[key]["callback_url"], "succeeded")
                    told.add(key)
                await asyncio.sleep(_RETRY_S)

    async def _kill(self) -> None:
        await asyncio.sleep(self.world.dice.uniform(0.5, 5))
        await self.process.kill9()
        await self.process.start()
        await self.process.ready()

    async def _settle(self, ends: Sequence[Callable[[], list[str]]]) -> None:
        """Wait for every effect, and until the bridge knows of it: only then no repeat can follow, and effects are counted."""
        left: list[Any] = []
        try:
            async with asyncio.timeout(_SETTLE_S):
                while True:
                    left = await self._unresolved()
                    if not left and all(effects() for effects in ends):
                        return
                    await asyncio.sleep(_RETRY_S)
        except TimeoutError:
            self.seen.waiting += [f"{item['address']}: {item['state']} {item['reason']}" for item in left]

    async def _unresolved(self) -> list[Any]:
        found: list[Any] = []
        for state in ("open", "resolving", "undeliverable"):
            _, page = await self.client.call("GET", f"/v1/waits?state={state}&limit=500")
            found += page["items"]
        return found
