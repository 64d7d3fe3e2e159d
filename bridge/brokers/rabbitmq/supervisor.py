"""Link: one connection to the broker, made again whenever it is lost, over a shuffled list of hosts.

Plain connections with our own loop instead of the driver's robust ones: those know one host only and keep what they
restore in weak sets.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import SystemRandom
from urllib.parse import unquote, urlsplit, urlunsplit

import structlog
from aiormq import Connection
from yarl import URL

from bridge.brokers.rabbitmq.batching import is_blocked
from bridge.brokers.rabbitmq.errors import CLOSE_TIMEOUT_S, driver_errors
from bridge.brokers.rabbitmq.tasks import end, first_of
from bridge.core.errors import BrokerUnavailable, ConfigError

CONNECT_TIMEOUT_S = 5.0
HEARTBEAT_S = 10
"""A peer that is silent for about three of these is taken for dead; the driver's own default would be three minutes."""
BACKOFF_S = (0.2, 2.0)

_log = structlog.get_logger(__name__)
_random = SystemRandom()


def split_hosts(url: str) -> list[URL]:
    """Return one URL for each host of *url*, whose authority may be `user:password@one:5672,two:5672`.

    Raises:
        ConfigError: it is no `amqp` or `amqps` URL, or would switch certificate checks off.
    """
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    if parts.scheme not in ("amqp", "amqps") or not all(hosts.split(",")):
        raise ConfigError(
            ["broker.url: expected amqp://[user[:password]@]host[:port][,host[:port]…]/[vhost], or amqps"]
        )
    if "no_verify_ssl" in parts.query:
        raise ConfigError(["broker.url: no_verify_ssl is not supported; name the authority with cafile"])
    at = f"{login}@" if login else ""
    try:
        urls = [URL(urlunsplit(parts._replace(netloc=at + host)), encoded=True) for host in hosts.split(",")]
        for one in urls:
            _ = one.port  # read here, so that an unreadable one is found here
        return [one if "heartbeat" in one.query else one.update_query(heartbeat=str(HEARTBEAT_S)) for one in urls]
    except ValueError:
        raise ConfigError(["broker.url: a host or port cannot be read"]) from None  # its text would hold the password


class Link:
    """Holds one connection. `connection()` waits for it; whoever builds on it watches its own channel's end."""

    def __init__(self, hosts: Sequence[URL], name: str) -> None:
        self._hosts = [url.update_query(name=f"bridge-{name}") for url in hosts]
        self._name = name
        self._connection: Connection | None = None
        self._is_open = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not self._connection.is_closed

    @property
    def is_blocked(self) -> bool:
        """The broker has an alarm and reads nothing from this connection. It says so after our first publish only."""
        return self._connection is not None and is_blocked(self._connection)

    @property
    def vhost(self) -> str:
        """The virtual host: the URL's path without its first slash, `/` where that leaves nothing."""
        return unquote(self._hosts[0].raw_path[1:]) or "/"

    async def connection(self) -> Connection:
        """Wait for an open connection."""
        while self._connection is None or self._connection.is_closed:
            if self._connection is not None:  # closed a moment ago; the loop below has not seen it yet
                self._is_open.clear()
            await self._is_open.wait()
        return self._connection

    async def unblocked(self) -> None:
        """Wait until there is a connection that the broker reads from."""
        while True:
            connection = await self.connection()
            if not is_blocked(connection):
                return
            await first_of(connection.ready(), connection.closing)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"rabbitmq-link-{self._name}")

    async def close(self) -> None:
        """Stop connecting and disconnect in order."""
        await end(self._task)
        self._task = None

    async def _run(self) -> None:
        failures = 0
        while True:
            for url in _random.sample(self._hosts, len(self._hosts)):
                try:
                    await self._hold(url)
                except BrokerUnavailable as exc:
                    failures += 1
                    _log.warning("broker_unreachable", link=self._name, host=url.host, port=url.port, error=str(exc))
                else:
                    failures = 0
                    _log.warning("broker_connection_lost", link=self._name, host=url.host, port=url.port)
            await asyncio.sleep(backoff_s(failures))

    async def _hold(self, url: URL) -> None:
        """Connect to *url* and return when that connection is lost.

        Raises:
            BrokerUnavailable: there was none.
        """
        connection = Connection(url)
        try:
            with driver_errors():
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await connection.connect()
            self._connection = connection
            self._is_open.set()
            _log.info("broker_connected", link=self._name, host=url.host, port=url.port)
            await first_of(connection.closing)
        finally:
            self._is_open.clear()
            self._connection = None
            await _close(connection)


async def _close(connection: Connection) -> None:
    """Close *connection* and let the driver's own tasks end, so that none is destroyed while it is pending."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            with suppress(BrokerUnavailable), driver_errors():
                await connection.close()


def backoff_s(failures: int) -> float:
    """Return the jittered wait after so many failures in a row: 0.2 s, doubling its bound up to 2 s."""
    least, most = BACKOFF_S
    return _random.uniform(least, min(most, least * 2 ** min(failures + 1, 10)))
