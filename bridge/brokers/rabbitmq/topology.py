"""What is declared on the broker, and by whom: coordinators declare everything, workers and ingress nothing.

Law: queue arguments carry what the guarantees rest on and can never be changed, hence the version in each queue's name; sizes
and time-outs belong in policies. The control stream is declared last, so whoever finds it finds the rest.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiormq import Connection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused

from bridge.brokers.rabbitmq.errors import RPC_TIMEOUT_S, driver_errors
from bridge.brokers.rabbitmq.supervisor import Link
from bridge.brokers.rabbitmq.tasks import end, first_of
from bridge.core.errors import BrokerUnavailable
from bridge.core.topology import (
    DEAD,
    DELIVERY_LIMIT,
    EVENTS,
    POLLS,
    REPORTS,
    RESOLUTIONS,
    RETRY_BACK,
    RUNG_PREFIX,
    RUNGS,
    UNROUTED,
    dead_letter_key,
    target_queue,
    wire_name,
)

CONTROL = "bridge.control"
"""A stream of announcements; followers read it from its first message."""
NEVER = 1_000_000
"""Delivery limit of the last stations: from 4.0 on, a queue without one drops a message after 20 returns."""
AGAIN_S = 1.0
"""How often an absent or refused topology is asked for again."""
_CONTROL_BYTES, _CONTROL_SEGMENT_BYTES = 20_000_000, 4_000_000

_log = structlog.get_logger(__name__)
Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exchange:
    name: str
    type: str
    arguments: Arguments = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue by its wire name, with its bindings as (exchange, key)."""

    name: str
    arguments: Arguments
    bindings: tuple[tuple[str, str], ...] = ()


def exchanges() -> list[Exchange]:
    """Return every exchange, each after the one it names as its alternate."""
    unrouted = {"alternate-exchange": UNROUTED}
    return [
        Exchange(UNROUTED, "fanout"),
        Exchange(DEAD, "topic"),
        Exchange(EVENTS, "topic"),
        Exchange(RESOLUTIONS, "direct", unrouted),
        Exchange(RETRY_BACK, "direct", unrouted),
        *(Exchange(RUNG_PREFIX + rung, "fanout") for rung in RUNGS),
    ]


def queues(targets: Sequence[str]) -> list[Queue]:
    """Return every queue, the control stream last."""
    return [
        _last(UNROUTED, (UNROUTED, "")),
        _last(DEAD, (DEAD, "#")),
        *(_rung(rung) for rung in RUNGS),
        _home(EVENTS, (EVENTS, "#")),
        _home(REPORTS),
        _home(POLLS),
        *(_home(target_queue(target), (RESOLUTIONS, target)) for target in targets),
        _control(),
    ]


def _home(name: str, *bindings: tuple[str, str]) -> Queue:
    """Return a queue that is consumed; what comes back too often is dead-lettered under a key of its own."""
    arguments: Arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-routing-key": dead_letter_key(name),  # a retried copy carries the queue's name as its own key
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # at-least-once needs it
    }
    return Queue(wire_name(name), arguments, (*bindings, (RETRY_BACK, wire_name(name))))


def _last(name: str, binding: tuple[str, str]) -> Queue:
    """Return a queue where messages end up; nothing moves them on but us."""
    arguments: Arguments = {"x-queue-type": "quorum", "x-delivery-limit": NEVER}
    return Queue(wire_name(name), arguments, (binding, (RETRY_BACK, wire_name(name))))


def _rung(rung: str) -> Queue:
    """Return a delay queue: one TTL for all in it, so none waits behind a longer one. The key stays the home queue's name."""
    arguments: Arguments = {
        "x-queue-type": "quorum",
        "x-message-ttl": round(RUNGS[rung].total_seconds() * 1000),
        "x-dead-letter-exchange": RETRY_BACK,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return Queue(wire_name(RUNG_PREFIX + rung), arguments, ((RUNG_PREFIX + rung, ""),))


def _control() -> Queue:
    arguments: Arguments = {
        "x-queue-type": "stream",
        "x-max-length-bytes": _CONTROL_BYTES,
        "x-stream-max-segment-size-bytes": _CONTROL_SEGMENT_BYTES,
    }
    return Queue(wire_name(CONTROL), arguments)


async def declare(channel: AbstractChannel, targets: Sequence[str]) -> None:
    """Make the topology; what is there already stays. A different argument closes the channel (406)."""
    for exchange in exchanges():
        await channel.exchange_declare(
            exchange.name,
            exchange_type=exchange.type,
            durable=True,
            arguments=exchange.arguments,
            timeout=RPC_TIMEOUT_S,
        )
    for queue in queues(targets):
        await channel.queue_declare(queue.name, durable=True, arguments=queue.arguments, timeout=RPC_TIMEOUT_S)
        for source, key in queue.bindings:
            await channel.queue_bind(queue.name, source, key, timeout=RPC_TIMEOUT_S)


class Topology:
    """Keeps the topology there, or, where we declare nothing, knows whether it is."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._targets: dict[str, None] | None = None
        self._present = asyncio.Event()
        self._is_missing = False
        self._poked = asyncio.Event()
        self._tried = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_present(self) -> bool:
        return self._present.is_set()

    @property
    def is_missing(self) -> bool:
        """It was looked for, is not there, and making it is not our business: waiting for it is pointless."""
        return self._is_missing and self._targets is None

    async def wait(self) -> None:
        """Wait until it is there."""
        await self._present.wait()

    async def declare(self, targets: Sequence[str]) -> None:
        """Declare *targets* and all else from now on; return when that is done or failed, at once while disconnected."""
        self._targets = {**(self._targets or {}), **dict.fromkeys(targets)}
        self.lost()
        if self._link.is_open and self._task is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(RPC_TIMEOUT_S), self._tried:
                    await self._tried.wait()

    def lost(self) -> None:
        """Look or declare again before anything more is published: an exchange is gone, or there are more targets."""
        self._present.clear()
        self._poked.set()

    def restore(self) -> None:
        """Declare again, if that is our business: a queue is gone."""
        if self._targets is not None:
            self._poked.set()

    async def another_chance(self) -> None:
        """Wait after a 404: until the topology is there, if it was not, and else for a second."""
        if self.is_present:
            await asyncio.sleep(AGAIN_S)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_S):
                await self._present.wait()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="rabbitmq-topology")

    async def close(self) -> None:
        await end(self._task)
        self._task = None

    async def _run(self) -> None:
        while True:
            connection = await self._link.connection()
            self._poked.clear()
            targets = self._targets
            self._is_missing = not await self._attempt(connection, targets)
            if self._is_missing:
                self._present.clear()
                await self._poked_or_second()
            elif targets is self._targets and not connection.is_closed:
                self._present.set()
                await first_of(self._poked.wait(), connection.closing)
            if connection.is_closed:
                self._present.clear()

    async def _attempt(self, connection: Connection, targets: dict[str, None] | None) -> bool:
        try:
            with driver_errors():
                await (_is_there(connection) if targets is None else _make(connection, list(targets)))
        except BrokerUnavailable as exc:
            _log.warning("broker_topology_missing", error=str(exc), declares=targets is not None)
            return False
        finally:
            async with self._tried:
                self._tried.notify_all()
        return True

    async def _poked_or_second(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_S):
                await self._poked.wait()


async def _make(connection: Connection, targets: Sequence[str]) -> None:
    channel = await connection.channel(publisher_confirms=False, timeout=RPC_TIMEOUT_S)
    await declare(channel, targets)
    await channel.close()
    _log.info("broker_topology_declared", targets=len(targets))


async def _is_there(connection: Connection) -> None:
    """Ask for the control stream. From 4.3 on that takes a right that a publisher may lack: then it is taken to be there."""
    channel = await connection.channel(publisher_confirms=False, timeout=RPC_TIMEOUT_S)
    try:
        await channel.queue_declare(wire_name(CONTROL), passive=True, timeout=RPC_TIMEOUT_S)
    except ChannelAccessRefused:
        return
    await channel.close()
