"""What an agent costs while nothing happens: 20 action types, 200 held jobs, its own process."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from scripts.benches.common import Section, postgres, rabbitmq, say
from tests.support.bridge_process import BridgeProcess, Setup
from tests.support.codepipeline_agent import SECRETS, Remote
from tests.support.processes import free_port
from tests.support.servers import drop_database, drop_vhost, fresh_database, fresh_vhost

TYPES, JOBS = 20, 200
_TICKS_S = os.sysconf("SC_CLK_TCK")
_HELD_WITHIN_S = 180


async def measure(*, seconds: float) -> Section:
    """Hold JOBS jobs of TYPES types for *seconds*; return requests a second and share of a core."""
    with tempfile.TemporaryDirectory() as folder, rabbitmq() as server, postgres() as database:
        vhost, store = fresh_vhost(server), fresh_database(database)
        try:
            requests, share = await _held(Path(folder), vhost, store, seconds)
        finally:
            drop_vhost(vhost)
            drop_database(store)
    say(f"  {requests:.2f} requests/s, {share * 100:.2f} % of a core")
    rows = [
        ("action types", "held jobs", "requests/s to the endpoint", "share of a core"),
        (str(TYPES), str(JOBS), f"{requests:.2f}", f"{share * 100:.2f} %"),
    ]
    text = (
        f"One process with the role agent, RabbitMQ and PostgreSQL, polls every 10 s; over {seconds:g} s without an event. "
        "Renewals are not in it: each held job takes three more requests in 45 minutes, 0.2 requests/s of all."
    )
    return Section("agent", text, rows)


async def _held(folder: Path, vhost: str, store: str, seconds: float) -> tuple[float, float]:
    remote = Remote()
    async with remote.serve() as remote_url, _emulator(folder) as aws, aiohttp.ClientSession() as session:
        setup = Setup(folder, vhost, store, sections=_sections(aws, remote_url), environ=dict(SECRETS))
        setup.write()
        processes = [
            BridgeProcess(setup, roles=["coordinator"]),
            BridgeProcess(setup, roles=["agent"], port=free_port()),
        ]
        try:
            for process in processes:
                await process.start()
                await process.ready()
            await _take_all(session, aws)
            return await _observe(session, aws, processes[1].pid, seconds)
        finally:
            await asyncio.gather(*(process.stop() for process in processes))


@asynccontextmanager
async def _emulator(folder: Path) -> AsyncIterator[str]:
    types = [part for number in range(TYPES) for part in ("--action-type", f"Test/Custom/Load{number}/1")]
    with (folder / "codepipeline.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge.testing.codepipeline", *types, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    assert process.stdout is not None  # noqa: S101 - it was asked for
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


def _sections(aws: str, remote: str) -> str:
    target = (
        f'[targets.aws]\nconsumer = "codepipeline"\nregion = "eu-west-1"\nendpoint_url = "{aws}"\n'
        'access_key_id_env = "T_AWS_ID"\nsecret_access_key_env = "T_AWS"\n'
    )
    return target + "".join(
        f'[agents.load{number}]\nkind = "codepipeline"\ntarget = "aws"\nstart = {{ url = "{remote}/jobs" }}\n'
        f'action_type = {{ category = "Test", owner = "Custom", provider = "Load{number}" }}\n'
        for number in range(TYPES)
    )


async def _take_all(session: aiohttp.ClientSession, aws: str) -> None:
    """Start the executions and wait until the second job of each is acknowledged."""
    for number in range(JOBS):
        body = {"pipeline": f"p{number}", "action": "Wait", "action_type": f"Test/Custom/Load{number % TYPES}/1"}
        async with session.post(f"{aws}/_emulator/executions", json=body) as response:
            response.raise_for_status()
    async with asyncio.timeout(_HELD_WITHIN_S):
        while await _held_jobs(session, aws) < JOBS:  # noqa: ASYNC110 - the emulator tells no event of it
            await asyncio.sleep(1)
    await asyncio.sleep(5)  # the quick polls after the last token


async def _held_jobs(session: aiohttp.ClientSession, aws: str) -> int:
    async with session.get(f"{aws}/_emulator/executions") as response:
        executions = await response.json()
    jobs = [execution["actions"][0]["jobs"] for execution in executions]
    return sum(len(of) > 1 and of[-1]["status"] == "InProgress" for of in jobs)


async def _observe(session: aiohttp.ClientSession, aws: str, pid: int, seconds: float) -> tuple[float, float]:
    before, used = await _requests(session, aws), _cpu_s(pid)
    await asyncio.sleep(seconds)
    after, used_then = await _requests(session, aws), _cpu_s(pid)
    return (after - before) / seconds, (used_then - used) / seconds


async def _requests(session: aiohttp.ClientSession, aws: str) -> int:
    async with session.get(f"{aws}/_emulator/log") as response:
        log: list[dict[str, Any]] = json.loads(await response.read())
    return len(log)


def _cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S
