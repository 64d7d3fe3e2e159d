"""One place for each kind of broker, and the few waits that tests of brokers need. Every wait has a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from pamqp.commands import Basic

from bridge.brokers.rabbitmq.messages import CONTENT_TYPE, PERSISTENT, WireMessage
from bridge.core.ports import Broker, Delivery, Outgoing, Subscription
from bridge.core.topology import Route, target_queue, to_target

DEADLINE_S = 15.0
TARGET = "jenkins-test"
QUEUE = target_queue(TARGET)
NO_DELAY = timedelta(0)


@dataclass(frozen=True, slots=True)
class BrokerPlace:
    """Where messages stay while brokers come and go: a file, a virtual host, a process."""

    kind: str
    make: Callable[[], Broker]

    async def open(self) -> Broker:
        """Return a broker of its own on this place, started and ready, with the target declared."""
        broker = self.make()
        await broker.start()
        await broker.declare([TARGET])
        await eventually(lambda: broker.is_ready)
        return broker


def message(body: str, *, route: Route | None = None, **headers: str | int) -> Outgoing:
    """Return a message to the test's target; `_` in a header's name stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Outgoing(route or to_target(TARGET), body.encode(), named)


def properties_of(message: WireMessage, message_id: str) -> Basic.Properties:
    """Return the properties that we write for *message*, in the driver's own form."""
    return Basic.Properties(
        content_type=CONTENT_TYPE,
        headers=dict(message.headers),
        delivery_mode=PERSISTENT,
        correlation_id=message.correlation_id or None,
        message_id=message_id,
    )


async def take_one(subscription: Subscription) -> Delivery:
    """Return the next delivery."""
    async with asyncio.timeout(DEADLINE_S):
        (delivery,) = await subscription.take(1)
    return delivery


async def take_all(subscription: Subscription, number: int) -> list[Delivery]:
    """Return the next *number* deliveries, unsettled."""
    taken: list[Delivery] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(taken) < number:
            taken += await subscription.take(number - len(taken))
    return taken


async def is_quiet(task: "asyncio.Task[list[Delivery]]") -> bool:
    """Return True when nothing came to a waiting *task* for a moment: an absence has no condition to wait for."""
    done, _ = await asyncio.wait([task], timeout=0.2)
    return not done


async def eventually(holds: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Return when *holds* says so."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)
