"""The agents of one target, in one process: a poller for each, and one look at what is due for all of them.

Law: stop() ends polling first, then waits for the steps under way: what is acknowledged stays on record, nothing is failed for a
stop of ours, and the next process goes on from the rows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import random as system_random

import structlog

from bridge.agents.codepipeline.artifacts import Artifacts
from bridge.agents.codepipeline.caring import Caring
from bridge.agents.codepipeline.claims import LEASE, Claims
from bridge.agents.codepipeline.desk import Desk
from bridge.agents.codepipeline.finishing import WorkingCodepipeline
from bridge.agents.codepipeline.gateway import ClientToken, Gateway
from bridge.agents.codepipeline.holding import Holding
from bridge.agents.codepipeline.polling import Poller
from bridge.agents.codepipeline.settings import CodepipelineAgentSettings
from bridge.agents.codepipeline.starting import Starter
from bridge.agents.codepipeline.taking import Taking
from bridge.coordinator.store import works
from bridge.coordinator.store.engine import Database
from bridge.core.errors import StoreUnavailable
from bridge.core.ports import Clock
from bridge.core.retry import LATER, RetryPolicy

LOOK_S = 1.0
"""Between two looks at what is due."""
NEWS_EVERY = 2
"""Every so many of them progress is looked for too."""
MOST = 16
"""Works cared for at once because they were due: more would wait for a connection while their leases run."""
STOP_S = 5.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Tools:
    """What every agent of a target shares."""

    consumer: WorkingCodepipeline
    artifacts: Artifacts
    claims: Claims
    desk: Desk
    clock: Clock
    client_token: ClientToken
    policy: RetryPolicy
    random: Callable[[], float]
    is_stopping: Callable[[], bool]


class _Part:
    """One `[agents.<name>]`."""

    def __init__(
        self, name: str, settings: CodepipelineAgentSettings, tools: _Tools, begin: Callable[[Awaitable[None]], None]
    ) -> None:
        gateway = Gateway(tools.consumer.ask, settings, tools.client_token)
        self.settings = settings
        self.starter = Starter(settings, clock=tools.clock)
        self.poller = Poller(
            name,
            settings,
            db=tools.claims.db,
            desk=tools.desk,
            gateway=gateway,
            taking=Taking(name, settings.target, claims=tools.claims, clock=tools.clock),
            begin=begin,
            random=tools.random,
        )
        self.caring = Caring(
            settings,
            claims=tools.claims,
            desk=tools.desk,
            gateway=gateway,
            starter=self.starter,
            artifacts=tools.artifacts,
            holding=Holding(settings, desk=tools.desk, gateway=gateway, clock=tools.clock, continued=self.poller.poke),
            clock=tools.clock,
            is_stopping=tools.is_stopping,
            policy=tools.policy,
            random=tools.random,
        )


class CodepipelineAgents:
    """Takes the jobs of one target. Its works are finished by the target's worker, through *consumer*."""

    def __init__(
        self,
        target: str,
        agents: Mapping[str, CodepipelineAgentSettings],
        *,
        consumer: WorkingCodepipeline,
        db: Database,
        desk: Desk,
        clock: Clock,
        client_token: ClientToken,
        is_alone: bool = False,
        lease: timedelta = LEASE,
        policy: RetryPolicy = LATER,
        random: Callable[[], float] = system_random,
    ) -> None:
        """Make them, not running. is_alone: no other process can use the store."""
        self._target = target
        self._db = db
        self._clock = clock
        self._claims = Claims(db, clock=clock, lease=lease)
        self._under_way: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self.is_running = False
        self._is_stopping = False
        self._alone_since = clock.now() if is_alone else None
        self._artifacts = Artifacts(consumer.settings, consumer.ask, client_token, clock=clock)
        consumer.serve(self._claims, client_token, self._artifacts)
        tools = _Tools(
            consumer,
            self._artifacts,
            self._claims,
            desk,
            clock,
            client_token,
            policy,
            random,
            lambda: self._is_stopping,
        )
        self._parts = {name: _Part(name, settings, tools, self._begin) for name, settings in agents.items()}

    async def run(self) -> None:
        """Work until stop(). It may be run again after a fault."""
        self._is_stopping = False
        if self._alone_since is not None:  # what a death of ours left needs not wait for its leases
            await self._claims.release_left(made_before=self._alone_since)
        works_of = [self._look_after()]
        works_of += [part.poller.run(part.caring) for part in self._parts.values() if not part.settings.is_lambda]
        self._tasks = [asyncio.create_task(work) for work in works_of]
        self.is_running = True
        try:
            await asyncio.gather(*self._tasks)
        finally:
            self.is_running = False
            for task in self._tasks:
                task.cancel()

    async def stop(self) -> None:
        """Take nothing new, let the steps under way end, give back what is left."""
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=STOP_S)
        left = list(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def close(self) -> None:
        """Give every claim back, once the worker has ended too, and let go of the connections."""
        try:
            await self._claims.release_all()
        except StoreUnavailable:
            _log.warning("claims_left", target=self._target)  # they end by themselves
        for part in self._parts.values():
            await part.starter.close()
        await self._artifacts.close()

    def _begin(self, care: Awaitable[None]) -> None:
        task = asyncio.ensure_future(care)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _look_after(self) -> None:
        """Find what is due, again and again."""
        looks = 0
        while True:
            looks += 1
            try:
                await self._look(with_news=looks % NEWS_EVERY == 0)
            except StoreUnavailable:
                _log.warning("store_away", during="look", target=self._target)
            await asyncio.sleep(LOOK_S)

    def _is_news(self, agent: str, put_at: datetime | None, now: datetime) -> bool:
        part = self._parts.get(agent)
        return part is not None and (put_at is None or now - put_at >= part.settings.progress)

    async def _look(self, *, with_news: bool) -> None:
        now = self._clock.now()
        async with self._db.read() as tx:
            found = await works.due(tx, self._target, now=now)
            news = await works.progressed(tx, self._target) if with_news else []
        found += [(work_id, agent) for work_id, agent, put_at in news if self._is_news(agent, put_at, now)]
        for work_id, agent in found[: max(MOST - len(self._under_way), 0)]:
            part_of = self._parts.get(agent)
            if part_of is not None and (claim := await self._claims.take(work_id)):
                self._begin(part_of.caring.care(claim))
