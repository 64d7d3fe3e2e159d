"""`bridge demo` as people start it: a process that plays, judges, ends everything it started and says how it went."""

import asyncio
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiormq import connect

from bridge.core import topology
from bridge.demo.broker import check_is_ours
from bridge.demo.errors import DemoError

pytestmark = pytest.mark.usefixtures("_temporary")

DEMO = ("-c", "from bridge.cli import main; main()", "demo")
SILENCE_S = 45
PIPELINES = 7

BROKEN = """
import sys
from dataclasses import replace
from bridge.demo import show
from bridge.demo.stories import STORIES

farm = STORIES[0]

async def wrong(stage):
    return [replace(each, outcome="failed") for each in await farm.play(stage)]

async def twice(stage):
    promises = await farm.play(stage)
    stage.jenkins.effects.append([each for each in stage.jenkins.effects if each.kind == "input.proceeded"][-1])
    return promises

async def stuck(stage):
    await stage.until(lambda: False, "what never happens", within_s=0.2)

show.STORIES = [farm._replace(play=play) for play in (farm.play, wrong, twice, stuck)]
sys.exit(show.demo())
"""


@pytest.fixture
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a demo leaves for a look is left where the tests' own files are."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


class Demo:
    """A running demo and what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.text = ""

    async def until(self, pattern: str) -> None:
        """Read until *pattern* was printed."""
        while not re.search(pattern, self.text):
            line = await self._line()
            assert line, f"ended without {pattern}:\n{self.text}"

    async def ended(self) -> int:
        """Read to the end; return the exit code."""
        while await self._line():
            pass
        return await self._process.wait()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def end(self) -> None:
        """End it in order where a failed test has left it: killed, it would leave its bridge behind."""
        if self._process.returncode is None:
            self._process.terminate()
            await self.ended()

    async def _line(self) -> str:
        assert self._process.stdout is not None
        line = (await asyncio.wait_for(self._process.stdout.readline(), SILENCE_S)).decode()
        self.text += line
        return line

    @property
    def port(self) -> int:
        """Of the bridge, as it was printed."""
        found = re.search(r"runs at http://127\.0\.0\.1:(\d+)", self.text)
        assert found, self.text
        return int(found[1])

    @property
    def folder(self) -> Path:
        found = re.search(r"log are in\s+(/\S+)", self.text)
        assert found, self.text
        return Path(found[1])

    async def bridge_answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True


@asynccontextmanager
async def started(arguments: Sequence[str]) -> AsyncIterator[Demo]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    demo = Demo(process)
    try:
        yield demo
    finally:
        await demo.end()


async def play(*arguments: str) -> Demo:
    """Play to a good end, with nothing left behind."""
    async with started((*DEMO, *arguments)) as demo:
        assert await demo.ended() == 0, demo.text
    assert f"{PIPELINES} of {PIPELINES} pipelines were resumed once with the right result" in demo.text
    assert demo.text.count(" ✓ ") == PIPELINES
    assert not demo.folder.exists()
    assert not await demo.bridge_answers()
    return demo


async def test_every_pipeline_is_resumed_once() -> None:
    """All stories on SQLite; what they are about is to be seen."""
    demo = await play()
    for told in (
        "attempt 1: not yet",
        'RESULTS = <testsuite name="load"',
        "wait-for-b approved by bridge-bot",
        "wait-for-b canceled by bridge-bot",
        "shows 40 %: 160 of 400 users",
        "run run-4711; P95_MS = 182",
        "ConfigurationError: there is no test plan named soak",
        "verdict on the event: early",
        "the wait is decided: timed_out",
    ):
        assert told in re.sub(r"\n\s+", " ", demo.text), told


async def test_same_on_rabbitmq(vhost_url: str) -> None:
    """The broker is the only difference."""
    demo = await play("--broker", vhost_url)
    assert "on RabbitMQ" in demo.text


async def test_shared_virtual_host_is_refused(vhost_url: str) -> None:
    """The demo's bridge would take another bridge's messages."""
    await check_is_ours(vhost_url)
    connection = await connect(vhost_url)
    try:
        channel = await connection.channel()
        queue = topology.wire_name(topology.EVENTS)
        await channel.queue_declare(queue, durable=True)
        await check_is_ours(vhost_url)
        await channel.confirm_delivery()
        await channel.basic_publish(b"{}", routing_key=queue)
        with pytest.raises(DemoError, match="for the demo alone"):
            await check_is_ours(vhost_url)
    finally:
        await connection.close()


async def test_absent_broker_is_told() -> None:
    """One line without the URL, and 1."""
    async with started((*DEMO, "--broker", "amqp://guest:hidden@127.0.0.1:1/")) as demo:
        assert await demo.ended() == 1
    assert "no connection to RabbitMQ" in demo.text
    assert "hidden" not in demo.text
    assert "Traceback" not in demo.text


async def test_broken_stories_end_with_1() -> None:
    """A wrong outcome, a second effect and a story without end are each shown; the config and the log stay for a look."""
    async with started(("-c", BROKEN)) as demo:
        assert await demo.ended() == 1, demo.text
    assert demo.text.count(" ✓ ") == 1
    assert "the wait is resolved, succeeded; expected resolved, failed" in demo.text
    assert "resumed 2 times; expected once" in demo.text
    assert "within 0.2 s not seen: what never happens" in demo.text
    assert "1 of 4 pipelines were resumed once" in demo.text
    assert (demo.folder / "bridge.toml").exists()
    assert "bridge_stopped" in (demo.folder / "bridge.log").read_text()
    assert not await demo.bridge_answers()


async def test_kept_demo_can_be_tried_with_curl() -> None:
    """Each command that is shown works as it stands; Ctrl-C ends everything."""
    async with started((*DEMO, "--keep")) as demo:
        await demo.until("Status page")
        script = demo.text.partition("in another shell:\n")[2].partition("Status page")[0]
        output = await shell(script)
        assert "/problems/" not in output
        assert output.count('{"event":"') == 2
        assert re.search(r'"state":"open".*job/try-it/1/', output)
        assert '"name":"bridge.target.jenkins"' in output
        ask = script.strip().splitlines()[-1]
        async with asyncio.timeout(20):
            while True:
                if '"building":false,"result":"SUCCESS"' in await shell(ask):
                    break
                await asyncio.sleep(0.05)
        demo.signal(signal.SIGINT)
        assert await demo.ended() == 0, demo.text
    assert not demo.folder.exists()
    assert not await demo.bridge_answers()


async def shell(script: str) -> str:
    """Run *script* to a good end; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", script, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_reader_that_goes_away_ends_everything() -> None:
    """`bridge demo | head`: nothing is left behind."""
    script = f"set -o pipefail; {shlex.quote(sys.executable)} {shlex.join(DEMO)} 2>&1 | head -n 6"
    process = await asyncio.create_subprocess_exec("bash", "-c", script, stdout=asyncio.subprocess.PIPE)
    demo = Demo(process)
    assert await demo.ended() != 0
    assert not demo.folder.exists()
    assert not await demo.bridge_answers()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_demo_ends_what_it_started(number: int) -> None:
    """In the middle of a story: no verdict, no bridge, no folder is left."""
    async with started(DEMO) as demo:
        await demo.until("── ")
        demo.signal(number)
        demo.signal(number)
        assert await demo.ended() == 130, demo.text
    assert "Traceback" not in demo.text
    assert not demo.folder.exists()
    assert not await demo.bridge_answers()
