"""Announcements over a stream.

A follower reads all that was said from the first message, keeps the latest of each topic, and then waits for more.
Where the past ends is asked with a second consumer from "last": its first message has an offset that the past includes,
and everything above is new. On an empty stream neither gets anything until the first announcement.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import structlog
from aiormq import Connection
from aiormq.abc import AbstractChannel, DeliveredMessage

from bridge.brokers.rabbitmq.batching import closing_reason
from bridge.brokers.rabbitmq.declaring import Topology
from bridge.brokers.rabbitmq.errors import RPC_TIMEOUT_S, NotDeclared, close_channel, driver_errors
from bridge.brokers.rabbitmq.messages import WireMessage
from bridge.brokers.rabbitmq.supervisor import Link, backoff_s
from bridge.brokers.rabbitmq.tasks import end, first_of
from bridge.brokers.rabbitmq.topology import CONTROL
from bridge.core.errors import BrokerUnavailable
from bridge.core.topology import wire_name

TOPIC = "bridge-topic"
_OFFSET = "x-stream-offset"
_PREFETCH = 100
_log = structlog.get_logger(__name__)


def announcement(topic: str, body: bytes) -> WireMessage:
    return WireMessage("", wire_name(CONTROL), body, {TOPIC: topic})


class Follower:
    """One reader of the stream. `news` gets (topic, body); None once it is closed."""

    def __init__(self, link: Link, topology: Topology) -> None:
        self.news: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue()
        self._link = link
        self._topology = topology
        self._latest: dict[str, bytes] = {}
        self._is_consuming = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        return self._is_consuming

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="rabbitmq-follow")

    async def close(self) -> None:
        await end(self._task)
        self._task = None
        self.news.put_nowait(None)

    async def follow(self) -> AsyncIterator[tuple[str, bytes]]:
        while (item := await self.news.get()) is not None:
            yield item

    async def _run(self) -> None:
        failures = 0
        while True:
            connection = await self._link.connection()
            try:
                with driver_errors():
                    await self._read(connection)
                failures = 0
            except NotDeclared:
                self._topology.restore()
                await self._topology.another_chance()
            except BrokerUnavailable as exc:
                failures += 1
                _log.warning("announcements_lost", error=str(exc))
                await asyncio.sleep(backoff_s(failures))

    async def _read(self, connection: Connection) -> None:
        """Read on a channel of its own until that ends."""
        channel = await connection.channel(publisher_confirms=False, timeout=RPC_TIMEOUT_S)
        reading = _Reading(channel, self._tell)
        try:
            await reading.start()
            self._is_consuming = True
            await first_of(reading.ended.wait())
            reason = closing_reason(channel)
            if reason is not None:
                raise reason
        finally:
            self._is_consuming = False
            await close_channel(channel)

    def _tell(self, topic: str, body: bytes) -> None:
        """Pass on what differs from what was told last: after a reconnect the whole past comes again."""
        if self._latest.get(topic) != body:
            self._latest[topic] = body
            self.news.put_nowait((topic, body))


class _Reading:
    """Two consumers of the stream on one channel."""

    def __init__(self, channel: AbstractChannel, tell: Callable[[str, bytes], None]) -> None:
        self.ended = asyncio.Event()
        self._channel = channel
        self._tell = tell
        self._past: dict[str, bytes] | None = {}
        """What was read of the past; None once it is told."""
        self._read_to = -1
        self._past_to: int | None = None
        channel.closing.add_done_callback(lambda _: self.ended.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: self.ended.set())

    async def start(self) -> None:
        await self._channel.basic_qos(prefetch_count=_PREFETCH, timeout=RPC_TIMEOUT_S)
        for offset, callback in (("last", self._on_last), ("first", self._on_message)):
            await self._channel.basic_consume(
                wire_name(CONTROL), callback, arguments={_OFFSET: offset}, timeout=RPC_TIMEOUT_S
            )

    async def _on_last(self, message: DeliveredMessage) -> None:
        if self._past_to is None:
            self._past_to = _offset(message)
            self._tell_past()
            if message.consumer_tag:
                await self._channel.basic_cancel(message.consumer_tag, nowait=True)

    async def _on_message(self, message: DeliveredMessage) -> None:
        topic = (message.header.properties.headers or {}).get(TOPIC)
        self._read_to = _offset(message)
        if isinstance(topic, str):
            if self._past is None:
                self._tell(topic, message.body)
            else:
                self._past[topic] = message.body
        self._tell_past()
        if message.delivery_tag is not None:
            await self._channel.basic_ack(message.delivery_tag, wait=False)

    def _tell_past(self) -> None:
        if self._past is None or self._past_to is None or self._read_to < self._past_to:
            return
        past, self._past = self._past, None
        for topic, body in past.items():
            self._tell(topic, body)


def _offset(message: DeliveredMessage) -> int:
    offset = (message.header.properties.headers or {}).get(_OFFSET)
    return offset if isinstance(offset, int) else 0
