"""Broker or store away, processes stopped: nothing is lost, and everything works again by itself."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge.core.signing import CallbackKeys
from tests.support.acme.emulator import TOKEN as ACME_TOKEN
from tests.support.acme.emulator import AcmeEmulator
from tests.support.bridge_process import KEY, Api, BridgeProcess, Setup, api, line_of
from tests.support.processes import free_port
from tests.support.servers import PostgresNode, RabbitmqNode, fresh_database, fresh_vhost

SECTION = """
[targets.acme]
consumer = "tests.support.acme.acme_ci:Acme"
base_url = "{url}"
token_env = "TEST_ACME_TOKEN"
"""


def setup_of(folder: Path, broker: str, store: str, acme_url: str) -> Setup:
    setup = Setup(folder, broker, store, SECTION.format(url=acme_url), {"TEST_ACME_TOKEN": ACME_TOKEN})
    setup.write()
    return setup


@asynccontextmanager
async def line(setup: Setup, *roles: list[str]) -> AsyncIterator[list[BridgeProcess]]:
    """Run one process for each list of roles; end them in order."""
    processes = line_of(setup, roles)
    for process in processes:
        await process.start()
    try:
        yield processes
    finally:
        await asyncio.gather(*(process.stop() for process in processes))


@pytest.fixture
async def acme() -> AsyncIterator[AcmeEmulator]:
    emulator = AcmeEmulator()
    async with emulator.serve():
        yield emulator


async def post(url: str, **more: Any) -> tuple[int, str]:
    """Post to a callback URL; return status and Retry-After."""
    async with aiohttp.ClientSession() as session, session.post(url, **more) as response:
        return response.status, response.headers.get("Retry-After", "")


async def opened(client: Api, acme: AcmeEmulator, count: int) -> list[Any]:
    for number in range(count):
        acme.open_gate(f"g{number}")
    return [await client.register("acme", {"gate": f"g{number}"}) for number in range(count)]


async def test_start_order_is_free(tmp_path: Path, idle_rabbitmq_node: RabbitmqNode, acme: AcmeEmulator) -> None:
    """Ingress answers 503 with Retry-After while the broker is away, and 202 when broker and coordinator have come."""
    node = idle_rabbitmq_node
    node.kill9()
    setup = setup_of(tmp_path, node.url, f"sqlite:///{tmp_path}/store.db", acme.base_url)
    token = CallbackKeys([KEY.encode()]).sign("0" * 32, datetime.now(UTC) + timedelta(hours=1))
    async with line(setup, ["ingress"]) as (ingress,):
        await listening(ingress)
        status, retry_after = await post(f"{ingress.url}/cb/{token}")
        assert (status, retry_after.isdigit()) == (503, True)
        later = BridgeProcess(setup, roles=["coordinator", "worker"], port=free_port())
        await later.start()
        await listening(later)
        node.start()
        try:
            await later.ready()
            async with api(later.url) as client:
                (wait,) = await opened(client, acme, 1)
                await until_status(wait["callback_url"], 202)
                await client.wait_until(wait["id"], "resolved")
        finally:
            await later.stop()
    assert len(acme.effects) == 1


async def listening(process: BridgeProcess) -> None:
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{process.url}/healthz"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def until_status(url: str, wanted: int) -> None:
    async with asyncio.timeout(30):
        while (await post(url))[0] != wanted:  # noqa: ASYNC110 - a condition of another process
            await asyncio.sleep(0.1)


async def test_store_that_dies_costs_nobody(
    tmp_path: Path, vhost_url: str, postgres_node: PostgresNode, acme: AcmeEmulator
) -> None:
    """Webhooks are taken while the store is away; when it is back each pipeline is resumed once, and nothing was dead-lettered."""
    setup = setup_of(tmp_path, vhost_url, fresh_database(postgres_node.url), acme.base_url)
    async with line(setup, ["ingress"], ["coordinator"], ["worker"]) as processes:
        for process in processes:
            await process.ready()
        async with api(processes[1].url) as client:
            waits = await opened(client, acme, 10)
            postgres_node.kill9()
            for wait in waits:
                assert (await post(wait["callback_url"]))[0] == 202
            assert (await client.call("GET", "/v1/waits"))[0] == 503
            postgres_node.start()
            for wait in waits:
                await client.wait_until(wait["id"], "resolved", within_s=40)
            assert (await client.call("GET", "/v1/dead-letters"))[1]["items"] == []
    assert sorted(effect.subject for effect in acme.effects) == sorted(f"g{number}" for number in range(10))


async def test_broker_that_dies_loses_nothing(
    tmp_path: Path, rabbitmq_node: RabbitmqNode, database_url: str, acme: AcmeEmulator
) -> None:
    """The broker dies by kill -9 in the middle: what was answered 202 resumes its pipeline once."""
    setup = setup_of(tmp_path, fresh_vhost(rabbitmq_node.url), database_url, acme.base_url)
    async with line(setup, ["ingress"], ["coordinator"], ["worker"]) as processes:
        for process in processes:
            await process.ready()
        async with api(processes[1].url) as client:
            waits = await opened(client, acme, 30)
            posting = asyncio.create_task(_post_all(waits))
            await asyncio.sleep(0.1)
            rabbitmq_node.kill9()
            status, retry_after = await post(waits[-1]["callback_url"])
            assert (status, retry_after.isdigit()) == (503, True)
            rabbitmq_node.start()
            await posting
            for wait in waits:
                await client.wait_until(wait["id"], "resolved", within_s=40)
    assert sorted(effect.subject for effect in acme.effects) == sorted(f"g{number}" for number in range(30))


async def _post_all(waits: list[Any]) -> None:
    for wait in waits:
        await until_status(wait["callback_url"], 202)


async def test_copies_of_each_role_share_the_work(
    tmp_path: Path, vhost_url: str, database_url: str, acme: AcmeEmulator
) -> None:
    """Two of each role on one RabbitMQ and one PostgreSQL: every pipeline is resumed once."""
    setup = setup_of(tmp_path, vhost_url, database_url, acme.base_url)
    roles = (["ingress"], ["coordinator"], ["coordinator", "ingress"], ["worker"], ["worker"])
    async with line(setup, *roles) as processes:
        for process in processes:
            await process.ready()
        async with api(processes[1].url) as one, api(processes[2].url) as two:
            waits = await opened(one, acme, 40)
            urls = [wait["callback_url"] for wait in waits]
            other = [url.replace(setup.url, processes[2].url) for url in urls]
            answers = await asyncio.gather(*(post(url) for url in [*urls, *other]))
            assert {status for status, _ in answers} == {202}
            for wait in waits:
                await two.wait_until(wait["id"], "resolved")
    assert sorted(effect.subject for effect in acme.effects) == sorted(f"g{number}" for number in range(40))


async def test_sigterm_drains_within_ten_seconds(tmp_path: Path, acme: AcmeEmulator) -> None:
    """A call under way ends before the process does; what was not started is there for the next process."""
    url = f"sqlite:///{tmp_path}/bridge.db"
    setup = setup_of(tmp_path, url, url, acme.base_url)
    process = BridgeProcess(setup)
    await process.start()
    await process.ready()
    async with api(process.url) as client:
        waits = await opened(client, acme, 20)
        acme.fault("slow-before", path="decision", times=8, delay_s=2)
        for wait in waits:
            await post(wait["callback_url"])
        async with asyncio.timeout(10):
            while len(acme.log) < 8:  # noqa: ASYNC110 - a condition of another process
                await asyncio.sleep(0.02)
    began = time.monotonic()
    assert await process.stop() == 0
    assert time.monotonic() - began < 10
    assert len(acme.effects) >= 8
    await process.start()
    await process.ready()
    async with api(process.url) as client:
        for wait in waits:
            await client.wait_until(wait["id"], "resolved")
    await process.stop()
    assert sorted(effect.subject for effect in acme.effects) == sorted(f"g{number}" for number in range(20))


async def test_second_process_on_one_file_is_refused(tmp_path: Path, acme: AcmeEmulator) -> None:
    """SQLite serves one process: another one ends at once, and says which file is in use."""
    url = f"sqlite:///{tmp_path}/bridge.db"
    setup = setup_of(tmp_path, url, url, acme.base_url)
    async with line(setup, []) as (first,):
        await first.ready()
        second = BridgeProcess(setup, port=free_port())
        await second.start()
        assert await second.ended() == 1
        assert "bridge.db" in second.tail()
