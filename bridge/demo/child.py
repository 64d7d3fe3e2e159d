"""Programs that the demo starts: each is ended with the demo, whatever ends it."""

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bridge.demo.errors import DemoError

BRIDGE = (sys.executable, "-c", "from bridge.cli import main; main()")
_END_S = 15.0
_CURL_S = 15.0
_SHOWN = 8
_ROOM = 5
_LONG = re.compile(r"(/cb/|sha256=)([A-Za-z0-9_-]{40,})")


@asynccontextmanager
async def running(arguments: Sequence[str], *, folder: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program in *folder* while this context lasts; its output goes to *log*. No BRIDGE_ variable reaches it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *arguments, cwd=folder, env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        await asyncio.shield(end(process))


async def end(process: asyncio.subprocess.Process) -> None:
    """End *process* in order; kill it when it takes too long."""
    with suppress(ProcessLookupError):
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@dataclass(frozen=True, slots=True)
class Answer:
    """What curl got."""

    status: int
    body: str


async def curl(arguments: Sequence[str], *, folder: Path) -> Answer:
    """Run `curl -i` with *arguments* in *folder*, untouched by a .curlrc or a proxy.

    Raises:
        DemoError: it is not installed, failed, or got no answer in time.
    """
    environ: Mapping[str, str] = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "NO_PROXY": "*"}
    try:
        process = await asyncio.create_subprocess_exec(
            "curl",
            "-i",
            *arguments,
            cwd=folder,
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise DemoError("curl is missing: install it") from None
    try:
        async with asyncio.timeout(_CURL_S):
            output, errors = await process.communicate()
    except TimeoutError:
        raise DemoError(f"curl got no answer within {_CURL_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = errors.decode(errors="replace").split("\n")
        raise DemoError(
            f"curl ended with {process.returncode}: {next((x for x in lines if x.startswith('curl:')), '')}"
        )
    return read_answer(output.decode(errors="replace"))


def read_answer(text: str) -> Answer:
    """Read what `curl -i` printed: the head of each answer, interim ones (100 Continue) first, and the last one's body.

    Raises:
        DemoError: it is no answer.
    """
    status, rest = 0, text
    while rest.startswith("HTTP/") and status // 100 in (0, 1):
        head, _, rest = rest.replace("\r\n", "\n").partition("\n\n")
        status = int(head.split()[1])
    if status // 100 in (0, 1):
        raise DemoError("curl printed no answer")
    return Answer(status, rest.strip())


def shown(arguments: Sequence[str], width: int) -> list[str]:
    """Return the command line as people would type it, in lines of about *width* characters; tokens and MACs are shortened."""
    lines = ["curl -i"]
    for word in _words(arguments):
        first, *more = word.split("\n")
        if len(lines[-1]) + len(first) + _ROOM > width:
            lines[-1] += " \\"
            lines.append(first)
        else:
            lines[-1] += f" {first}"
        lines += [f"  {line}" for line in more]
    return lines


def _words(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments quoted, an option together with its value."""
    option = ""
    for argument in arguments:
        if argument.startswith("-"):
            option = f"{argument} "
        else:
            yield option + shlex.quote(_shortened(argument))
            option = ""


def _shortened(argument: str) -> str:
    """Cut callback tokens and MACs in the middle of nowhere: they are long, and of no use to a reader."""
    return _LONG.sub(lambda match: f"{match[1]}{match[2][:_SHOWN]}...", argument)
