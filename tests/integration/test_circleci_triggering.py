"""CircleCI contract cases 38 and 29: pipelines are started once, and a whole one is read, over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.consumers.circleci import Circleci
from bridge.consumers.circleci.pipelines import outcome_of
from bridge.consumers.circleci.reading import Reader
from bridge.consumers.circleci.triggering import Start, Started
from bridge.core.consumer import UtcClock
from bridge.core.event import Outcome
from bridge.core.outcome import CredentialRefused, Refused
from bridge.outbound import close_target, open_target
from bridge.testing.circleci import BOT, HUMAN, TOKEN, CircleciEmulator
from bridge.testing.circleci.model import Pipeline
from bridge.testing.emulator import FaultKind
from tests.support.circleci_starting import LOOK_EVERY, Starter

WORKFLOWS: list[dict[str, Any]] = [{"name": "build", "jobs": ["test"]}]
DEFINITION = "5034460f-c7c4-4c43-9457-de07e2029e7b"
PROJECT = "gh/acme/b"


@dataclass
class Platform:
    """An emulated CircleCI with one project, and what asks it."""

    circleci: CircleciEmulator
    consumer: Circleci
    starter: Starter

    async def start(self, *, known: set[str] | None = None, **more: Any) -> Any:
        return await self.starter.start(Start.model_validate({"project": PROJECT, **more}), known=known or set())

    def starts(self) -> int:
        return len([entry for entry in self.circleci.log if entry.method == "POST"])

    def pipelines(self) -> list[Pipeline]:
        return list(self.circleci.world.pipelines.values())

    async def read(self, pipeline: Pipeline, *, after_s: float = 60) -> Outcome | None:
        """Return what is said of *pipeline* that long after now."""
        reader = Reader(self.consumer.http, self.consumer.health)
        state, workflows = (await reader.pipeline(pipeline.id)).state, await reader.workflows(pipeline.id)
        return outcome_of(state, workflows, datetime.now(UTC) + timedelta(seconds=after_s))


@asynccontextmanager
async def platform(**knobs: Any) -> AsyncIterator[Platform]:
    circleci = CircleciEmulator(**knobs)
    circleci.add_project(PROJECT, workflows=WORKFLOWS, parameters={"level": "string"})
    async with circleci.serve() as url:
        settings = Circleci.settings_type.model_validate(
            {"consumer": "circleci", "base_url": url, "token": TOKEN, "timeout": 1}
        )
        consumer = open_target("b", settings, clock=UtcClock())
        assert isinstance(consumer, Circleci)
        try:
            tick = partial(circleci.turn_clock, LOOK_EVERY.total_seconds())
            yield Platform(circleci, consumer, Starter(consumer.raw_http, login=BOT, tick=tick))
        finally:
            await close_target(consumer)


@pytest.mark.parametrize("definition", [{}, {"definition_id": DEFINITION}], ids=["pipeline", "pipeline/run"])
async def test_circleci_case_38_a_pipeline_is_started(definition: dict[str, Any]) -> None:
    """One call, by either of the two endpoints, with its branch and parameters."""
    async with platform() as one:
        started = await one.start(branch="next", parameters={"level": "x" * 512}, **definition)
        (pipeline,) = one.pipelines()
        assert started == Started(pipeline.id, 1)
        assert (pipeline.branch, pipeline.parameters) == ("next", {"level": "x" * 512})
        assert len(one.circleci.log) == 1


@pytest.mark.parametrize("definition", [{}, {"definition_id": DEFINITION}], ids=["pipeline", "pipeline/run"])
@pytest.mark.parametrize(
    ("fault", "is_made"),
    [
        ({"kind": FaultKind.RESET_AFTER}, True),
        ({"kind": FaultKind.STATUS_AFTER, "status": 502}, True),
        ({"kind": FaultKind.SLOW, "delay_s": 1.5}, True),
        ({"kind": FaultKind.HTML, "status": 200}, False),
        ({"kind": FaultKind.RESET_BEFORE}, False),
        ({"kind": FaultKind.STATUS, "status": 503}, False),
    ],
    ids=["reset after", "502 after", "time-out", "login page", "reset before", "503"],
)
async def test_circleci_case_38_a_lost_start_is_not_made_twice(
    fault: dict[str, Any], definition: dict[str, Any], *, is_made: bool
) -> None:
    """It is looked for among the project's pipelines; only what certainly was not made is sent again."""
    async with platform(page_size_pipelines=1) as one:
        one.circleci.start_pipeline(PROJECT, WORKFLOWS, by=HUMAN, trigger_type="api")
        one.circleci.start_pipeline(PROJECT, WORKFLOWS, by=BOT, trigger_type="webhook")
        other = one.circleci.start_pipeline(PROJECT, WORKFLOWS, by=BOT, trigger_type="api")
        one.circleci.fault(**fault, method="POST")
        started = await one.start(known={other.id}, **definition)
        assert started == Started(one.pipelines()[-1].id, 4)
        assert len(one.pipelines()) == 4
        assert one.starts() == (1 if is_made else 2)


async def test_circleci_case_38_a_list_that_lags_is_looked_at_again() -> None:
    """The lost start is listed only later: until then nothing is sent again."""
    async with platform(read_lag_s=15) as one:
        one.circleci.fault(FaultKind.RESET_AFTER, method="POST")
        started = await one.start()
        assert started == Started(one.pipelines()[0].id, 1)
        assert (one.starts(), len(one.circleci.log)) == (1, 4)


async def test_circleci_case_38_two_that_may_be_ours_are_nobodys_to_tell() -> None:
    """Another one of our user was started at the same moment: neither is taken, and none is started again."""
    async with platform() as one:
        one.circleci.start_pipeline(PROJECT, WORKFLOWS, by=BOT, trigger_type="api")
        one.circleci.fault(FaultKind.RESET_AFTER, method="POST")
        assert await one.start() == Refused("2 pipelines may be the one whose start was not answered")
        assert one.starts() == 1


async def test_circleci_case_38_what_is_not_triggered_is_told() -> None:
    """`pipeline/run` says 200 and a message where the commit skips CI."""
    async with platform(on_run="200_not_triggered") as one:
        said = await one.start(definition_id=DEFINITION)
        assert said == Refused("CircleCI took the call and triggered no pipeline")
        assert one.pipelines() == []


async def test_circleci_case_38_513_characters_are_refused_before_they_are_sent() -> None:
    """Nothing goes to CircleCI."""
    async with platform() as one:
        with pytest.raises(ValidationError, match="at most 512 characters"):
            await one.start(parameters={"level": "x" * 513})
        assert one.circleci.log == []


@pytest.mark.parametrize("status", ["errored", 400, 404])
async def test_circleci_case_38_an_undeclared_parameter(status: str | int) -> None:
    """It may look like an absent project, or make a pipeline that is errored, which then is a failure without a webhook."""
    async with platform(on_undeclared_parameter=status) as one:
        if status == 404:
            with pytest.raises(CredentialRefused):  # the worker asks whether the token is good
                await one.start(parameters={"colour": "red"})
            return
        said = await one.start(parameters={"colour": "red"})
        if status == 400:
            assert isinstance(said, Refused)
            return
        assert isinstance(said, Started)
        assert await one.read(one.pipelines()[0]) is Outcome.FAILED


# --- 29: a pipeline as a whole


TWO: list[dict[str, Any]] = [
    {"name": "build", "jobs": ["test"]},
    {"name": "lint", "jobs": [{"name": "style", "duration_s": None}]},
]


async def test_circleci_case_29_all_workflows_count() -> None:
    """Two workflows, on two pages, one failed: nothing is said before both are over, and then it failed."""
    async with platform(page_size_workflows=1) as one:
        pipeline = one.circleci.start_pipeline(PROJECT, TWO)
        assert await one.read(pipeline) is None
        one.circleci.finish(pipeline.workflow("lint").job("style"), "failed")
        assert await one.read(pipeline, after_s=1) is None
        assert await one.read(pipeline) is Outcome.FAILED


async def test_circleci_case_29_a_rerun_takes_the_place_of_its_run() -> None:
    """The newest run of a workflow counts: running, then green."""
    async with platform() as one:
        pipeline = one.circleci.start_pipeline(PROJECT, TWO)
        one.circleci.finish(pipeline.workflow("lint").job("style"), "failed")
        one.circleci.turn_clock(1)
        again = one.circleci.rerun(pipeline.workflow("lint"))
        assert await one.read(pipeline) is None
        one.circleci.finish(again.job("style"))
        assert await one.read(pipeline) is Outcome.SUCCEEDED


@pytest.mark.parametrize("appears_s", [0, 20])
async def test_circleci_case_29_a_continued_workflow_is_awaited(appears_s: float) -> None:
    """The setup workflow is over, which is a false end: what it continues with counts, also when that appears later."""
    async with platform() as one:
        setup = [{"name": "setup", "tag": "setup", "jobs": ["generate"]}]
        pipeline = one.circleci.start_pipeline(PROJECT, setup, continuation=TWO)
        assert pipeline.workflow("setup").status == "success"
        assert await one.read(pipeline) is None
        one.circleci.knobs.pipeline_appear_delay_s = appears_s
        one.circleci.world.continue_pipeline(pipeline.continuation_key, None, {})
        if appears_s:
            assert await one.read(pipeline) is None
            one.circleci.turn_clock(appears_s)
        assert await one.read(pipeline, after_s=60) is None
        one.circleci.finish(pipeline.workflow("lint").job("style"))
        assert await one.read(pipeline, after_s=60) is Outcome.SUCCEEDED
