"""Server processes for tests: each in a process group of its own, ended by its own id, also when the test run is killed.

A guardian process holds a pipe to us. When the pipe closes without a farewell (a crash, kill -9, a time-out of the test
run), it kills the groups it was told and removes their directory.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

LOOPBACK = "127.0.0.1"
FIRST_PORT, LAST_PORT = 20_000, 22_000
"""Base ports; with every offset used they stay below the kernel's ephemeral range."""

_GUARDIAN = """
import os, shutil, signal, sys
directory, groups = sys.argv[1], []
for line in sys.stdin:
    if line == "farewell\\n":
        sys.exit()
    groups.append(int(line))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
shutil.rmtree(directory, ignore_errors=True)
"""


class ServerError(Exception):
    """A server did not come up. The text ends with the tail of its log."""


class Guardian:
    """Ends what we started when we cannot do it ourselves any more."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, "-S", "-c", _GUARDIAN, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """Add a process group."""
        self._tell(f"{group}\n")

    def farewell(self) -> None:
        """Everything was ended in order."""
        self._tell("farewell\n")
        self._process.communicate()

    def _tell(self, line: str) -> None:
        pipe = self._process.stdin
        if pipe is not None:
            pipe.write(line)
            pipe.flush()


class Child:
    """One process group that we started, with its output in a file."""

    def __init__(
        self, command: Sequence[str], *, log: Path, guardian: Guardian, env: Mapping[str, str], cwd: Path
    ) -> None:
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd, start_new_session=True
            )
        guardian.watch(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self, signum: int, *, timeout_s: float) -> None:
        """Send *signum* to the process, wait for its end, and kill what is left of its group after *timeout_s*."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signum)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """Kill the whole group and wait for its leader."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def tail(self) -> str:
        """Return the last lines of its output."""
        return self.log.read_text(errors="replace")[-2000:]


def free_port(offsets: Sequence[int] = (0,)) -> int:
    """Return a loopback port that is free together with those at *offsets* from it."""
    for _ in range(1000):
        port = random.randrange(FIRST_PORT, LAST_PORT)  # noqa: S311 - no secret
        if all(_is_free(port + offset) for offset in offsets):
            return port
    raise ServerError("no free loopback ports")


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def answers(port: int) -> bool:
    """Return True when something accepts connections on *port* of the loopback interface."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def wait_until(holds: Callable[[], bool], child: Child, *, timeout_s: float) -> None:
    """Return when *holds* says so.

    Raises:
        ServerError: the child ended, or the time is over.
    """
    end = time.monotonic() + timeout_s
    while not holds():
        if not child.is_alive:
            raise ServerError(f"the server ended while it started:\n{child.tail()}")
        if time.monotonic() > end:
            raise ServerError(f"the server did not answer within {timeout_s} s:\n{child.tail()}")
        time.sleep(0.05)
