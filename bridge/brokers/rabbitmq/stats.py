"""Figures of queues: ready and consumers by passive declare, which is immediate; unacked from the prometheus endpoint.

Contract: GET /metrics/detailed?vhost={vhost}&family=queue_coarse_metrics   200 text, one line a queue:
          rabbitmq_detailed_queue_messages_unacked{vhost="/",queue="q"} 3
Source:   https://www.rabbitmq.com/docs/prometheus (3.10 and 4.x, read 2026-11); figures checked on 3.10.8
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus

import aiohttp
import structlog
from aiormq import Connection
from aiormq.abc import AbstractChannel

from bridge.brokers.rabbitmq.errors import RPC_TIMEOUT_S, close_channel, driver_errors
from bridge.core.errors import BrokerUnavailable
from bridge.core.ports import QueueStats
from bridge.core.topology import wire_name

_METRICS_TIMEOUT_S = 3.0
_LINE = re.compile(
    r'^rabbitmq_detailed_queue_messages_(ready|unacked)\{.*?queue="((?:[^"\\]|\\.)*)".*?\} (\d+)', re.MULTILINE
)
_log = structlog.get_logger(__name__)

Figures = Mapping[tuple[str, str], int]
"""By ("ready" or "unacked", wire name)."""


async def read(
    connection: Connection | None, metrics_url: str | None, vhost: str, names: Sequence[str]
) -> list[QueueStats]:
    """Return the figures of *names*, None where nobody tells."""
    figures = await _figures(metrics_url, vhost) if metrics_url else {}
    declared = await _declared(connection, names) if connection else {}
    return [_stats(name, declared.get(name), figures) for name in names]


def _stats(name: str, declared: tuple[int, int] | None, figures: Figures) -> QueueStats:
    ready, consumers = declared or (figures.get(("ready", wire_name(name))), None)
    return QueueStats(name, ready, figures.get(("unacked", wire_name(name))), consumers)


async def _declared(connection: Connection, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return (ready, consumers) by name; a queue that is not there, or that we may not ask about, is left out."""
    found: dict[str, tuple[int, int]] = {}
    channel: AbstractChannel | None = None
    try:
        for name in names:
            with suppress(BrokerUnavailable), driver_errors():
                if channel is None or channel.is_closed:  # a 404 closes it
                    channel = await connection.channel(publisher_confirms=False, timeout=RPC_TIMEOUT_S)
                ok = await channel.queue_declare(wire_name(name), passive=True, timeout=RPC_TIMEOUT_S)
                found[name] = (ok.message_count or 0, ok.consumer_count or 0)
    finally:
        if channel is not None:
            await close_channel(channel)
    return found


async def _figures(metrics_url: str, vhost: str) -> Figures:
    url = f"{metrics_url.rstrip('/')}/metrics/detailed"
    timeout = aiohttp.ClientTimeout(total=_METRICS_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, params={"vhost": vhost, "family": "queue_coarse_metrics"}) as reply,
        ):
            text = await reply.text() if reply.status == HTTPStatus.OK else ""
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        _log.warning("broker_metrics_unavailable", error=type(exc).__name__)
        return {}
    return parse(text)


def parse(text: str) -> Figures:
    """Read the endpoint's lines; those of other families and totals are passed over."""
    return {(kind, queue): int(count) for kind, queue, count in _LINE.findall(text)}
