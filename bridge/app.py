"""The one place where everything is wired together: from a config to a running process, and orderly to its end."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Self, cast

import structlog
from aiohttp import web

from bridge.config import Config, Role
from bridge.config.check import ProbeResult
from bridge.config.kinds import source_kind
from bridge.core.consumer import Consumer, UtcClock
from bridge.core.errors import BrokerUnavailable, ConfigError, StoreUnavailable
from bridge.core.outcome import Health
from bridge.core.pause import read_pause
from bridge.core.ports import Broker, Clock
from bridge.core.sealed import Unseal, no_key
from bridge.ops import logs, metrics
from bridge.ops.faults import places
from bridge.ops.health import HealthCalls
from bridge.ops.server import make_runner

if TYPE_CHECKING:  # a role that does not need a part does not import it
    from bridge.agents.codepipeline import CodepipelineAgentSettings
    from bridge.agents.codepipeline.agent import CodepipelineAgents
    from bridge.coordinator.service import Coordinator
    from bridge.ingress import Ingress
    from bridge.worker.worker import Worker

_log = structlog.get_logger(__name__)

DRAIN_S = 10.0
_LAST_S = 1.5
"""Of DRAIN_S: for what is ended after the workers and the server."""
_RESTART_S = 1.0
_GC_THRESHOLD = 20_000
"""Allocations between collections: requests leave few cycles behind, and at 700 a tenth of the time goes into looking for them."""
_PROBE_S = 5.0
_PROBE_PAUSE_S = 0.2


def run(config: Config) -> int:
    """Run *config*'s roles until SIGTERM or SIGINT; return the exit code."""
    import uvloop  # noqa: PLC0415 - only a running process needs it

    logs.configure()
    gc.freeze()  # what is loaded now stays: no collection needs to walk it again
    gc.set_threshold(_GC_THRESHOLD)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_signalled(config))


async def _until_signalled(config: Config) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(config, stop=stop)
    return 0


async def serve(
    config: Config,
    *,
    stop: asyncio.Event,
    started: Callable[[str], None] = lambda _url: None,
    clock: Clock | None = None,
) -> None:
    """Run *config*'s roles until *stop* is set, then drain within DRAIN_S.

    started: called once with the URL that the process listens on.

    Raises:
        ConfigError: a file is in use by another process, or a target cannot be made.
    """
    process = Process(config, clock)
    try:
        url = await process.start()
        _log.info("bridge_started", url=url, roles=sorted(role.value for role in config.roles))
        started(url)
        await stop.wait()
    finally:
        await process.close()
        _log.info("bridge_stopped")


class Process:
    """The parts of one process, in the order of their making."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self._config = config
        self._clock: Clock = clock or UtcClock()
        self._broker = make_broker(config)
        self._coordinator = _coordinator(config, self._broker, self._clock) if config.runs(Role.COORDINATOR) else None
        self._workers: dict[str, _WorkerPart] = {}
        self._agents: dict[str, _AgentPart] = {}
        self._agent_desk: Coordinator | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Start everything; return the URL listened on. Broker, store and platforms may still be away."""
        await self._broker.start()
        self._stack.push_async_callback(self._broker.close)
        if self._coordinator is not None:
            self._stack.push_async_callback(self._coordinator.close)
            self._keep("coordinator", self._coordinator.run)
        for target in self._config.worker_targets:
            part = await _WorkerPart.make(target, self._config, self._broker, self._clock)
            self._stack.push_async_callback(part.close)
            self._workers[target] = part
            self._keep(f"worker {target}", part.worker.run)
        for target in self._config.agent_targets:
            agent = await _AgentPart.of(target, self._config, self._broker, self._clock, self._desk())
            self._stack.push_async_callback(agent.close)
            self._agents[target] = self._workers[target] = agent
            self._keep(f"agent {target}", agent.run)
            self._keep(f"worker {target}", agent.worker.run)
        if self._workers:
            self._keep("pauses", self._follow_pauses)
        return await self._listen()

    def _desk(self) -> "Coordinator":
        """Return what the agents open waits with: this process's coordinator, or one that never runs."""
        if self._coordinator is not None:
            return self._coordinator
        if self._agent_desk is None:
            self._agent_desk = _coordinator(self._config, self._broker, self._clock)
            self._stack.push_async_callback(self._agent_desk.close)
        return self._agent_desk

    def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(_kept_running(name, work), name=name))

    async def _follow_pauses(self) -> None:
        async for topic, body in self._broker.follow():
            pause = read_pause(topic, body)
            if pause and pause[0] in self._workers:
                self._workers[pause[0]].worker.set_paused(pause[1])

    async def _listen(self) -> str:
        http = self._config.http
        routes = HealthCalls(self._checks, self._refresh).routes()
        door = _ingress(self._config, self._broker, self._clock) if self._config.runs(Role.INGRESS) else None
        if door is not None:
            self._stack.push_async_callback(door.close)
        if self._coordinator is not None:
            routes += [*self._coordinator.api().routes(), *_hand_over(self._config, self._coordinator, self._clock)]
        self._runner = runner = make_runner(
            routes, max_body_bytes=http.max_body_bytes, door=door, shutdown_s=DRAIN_S - 2 * _LAST_S
        )
        await runner.setup()
        await web.TCPSite(runner, http.host, http.port, backlog=1024).start()
        host, port = runner.addresses[0][:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def _checks(self) -> dict[str, bool]:
        checks = {"broker": self._broker.is_ready}
        if self._coordinator is not None or self._agent_desk is not None:
            checks["store"] = await self._desk().is_ready()
        checks |= {f"agent {name}": part.agents.is_running for name, part in self._agents.items()}
        return checks | {f"worker {name}": part.worker.status.is_running for name, part in self._workers.items()}

    async def _refresh(self) -> None:
        if self._coordinator is None:
            return
        with suppress(BrokerUnavailable, StoreUnavailable):  # the figures of before stay, as those of before
            for queue in await self._coordinator.figures.queues():
                metrics.show_queue(queue)

    async def close(self) -> None:
        """Stop taking, finish what runs, give the rest back: within DRAIN_S."""
        stopping = [part.worker.stop() for part in self._workers.values()]
        stopping += [part.agents.stop() for part in self._agents.values()]
        if self._runner is not None:
            stopping.append(self._runner.cleanup())
        await _within(DRAIN_S - _LAST_S, *stopping)
        for task in self._tasks:
            task.cancel()
        await _within(_LAST_S, *self._tasks)
        await self._stack.aclose()


async def _within(seconds: float, *ends: Awaitable[None]) -> None:
    """Await all of *ends*; what takes longer is cut."""
    tasks = [asyncio.ensure_future(end) for end in ends]
    if not tasks:
        return
    ended, late = await asyncio.wait(tasks, timeout=seconds)
    for task in ended:
        if not task.cancelled() and (error := task.exception()):
            _log.error("drain_failed", error=type(error).__name__)
    for task in late:
        task.cancel()
    if late:
        _log.warning("drain_cut", left=len(late))


async def _kept_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run *work*; should it end by a fault, say so and start it again: the others go on meanwhile."""
    while True:
        try:
            await work()
        except Exception as exc:  # noqa: BLE001 - a part's fault must not take the process's other parts along
            _log.error("part_failed", part=name, error=type(exc).__name__, at=places(exc))
        await asyncio.sleep(_RESTART_S)


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


def _ingress(config: Config, broker: Broker, clock: Clock) -> "Ingress":
    from bridge.ingress import Ingress  # noqa: PLC0415 - a worker needs no source

    return Ingress(
        broker=broker,
        keys=config.callback_keys,
        sources={name: source_kind(settings.kind)(name, settings) for name, settings in config.sources.items()},
        clock=clock,
        max_body_bytes=config.http.max_body_bytes,
        observe=metrics.observe_request,
    )


def _coordinator(config: Config, broker: Broker, clock: Clock) -> "Coordinator":
    from bridge.coordinator.wiring import make_coordinator  # noqa: PLC0415 - a worker has no database

    return make_coordinator(config, broker, clock)


def _hand_over(config: Config, desk: "Coordinator", clock: Clock) -> list[web.RouteDef]:
    if not config.agents:
        return []
    from bridge.agents.codepipeline.handover import HandOver  # noqa: PLC0415 - it knows the database

    return HandOver(config, desk.db, desk.clients, clock=clock).routes()


def _unseal(config: Config) -> Unseal:
    if not config.sealing_keys:
        return no_key
    from bridge.sealing import Sealing  # noqa: PLC0415 - only who opens secrets needs it

    return Sealing(config.sealing_keys).open


class _WorkerPart:
    """One target's consumer and worker."""

    def __init__(self, consumer: Consumer[Any, Any], worker: "Worker") -> None:
        self.consumer = consumer
        self.worker = worker

    @classmethod
    async def make(
        cls, target: str, config: Config, broker: Broker, clock: Clock, kind: type[Consumer[Any, Any]] | None = None
    ) -> Self:
        from bridge.outbound import open_target  # noqa: PLC0415 - ingress calls nobody
        from bridge.worker.worker import Worker  # noqa: PLC0415

        try:
            consumer = open_target(target, config.targets[target], clock=clock, kind=kind)
        except ValueError as exc:
            raise ConfigError([str(exc)]) from exc
        await consumer.open()
        worker = Worker(target=target, consumer=consumer, broker=broker, clock=clock, unseal=_unseal(config))
        return cls(consumer, worker)

    async def close(self) -> None:
        from bridge.outbound import close_target  # noqa: PLC0415

        await close_target(self.consumer)


class _AgentPart(_WorkerPart):
    """One target whose jobs are taken: its agents, and the worker that puts their results."""

    def __init__(self, part: _WorkerPart, agents: "CodepipelineAgents", desk: "Coordinator") -> None:
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

        part = await _WorkerPart.make(target, config, broker, clock, kind=WorkingCodepipeline)
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


async def probe(config: Config) -> list[ProbeResult]:
    """Try broker, store and each target once, for `bridge config check --connect`; nothing is changed anywhere but migrated."""
    results = [await _probe_broker(config)]
    if config.runs(Role.COORDINATOR) or config.agent_targets:
        results.append(await _probe_store(config))
    clock = UtcClock()
    return results + [
        await _probe_target(target, config, clock) for target in (*config.worker_targets, *config.agent_targets)
    ]


async def _probe_broker(config: Config) -> ProbeResult:
    broker = make_broker(config)
    try:
        await broker.start()
        async with asyncio.timeout(_PROBE_S):
            while not broker.is_connected:  # noqa: ASYNC110 - the port tells no event of a connection
                await asyncio.sleep(_PROBE_PAUSE_S)
    except (BrokerUnavailable, TimeoutError, ConfigError) as exc:
        return ProbeResult("broker", is_ok=False, detail=str(exc) or "no connection within 5 s")
    finally:
        await broker.close()
    return ProbeResult("broker", is_ok=True)


async def _probe_store(config: Config) -> ProbeResult:
    from bridge.coordinator.store.engine import Database  # noqa: PLC0415 - a worker has no database

    database = Database(config.store.url.get_secret_value())
    try:
        is_ok = await database.ping()
    finally:
        await database.close()
    return ProbeResult("store", is_ok=is_ok, detail="" if is_ok else "no connection")


async def _probe_target(target: str, config: Config, clock: Clock) -> ProbeResult:
    from bridge.worker.breaker import probe as probe_health  # noqa: PLC0415 - ingress calls nobody

    name = f"targets.{target}"
    part = await _WorkerPart.make(target, config, make_broker(config), clock)
    try:
        health = await probe_health(part.consumer)
    finally:
        await part.close()
    details = {Health.CREDENTIAL: "is up and refuses our credential", Health.DOWN: "does not answer its health call"}
    return ProbeResult(name, is_ok=health is Health.UP, detail=details.get(health, ""))
