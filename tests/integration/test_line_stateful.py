"""The promise as a stateful test: no order of events, duplicates, redeliveries and deaths resumes a wait twice or forgets one."""

import asyncio
import os
from collections.abc import Coroutine, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.tables import metadata
from bridge.core.event import Outcome
from bridge.core.topology import RESOLUTIONS
from bridge.core.wait import Reason, State, Wait
from tests.support.line import Line, Place, Simulated, Telling

EXAMPLES = os.environ.get("BRIDGE_TEST_EXAMPLES")
"""Set to a number for a longer, random search."""

OUTCOMES = st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.PROGRESS, Outcome.NONE])
DEATH = st.none() | st.integers(min_value=0, max_value=6)
MOST_WAITS = 3
"""Few waits, so that the steps of a run meet."""
WHICH = st.sampled_from([0, 1])
KEYS = st.sampled_from([{"sha": "a" * 40}, {"sha": "b" * 40}, {"sha": "a" * 40, "check": "build"}])


class LineMachine(RuleBasedStateMachine):
    """Two coordinators, one worker, any number of deaths."""

    new_url: ClassVar[Any]
    kind: ClassVar[type[Simulated]]
    waits = Bundle("waits")
    posted = Bundle("posted")

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.line = Line(type(self).new_url(), kind=type(self).kind)
        self.run(self.line.migrate())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @precondition(lambda self: len(self.line.registered) < MOST_WAITS)
    @rule(target=waits, repeats=st.booleans(), keys=KEYS, is_reached=st.booleans(), death=DEATH, which=WHICH)
    def register(self, repeats: bool, keys: dict[str, str], is_reached: bool, death: int | None, which: int) -> str:  # noqa: FBT001 - hypothesis passes by name
        place = Place(name=f"place-{len(self.line.registered)}", repeats=repeats)
        if is_reached:
            self.line.platform.reach(place.name)
        self.line.crashes.after(death)
        self.run(self.line.register(place, keys, which=which))
        return list(self.line.registered)[-1]

    @rule(target=posted, wait=waits, outcome=OUTCOMES, copies=st.integers(1, 2))
    def call_back(self, wait: str, outcome: Outcome, copies: int) -> Any:
        event = self.line.callback(wait, outcome)
        self.line.post(event, copies=copies)
        return event

    @rule(target=posted, keys=KEYS, outcome=OUTCOMES, dedupe=st.sampled_from("abc"))
    def hook(self, keys: dict[str, str], outcome: Outcome, dedupe: str) -> Any:
        event = self.line.hook(keys, outcome, dedupe)
        self.line.post(event)
        return event

    @rule(event=posted)
    def redeliver(self, event: Any) -> None:
        self.line.post(event)

    @rule(wait=waits)
    def reach(self, wait: str) -> None:
        self.line.platform.reach(self.line.registered[wait].name)

    @rule(count=st.integers(1, 4), death=DEATH, which=WHICH)
    def consume_events(self, count: int, death: int | None, which: int) -> None:
        self.line.crashes.after(death)
        self.run(self.line.consume_events(count, which=which))

    @rule(count=st.integers(1, 4), death=DEATH, which=WHICH)
    def consume_reports(self, count: int, death: int | None, which: int) -> None:
        self.line.crashes.after(death)
        self.run(self.line.consume_reports(count, which=which))

    @rule(counts=st.tuples(st.integers(1, 3), st.integers(1, 3)))
    def consume_at_once(self, counts: tuple[int, int]) -> None:
        async def both() -> None:
            await asyncio.gather(
                self.line.consume_events(counts[0], which=0),
                self.line.consume_events(counts[1], which=1),
                self.line.consume_reports(counts[0], which=1),
            )

        self.run(both())

    @rule(death=DEATH, loses_answer=st.booleans())
    def work(self, death: int | None, loses_answer: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        self.line.platform.loses_answers = int(loses_answer)
        self.line.crashes.after(death)
        self.run(self.line.work())

    @rule()
    def flow(self) -> None:
        """Let all that is queued pass, as it does most of the time."""
        self.run(self.line.consume_events(50))
        for _ in range(len(self.line.queues.held[RESOLUTIONS])):
            self.run(self.line.work())
        self.run(self.line.consume_reports(50))

    @rule(death=DEATH, which=WHICH, seconds=st.sampled_from([1, 6, 6, 60, 400]))
    def time_passes(self, death: int | None, which: int, seconds: int) -> None:
        self.line.clock.turn(timedelta(seconds=seconds))
        self.line.crashes.after(death)
        self.run(self.line.tick(which=which))

    def teardown(self) -> None:
        if not hasattr(self, "line"):
            return
        try:
            self.run(self.line.settle_down())
            check(self.line, self.run(self.line.read_waits()))
        finally:
            self.run(self.line.close())
            self.runner.close()


def check(line: Line, found: Mapping[str, Wait]) -> None:
    """Each wait that is stored was answered once, with what it decided; a repeated one at most once, and then it says so."""
    for wait_id, wait in found.items():
        place = line.registered[wait_id]
        effects = line.platform.spots[place.name].effects
        told = f"{wait_id} {place} {wait.state} {wait.reason} {effects}"
        if wait.state is State.UNDELIVERABLE and place.repeats:
            assert wait.reason is Reason.DOUBTFUL, told
            assert len(effects) <= 1, told
            continue
        assert wait.state is State.RESOLVED, told
        assert effects == [(wait_id, wait.outcome)], told


@pytest.fixture
def run_machine() -> Any:
    def run(new_url: Any, kind: type[Simulated], examples: int) -> None:
        machine = type("Machine", (LineMachine,), {"new_url": staticmethod(new_url), "kind": kind})
        chosen = settings(
            max_examples=int(EXAMPLES or examples),
            stateful_step_count=40,
            deadline=None,
            derandomize=EXAMPLES is None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate] if EXAMPLES is None else list(Phase),
            print_blob=True,
        )
        run_state_machine_as_test(machine, settings=chosen)

    return run


@pytest.mark.parametrize("kind", [Simulated, Telling])
def test_no_order_resumes_twice_or_forgets_on_sqlite(run_machine: Any, tmp_path: Path, kind: type[Simulated]) -> None:
    """Two coordinators on one SQLite file, with a platform that tells and one that does not."""
    numbers: Iterator[int] = iter(range(1_000_000))
    run_machine(lambda: f"sqlite:///{tmp_path}/{next(numbers)}.db", kind, 25)


def test_no_order_resumes_twice_or_forgets_on_postgresql(run_machine: Any, database_url: str) -> None:
    """Two coordinators whose transactions really overlap."""

    def emptied() -> str:
        asyncio.run(_empty(database_url))
        return database_url

    run_machine(emptied, Simulated, 30)


async def _empty(url: str) -> None:
    database = Database(url)
    await database.migrate()
    async with database.write() as tx:
        for table in metadata.tables.values():
            await tx.execute(table.delete())
    await database.close()
