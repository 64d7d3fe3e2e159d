"""The promise, exhaustively: one story, and a death at every single place of it, and at some of the pairs of places."""

from datetime import timedelta
from itertools import combinations
from pathlib import Path

import pytest

from bridge.core.event import Outcome
from bridge.core.topology import RESOLUTIONS
from bridge.core.wait import State
from tests.integration.test_line_stateful import EXAMPLES, check
from tests.support.line import Line, Place, Simulated, Telling

KEYS = {"sha": "a" * 40}


async def tell(line: Line, *, repeats: bool, early: bool) -> None:
    """An early event or a callback, a registration, and everything that follows, twice over so that what came back goes on."""
    place = Place(name="place", repeats=repeats)
    line.platform.reach(place.name)
    if early:
        line.post(line.hook(KEYS, Outcome.FAILED, "a"))
        await line.consume_events(1)
    await line.register(place, KEYS)
    if not early:
        line.post(line.callback(next(iter(line.registered)), Outcome.FAILED), copies=2)
    for _ in range(3):
        line.clock.turn(timedelta(seconds=6))  # long enough for a resend to meet the copies that are on their way
        await line.tick()
        await line.consume_events(2)
        for _ in range(len(line.queues.held[RESOLUTIONS])):
            await line.work()
        await line.consume_reports(2)


async def places_of(url: str, kind: type[Simulated], *, repeats: bool, early: bool) -> int:
    line = Line(url, kind=kind)
    await line.migrate()
    await tell(line, repeats=repeats, early=early)
    await line.close()
    return line.crashes.passed


@pytest.mark.parametrize("early", [False, True], ids=["callback", "early event"])
@pytest.mark.parametrize(
    ("kind", "repeats"),
    [(Simulated, False), (Simulated, True), (Telling, False)],
    ids=["ambiguous", "repeats", "telling"],
)
async def test_no_death_anywhere_resumes_twice_or_forgets(
    tmp_path: Path, kind: type[Simulated], *, repeats: bool, early: bool
) -> None:
    """Whatever place the process dies at, and whatever second place, one answer reaches the pipeline.

    Of the stories beside the first every third place is played, unless BRIDGE_TEST_EXAMPLES is set.
    """
    template = tmp_path / "template.db"
    places = await places_of(f"sqlite:///{template}", kind, repeats=repeats, early=early)
    assert places > 10
    blank = tmp_path / "blank.db"
    line = Line(f"sqlite:///{blank}")
    await line.migrate()
    await line.close()
    is_whole = EXAMPLES or (kind is Simulated and not repeats and not early)
    plans: list[tuple[int, ...]] = [(one,) for one in range(places) if is_whole or one % 3 == early + repeats]
    plans += [pair for pair in combinations(range(places), 2) if is_whole and sum(pair) % 61 == 0]
    for number, plan in enumerate(plans):
        path = tmp_path / f"{number}.db"
        path.write_bytes(blank.read_bytes())
        line = Line(f"sqlite:///{path}", kind=kind)
        line.crashes.plan(plan)
        await tell(line, repeats=repeats, early=early)
        await line.settle_down()
        found = await line.read_waits()
        check(line, found)
        if len(found) == 1 and not repeats:
            (wait,) = found.values()
            assert wait.state is State.RESOLVED, plan
            assert wait.outcome is Outcome.FAILED, plan
        await line.close()
