"""A process to be killed: works on the SQLite broker in the file that it is given, and says on stdout what it did.

It publishes numbers; of what it takes it acks the multiples of three, dead-letters those with remainder one, and keeps
the others. Lines: `confirmed n`, `taken n`, `acked n`, `buried n`, each written after the fact.
"""

import asyncio
import sys
from itertools import count

from bridge.brokers.sqlite import SqliteBroker
from bridge.core.ports import Delivery
from tests.support.brokers import QUEUE, TARGET, message

PUBLISHERS = 20
PREFETCH = 100_000


def _say(fact: str, number: int) -> None:
    sys.stdout.write(f"{fact} {number}\n")
    sys.stdout.flush()


async def _publish(broker: SqliteBroker, numbers: "count[int]") -> None:
    for number in numbers:
        await broker.publish(message(str(number)))
        _say("confirmed", number)


async def _settle(delivery: Delivery) -> None:
    number = int(delivery.body)
    _say("taken", number)
    match number % 3:
        case 0:
            await delivery.ack()
            _say("acked", number)
        case 1:
            await delivery.dead_letter("gone")
            _say("buried", number)


async def _consume(broker: SqliteBroker) -> None:
    async with broker.subscribe(QUEUE, prefetch=PREFETCH) as subscription:
        while deliveries := await subscription.take(10):
            await asyncio.gather(*map(_settle, deliveries))


async def main(path: str, first: int) -> None:
    broker = SqliteBroker(path)
    await broker.start()
    await broker.declare([TARGET])
    numbers = count(first)
    await asyncio.gather(_consume(broker), *[_publish(broker, numbers) for _ in range(PUBLISHERS)])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
