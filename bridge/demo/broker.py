"""A RabbitMQ that is named for a demo must be the demo's own: its bridge would take the messages of another one."""

from contextlib import suppress

import aiormq
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity

from bridge.core import topology
from bridge.demo.errors import DemoError

TARGETS = ("jenkins", "circleci", "codepipeline")


async def check_is_ours(url: str) -> None:
    """Look whether a bridge works in the virtual host of *url*, or has left messages there.

    Raises:
        DemoError: so it is, or RabbitMQ does not let us in.
    """
    try:
        connection = await aiormq.connect(url)
    except (OSError, AMQPError, ValueError) as exc:
        raise DemoError(f"no connection to RabbitMQ: {type(exc).__name__}") from exc
    try:
        for queue in (topology.EVENTS, topology.REPORTS, *map(topology.target_queue, TARGETS)):
            await _check_queue(connection, queue)
    finally:
        await connection.close()


async def _check_queue(connection: aiormq.abc.AbstractConnection, queue: str) -> None:
    channel = await connection.channel()
    with suppress(ChannelNotFoundEntity):
        found = await channel.queue_declare(topology.wire_name(queue), passive=True)
        await channel.close()
        if found.consumer_count or found.message_count:
            raise DemoError("a bridge works in this virtual host, or has messages there: name one for the demo alone")
