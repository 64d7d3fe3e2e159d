"""A process that closes its broker in the middle of everything; run by a test that reads its error output."""

import asyncio
import logging
import sys

import structlog

from bridge.brokers.rabbitmq import RabbitmqBroker
from tests.support.brokers import QUEUE, BrokerPlace, message, take_one


async def main(url: str) -> None:
    """Publish, hold, retry, follow; then close without waiting for any of it."""
    asyncio.get_running_loop().slow_callback_duration = 60  # debug mode would tell of a busy machine
    broker = RabbitmqBroker(url)
    await BrokerPlace("rabbitmq", lambda: broker).open()
    follower = asyncio.create_task(anext(broker.follow(), None))
    publishes = [asyncio.create_task(broker.publish(message(f"{number}"))) for number in range(20)]
    async with broker.subscribe(QUEUE, prefetch=5) as subscription:
        await take_one(subscription)
        await (await take_one(subscription)).release()
        await broker.close()
    await asyncio.gather(follower, *publishes)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    sys.stdout.write("".join(f"left: {task.get_name()} {task.get_coro()}\n" for task in left))


if __name__ == "__main__":
    logging.getLogger("aiormq").setLevel(logging.ERROR)  # it warns of each call that a close interrupts
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    asyncio.run(main(sys.argv[1]), debug=True)
    sys.stdout.write("closed\n")
