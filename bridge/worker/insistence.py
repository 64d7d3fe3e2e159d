"""Insistence: do it again while the broker is away. An ending that is known and not stored would become a doubt."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from bridge.core.errors import BrokerUnavailable, Unroutable
from bridge.core.ports import Broker, Clock, Outgoing
from bridge.core.resolution import Report, Resolution, write_report
from bridge.core.topology import TRACEPARENT, to_reports
from bridge.worker.pacing import Sleep
from bridge.worker.reporting import announcement
from bridge.worker.trail import Trail

PUBLISH_WAITS_S = (0.5, 1.0, 2.0, 4.0, *[5.0] * 10)
"""About a minute: a publish needs any connection."""
SETTLE_WAITS_S = (0.5, 1.0)
"""Short: a delivery of a lost connection can never be settled, and it comes again."""


class Insistence:
    """Shared by all that must reach the broker; gives up at once when *stopping* is set."""

    def __init__(self, *, sleep: Sleep, stopping: asyncio.Event) -> None:
        self._sleep = sleep
        self._stopping = stopping

    async def __call__(self, action: Callable[[], Awaitable[None]], waits_s: Sequence[float]) -> None:
        """Do *action*, and again after each of *waits_s* until it succeeds.

        Raises:
            BrokerUnavailable, Unroutable: it never did, or we are to stop.
        """
        for wait_s in waits_s:
            try:
                return await action()
            except (BrokerUnavailable, Unroutable):
                if self._stopping.is_set():
                    raise
            await self._sleep(wait_s)
        return await action()


class Reporter:
    """The one place that publishes for a worker."""

    def __init__(self, broker: Broker, insist: Insistence, *, clock: Clock) -> None:
        self._broker = broker
        self._insist = insist
        self._clock = clock

    async def send(self, report: Report, trail: Trail) -> None:
        """Return when *report* is confirmed.

        Raises:
            BrokerUnavailable, Unroutable: it is not.
        """
        headers = {TRACEPARENT: trail.traceparent} if trail.traceparent else {}
        message = Outgoing(to_reports(), write_report(report), headers, correlation_id=report.wait)
        await self._insist(lambda: self._broker.publish(message), PUBLISH_WAITS_S)

    async def announce(self, resolution: Resolution, trail: Trail) -> None:
        """Tell the coordinator, confirmed, that this dispatch is about to be sent."""
        await self.send(announcement(resolution, trail=trail, now=self._clock.now()), trail)
