"""Publishes that come while the broker is busy with those before, as one frame batch. The one module that knows aiormq's inside.

aiormq's own `basic_publish` holds the channel's lock until its frames are drained: each publish is a socket write of its
own and a wake-up of the broker. Here one lock, one write and one drain carry all that was published meanwhile, and each
message still has its own confirm.

Used of aiormq, beside its public names: `Channel.lock`, `number`, `write_queue`, `max_content_size`, `_get_frame`,
`_read_content`, `_on_return_frame`, `_on_confirm_frame`; `Connection.channels` and its flag for connection.blocked.
Tested with the version below; `tests/integration/test_rabbitmq_batching.py` compares it with plain publishes.
"""

import asyncio
import math
import struct
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple, Self
from uuid import uuid4

import pamqp.frame
from aiormq import Connection
from aiormq.abc import AbstractChannel, ChannelFrame, ConfirmationFrameType
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.brokers.rabbitmq.errors import RPC_TIMEOUT_S
from bridge.brokers.rabbitmq.framing import body_frame, header_frame
from bridge.brokers.rabbitmq.messages import WireMessage
from bridge.core.errors import BrokerUnavailable, Unroutable

TESTED_DRIVER = "7.2"
"""Major and minor of aiormq that these internals were read in."""
_UNBLOCKED = "_Connection__connection_unblocked"
_KNOWN_ROUTES = 4_096
_SWEEP_S = 0.25
_HOLD_S = 0.005

Confirm = asyncio.Future[None]


def is_blocked(connection: Connection) -> bool:
    """Return True between connection.blocked and connection.unblocked: the broker reads no publish of ours (an alarm)."""
    unblocked: asyncio.Event = getattr(connection, _UNBLOCKED)
    return connection.connected.is_set() and not unblocked.is_set()


class _Sent(NamedTuple):
    """A publish under way. deadline: in the loop's seconds."""

    confirm: Confirm
    deadline: float


class BatchingChannel(Channel):
    """A channel in confirm mode that batches. Nobody else publishes on it.

    A message's id is `<this channel's own id>-<delivery tag>`: unique per publish, and a return names its confirm.
    """

    def __init__(self, connection: Connection, number: int) -> None:
        super().__init__(connection, number, publisher_confirms=True, frame_buffer=connection.FRAME_BUFFER_SIZE)
        self._id = uuid4().hex
        self._waiting: list[tuple[WireMessage, _Sent]] = []
        self._unconfirmed: OrderedDict[int, _Sent] = OrderedDict()
        self._sweep: asyncio.TimerHandle | None = None
        self._hold: asyncio.TimerHandle | None = None
        self._has_waiting = asyncio.Event()
        self._routes: dict[tuple[str, str], bytes] = {}
        self.closing.add_done_callback(self._fail_all)

    @classmethod
    async def opened(cls, connection: Connection) -> Self:
        """Open a channel on *connection*."""
        number = max(connection.channels, default=0) + 1
        channel = cls(connection, number)
        connection.channels[number] = channel
        await channel.open(timeout=RPC_TIMEOUT_S)
        channel.create_task(channel._flush_forever())
        return channel

    @property
    def unconfirmed(self) -> int:
        """How many messages have no confirm yet, those included whose publisher gave up."""
        return len(self._unconfirmed) + len(self._waiting)

    def send(self, message: WireMessage, *, deadline: float = math.inf) -> Confirm:
        """Put *message* into the next batch; the future ends with its confirm, or up to 0.25 s after *deadline*.

        deadline: in the loop's seconds. One sweep watches them all: a timer for each would cost a tenth of a publish.

        Future raises:
            Unroutable: the broker returned it.
            BrokerUnavailable: the broker refused it, did not answer in time, or the channel was lost before it did.
        """
        confirm: Confirm = self.loop.create_future()
        if self.is_closed:
            confirm.set_exception(_lost())
            return confirm
        self._waiting.append((message, _Sent(confirm, deadline)))
        self._release_if_due()
        if self._sweep is None:
            self._sweep = self.loop.call_later(_SWEEP_S, self._end_overdue)
        return confirm

    def _release_if_due(self) -> None:
        """Let the batch go when it is as large as what the broker has not confirmed yet, or after _HOLD_S.

        So a publish on its own leaves at once, and under load the broker gets half as many batches, twice as large.
        """
        if len(self._waiting) >= len(self._unconfirmed):
            self._has_waiting.set()
        elif self._hold is None:
            self._hold = self.loop.call_later(_HOLD_S, self._has_waiting.set)

    def _end_hold(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def _end_overdue(self) -> None:
        """Fail what is past its deadline. It stays numbered: its confirm may still come, and is then ignored."""
        now = self.loop.time()
        for confirm, deadline in self._under_way():
            if deadline <= now and not confirm.done():
                confirm.set_exception(BrokerUnavailable("no confirm in time"))
        self._sweep = self.loop.call_later(_SWEEP_S, self._end_overdue) if self.unconfirmed else None

    def _under_way(self) -> Iterator[_Sent]:
        yield from self._unconfirmed.values()
        yield from (sent for _, sent in self._waiting)

    async def _flush_forever(self) -> None:
        while True:
            await self._has_waiting.wait()
            async with self.lock:
                self._has_waiting.clear()
                self._end_hold()
                if not (payload := b"".join(self._take_frames())):
                    continue
                drained = self.loop.create_future()
                await self.write_queue.put(ChannelFrame(payload, should_close=False, drain_future=drained))
                await drained

    def _take_frames(self) -> list[bytes]:
        """Number what waits and return its frames; a publish that was given up before is not sent at all."""
        waiting, self._waiting = self._waiting, []
        frames: list[bytes] = []
        for message, sent in waiting:
            if sent.confirm.done():
                continue
            tag = self.delivery_tag + 1
            try:
                header = header_frame(message, f"{self._id}-{tag}", self.number)
            except (ValueError, struct.error) as exc:  # its own publisher's fault; the others of the batch go on
                sent.confirm.set_exception(exc)
                continue
            self.delivery_tag = tag
            self._unconfirmed[tag] = sent
            frames.append(self._publish_frame(message))
            frames += header
            for part in self._parts(message.body):
                frames += body_frame(part, self.number)
        return frames

    def _parts(self, body: bytes) -> list[bytes]:
        size = self.max_content_size
        if len(body) <= size:
            return [body] if body else []
        return [body[start : start + size] for start in range(0, len(body), size)]

    def _publish_frame(self, message: WireMessage) -> bytes:
        route = message.exchange, message.key
        frame = self._routes.get(route)
        if frame is None:
            if len(self._routes) >= _KNOWN_ROUTES:
                self._routes.clear()
            method = Basic.Publish(exchange=message.exchange, routing_key=message.key, mandatory=True)
            frame = self._routes[route] = pamqp.frame.marshal(method, self.number)
        return frame

    async def _on_return_frame(self, frame: Basic.Return) -> None:
        """Fail the returned message's publish; its confirm follows and is then ignored."""
        header = await self._get_frame()
        if not isinstance(header, ContentHeader):
            raise TypeError(f"unexpected frame {type(header).__name__} after a return")
        await self._read_content(frame, header)
        tag = (header.properties.message_id or "").rpartition("-")[2]
        sent = self._unconfirmed.get(int(tag)) if tag.isdecimal() else None
        if sent is not None and not sent.confirm.done():
            sent.confirm.set_exception(
                Unroutable(
                    f"no queue for exchange {frame.exchange!r} and key {frame.routing_key!r}: {frame.reply_text}"
                )
            )

    async def _on_confirm_frame(self, frame: ConfirmationFrameType) -> None:
        tag = frame.delivery_tag or 0
        is_ack = isinstance(frame, Basic.Ack)
        if isinstance(frame, Basic.Reject) or not frame.multiple:
            _settle(self._unconfirmed.pop(tag, None), is_ack=is_ack)
        else:
            while self._unconfirmed and next(iter(self._unconfirmed)) <= tag:
                _settle(self._unconfirmed.popitem(last=False)[1], is_ack=is_ack)
        if self._waiting:
            self._release_if_due()

    def _fail_all(self, _: object) -> None:
        left = list(self._under_way())
        self._unconfirmed.clear()
        self._waiting.clear()
        self._end_hold()
        if self._sweep is not None:
            self._sweep.cancel()
        for confirm, _ in left:
            if not confirm.done():
                confirm.set_exception(_lost())


def _settle(sent: _Sent | None, *, is_ack: bool) -> None:
    if sent is None or sent.confirm.done():  # returned, or its publisher gave up
        return
    if is_ack:
        sent.confirm.set_result(None)
    else:
        sent.confirm.set_exception(BrokerUnavailable("the broker refused the message: a queue is full or failing"))


def _lost() -> BrokerUnavailable:
    return BrokerUnavailable("the channel was lost before the confirm came")


def closing_reason(channel: AbstractChannel) -> BaseException | None:
    """Return what closed *channel*, None when nothing or nobody in particular did."""
    closing = channel.closing
    if not closing.done() or closing.cancelled():
        return None
    return closing.exception()
