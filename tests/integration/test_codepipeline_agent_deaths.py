"""The agent's promise, exhaustively: one job from its poll to its end, and a death at every place of it, and at pairs of places."""

import os
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from bridge.agents.codepipeline import taking
from bridge.core.event import Outcome
from bridge.core.wait import State
from tests.support.codepipeline_agent_line import AgentLine

EXAMPLES = os.environ.get("BRIDGE_TEST_EXAMPLES")
STORIES: dict[str, dict[str, Any]] = {
    "held": {"is_quick": False},
    "quick": {"is_quick": True},
    "slow follow-up": {"is_quick": False, "follow_up_delay_s": 20.0},
    "acknowledge repeats": {"is_quick": False, "repeat_acknowledge": "status", "nonce": "per-job"},
    "handed out again": {"is_quick": True, "redeliver_acknowledged": True, "visibility_s": 5.0},
}


async def tell(line: AgentLine) -> None:
    """A job is taken, its remote calls back, the next job gets the result; twice over, so that what came back goes on."""
    line.begin()
    for _ in range(3):
        await line.poll()
        await line.look_after()
        await line.poll()
        line.runs.call_back()
        await line.resolve()
        line.clock.turn(timedelta(seconds=7))
        await line.tick()
        await line.resolve()


async def check(line: AgentLine, plan: tuple[int, ...]) -> None:
    """One start, one wait, one result that ends the pipeline, and nothing left open."""
    (execution,) = line.aws.executions
    ended = [effect for effect in line.aws.effects if effect.kind != "job.continued"]
    assert execution.status == "Succeeded", plan
    assert [effect.kind for effect in ended] == ["job.succeeded"], plan
    assert len(set(line.runs.asked)) == 1, plan
    (wait,) = (await line.read_waits()).values()
    assert (wait.state, wait.outcome) == (State.RESOLVED, Outcome.SUCCEEDED), plan
    (work,) = await line.read_works()
    assert (work.ending, work.putting) == ("done", None), plan


@pytest.mark.timeout(600)  # some eighty stories on end
@pytest.mark.parametrize("story", STORIES)
async def test_no_death_anywhere_starts_or_ends_twice_or_forgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, story: str
) -> None:
    """Whatever place the process dies at, and some second place: the remote starts once, the pipeline goes on once.

    Of the stories beside the first every fifth place is played, unless BRIDGE_TEST_EXAMPLES is set.
    """
    monkeypatch.setattr(taking, "PATIENCE_S", (0.0,))
    blank = tmp_path / "blank.db"
    line = AgentLine(f"sqlite:///{blank}", **STORIES[story])
    await line.migrate()
    await line.close()
    places = 0
    plans: list[tuple[int, ...]] = [()]
    for number, plan in enumerate(plans):
        path = tmp_path / f"{number}.db"
        path.write_bytes(blank.read_bytes())
        line = AgentLine(f"sqlite:///{path}", **STORIES[story])
        line.crashes.plan(plan)
        await tell(line)
        if not plan:
            places = line.crashes.passed
            is_whole = story == "held" or EXAMPLES
            plans += [(one,) for one in range(places) if is_whole or one % 5 == list(STORIES).index(story)]
            if story == "held":
                plans += [pair for pair in combinations(range(places), 2) if sum(pair) % 197 == 0]
        await line.come_to_rest()
        await check(line, plan)
        await line.close()
        path.unlink()
    assert places > 30
