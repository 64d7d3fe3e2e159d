"""The look of a new wait at events that came before it: the registration's half of "both sides look"."""

from collections.abc import Sequence
from datetime import datetime

from bridge.coordinator.intake import input_of
from bridge.coordinator.ledger import Ledger
from bridge.coordinator.outbox import Outbox
from bridge.coordinator.store import events, waits
from bridge.coordinator.store.engine import Database
from bridge.core.wait import Expectation, Wait


async def look_back(
    db: Database, ledger: Ledger, outbox: Outbox, wait: Wait, expected: Sequence[Expectation], *, since: datetime
) -> Wait:
    """Apply to *wait*, which is committed, the kept events received from *since* on; return it as it is then.

    The transaction begins after that commit: an event that is recorded meanwhile sees the wait itself. Doing it again is
    harmless, so the timers do it for a registration that died before.

    Raises:
        StoreUnavailable: it is made again by the timers.
    """
    if not any(one.early for one in expected):
        return wait
    async with db.write() as tx:
        found = await events.early_for(tx, expected, since=since)
        applied = await ledger.apply_in(tx, [(wait.id, input_of(event)) for event in found]) if found else []
        verdicts = {event.id: [one.verdict] for event, one in zip(found, applied, strict=True) if one.verdict}
        await events.raise_verdicts(tx, verdicts)
        await waits.looked_back(tx, wait.id)
    await outbox.follow_up(applied, {event.id: event for event in found})
    return (applied[-1].wait or wait) if applied else wait
