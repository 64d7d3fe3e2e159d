"""The line with an agent, as a simulation that can die anywhere: every commit, publish, settling, and call of AWS and of the remote.

The agent, its store, the worker and the coordinator are real; AWS is the emulator's model without HTTP, the remote is an object
that knows a repeated call by its key.
"""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from bridge.agents.codepipeline import CodepipelineAgentSettings
from bridge.agents.codepipeline.agent import CodepipelineAgents
from bridge.agents.codepipeline.desk import Desk
from bridge.agents.codepipeline.finishing import WorkingCodepipeline
from bridge.agents.codepipeline.job import Job
from bridge.agents.codepipeline.starting import Started, Starter
from bridge.consumers.codepipeline import CodepipelineSettings
from bridge.consumers.codepipeline.places import Answer
from bridge.coordinator.registry import Registered, Registry, Target, Terms
from bridge.coordinator.store.tables import works
from bridge.coordinator.store.works import Work, _work
from bridge.core.event import Outcome
from bridge.core.signing import CallbackKeys
from bridge.core.topology import REPORTS, RESOLUTIONS
from bridge.core.wait import State
from bridge.testing.codepipeline import CodepipelineEmulator, PipelineExecution
from bridge.testing.codepipeline.errors import ServiceError
from bridge.testing.codepipeline.state import Caller
from tests.support.fakes import FakeHttp
from tests.support.line import Died, Line

ACCOUNT = "111122223333"
CALLER = Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/bridge")
SETTINGS = CodepipelineAgentSettings.model_validate(
    {
        "kind": "codepipeline",
        "target": "t",
        "action_type": {"category": "Test", "owner": "Custom", "provider": "LoadTest"},
        "start": {"url": "https://remote.example.com/jobs"},
        "timeout": "2h",
    }
)
TARGET = CodepipelineSettings.model_validate({"consumer": "codepipeline", "region": "eu-west-1"})


class Runs:
    """The remote: what was started, by key, and for which wait it was asked each time."""

    def __init__(self, line: "AgentLine", *, is_quick: bool) -> None:
        self._line = line
        self._is_quick = is_quick
        self.asked: list[tuple[str, str]] = []
        self.started: dict[str, str] = {}
        self.called_back: set[str] = set()

    async def start(self, work: Work, job: Job, made: Registered, _inputs: Sequence[Mapping[str, str]]) -> Started:
        key = job.context["action_execution_id"]
        self._line.crashes.place()
        self.asked.append((key, made.wait.id))
        self.started.setdefault(key, made.wait.id)
        if self._is_quick:
            self.call_back()
        self._line.crashes.place()
        assert work.id
        return Started(f"run-of-{key}")

    def call_back(self) -> None:
        """Send the webhook of every run, twice, and once only."""
        for wait in set(self.started.values()) - self.called_back:
            self.called_back.add(wait)
            self._line.post(self._line.callback(wait, Outcome.SUCCEEDED), copies=2)

    async def close(self) -> None: ...


class SteppedAgents(CodepipelineAgents):
    """Begins nothing by itself: what it would begin is awaited by the simulation."""

    begun: list[Awaitable[None]]

    def _begin(self, care: Awaitable[None]) -> None:
        self.begun.append(care)


class AgentLine(Line):
    """One target with one agent. A death takes agent and worker of its process along; the next one begins with nothing."""

    def __init__(self, url: str, *, is_quick: bool, **knobs: Any) -> None:
        super().__init__(url)
        self.aws = CodepipelineEmulator(clock=self.clock.now, action_types=["Test/Custom/LoadTest/1"], seed=1, **knobs)
        self.runs = Runs(self, is_quick=is_quick)
        self.queues.is_connected = True  # type: ignore[attr-defined] # what the desk asks a broker
        self._restart()

    def begin(self) -> PipelineExecution:
        return self.aws.start_execution("demo", action_type="Test/Custom/LoadTest/1")

    def _restart(self) -> None:
        """Make the process's own parts anew."""
        db, ledger, outbox = self._parts(0)
        consumer = WorkingCodepipeline(TARGET, FakeHttp(), clock=self.clock)
        consumer._ask = self._answered  # type: ignore[method-assign] # without HTTP
        registry = Registry(
            db,
            ledger,
            outbox,
            targets={"t": Target("t", WorkingCodepipeline, TARGET)},
            sources={},
            wholes={},
            keys=CallbackKeys([b"k" * 32]),
            seal=None,
            clock=self.clock,
            terms=Terms("https://bridge.example.com", timedelta(days=7), timedelta(days=1)),
        )
        desk = Desk(db, registry, outbox, cast("Any", self.queues), clock=self.clock)
        self.agents = SteppedAgents(
            "t", {"a": SETTINGS}, consumer=consumer, db=db, desk=desk, clock=self.clock, client_token=_no_token
        )
        self.agents.begun = []
        self.agents._parts["a"].caring._starter = cast("Starter", self.runs)
        self._consumer = cast("Any", consumer)

    async def _answered(self, operation: str, members: Mapping[str, Any], *, is_put: bool) -> Answer:
        self.crashes.place()
        try:
            body = self.aws._wire._operations.run(operation, CALLER, dict(members))
        except ServiceError as error:
            return Answer(error.code, {})
        if is_put:
            self.crashes.place()
        return Answer("", body or {})

    # --- what the processes do ------------------------------------------------------------------------------------

    async def poll(self) -> None:
        part = self.agents._parts["a"]
        await self._lived(part.poller.poll(part.caring))

    async def look_after(self) -> None:
        await self._lived(self.agents._look(with_news=True))

    async def _lived(self, step: Awaitable[None]) -> None:
        """Make one step and all that it begins; a death ends the process."""
        try:
            await step
            while self.agents.begun:
                await self.agents.begun.pop(0)
        except Died:
            for left in self.agents.begun:
                cast("Any", left).close()
            self._restart()

    async def resolve(self) -> None:
        """Let everything that is in the queues now be worked on once."""
        await self.consume_events(2)
        for _ in range(len(self.queues.held[RESOLUTIONS])):
            await self.work()
        if self.queues.held[REPORTS]:
            await self.consume_reports(2)

    async def come_to_rest(self) -> None:
        """No death any more: leases end, jobs come again, the webhook is sent at last."""
        self.crashes.after(None)
        for seconds in (6, 61, 61, 6, 61, 6, 61, 6, 31, 6):
            self.clock.turn(timedelta(seconds=seconds))
            await self.look_after()
            await self.poll()
            await self.poll()
            self.runs.call_back()
            await self.tick()
            await self.resolve()
            await self.resolve()
            if await self._is_at_rest():
                return

    async def _is_at_rest(self) -> bool:
        found = (await self.read_waits()).values()
        return any(wait.state is State.RESOLVED for wait in found) and not any(self.queues.held.values())

    async def read_works(self) -> list[Work]:
        async with self._databases[0].read() as tx:
            found = await tx.execute(works.select())
            return [_work(row) for row in found.mappings()]


async def _no_token(_client_id: str) -> str | None:
    return None
