"""The whole line: from a webhook's due time to the answer's arrival at the emulated platform, with waits opened beforehand."""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import aiohttp

from scripts.benches.common import Section, postgres, rabbitmq, say
from scripts.benches.platforms import Platform, emulated
from tests.support.bridge_process import Setup, api, line_of
from tests.support.campaign import Waiting, start_all
from tests.support.load import Pool, open_loop, request
from tests.support.servers import drop_database, drop_vhost, fresh_database, fresh_vhost, metrics_url

BODY = b'{"outcome":"succeeded","summary":"412 passed","url":"https://farm.example.com/runs/1"}'
LOW_PER_S = 20
_PATIENCE_S = 20.0


async def measure(*, is_local: bool, seconds: float, per_s: float, platform: str) -> Section:
    """Measure at 20/s and at *per_s*. is_local: SQLite for broker and store and one process, else RabbitMQ and PostgreSQL."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        if is_local:
            url = f"sqlite:///{folder}/bridge.db"
            setup = Setup(folder, url, url)
            roles: list[list[str]] = [[]]
        else:
            vhost = fresh_vhost(stack.enter_context(rabbitmq()))
            database = fresh_database(stack.enter_context(postgres()))
            stack.callback(drop_database, database)
            stack.callback(drop_vhost, vhost)
            setup = Setup(folder, vhost, database, metrics_url=metrics_url(vhost))
            roles = [["ingress"], ["coordinator"], ["worker"]]
        async with emulated(platform, folder) as emulator:
            setup.sections = emulator.section.format(url=emulator.url)
            setup.environ = dict(emulator.environ)
            setup.write()
            return await _measure(setup, roles, emulator, is_local=is_local, seconds=seconds, per_s=per_s)


async def _measure(
    setup: Setup, roles: Sequence[Sequence[str]], emulator: Platform, *, is_local: bool, seconds: float, per_s: float
) -> Section:
    processes = line_of(setup, roles)
    await start_all(processes)
    api_url = processes[1 if len(processes) > 1 else 0].url
    async with aiohttp.ClientSession() as session:
        low = int(LOW_PER_S * seconds / 3)
        async with api(api_url) as client:
            waiting = await emulator.open(session, client, low + int(per_s * seconds))
        say(f"  {len(waiting)} waits are open")
        quiet = await _run(session, setup, emulator, waiting[:low], LOW_PER_S)
        busy = await _run(session, setup, emulator, waiting[low:], per_s)
    await asyncio.gather(*(process.stop() for process in processes))
    return _section(quiet, busy, emulator.name, is_local=is_local, seconds=seconds, per_s=per_s)


class Seen:
    """Latencies of one rate, and what never arrived."""

    def __init__(self, latencies_s: list[float], missing: int, refused: int, late_s: float) -> None:
        self.latencies_s = sorted(latencies_s)
        self.missing = missing
        self.refused = refused
        self.late_s = late_s

    def percentile_ms(self, percent: float) -> float:
        if not self.latencies_s:
            return float("nan")
        return self.latencies_s[min(int(len(self.latencies_s) * percent / 100), len(self.latencies_s) - 1)] * 1000


async def _run(
    session: aiohttp.ClientSession, setup: Setup, emulator: Platform, waiting: Sequence[Waiting], per_s: float
) -> Seen:
    pool = Pool(setup.url)
    headers = {"Content-Type": "application/json"}
    prepared = [request(one.callback_url, body=BODY, headers=headers) for one in waiting]
    sent = await open_loop(pool, prepared, per_s=per_s)
    end = asyncio.get_running_loop().time()
    due = {one.subject: at for one, (at, status) in zip(waiting, sent, strict=True) if status == 202}  # noqa: PLR2004 - HTTP's own
    arrived: dict[str, float] = {}
    while asyncio.get_running_loop().time() < end + _PATIENCE_S:
        arrived = await emulator.arrivals(session)
        if due.keys() <= arrived.keys():
            break
        await asyncio.sleep(0.5)
    pool.close()
    latencies = [arrived[subject] - at for subject, at in due.items() if subject in arrived]
    last = max((arrived[subject] for subject in due if subject in arrived), default=0.0)
    seen = Seen(
        latencies, len(due.keys() - arrived.keys()), len(waiting) - len(due), last - max(due.values(), default=0.0)
    )
    say(
        f"  {per_s:5.0f}/s  p50 {seen.percentile_ms(50):7.1f} ms  p99 {seen.percentile_ms(99):7.1f} ms  "
        f"missing {seen.missing}  refused {seen.refused}  last one {seen.late_s:.2f} s after the last webhook"
    )
    return seen


def _section(quiet: Seen, busy: Seen, platform: str, *, is_local: bool, seconds: float, per_s: float) -> Section:
    where = "SQLite (broker and store), one process" if is_local else "RabbitMQ and PostgreSQL, a process for each role"
    head = ("rate", "p50 ms", "p99 ms", "missing", "refused")
    rows = [
        (
            f"{rate:.0f}/s",
            f"{seen.percentile_ms(50):.1f}",
            f"{seen.percentile_ms(99):.1f}",
            str(seen.missing),
            str(seen.refused),
        )
        for rate, seen in ((LOW_PER_S, quiet), (per_s, busy))
    ]
    text = (
        f"{where}; {platform} emulator, load generator and servers on the same machine; from a webhook's due time to the arrival of the "
        f"answer at the platform; {per_s:.0f}/s for {seconds:.0f} s."
    )
    return Section(f"line, {platform}{', local' if is_local else ''}", text, [head, *rows])
