"""A process with 100,000 open waits: how soon it is ready, and what it holds in memory."""

import asyncio
import re
import secrets
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bridge.core.wait import Entry, Expectation, Kind, Wait
from scripts.benches.common import Section, postgres, say
from tests.support.bridge_process import BridgeProcess, Setup
from tests.support.servers import drop_database, fresh_database

_STEP = 2000


async def measure(*, count: int) -> Section:
    """Fill a store with *count* open waits, start the bridge on it; for SQLite and PostgreSQL."""
    rows = [("store", "open waits", "ready after s", "resident MiB")]
    for is_local in (True, False):
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            url = f"sqlite:///{name}/bridge.db"
            if not is_local:
                url = fresh_database(stack.enter_context(postgres()))
                stack.callback(drop_database, url)
            ready_s, resident_mib = await _start(Path(name), url, count)
        store = "SQLite" if is_local else "PostgreSQL"
        say(f"  {store}: ready after {ready_s:.2f} s, {resident_mib:.0f} MiB")
        rows.append((store, str(count), f"{ready_s:.2f}", f"{resident_mib:.0f}"))
    text = "One process with every role, SQLite as broker; from the start of the command to `/readyz` 200, and resident memory 5 s later."
    return Section("open waits", text, rows)


async def _start(folder: Path, url: str, count: int) -> tuple[float, float]:
    await _fill(url, count)
    setup = Setup(folder, f"sqlite:///{folder}/broker.db", url)
    setup.write()
    process = BridgeProcess(setup)
    began = time.perf_counter()
    await process.start()
    await process.ready()
    ready_s = time.perf_counter() - began
    await asyncio.sleep(5)  # what is measured is the memory of a process that has ticked for a while
    resident_mib = _resident_mib(process.pid)
    await process.stop()
    return ready_s, resident_mib


def _resident_mib(pid: int) -> float:
    resident = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(resident[1]) / 1024 if resident else float("nan")


async def _fill(url: str, count: int) -> None:
    from bridge.coordinator.store import waits  # noqa: PLC0415 - the store of a coordinator, filled from aside
    from bridge.coordinator.store.engine import Database  # noqa: PLC0415

    db = Database(url)
    await db.migrate()
    now = datetime.now(UTC)
    for start in range(0, count, _STEP):
        async with db.write() as tx:
            for number in range(start, min(start + _STEP, count)):
                wait = Wait(
                    id=secrets.token_hex(16),
                    target="jenkins",
                    address={"build_url": f"https://jenkins.example.com/job/app/{number}/", "input_id": "Go"},
                    canonical=f"/job/app/{number} Go",
                    is_repeated=False,
                    client="test",
                    created_at=now,
                    expires_at=now + timedelta(hours=8),
                )
                expected = [Expectation("hub", {"repository": "acme/app", "sha": secrets.token_hex(20)})]
                await waits.insert(tx, wait, expected, Entry(Kind.OPENED, now), idempotency_key=None, request_hash=None)
    await db.close()
