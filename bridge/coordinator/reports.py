"""From workers' reports to transitions."""

from collections.abc import Sequence

import structlog

from bridge.coordinator.ledger import Applied, Ledger
from bridge.coordinator.outbox import Outbox
from bridge.core.ports import Delivery
from bridge.core.resolution import Progressed, Report, read_report
from bridge.core.wait import (
    Attempted,
    DoubtReported,
    Input,
    MarkAsked,
    Reason,
    ResolvedReported,
    State,
    UndeliverableReported,
)
from bridge.ops import metrics

_log = structlog.get_logger(__name__)


def read_report_delivery(delivery: Delivery) -> Report:
    """Read one delivery of the reports queue.

    Raises:
        Undecodable: it is no report.
    """
    return read_report(delivery.body)


class Reports:
    """Handles batches of the reports queue."""

    def __init__(self, ledger: Ledger, outbox: Outbox) -> None:
        self._ledger = ledger
        self._outbox = outbox

    async def handle(self, batch: Sequence[Report]) -> None:
        """Apply *batch*.

        Raises:
            StoreUnavailable: the whole batch is to be handled again.
        """
        applied = await self._ledger.apply([(report.wait, input_of(report)) for report in batch])
        await self._outbox.follow_up(applied)
        for report, one in zip(batch, applied, strict=True):
            _count(report, one)


def input_of(report: Report) -> Input:
    """Return what *report* says to its wait."""
    match report.result:
        case Progressed.ATTEMPT:
            return Attempted(report.dispatch, report.attempt, report.ending, report.note)
        case Progressed.MARK:
            return MarkAsked(report.dispatch)
        case Progressed.DOUBTFUL:
            return DoubtReported(report.dispatch, report.attempt, report.note)
        case Progressed.RESOLVED:
            return ResolvedReported(report.dispatch, report.attempt, report.ending, report.note)
        case Progressed.UNDELIVERABLE:
            return UndeliverableReported(report.dispatch, Reason(report.reason), report.attempt, report.note)


def _count(report: Report, one: Applied) -> None:
    wait = one.wait
    if isinstance(one.given, Attempted | MarkAsked) or wait is None or one.is_refused:
        return
    if wait.state not in (State.RESOLVED, State.UNDELIVERABLE):
        return
    ending = report.ending or report.reason
    metrics.count_resolution(wait.target, ending)
    if wait.state is State.RESOLVED and wait.caused_at:
        metrics.observe_resume(report.at - wait.caused_at)
    if wait.state is State.UNDELIVERABLE:
        _log.error("wait_undeliverable", wait=wait.id, target=wait.target, reason=wait.reason, note=report.note)
