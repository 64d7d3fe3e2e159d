"""The table of RabbitMQ users in the documents: each role works with the rights that it shows there."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

import aiohttp
import orjson
import pytest
from yarl import URL

from tests.support.acme.emulator import TOKEN as ACME_TOKEN
from tests.support.acme.emulator import AcmeEmulator
from tests.support.bridge_process import Api, BridgeProcess, Setup, api
from tests.support.processes import free_port
from tests.support.servers import manage

PAGE = Path(__file__).parents[2] / "docs/how-to/rabbitmq-and-postgresql.md"
ROW = re.compile(r"^\| `(bridge-\w+)` \| `(.*)` \| `(.*)` \| `(.*)` \|$", re.MULTILINE)
SECTION = """
[targets.acme]
consumer = "tests.support.acme.acme_ci:Acme"
base_url = "{url}"
token_env = "TEST_ACME_TOKEN"
"""


@pytest.fixture
async def acme() -> AsyncIterator[AcmeEmulator]:
    emulator = AcmeEmulator()
    async with emulator.serve():
        yield emulator


@pytest.fixture
def users(amqp_url: str, vhost_url: str) -> Iterator[dict[str, str]]:
    """The users of the page in a fresh virtual host, under names of our own: the broker's URL of each role."""
    url, made = URL(vhost_url), {}
    for user, *rights in ROW.findall(PAGE.read_text()):
        name = f"{user}-{token_hex(4)}"
        manage(amqp_url, "PUT", f"/api/users/{name}", orjson.dumps({"password": "pw", "tags": ""}))
        made[user.removeprefix("bridge-")] = str(url.with_user(name).with_password("pw"))
        patterns = (right.replace("\\|", "|") for right in rights)  # a table's own escape
        given = orjson.dumps(dict(zip(("configure", "write", "read"), patterns, strict=True)))
        manage(amqp_url, "PUT", f"/api/permissions{url.path}/{name}", given)
    yield made
    for of in made.values():
        manage(amqp_url, "DELETE", f"/api/users/{URL(of).user}", b"")


async def test_each_role_works_as_its_own_user(tmp_path: Path, users: dict[str, str], acme: AcmeEmulator) -> None:
    """Every role is ready; a wait is resumed after a retry, a refused one is dead-lettered, a pause is heard."""
    assert set(users) == {"coordinator", "ingress", "worker"}
    setup = Setup(tmp_path, "memory:", f"sqlite:///{tmp_path}/store.db", SECTION.format(url=acme.base_url))
    setup.write()
    processes = {
        role: BridgeProcess(
            replace(setup, environ={"TEST_ACME_TOKEN": ACME_TOKEN, "BRIDGE_BROKER__URL": url}),
            roles=[role],
            port=setup.port if role == "ingress" else free_port(),
        )
        for role, url in users.items()
    }
    try:
        for process in processes.values():
            await process.start()
        for process in processes.values():
            await process.ready(within_s=60)  # a busy node takes its time for the queues of a new virtual host
        await _story(processes["coordinator"].url, acme)
    finally:
        await asyncio.gather(*(process.stop() for process in processes.values()))


async def _story(url: str, acme: AcmeEmulator) -> None:
    acme.open_gate("over").state = "closed"
    async with api(url) as client, aiohttp.ClientSession() as remote:  # one gate is closed, one is not reached yet
        later = await client.register("acme", {"gate": "later"})
        over = await client.register("acme", {"gate": "over"})
        for wait in (later, over):
            async with remote.post(wait["callback_url"]) as response:
                assert response.status == 202
        await client.wait_until(over["id"], "undeliverable")
        async with asyncio.timeout(20):
            while not (letters := (await client.call("GET", "/v1/dead-letters"))[1]["items"]):  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.05)
        # Without the right to the dead letters it would come too, at the delivery limit, and not say why.
        assert [letter["reason"] for letter in letters] == ["gone"]
        acme.open_gate("later")
        await client.wait_until(later["id"], "resolved")
        assert (await client.call("POST", "/v1/targets/acme/pause"))[0] == 202
        async with asyncio.timeout(20):
            while await _consumers(client) != 0:  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.05)


async def _consumers(client: Api) -> int | None:
    """Return how many workers consume the target's queue."""
    _, page = await client.call("GET", "/v1/queues")
    [found] = [queue["consumers"] for queue in page["items"] if queue["name"] == "bridge.target.acme"]
    consumers: int | None = found
    return consumers
