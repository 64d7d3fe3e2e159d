"""Dead letters: moved from the broker, where nobody can browse them, into the store; replayed and dropped from there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from bridge.coordinator.errors import Rejected
from bridge.coordinator.ledger import Ledger
from bridge.coordinator.outbox import Outbox
from bridge.coordinator.store import dead
from bridge.coordinator.store.engine import Database
from bridge.core.errors import Undecodable
from bridge.core.ports import Broker, Clock, Delivery, Outgoing
from bridge.core.problem import Problem, Slug
from bridge.core.resolution import read_resolution
from bridge.core.topology import HOME, REASON, TARGET_PREFIX, UNROUTED, Route, target_queue
from bridge.core.wait import Reason, Replayed, ReportMissing, UndeliverableReported
from bridge.ops import metrics


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead message; `row` as the store holds it."""

    row: Mapping[str, Any]


class DeadLetters:
    """Handles batches of the dead and unrouted queues, and what operators do with a letter."""

    def __init__(self, db: Database, ledger: Ledger, outbox: Outbox, broker: Broker, *, clock: Clock) -> None:
        self._db = db
        self._ledger = ledger
        self._outbox = outbox
        self._broker = broker
        self._clock = clock

    def read_dead(self, delivery: Delivery) -> Letter:
        """Read one delivery of the dead queue. It accepts everything: this is the last stop."""
        home = str(delivery.headers.get(HOME, ""))
        return self._letter(delivery, home, str(delivery.headers.get(REASON, "delivery_limit")))

    def read_unrouted(self, delivery: Delivery) -> Letter:
        """Read one delivery of the unrouted queue: a message whose target nobody has."""
        return self._letter(delivery, UNROUTED, Reason.NO_TARGET.value)

    def _letter(self, delivery: Delivery, queue: str, reason: str) -> Letter:
        row = {"id": delivery.message_id, "queue": queue, "reason": reason, "at": self._clock.now()}
        return Letter({**row, "attempt": delivery.attempt, "body": delivery.body, **_named(delivery.body)})

    async def handle(self, batch: Sequence[Letter]) -> None:
        """Store *batch*; a resolution that nobody could deliver also ends its wait.

        Raises:
            StoreUnavailable: the whole batch is to be handled again.
        """
        lost = [letter.row for letter in batch if letter.row["reason"] == Reason.NO_TARGET and letter.row["wait_id"]]
        ended = [(row["wait_id"], UndeliverableReported(row["dispatch"], Reason.NO_TARGET)) for row in lost]
        async with self._db.write() as tx:
            applied = await self._ledger.apply_in(tx, ended) if ended else []
            await dead.add(self._db, tx, [letter.row for letter in batch])
        for one in applied:
            if one.wait and not one.is_refused:
                metrics.count_resolution(one.wait.target, Reason.NO_TARGET)

    async def give_up(self, wait_ids: Sequence[str]) -> int:
        """End waits whose delivery window is over without a report, each with a letter to replay; return how many.

        Raises:
            StoreUnavailable: nothing was changed.
        """
        if not wait_ids:
            return 0
        async with self._db.write() as tx:
            applied = await self._ledger.apply_in(tx, [(wait, ReportMissing()) for wait in wait_ids])
            ended = [one.wait for one in applied if one.wait and not one.is_refused]
            bodies = await self._outbox.bodies(tx, ended)
            letters = [
                {
                    "id": f"{wait.id}.{wait.dispatch}",
                    "queue": target_queue(wait.target),
                    "reason": Reason.NO_REPORT.value,
                    "at": self._clock.now(),
                    "attempt": 0,
                    "body": body,
                    "wait_id": wait.id,
                    "target": wait.target,
                    "dispatch": wait.dispatch,
                }
                for wait, body in zip(ended, bodies, strict=True)
            ]
            await dead.add(self._db, tx, letters)
        for wait in ended:
            metrics.count_resolution(wait.target, Reason.NO_REPORT)
        return len(ended)

    async def replay(self, row: Mapping[str, Any], *, by: str) -> None:
        """Send the letter *row* on its way again and forget it: a wait's resolution as a new dispatch, all else as it was.

        Raises:
            Rejected: the wait's state or another wait at its address forbids it; the letter stays.
            BrokerUnavailable, StoreUnavailable: the letter stays.
        """
        if row["wait_id"] and (row["queue"].startswith(TARGET_PREFIX) or row["queue"] == UNROUTED):
            await self._replay_wait(row["wait_id"], by)
            return
        await self._broker.publish(Outgoing(Route("", row["queue"]), row["body"]))
        async with self._db.write() as tx:
            await dead.drop(tx, row["id"])

    async def _replay_wait(self, wait_id: str, by: str) -> None:
        try:
            async with self._db.write() as tx:
                applied = await self._ledger.apply_in(tx, [(wait_id, Replayed(by))])
                if applied[0].is_refused or applied[0].wait is None:
                    raise Rejected(Problem.of(Slug.DECIDED, "Only an undeliverable wait can be replayed"))
                await dead.drop_for(tx, wait_id)
        except sa.exc.IntegrityError:
            raise Rejected(Problem.of(Slug.ADDRESS_TAKEN, "Another wait is open for this address")) from None
        await self._outbox.follow_up(applied)

    async def drop(self, letter_id: str) -> bool:
        """Forget a letter; return False when it was not there."""
        async with self._db.write() as tx:
            return await dead.drop(tx, letter_id)


def _named(body: bytes) -> dict[str, Any]:
    """Return what the letter belongs to, as far as its body says."""
    try:
        resolution = read_resolution(body)
    except Undecodable:
        return {"wait_id": None, "target": None, "dispatch": None}
    return {"wait_id": resolution.wait, "target": resolution.target, "dispatch": resolution.dispatch}
