"""kill -9 of a whole bridge at random moments under load, counted from the platform's own log.

Every webhook is sent until it is acknowledged, and about half of them once more. At the end nothing acknowledged may be
missing at the platform, and nothing may be there twice.
"""

import asyncio
import json
import random
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.bridge_process import BridgeProcess, Setup, api

JENKINS_SECTION = """
[targets.jenkins]
consumer = "jenkins"
base_url = "{url}"
username = "bridge"
token_env = "TEST_JENKINS_TOKEN"
concurrency = 16
"""
_SECOND_COPY = 0.5
_TWO_INPUTS = 0.3
_RETRY_S = 0.2
_SETTLE_S = 90.0
_dice = random.Random()  # noqa: S311 - chance, not secrecy


@dataclass(slots=True)
class Result:
    """What a campaign counted."""

    kills: int
    acknowledged: int = 0
    posts: int = 0
    missing: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    unresolved: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.missing or self.twice or self.unresolved)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One wait: its callback URL, and the subject that the platform's log has for its place."""

    id: str
    callback_url: str
    subject: str


@asynccontextmanager
async def jenkins_process(folder: Path) -> AsyncIterator[str]:
    """Run the Jenkins emulator apart, so that it outlives the bridge; yield its URL."""
    command = (sys.executable, "-m", "bridge.testing.jenkins")
    with (folder / "jenkins.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE, stderr=log
        )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


async def start_build(session: aiohttp.ClientSession, jenkins: str, job: str, inputs: Sequence[Any]) -> str:
    """Start a build that waits at *inputs*, one after the other; return its run path."""
    body = {"job": job, "inputs": list(inputs)}
    async with session.post(f"{jenkins}/_emulator/builds", json=body) as response:
        build = await response.json()
        assert response.status == 201, build
    return f"{build['path']}"


async def open_waits(session: aiohttp.ClientSession, bridge_url: str, jenkins: str, count: int) -> list[Waiting]:
    """Start builds and register a wait for each of their inputs; some builds have two inputs, one after the other."""
    runs: list[tuple[str, str]] = []
    while len(runs) < count:
        names = ["Go", "Ship"] if _dice.random() < _TWO_INPUTS else ["Go"]
        run = await start_build(session, jenkins, "job/app", names)
        runs += [(run, name) for name in names]
    async with api(bridge_url) as client:
        limit = asyncio.Semaphore(8)

        async def register(run: str, name: str) -> Waiting:
            async with limit:
                made = await client.register("jenkins", {"build_url": f"{jenkins}/{run}/", "input_id": name})
                return Waiting(made["id"], made["callback_url"], f"{run}/input/{name}")

        return list(await asyncio.gather(*(register(run, name) for run, name in runs)))


async def post_until_acknowledged(session: aiohttp.ClientSession, waiting: Waiting, result: Result) -> None:
    """Send one webhook as a patient sender does, and perhaps once more."""
    copies = 2 if _dice.random() < _SECOND_COPY else 1
    body = json.dumps({"outcome": "succeeded", "summary": "passed"})
    headers = {"Content-Type": "application/json"}
    while copies:
        result.posts += 1
        try:
            async with session.post(waiting.callback_url, data=body, headers=headers) as response:
                await response.read()
                if response.status == 202:
                    copies -= 1
                    continue
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(_RETRY_S)
    result.acknowledged += 1


async def run(setup: Setup, processes: Sequence[BridgeProcess], jenkins: str, *, kills: int, per_s: float) -> Result:
    """Kill *processes*, all at once, *kills* times while webhooks come at *per_s*; return what was lost or done twice."""
    result = Result(kills)
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        try:
            await start_all(processes)
            await _under_fire(session, setup, processes, jenkins, result=result, per_s=per_s)
        finally:
            await asyncio.gather(*(process.stop() for process in processes))
    return result


async def _under_fire(
    session: aiohttp.ClientSession,
    setup: Setup,
    processes: Sequence[BridgeProcess],
    jenkins: str,
    *,
    result: Result,
    per_s: float,
) -> None:
    waiting = await open_waits(session, setup.url, jenkins, int(result.kills * per_s * 2.2) + 20)
    _dice.shuffle(waiting)
    posting = asyncio.create_task(_post_all(session, waiting, result, per_s))
    for _ in range(result.kills):
        await asyncio.sleep(_dice.uniform(0.1, 1.5))
        await asyncio.gather(*(process.kill9() for process in processes))
        await start_all(processes)
    await posting
    await _settled(setup, waiting, result)
    await _count(session, jenkins, waiting, result)


async def start_all(processes: Sequence[BridgeProcess]) -> None:
    await asyncio.gather(*(process.start() for process in processes))
    await asyncio.gather(*(process.ready() for process in processes))


async def _post_all(session: aiohttp.ClientSession, waiting: Sequence[Waiting], result: Result, per_s: float) -> None:
    async with asyncio.TaskGroup() as group:
        for one in waiting:
            group.create_task(post_until_acknowledged(session, one, result))
            await asyncio.sleep(_dice.expovariate(per_s))


async def _settled(setup: Setup, waiting: Sequence[Waiting], result: Result) -> None:
    """Wait until every wait is resolved; name those that are not in time."""
    left = {one.id for one in waiting}
    async with api(setup.url) as client:
        try:
            async with asyncio.timeout(_SETTLE_S):
                while left:
                    left &= await _not_resolved(client)
                    await asyncio.sleep(0.5)
        except TimeoutError:
            result.unresolved = sorted(left)


async def _not_resolved(client: Any) -> set[str]:
    found: set[str] = set()
    for state in ("open", "resolving", "undeliverable"):
        cursor = ""
        while cursor is not None:
            more = f"&cursor={cursor}" if cursor else ""
            _, page = await client.call("GET", f"/v1/waits?state={state}&limit=500{more}")
            found |= {item["id"] for item in page["items"]}
            cursor = page["next_cursor"]
    return found


async def _count(session: aiohttp.ClientSession, jenkins: str, waiting: Sequence[Waiting], result: Result) -> None:
    async with session.get(f"{jenkins}/_emulator/effects") as response:
        effects = await response.json()
    answered = Counter(
        effect["subject"] for effect in effects if re.fullmatch(r"input\.(proceeded|aborted)", effect["kind"])
    )
    subjects = {one.subject for one in waiting}
    result.missing = sorted(subjects - set(answered))
    result.twice = sorted(subject for subject, count in answered.items() if count > 1)
