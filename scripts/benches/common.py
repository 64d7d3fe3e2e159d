"""What the benches share: servers, processes, medians, and where the figures are written."""

import asyncio
import os
import platform
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.support.servers import AMQP_VARIABLE, POSTGRES_VARIABLE, PostgresNode, RabbitmqNode

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs/reference/benchmarks.md"


@dataclass(slots=True)
class Section:
    """One bench's part of the report. rows: a table, its first row the head."""

    name: str
    text: str
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def render(self) -> str:
        head, *body = self.rows
        lines = [_row(head), _row(["---"] * len(head)), *(_row(row) for row in body)]
        return f"## {self.name}\n\n{self.text}\n\n" + "\n".join(lines) + f"\n\n{_stamp()}\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _stamp() -> str:
    used = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "aio-pika", "aiormq", "sqlalchemy", "pydantic"))
    processor = _processor()
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({processor}), Python {platform.python_version()}, {used}."


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.machine()


def write(sections: Sequence[Section]) -> None:
    """Replace the sections of the report that were measured, keep the others."""
    text = (
        REPORT.read_text()
        if REPORT.exists()
        else "# Benchmarks\n\nWritten by `scripts/bench --write`. Comparisons are made within one run, alternating.\n"
    )
    for section in sections:
        pattern = re.compile(rf"^## {re.escape(section.name)}$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
        rendered = section.render() + "\n"
        text = (
            pattern.sub(lambda _match, new=rendered: new, text)
            if pattern.search(text)
            else f"{text.rstrip()}\n\n{rendered}"
        )
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(text.rstrip() + "\n")


def say(text: str) -> None:
    print(text, flush=True)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


@contextmanager
def rabbitmq() -> Iterator[str]:
    """Yield the URL of a broker: the given one, else a private node."""
    if given := os.environ.get(AMQP_VARIABLE):
        yield given
        return
    with RabbitmqNode() as node:
        yield node.url


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the URL of a database server: the given one, else a private one."""
    if given := os.environ.get(POSTGRES_VARIABLE):
        yield given
        return
    with PostgresNode() as node:
        yield node.url


async def spawn(*arguments: str, log: Path, **environ: str) -> asyncio.subprocess.Process:
    """Start a Python child; its output goes to *log*."""
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdout=file,
            stderr=file,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        )
