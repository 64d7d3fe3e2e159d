"""A whole bridge inside the test's own process, with Acme as its platform: fast, and open to look into."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bridge.app import serve
from bridge.config import load_config
from bridge.core.ports import Clock
from tests.support.acme.emulator import TOKEN as ACME_TOKEN
from tests.support.acme.emulator import AcmeEmulator
from tests.support.bridge_process import KEY, SECRET, TOKEN, Api

CLIENTS = """
[clients.reader]
token_env = "T_READER"
roles = ["read"]
targets = ["acme"]
sources = ["hub"]
[clients.stranger]
token_env = "T_STRANGER"
roles = ["register", "read", "operate"]
targets = ["acme-two"]
[clients.nobody]
token_env = "T_NOBODY"
"""


@dataclass(slots=True)
class Bridge:
    """A running bridge."""

    url: str
    api: Api
    acme: AcmeEmulator
    session: aiohttp.ClientSession
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, url: str, **more: object) -> int:
        """Post to a callback URL; return the status."""
        async with self.session.post(url, **more) as response:  # type: ignore[arg-type] # handed on as given
            await response.read()
            return response.status


@asynccontextmanager
async def bridge(
    folder: Path,
    *,
    broker: str = "memory:",
    store: str = "",
    more: str = "",
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Bridge]:
    """Run one with every role. more: further sections, `$ACME` for the platform's URL; environ: what these name."""
    acme = AcmeEmulator()
    store = store or f"sqlite:///{folder}/store.db"
    async with acme.serve() as acme_url, aiohttp.ClientSession() as session:
        path = folder / "bridge.toml"
        targets = "".join(
            f'[targets.{name}]\nconsumer = "tests.support.acme.acme_ci:Acme"\nbase_url = "{acme_url}"\ntoken_env = "T_ACME"\n'
            for name in ("acme", "acme-two")
        )
        path.write_text(
            'public_url = "https://bridge.example.com"\n[http]\nlisten = "127.0.0.1:0"\n'
            f'[broker]\nurl = "{broker}"\n[store]\nurl = "{store}"\n'
            '[callbacks]\nkeys = [{ id = "test", env = "T_KEY" }]\n'
            '[clients.test]\ntoken_env = "T_TEST"\nroles = ["register", "read", "operate"]\ntargets = ["*"]\nsources = ["*"]\n'
            f'[sources.hub]\nkind = "github"\nsecret_env = ["T_HUB"]\n{CLIENTS}{targets}{more.replace("$ACME", acme_url)}'
        )
        tokens = {f"T_{name.upper()}": f"{name}-token-of-the-tests" for name in ("reader", "stranger", "nobody")}
        secrets = {"T_KEY": KEY, "T_TEST": TOKEN, "T_HUB": SECRET, "T_ACME": ACME_TOKEN, **tokens, **(environ or {})}
        config = load_config(path, environ=secrets)
        stop = asyncio.Event()
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(serve(config, stop=stop, started=started.set_result, clock=clock))
        try:
            await _started_or_ended(started, running)
            made = Bridge(await started, Api(session, await started), acme, session, stop)
            await _ready(made)
            yield made
        finally:
            stop.set()
            await running


async def _started_or_ended(started: asyncio.Future[str], running: asyncio.Task[None]) -> None:
    """Wait until the bridge listens; raise what ended it before."""
    watched: list[asyncio.Future[Any]] = [started, running]
    await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running


async def _ready(made: Bridge) -> None:
    async with asyncio.timeout(15):
        while True:
            async with made.session.get(f"{made.url}/readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.01)


def token(name: str) -> dict[str, str]:
    """Return the header of a client."""
    return {"Authorization": f"Bearer {name}-token-of-the-tests"}


def local(made: Bridge, callback_url: str) -> str:
    """Return *callback_url*, which has the public name, at the address that the bridge listens on."""
    return callback_url.replace("https://bridge.example.com", made.url)
