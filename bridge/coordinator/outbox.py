"""The only place that sends resolutions: built from the wait's row, published, confirmed, then marked sent."""

from collections.abc import Iterable, Mapping, Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.ledger import Applied, Ledger
from bridge.coordinator.store import events
from bridge.coordinator.store.engine import Database
from bridge.coordinator.third_party import alarm, lacks_token, tokens_for
from bridge.core.errors import BrokerUnavailable, Unroutable
from bridge.core.event import Event, Outcome
from bridge.core.ports import Broker, Clock, Outgoing
from bridge.core.resolution import Resolution, write_resolution
from bridge.core.topology import to_target
from bridge.core.wait import Sent, Wait

_log = structlog.get_logger(__name__)


class Outbox:
    """Sends what the ledger left unsent."""

    def __init__(self, db: Database, ledger: Ledger, broker: Broker, *, clock: Clock) -> None:
        self._db = db
        self._ledger = ledger
        self._broker = broker
        self._clock = clock

    async def follow_up(self, applied: Iterable[Applied], causes: Mapping[str, Event] | None = None) -> None:
        """Send what *applied* asks for. A broker that is away is no error here: the rows stay unsent and are sent again.

        causes: deciding events at hand, by id; others are read from the store.
        """
        chosen = [one for one in applied if one.sends and one.wait]
        fresh = {one.wait.id: one.wait for one in chosen if one.wait and not one.continues}
        resent = {one.wait.id: one.wait for one in chosen if one.wait and one.continues and one.wait.id not in fresh}
        await self.send(list(fresh.values()), is_resent=False, causes=causes)
        await self.send(list(resent.values()), is_resent=True, causes=causes)

    async def send(self, chosen: Sequence[Wait], *, is_resent: bool, causes: Mapping[str, Event] | None = None) -> None:
        """Publish the current dispatch of *chosen*, then mark them sent.

        is_resent: an earlier copy may be on its way, so the worker must look before it acts.

        Raises:
            StoreUnavailable: some copies may be published and not marked; they will be sent again as resent.
        """
        if not chosen:
            return
        found = await self._causes(chosen, causes or {})
        tokens = await tokens_for(self._db, chosen)
        try:
            await self._broker.publish(*(self._message(wait, found, tokens, is_resent=is_resent) for wait in chosen))
        except (BrokerUnavailable, Unroutable) as exc:
            _log.warning("resolutions_unsent", count=len(chosen), reason=type(exc).__name__)
            return
        await self._ledger.apply([(wait.id, Sent(wait.dispatch)) for wait in chosen])
        for wait in chosen:
            if lacks_token(wait, tokens):
                alarm(wait)

    async def bodies(self, tx: AsyncConnection, chosen: Sequence[Wait]) -> list[bytes]:
        """Return the current resolutions of *chosen* as message bodies, for the dead letters; a client's token is in none."""
        causes = await events.documents(self._db, tx, [wait.event_id for wait in chosen if wait.event_id])
        return [self._message(wait, causes, {}, is_resent=False).body for wait in chosen]

    async def _causes(self, chosen: Sequence[Wait], at_hand: Mapping[str, Event]) -> Mapping[str, Event]:
        missing = [wait.event_id for wait in chosen if wait.event_id and wait.event_id not in at_hand]
        if not missing:
            return at_hand
        async with self._db.read() as tx:
            return {**at_hand, **await events.documents(self._db, tx, missing)}

    def _message(
        self, wait: Wait, causes: Mapping[str, Event], tokens: Mapping[str, str], *, is_resent: bool
    ) -> Outgoing:
        """tokens: sealed, by client, as they are now: a replay takes what was set since."""
        assert wait.outcome is not None and wait.decided_at is not None and wait.deliver_until is not None  # noqa: S101, PT018 - decide() set them together
        resolution = Resolution(
            wait=wait.id,
            target=wait.target,
            dispatch=wait.dispatch,
            address=dict(wait.address),
            outcome=Outcome(wait.outcome),
            decided_at=wait.decided_at,
            deliver_until=wait.deliver_until,
            event=causes.get(wait.event_id) if wait.event_id else None,
            client_token=tokens.get(wait.third_party_client) if wait.third_party_client else None,
            is_resent=is_resent,
            is_cleared=wait.is_cleared,
        )
        body = write_resolution(resolution, now=self._clock.now())
        return Outgoing(to_target(wait.target), body, correlation_id=wait.id)
