"""One coordinator process: opens the store, consumes its four queues, runs the timers. Copies of it share the work."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.coordinator.api import Api
from bridge.coordinator.api.access import Clients
from bridge.coordinator.api.events import EventCalls
from bridge.coordinator.api.operations import OperationCalls
from bridge.coordinator.api.status import StatusPage
from bridge.coordinator.api.third_party import ThirdPartyCalls
from bridge.coordinator.api.waits import WaitCalls
from bridge.coordinator.consuming import BatchConsumer
from bridge.coordinator.dead import DeadLetters
from bridge.coordinator.figures import Figures
from bridge.coordinator.intake import Intake, read_event
from bridge.coordinator.ledger import Ledger
from bridge.coordinator.opening import Opening
from bridge.coordinator.outbox import Outbox
from bridge.coordinator.pausing import Pausing
from bridge.coordinator.registry import Registry, Target, Terms
from bridge.coordinator.reports import Reports, read_report_delivery
from bridge.coordinator.timers import Retention, Timers
from bridge.core.ports import Broker, Clock
from bridge.core.sealed import Seal
from bridge.core.signing import CallbackKeys
from bridge.core.source import Source, Whole
from bridge.core.topology import DEAD, EVENTS, REPORTS, UNROUTED
from bridge.core.wait import Rules


@dataclass(frozen=True, slots=True)
class CoordinatorConfig:
    """What the config says of a coordinator, with names resolved and no platform secret in it."""

    store_url: str
    targets: Mapping[str, Target]
    sources: Mapping[str, type[Source[Any]]]
    wholes: Mapping[str, Whole]
    """By source: what its events add up to, where a poller asks for that."""
    keys: CallbackKeys
    seal: Seal | None
    """None: there are no `[secrets] keys`."""
    clients: Clients
    terms: Terms
    rules: Rules
    retention: Retention


class Coordinator:
    """Everything that one coordinator owns."""

    def __init__(self, config: CoordinatorConfig, broker: Broker, *, clock: Clock) -> None:
        self._config = config
        self._broker = broker
        self._clock = clock
        self.opening = Opening(config.store_url)
        self.db = self._db = self.opening.db
        self.clients = config.clients
        self.ledger = Ledger(self._db, clock=clock, rules=config.rules)
        self.outbox = Outbox(self._db, self.ledger, broker, clock=clock)
        self.registry = Registry(
            self._db,
            self.ledger,
            self.outbox,
            targets=config.targets,
            sources=config.sources,
            wholes=config.wholes,
            keys=config.keys,
            seal=config.seal,
            clock=clock,
            terms=config.terms,
        )
        self.dead = DeadLetters(self._db, self.ledger, self.outbox, broker, clock=clock)
        self.figures = Figures(self._db, broker, targets=list(config.targets), clock=clock)

    def api(self) -> Api:
        """Return the handlers of /v1 and the status page."""
        config, db, clock = self._config, self._db, self._clock
        operations = OperationCalls(
            db,
            config.clients,
            targets=config.targets,
            dead=self.dead,
            figures=self.figures,
            pausing=Pausing(db, self._broker, clock=clock),
        )
        return Api(
            WaitCalls(db, self.ledger, self.registry, config.clients),
            EventCalls(db, self._broker, config.clients, sources=frozenset(config.sources), clock=clock),
            operations,
            ThirdPartyCalls(db, config.clients, seal=config.seal, clock=clock),
            StatusPage(db, config.clients, self.figures, clock=clock),
        )

    async def run(self) -> None:
        """Migrate as soon as the store answers, then work until cancelled."""
        await self._broker.declare(sorted(self._config.targets))
        await self.migrate()
        async with asyncio.TaskGroup() as group:
            for work in self._work():
                group.create_task(work)

    def _work(self) -> list[Coroutine[Any, Any, None]]:
        config, db, broker = self._config, self._db, self._broker
        dedupe_for = config.terms.max_timeout + config.terms.keep_early  # as long as any wait could still see the event
        intake = Intake(
            db,
            self.ledger,
            self.outbox,
            wholes=config.wholes,
            clock=self._clock,
            dedupe_for=dedupe_for,
            note_age=self.figures.note_consumed,
        )
        reports = Reports(self.ledger, self.outbox)
        timers = Timers(
            db, self.ledger, self.dead, self.outbox, broker, clock=self._clock, retention_rules=config.retention
        )
        up = db.ping
        return [
            BatchConsumer(broker, EVENTS, read=read_event, handle=intake.handle, is_store_up=up).run(),
            BatchConsumer(broker, REPORTS, read=read_report_delivery, handle=reports.handle, is_store_up=up).run(),
            BatchConsumer(broker, DEAD, read=self.dead.read_dead, handle=self.dead.handle, is_store_up=up).run(),
            BatchConsumer(
                broker, UNROUTED, read=self.dead.read_unrouted, handle=self.dead.handle, is_store_up=up
            ).run(),
            timers.run(),
        ]

    async def migrate(self) -> None:
        """Return when the store is up to date, whenever that is."""
        await self.opening.migrate()

    async def is_ready(self) -> bool:
        """Return True when the store is migrated and answers."""
        return await self.opening.is_ready()

    async def close(self) -> None:
        await self.opening.close()
