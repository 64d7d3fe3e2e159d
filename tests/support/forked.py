"""Bridge processes that begin with the bridge loaded: each is forked from one process that has imported it.

A forked one has its own id, environment and log, runs `bridge <arguments>` and may be killed like any other. What it saves is
the second and more that a start spends on imports. Outside `on()`, and wherever the start itself is what is looked at, processes
are executed.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_LOADED = (
    "alembic.command",
    "bridge.app",
    "bridge.brokers.rabbitmq",
    "bridge.brokers.sqlite",
    "bridge.consumers.circleci",
    "bridge.consumers.codepipeline",
    "bridge.consumers.jenkins",
    "bridge.coordinator.wiring",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "uvloop",
)


class Forked:
    """One of them, with the part of `asyncio.subprocess.Process` that is needed."""

    def __init__(self, pid: int, parent: "Forkery") -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._parent = parent

    def send_signal(self, number: int) -> None:
        """Send a signal; nobody but wait() reaps the process, so the id is still its own."""
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        if self.returncode is None:
            await _readable(os.pidfd_open(self.pid))
        if self.returncode is None:
            self.returncode = self._parent.reap(self.pid)
        return self.returncode


async def _readable(fd: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


class Forkery:
    """The process that they are forked from; it is started with the first."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self, arguments: Sequence[str], *, env: Mapping[str, str], log: Path) -> Forked:
        """Start `bridge` with *arguments*; its output is added to *log*."""
        return Forked(self._ask({"arguments": list(arguments), "env": dict(env), "log": str(log)}), self)

    def reap(self, pid: int) -> int:
        """Return the exit code of a process that has ended."""
        return self._ask({"reap": pid})

    def close(self) -> None:
        """End it. What it forked is ended by those who started it."""
        if self._process is not None:
            self._process.communicate()

    def _ask(self, order: Mapping[str, Any]) -> int:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", __name__], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


current: Forkery | None = None
"""Set inside on()."""


@contextmanager
def on() -> Iterator[None]:
    """Fork bridge processes instead of executing them, until the block ends."""
    global current  # noqa: PLW0603 - one for the whole run of tests, like the servers
    current = Forkery()
    try:
        yield
    finally:
        current.close()
        current = None


def _serve() -> dict[str, Any] | None:
    """Fork for each order until standard input ends. Returns None there, and the order in what was forked for it."""
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        if pid := order.get("reap"):
            answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        elif not (answer := os.fork()):
            return order
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    return None


def _become(order: Mapping[str, Any]) -> None:
    """Be `bridge` as if executed so."""
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for of, to in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(of, to)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = ["bridge", *order["arguments"]]


if __name__ == "__main__":
    for name in _LOADED:
        import_module(name)
    from bridge.cli import main

    if (given := _serve()) is not None:
        _become(given)
        main()
