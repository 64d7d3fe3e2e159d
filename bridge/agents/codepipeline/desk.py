"""Desk: what the agent asks of the coordinator's side: open a wait, see it, decide it as its callback would, send it again."""

from datetime import timedelta

from bridge.coordinator.outbox import Outbox
from bridge.coordinator.registry import Asker, Registered, Registry
from bridge.coordinator.store import views
from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.works import Work
from bridge.core.api import RegisterRequest
from bridge.core.event import CALLBACK, Event, EventData, Outcome
from bridge.core.ports import Broker, Clock, Outgoing
from bridge.core.topology import to_events
from bridge.core.wait import Wait

_EVERYTHING = views.Scope(None, None)


class Desk:
    """Shared by the agents of a process."""

    def __init__(self, db: Database, registry: Registry, outbox: Outbox, broker: Broker, *, clock: Clock) -> None:
        self._db = db
        self._registry = registry
        self._outbox = outbox
        self._broker = broker
        self._clock = clock

    @property
    def is_up(self) -> bool:
        """True while an event could be taken in: without a broker nothing new is begun."""
        return self._broker.is_connected

    async def open_wait(self, work: Work, within: timedelta) -> Registered:
        """Open the wait of *work*, or return the one that is open: the work's id is the idempotency key.

        Raises:
            Rejected: the config does not fit.
            StoreUnavailable: repeat it.
        """
        labels = {name: work.context[name] for name in ("pipeline", "stage", "action") if name in work.context}
        request = RegisterRequest(target=work.target, address={"work": work.id}, timeout=within, labels=labels)
        asker = Asker(f"agent:{work.agent}", None, None)
        return await self._registry.register(request, asker, idempotency_key=work.id, body=work.id.encode())

    async def wait_of(self, work: Work) -> Wait | None:
        if work.wait_id is None:
            return None
        async with self._db.read() as tx:
            return await views.get_wait(tx, _EVERYTHING, work.wait_id)

    async def decide_failed(self, wait_id: str, *, failure_type: str, summary: str) -> None:
        """Say that the work failed, as the holder of its callback URL may: the one way in which every wait is decided.

        Raises:
            BrokerUnavailable, Unroutable: repeat it; the second is a duplicate.
        """
        body = {"outcome": Outcome.FAILED.value, "failure_type": failure_type, "summary": summary}
        data = EventData(outcome=Outcome.FAILED, keys={"wait": wait_id}, summary=summary, body=body)
        event = Event.new(source=CALLBACK, type=CALLBACK, time=self._clock.now(), data=data)
        await self._broker.publish(Outgoing(to_events(event), event.serialise()))

    async def send_again(self, wait: Wait) -> None:
        """Have the worker try the wait's resolution now: its job is there. Without a broker the copy on its way does."""
        await self._outbox.send([wait], is_resent=True)
