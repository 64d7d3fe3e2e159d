"""A running process: its parts in the order of their making, and an orderly end."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from bridge.app.parts import AgentPart, PollerPart, WorkerPart, hand_over, make_broker, make_coordinator, make_ingress
from bridge.config import Config, Role
from bridge.core.consumer import UtcClock
from bridge.core.errors import BrokerUnavailable, StoreUnavailable
from bridge.core.pause import read_pause
from bridge.core.ports import Clock
from bridge.ops import logs, metrics
from bridge.ops.faults import places
from bridge.ops.health import HealthCalls
from bridge.ops.server import make_runner

if TYPE_CHECKING:  # a role that does not need a part does not import it
    from bridge.coordinator.opening import Opening
    from bridge.coordinator.service import Coordinator

_log = structlog.get_logger(__name__)

DRAIN_S = 10.0
_LAST_S = 1.5
"""Of DRAIN_S: for what is ended after the workers and the server."""
_RESTART_S = 1.0
_GC_THRESHOLD = 20_000
"""Allocations between collections: requests leave few cycles behind, and at 700 a tenth of the time goes into looking for them."""


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
        self._coordinator = (
            make_coordinator(config, self._broker, self._clock) if config.runs(Role.COORDINATOR) else None
        )
        self._workers: dict[str, WorkerPart] = {}
        self._agents: dict[str, AgentPart] = {}
        self._pollers: dict[str, PollerPart] = {}
        self._agent_desk: Coordinator | None = None
        self._opening: Opening | None = None
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
            part = await WorkerPart.make(target, self._config, self._broker, self._clock)
            self._stack.push_async_callback(part.close)
            self._workers[target] = part
            self._keep(f"worker {target}", part.worker.run)
        for target in self._config.agent_targets:
            agent = await AgentPart.of(target, self._config, self._broker, self._clock, self._desk())
            self._stack.push_async_callback(agent.close)
            self._agents[target] = self._workers[target] = agent
            self._keep(f"agent {target}", agent.run)
            self._keep(f"worker {target}", agent.worker.run)
        for target in self._config.poller_targets:
            poller = await PollerPart.make(target, self._config, self._broker, self._clock, self._opened())
            self._stack.push_async_callback(poller.close)
            self._pollers[target] = poller
            self._keep(f"poller {target}", poller.run)
        if self._workers:
            self._keep("pauses", self._follow_pauses)
        return await self._listen()

    def _desk(self) -> "Coordinator":
        """Return what the agents open waits with: this process's coordinator, or one that never runs."""
        if self._coordinator is not None:
            return self._coordinator
        if self._agent_desk is None:
            self._agent_desk = make_coordinator(self._config, self._broker, self._clock)
            self._stack.push_async_callback(self._agent_desk.close)
        return self._agent_desk

    def _opened(self) -> "Opening":
        """Return this process's store: one for all of its parts, since SQLite has one writer."""
        desk = self._coordinator or self._agent_desk
        if desk is not None:
            return desk.opening
        if self._opening is None:
            from bridge.coordinator.opening import Opening  # noqa: PLC0415 - a worker has no database

            self._opening = Opening(self._config.store.url.get_secret_value())
            self._stack.push_async_callback(self._opening.close)
        return self._opening

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
        door = make_ingress(self._config, self._broker, self._clock) if self._config.runs(Role.INGRESS) else None
        if door is not None:
            self._stack.push_async_callback(door.close)
        if self._coordinator is not None:
            routes += [*self._coordinator.api().routes(), *hand_over(self._config, self._coordinator, self._clock)]
        self._runner = runner = make_runner(
            routes, max_body_bytes=http.max_body_bytes, door=door, shutdown_s=DRAIN_S - 2 * _LAST_S
        )
        await runner.setup()
        await web.TCPSite(runner, http.host, http.port, backlog=1024).start()
        host, port = runner.addresses[0][:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def _checks(self) -> dict[str, bool]:
        checks = {"broker": self._broker.is_ready}
        if self._coordinator or self._agent_desk or self._opening:
            checks["store"] = await self._opened().is_ready()
        checks |= {f"poller {name}": part.wholes.is_running for name, part in self._pollers.items()}
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
        stopping += [part.wholes.stop() for part in self._pollers.values()]
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
