"""A real bridge as real processes: `bridge run` with a config of its own, to be asked, killed and started again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.support import forked
from tests.support.forked import Forked
from tests.support.processes import free_port

KEY = "a-callback-key-of-the-tests-0123456789"
TOKEN = "api-token-of-the-tests"  # noqa: S105 - opens nothing but a test's own bridge
SECRET = "webhook-secret-of-the-tests"  # noqa: S105 - as above
_READY_S = 30.0
_POLL_S = 0.05


@dataclass(slots=True)
class Setup:
    """One config, shared by all processes of a bridge. targets and sources: TOML text of their sections."""

    folder: Path
    broker_url: str
    store_url: str
    sections: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    metrics_url: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def write(self) -> Path:
        """Write the config; return its path."""
        metrics = f'metrics_url = "{self.metrics_url}"\n' if self.metrics_url else ""
        path = self.folder / "bridge.toml"
        path.write_text(
            f'public_url = "{self.url}"\n'
            f'[http]\nlisten = "127.0.0.1:{self.port}"\n'
            f'[broker]\nurl = "{self.broker_url}"\n{metrics}'
            f'[store]\nurl = "{self.store_url}"\n'
            '[callbacks]\nkeys = [{ id = "test", env = "TEST_CALLBACK_KEY" }]\n'
            '[clients.test]\ntoken_env = "TEST_API_TOKEN"\nroles = ["register", "read", "operate"]\n'
            'targets = ["*"]\nsources = ["*"]\n'
            '[sources.hub]\nkind = "github"\nsecret_env = ["TEST_HUB_SECRET"]\n' + self.sections
        )
        return path

    def environment(self) -> Mapping[str, str]:
        """Return what a process is started with: no BRIDGE_ variable of the caller's reaches it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
        secrets = {"TEST_CALLBACK_KEY": KEY, "TEST_API_TOKEN": TOKEN, "TEST_HUB_SECRET": SECRET}
        here = str(Path(__file__).parents[2])
        return {**kept, **secrets, "PYTHONPATH": here, **self.environ}


class BridgeProcess:
    """One `bridge run`."""

    def __init__(
        self, setup: Setup, *, roles: Sequence[str] = (), targets: Sequence[str] = (), port: int | None = None
    ) -> None:
        """Name its roles (none: all). port: the setup's own, the one of callback URLs, unless given."""
        self._setup = setup
        self._arguments = [part for role in roles for part in ("--role", role)]
        self._arguments += [part for target in targets for part in ("--target", target)]
        self._port = port or setup.port
        self._process: asyncio.subprocess.Process | Forked | None = None
        self.log = setup.folder / f"bridge-{self._port}.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it; it may not be ready yet."""
        config, listen = str(self._setup.folder / "bridge.toml"), f"127.0.0.1:{self._port}"
        arguments = ("run", "-c", config, "--listen", listen, *self._arguments)
        if forked.current is not None:
            self._process = forked.current.start(arguments, env=self._setup.environment(), log=self.log)
            return
        command = (sys.executable, "-c", "from bridge.cli import main; main()", *arguments)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, env=self._setup.environment(), stdout=log, stderr=log
            )

    async def ready(self, *, within_s: float = _READY_S) -> None:
        """Wait until /readyz is 200.

        Raises:
            AssertionError: it ended, or did not become ready in time; with the end of its log.
        """
        try:
            async with asyncio.timeout(within_s), aiohttp.ClientSession() as session:
                while not await self._is_ready(session):
                    assert self._process is not None
                    assert self._process.returncode is None, self.tail()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise AssertionError(f"not ready within {within_s} s\n{self.tail()}") from None

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    async def kill9(self) -> None:
        """Kill it as the kernel would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """End it in order; return its exit code."""
        return await self._end(signal.SIGTERM)

    async def ended(self, *, within_s: float = 20) -> int:
        """Wait until it ends by itself; return its exit code."""
        assert self._process is not None
        async with asyncio.timeout(within_s):
            return await self._process.wait()

    async def _end(self, number: int) -> int:
        process = self._process
        assert process is not None
        if process.returncode is None:
            process.send_signal(number)
        return await process.wait()


def line_of(setup: Setup, roles: Sequence[Sequence[str]]) -> list[BridgeProcess]:
    """Return a process for each list of roles; the first listens where the callback URLs point."""
    return [
        BridgeProcess(setup, roles=role, port=setup.port if number == 0 else free_port())
        for number, role in enumerate(roles)
    ]


@asynccontextmanager
async def running(setup: Setup, **more: Any) -> AsyncIterator[BridgeProcess]:
    """Run one process that is ready; end it in order."""
    setup.write()
    process = BridgeProcess(setup, **more)
    await process.start()
    try:
        await process.ready()
        yield process
    finally:
        await process.stop()


class Api:
    """A client of the API with every right."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {TOKEN}"}

    async def call(
        self, method: str, path: str, *, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return status and JSON (None where there is none)."""
        sent = {**self._headers, **(headers or {})}
        async with self._session.request(method, f"{self._url}{path}", json=json, headers=sent) as response:
            body = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return response.status, (await response.json(content_type=None) if is_json and body else None)

    async def register(self, target: str, address: Mapping[str, Any], **more: Any) -> Any:
        """Open a wait; return what was answered.

        Raises:
            AssertionError: it was refused.
        """
        wanted = {"target": target, "address": dict(address), "timeout": "1h", **more}
        status, made = await self.call("POST", "/v1/waits", json=wanted)
        assert status == 201, made
        return made

    async def wait_until(self, wait_id: str, state: str, *, within_s: float = 20) -> Any:
        """Return the wait once it is in *state*.

        Raises:
            AssertionError: it was not in time.
        """
        seen = None
        try:
            async with asyncio.timeout(within_s):
                while True:
                    _, seen = await self.call("GET", f"/v1/waits/{wait_id}")
                    if seen and seen.get("state") == state:
                        return seen
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise AssertionError(f"not {state} within {within_s} s: {seen}") from None


@asynccontextmanager
async def api(url: str) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        yield Api(session, url)
