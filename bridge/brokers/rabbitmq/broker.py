"""RabbitmqBroker: the port, by delegation. Two connections, because an alarm blocks the whole of the one that publishes."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from bridge.brokers.rabbitmq import stats
from bridge.brokers.rabbitmq.consuming import RabbitmqSubscription
from bridge.brokers.rabbitmq.control import Follower, announcement
from bridge.brokers.rabbitmq.declaring import Topology
from bridge.brokers.rabbitmq.messages import outgoing
from bridge.brokers.rabbitmq.publisher import Lane, Publisher
from bridge.brokers.rabbitmq.supervisor import Link, split_hosts
from bridge.core.errors import BrokerUnavailable, Unroutable
from bridge.core.ports import Outgoing, QueueStats, Subscription


class RabbitmqBroker:
    """The port's `Broker` over AMQP 0-9-1, RabbitMQ 3.10 to 4.x."""

    def __init__(self, url: str, *, metrics_url: str | None = None) -> None:
        """Take the broker's place.

        Args:
            url: `amqp[s]://[user[:password]@]host[:port][,host[:port]…]/[vhost]`, with the driver's `cafile`, `certfile`,
                `keyfile` and `heartbeat` as query.
            metrics_url: the prometheus plugin's base, `http://rabbit:15692`; without it unacked counts are unknown.

        Raises:
            ConfigError: *url* cannot be used.
        """
        hosts = split_hosts(url)
        self._metrics_url = metrics_url
        self._publishing = Link(hosts, "publish")
        self._consuming = Link(hosts, "consume")
        self._topology = Topology(self._consuming)
        self._publisher = Publisher(self._publishing, self._topology)
        self._readers: set[RabbitmqSubscription | Follower] = set()
        self._is_open = False

    @property
    def is_connected(self) -> bool:
        return self._is_open and self._consuming.is_open

    @property
    def is_ready(self) -> bool:
        return (
            self._is_open
            and self._consuming.is_open
            and not self._consuming.is_blocked
            and self._publisher.is_ready
            and self._topology.is_present
            and all(reader.is_ready for reader in self._readers)
        )

    async def start(self) -> None:
        self._is_open = True
        self._publishing.start()
        self._consuming.start()
        self._topology.start()
        self._publisher.start()

    async def close(self) -> None:
        """Consumers end first, then the publishes under way, then the connections."""
        self._is_open = False
        await asyncio.gather(*(reader.close() for reader in tuple(self._readers)))
        self._readers.clear()
        await self._publisher.close()
        await self._topology.close()
        await asyncio.gather(self._publishing.close(), self._consuming.close())

    async def declare(self, targets: Sequence[str]) -> None:
        await self._topology.declare(targets)

    def publish(self, *messages: Outgoing) -> Coroutine[Any, Any, None]:
        now = datetime.now(UTC)
        return self._publisher.publish(Lane.OUT, [outgoing(message, now) for message in messages])

    @asynccontextmanager
    async def subscribe(self, queue: str, *, prefetch: int) -> AsyncIterator[Subscription]:
        """Consume *queue*, which need not be declared yet. Leaving gives back what is unsettled."""
        self._require_open()
        subscription = RabbitmqSubscription(queue, prefetch, self._consuming, self._publisher, self._topology)
        self._readers.add(subscription)
        subscription.start()
        try:
            yield subscription
        finally:
            self._readers.discard(subscription)
            await subscription.close()

    async def announce(self, topic: str, body: bytes) -> None:
        try:
            await self._publisher.publish(Lane.OUT, [announcement(topic, body)])
        except Unroutable as exc:
            self._topology.restore()
            raise BrokerUnavailable("the control stream is not declared") from exc

    async def follow(self) -> AsyncIterator[tuple[str, bytes]]:
        self._require_open()
        follower = Follower(self._consuming, self._topology)
        self._readers.add(follower)
        follower.start()
        try:
            async for item in follower.follow():
                yield item
        finally:
            self._readers.discard(follower)
            await follower.close()

    async def queues(self, names: Sequence[str]) -> list[QueueStats]:
        connection = await self._consuming.connection() if self._consuming.is_open else None
        return await stats.read(connection, self._metrics_url, self._consuming.vhost, names)

    def _require_open(self) -> None:
        if not self._is_open:
            raise BrokerUnavailable("the broker is not started, or closed")
