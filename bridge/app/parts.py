"""Parts: what a config asks for, made and wired. A role imports only what it uses, so the imports stand where the parts are made."""

from typing import TYPE_CHECKING, Any, Self, cast

from aiohttp import web

from bridge.config import Config
from bridge.config.kinds import source_kind, whole_of
from bridge.core.consumer import Consumer
from bridge.core.errors import ConfigError
from bridge.core.ports import Broker, Clock
from bridge.core.sealed import Unseal, no_key
from bridge.ops import metrics

if TYPE_CHECKING:
    from bridge.agents.codepipeline import CodepipelineAgentSettings
    from bridge.agents.codepipeline.agent import CodepipelineAgents
    from bridge.coordinator.opening import Opening
    from bridge.coordinator.service import Coordinator
    from bridge.ingress import Ingress
    from bridge.polling.wholes import Wholes
    from bridge.worker.worker import Worker


def make_broker(config: Config) -> Broker:
    """Return the broker of *config*, not started. Only the one that is used is imported."""
    settings = config.broker
    match settings.scheme:
        case "memory":
            from bridge.brokers.memory import MemoryBroker  # noqa: PLC0415

            return MemoryBroker()
        case "sqlite":
            from bridge.brokers.sqlite import SqliteBroker  # noqa: PLC0415

            return SqliteBroker(settings.path)
        case _:
            from bridge.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415

            return RabbitmqBroker(settings.url.get_secret_value(), metrics_url=settings.metrics_url)


def make_ingress(config: Config, broker: Broker, clock: Clock) -> "Ingress":
    from bridge.ingress import Ingress  # noqa: PLC0415 - a worker needs no source

    return Ingress(
        broker=broker,
        keys=config.callback_keys,
        sources={name: source_kind(settings.kind)(name, settings) for name, settings in config.sources.items()},
        clock=clock,
        max_body_bytes=config.http.max_body_bytes,
        observe=metrics.observe_request,
    )


def make_coordinator(config: Config, broker: Broker, clock: Clock) -> "Coordinator":
    from bridge.coordinator import wiring  # noqa: PLC0415 - a worker has no database

    return wiring.make_coordinator(config, broker, clock)


def hand_over(config: Config, desk: "Coordinator", clock: Clock) -> list[web.RouteDef]:
    if not config.agents:
        return []
    from bridge.agents.codepipeline.handover import HandOver  # noqa: PLC0415 - it knows the database

    return HandOver(config, desk.db, desk.clients, clock=clock).routes()


def _unseal(config: Config) -> Unseal:
    if not config.sealing_keys:
        return no_key
    from bridge.sealing import Sealing  # noqa: PLC0415 - only who opens secrets needs it

    return Sealing(config.sealing_keys).open


async def _opened(
    target: str, config: Config, clock: Clock, kind: type[Consumer[Any, Any]] | None = None
) -> Consumer[Any, Any]:
    """Return a target's consumer, open.

    Raises:
        ConfigError: it cannot be made.
    """
    from bridge.outbound import open_target  # noqa: PLC0415 - ingress calls nobody

    try:
        consumer = open_target(target, config.targets[target], clock=clock, kind=kind)
    except ValueError as exc:
        raise ConfigError([str(exc)]) from exc
    await consumer.open()
    return consumer


class WorkerPart:
    """One target's consumer and worker."""

    def __init__(self, consumer: Consumer[Any, Any], worker: "Worker") -> None:
        self.consumer = consumer
        self.worker = worker

    @classmethod
    async def make(
        cls, target: str, config: Config, broker: Broker, clock: Clock, kind: type[Consumer[Any, Any]] | None = None
    ) -> Self:
        from bridge.worker.worker import Worker  # noqa: PLC0415

        consumer = await _opened(target, config, clock, kind)
        worker = Worker(target=target, consumer=consumer, broker=broker, clock=clock, unseal=_unseal(config))
        return cls(consumer, worker)

    async def close(self) -> None:
        from bridge.outbound import close_target  # noqa: PLC0415

        await close_target(self.consumer)


class AgentPart(WorkerPart):
    """One target whose jobs are taken: its agents, and the worker that puts their results."""

    def __init__(self, part: WorkerPart, agents: "CodepipelineAgents", desk: "Coordinator") -> None:
        super().__init__(part.consumer, part.worker)
        self.agents = agents
        self._desk = desk

    @classmethod
    async def of(cls, target: str, config: Config, broker: Broker, clock: Clock, desk: "Coordinator") -> Self:
        # Only an agent's process needs worker and database both.
        from bridge.agents.codepipeline.agent import CodepipelineAgents  # noqa: PLC0415
        from bridge.agents.codepipeline.desk import Desk  # noqa: PLC0415
        from bridge.agents.codepipeline.finishing import WorkingCodepipeline  # noqa: PLC0415
        from bridge.agents.codepipeline.tokens import StoredTokens  # noqa: PLC0415

        part = await WorkerPart.make(target, config, broker, clock, kind=WorkingCodepipeline)
        settings = {name: agent for name, agent in config.agents.items() if agent.target == target}
        agents = CodepipelineAgents(
            target,
            cast("dict[str, CodepipelineAgentSettings]", settings),
            consumer=cast("WorkingCodepipeline", part.consumer),
            db=desk.db,
            desk=Desk(desk.db, desk.registry, desk.outbox, broker, clock=clock),
            clock=clock,
            client_token=StoredTokens(desk.db, _unseal(config)),
            is_alone=config.broker.scheme == "sqlite",  # which refuses a second process
        )
        return cls(part, agents, desk)

    async def run(self) -> None:
        await self._desk.migrate()
        await self.agents.run()

    async def close(self) -> None:
        await self.agents.close()
        await super().close()


class PollerPart:
    """One target that is asked for what no sender tells, with connections and limits of its own."""

    def __init__(self, consumer: Consumer[Any, Any], wholes: "Wholes", opening: "Opening") -> None:
        self.wholes = wholes
        self._consumer = consumer
        self._opening = opening

    @classmethod
    async def make(cls, target: str, config: Config, broker: Broker, clock: Clock, opening: "Opening") -> Self:
        from bridge.polling.wholes import Wholes  # noqa: PLC0415 - only a poller's process needs consumer and database

        found = {name: whole_of(settings) for name, settings in config.sources.items()}
        sources = {name: one[0] for name, one in found.items() if one and one[1] == target}
        consumer = await _opened(target, config, clock)
        return cls(consumer, Wholes(sources, consumer=consumer, db=opening.db, broker=broker, clock=clock), opening)

    async def run(self) -> None:
        await self._opening.migrate()
        await self.wholes.run()

    async def close(self) -> None:
        from bridge.outbound import close_target  # noqa: PLC0415

        await close_target(self._consumer)
