"""Publisher: returns when the broker has confirmed. Three lanes, so that one's closed channel fails no other's publishes."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any

import structlog

from bridge.brokers.rabbitmq.batching import BatchingChannel, Confirm, closing_reason
from bridge.brokers.rabbitmq.declaring import Topology
from bridge.brokers.rabbitmq.errors import NotDeclared, driver_errors
from bridge.brokers.rabbitmq.messages import WireMessage
from bridge.brokers.rabbitmq.supervisor import Link
from bridge.brokers.rabbitmq.tasks import end, first_of
from bridge.core.errors import BrokerUnavailable, Unroutable

DEADLINE_S = 3.0
"""Around a whole publish, the wait for a channel included; a sweep finds what is overdue up to 0.25 s later."""
MAX_UNCONFIRMED = 1_000
"""In each lane. Without a bound, an alarm on the broker would fill our memory."""
_REOPEN_S = 0.2

_log = structlog.get_logger(__name__)


class Lane(StrEnum):
    """What a channel is for."""

    OUT = "out"
    """Events, resolutions, reports, announcements."""
    RETRY = "retry"
    DEAD = "dead"


class Publisher:
    """All publishing of this process."""

    def __init__(self, link: Link, topology: Topology) -> None:
        self._link = link
        self._lanes = {lane: _LaneChannel(lane, link, topology) for lane in Lane}
        self._is_open = False

    @property
    def is_ready(self) -> bool:
        return self._link.is_open and not self._link.is_blocked and all(lane.is_open for lane in self._lanes.values())

    def start(self) -> None:
        self._is_open = True
        for lane in self._lanes.values():
            lane.start()

    async def close(self) -> None:
        """Take nothing new, let what is under way end (its deadline bounds that), let go of the channels."""
        self._is_open = False
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    async def available(self) -> None:
        """Wait until a publish has a chance."""
        await self._link.unblocked()
        await asyncio.gather(*(lane.opened() for lane in self._lanes.values()))

    def publish(self, lane: Lane, messages: Sequence[WireMessage]) -> Coroutine[Any, Any, None]:
        """Return what ends when every message is confirmed.

        Raises:
            BrokerUnavailable: one was refused, or not confirmed within DEADLINE_S: it may be stored or not.
            Unroutable: one was returned, and the others were confirmed or returned too.
        """
        if not self._is_open:
            raise BrokerUnavailable("the broker is not started, or closed")
        return self._lanes[lane].publish(messages)


class _LaneChannel:
    """One publishing channel, opened again whenever it is lost."""

    def __init__(self, name: Lane, link: Link, topology: Topology) -> None:
        self._name = name
        self._link = link
        self._topology = topology
        self._channel: BatchingChannel | None = None
        self._is_open = asyncio.Event()
        self._busy = 0
        self._waiting = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        return self._channel is not None and not self._channel.is_closed

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name=f"rabbitmq-publish-{self._name}")

    async def close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                await self._is_idle.wait()
        await end(self._task)
        self._task = None

    async def opened(self) -> BatchingChannel:
        """Wait for the topology and an open channel."""
        while True:
            await self._topology.wait()
            channel = self._channel
            if channel is not None and not channel.is_closed:
                return channel
            self._is_open.clear()
            await self._is_open.wait()

    async def publish(self, messages: Sequence[WireMessage]) -> None:
        channel = self._channel
        unconfirmed = self._waiting + (channel.unconfirmed if channel is not None else 0)
        if unconfirmed + len(messages) > MAX_UNCONFIRMED:
            raise BrokerUnavailable(f"{unconfirmed} publishes are not confirmed yet")
        self._busy += 1
        self._is_idle.clear()
        try:
            deadline = self._loop.time() + DEADLINE_S
            if channel is None or channel.is_closed or not self._topology.is_present or self._link.is_blocked:
                channel = await self._wait_for_channel(len(messages), deadline)
            if len(messages) == 1:
                await channel.send(messages[0], deadline=deadline)
            else:
                await _all_confirmed([channel.send(message, deadline=deadline) for message in messages])
        finally:
            self._busy -= 1
            if not self._busy:
                self._is_idle.set()

    async def _wait_for_channel(self, count: int, deadline: float) -> BatchingChannel:
        """Wait until a publish has a chance; nothing is written while the broker would not read it."""
        if self._topology.is_missing:
            raise BrokerUnavailable("nothing is declared on the broker; a coordinator does that")
        self._waiting += count
        try:
            async with asyncio.timeout_at(deadline):
                await self._link.unblocked()
                return await self.opened()
        except TimeoutError as exc:
            raise BrokerUnavailable(f"no channel within {DEADLINE_S} s") from exc
        finally:
            self._waiting -= count

    async def _run(self) -> None:
        while True:
            connection = await self._link.connection()
            try:
                with driver_errors():
                    channel = self._channel = await BatchingChannel.opened(connection)
                    self._is_open.set()
                    await first_of(channel.closing)
                    self._lost(channel)
            except BrokerUnavailable as exc:
                _log.warning("publishing_channel_failed", lane=self._name, error=str(exc))
            finally:
                self._is_open.clear()
            await asyncio.sleep(_REOPEN_S)

    def _lost(self, channel: BatchingChannel) -> None:
        try:
            with driver_errors():
                reason = closing_reason(channel)
                if reason is not None:
                    raise reason
        except NotDeclared:
            self._topology.lost()
            raise


async def _all_confirmed(confirms: Sequence[Confirm]) -> None:
    """Return when each of *confirms* has ended well; else raise the gravest of their errors once all have ended."""
    errors: list[BaseException] = []
    try:
        for confirm in confirms:
            try:
                await confirm
            except (BrokerUnavailable, Unroutable) as exc:
                errors.append(exc)
    except asyncio.CancelledError:
        for confirm in confirms:
            confirm.cancel()
        raise
    if errors:
        raise_first(errors)


def raise_first(errors: Sequence[BaseException]) -> None:
    """Raise the gravest error: not knowing is worse than knowing that nothing was stored."""
    for kind in (BrokerUnavailable, Unroutable):
        for error in errors:
            if isinstance(error, kind):
                raise error
