"""Real servers for tests, demo and benches: find, start, isolate.

`BRIDGE_TEST_AMQP_URL`, `BRIDGE_TEST_METRICS_URL` and `BRIDGE_TEST_POSTGRES_URL` name servers to use instead. As a program:

    python -m tests.support.servers --rabbitmq --postgres

starts private ones, prints these variables with their values, and ends them when its standard input closes or on SIGTERM.
"""

import argparse
import asyncio
import http.client
import os
import secrets
import signal
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TypeVar

import asyncpg  # type: ignore[import-untyped]
from aiormq import connect
from aiormq.exceptions import ChannelNotFoundEntity
from yarl import URL

from bridge.core import topology
from tests.support.postgres_node import PostgresNode, find_postgres
from tests.support.processes import ServerError
from tests.support.rabbitmq_node import MANAGEMENT_OFFSET, METRICS_OFFSET, RabbitmqNode, find_rabbitmq

__all__ = [
    "AMQP_VARIABLE",
    "METRICS_VARIABLE",
    "POSTGRES_VARIABLE",
    "PostgresNode",
    "RabbitmqNode",
    "ServerError",
    "drop_database",
    "drop_vhost",
    "find_postgres",
    "find_rabbitmq",
    "fresh_database",
    "fresh_vhost",
    "manage",
    "metrics_url",
    "purge",
]

AMQP_VARIABLE = "BRIDGE_TEST_AMQP_URL"
METRICS_VARIABLE = "BRIDGE_TEST_METRICS_URL"
POSTGRES_VARIABLE = "BRIDGE_TEST_POSTGRES_URL"

T = TypeVar("T")


def metrics_url(amqp_url: str) -> str:
    """Return where the broker at *amqp_url* shows its figures: the variable, else the usual distance of its ports."""
    url = URL(amqp_url)
    return os.environ.get(METRICS_VARIABLE) or f"http://{url.host}:{(url.port or 5672) + METRICS_OFFSET}"


def fresh_vhost(url: str, *, targets: Iterable[str] = ()) -> str:
    """Return *url* with a new, empty virtual host.

    Where none can be made (no management API, no right), our own queues in the vhost of *url* are deleted instead, those
    of *targets* too, and *url* is returned.
    """
    name = f"bridge-test-{secrets.token_hex(6)}"
    user = URL(url).user or "guest"
    everything = b'{"configure": ".*", "write": ".*", "read": ".*"}'
    try:
        manage(url, "PUT", f"/api/vhosts/{name}", b"{}")
        manage(url, "PUT", f"/api/permissions/{name}/{user}", everything)
    except (OSError, ServerError):
        _in_thread(lambda: purge(url, targets))
        return url
    return str(URL(url).with_path(f"/{name}"))


def drop_vhost(url: str) -> None:
    """Remove the virtual host of *url* when `fresh_vhost` made it; any other is left alone."""
    name = URL(url).path.removeprefix("/")
    if name.startswith("bridge-test-"):
        with suppress(OSError, ServerError):
            manage(url, "DELETE", f"/api/vhosts/{name}", b"")


def fresh_database(url: str) -> str:
    """Return *url* with a new, empty database."""
    name = f"bridge_test_{secrets.token_hex(6)}"
    _in_thread(lambda: _execute(url, f'CREATE DATABASE "{name}"'))
    return str(URL(url).with_path(f"/{name}"))


def drop_database(url: str) -> None:
    """Remove the database of *url* when `fresh_database` made it, with whoever is connected to it."""
    name = URL(url).path.removeprefix("/")
    if name.startswith("bridge_test_"):
        with suppress(OSError, asyncpg.PostgresError):
            _in_thread(lambda: _execute(str(URL(url).with_path("/postgres")), f'DROP DATABASE "{name}" WITH (FORCE)'))


def manage(url: str, method: str, path: str, body: bytes) -> None:
    """Call the management API of the broker at *url*.

    Raises:
        ServerError: it refused.
        OSError: it is not there.
    """
    at = URL(url)
    host, port = at.host or "localhost", (at.port or 5672) + MANAGEMENT_OFFSET
    login = b64encode(f"{at.user or 'guest'}:{at.password or 'guest'}".encode()).decode()
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status >= 300:
        raise ServerError(f"{method} {path} answered {status}")


async def purge(url: str, targets: Iterable[str]) -> None:
    """Delete our own queues in the vhost of *url*, those of *targets* too, and whatever is in them."""
    queues = [topology.EVENTS, topology.REPORTS, topology.POLLS, topology.DEAD, topology.UNROUTED, "bridge.control"]
    queues += [topology.RUNG_PREFIX + rung for rung in topology.RUNGS]
    queues += [topology.target_queue(target) for target in targets]
    connection = await connect(url)
    try:
        for queue in queues:
            channel = await connection.channel()
            with suppress(ChannelNotFoundEntity):
                await channel.queue_delete(topology.wire_name(queue))
            await channel.close()
    finally:
        await connection.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _in_thread(make: Callable[[], Awaitable[T]]) -> T:
    """Run one coroutine in a loop of its own, also when the caller's thread already runs one."""

    async def run() -> T:
        return await make()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()


def main(arguments: Sequence[str] | None = None) -> None:
    """Start what was asked for, print where it is, wait."""
    parser = argparse.ArgumentParser(description="Private servers on loopback ports, ended with standard input.")
    parser.add_argument("--rabbitmq", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        if chosen.rabbitmq:
            rabbitmq = stack.enter_context(RabbitmqNode())
            _say(AMQP_VARIABLE, rabbitmq.url)
            _say(METRICS_VARIABLE, rabbitmq.metrics_url)
        if chosen.postgres:
            _say(POSTGRES_VARIABLE, stack.enter_context(PostgresNode()).url)
        _say("BRIDGE_TEST_SERVERS", "ready")
        sys.stdin.read()


def _say(name: str, value: str) -> None:
    sys.stdout.write(f"{name}={value}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
