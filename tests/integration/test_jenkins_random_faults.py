"""Many inputs, one worker, and whatever goes wrong at whatever moment: every input gets its one answer."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from bridge.core.event import EventData, Outcome
from bridge.core.resolution import Progressed
from bridge.testing.emulator import FaultKind
from bridge.testing.jenkins import Build, Catch, Input, Loop, Parallel, Parameter, Sleep
from tests.support.fakes import eventually
from tests.support.jenkins_stage import Stage, stage

BUILDS = 20
FAULTS = 40
SECRETS: dict[str, dict[str, Any]] = {"token": {}, "password": {"token": None, "password": "jenkins-password"}}

KINDS: list[dict[str, Any]] = [
    {"kind": FaultKind.RESET_BEFORE},
    {"kind": FaultKind.RESET_AFTER},
    {"kind": FaultKind.STATUS, "status": 502},
    {"kind": FaultKind.STATUS, "status": 503},
    {"kind": FaultKind.STATUS, "status": 429, "headers": {"Retry-After": "0"}},
    {"kind": FaultKind.STATUS, "status": 302, "headers": {"Location": "https://sso.example/"}},
    {"kind": FaultKind.STATUS_AFTER, "status": 502},
    {"kind": FaultKind.STATUS_AFTER, "status": 504},
    {"kind": FaultKind.STATUS_AFTER, "status": 200, "body": "<html>"},
    {"kind": FaultKind.SLOW, "delay_s": 1.3},
    {"kind": FaultKind.SLOW_BEFORE, "delay_s": 0.3},
    {"kind": FaultKind.SLOW_BEFORE, "delay_s": 1.3},
    {"kind": FaultKind.HTML, "status": 200},
]
NOTES = (Parameter(name="SHA"), Parameter(name="PAYLOAD", type="text"))
SHAPES: list[list[Any]] = [
    [Input(id="Go")],
    [Input(id="Go", after_s=0.2, parameters=NOTES), Sleep(seconds=0.1)],
    [Parallel(branches=((Input(id="Go"),), (Input(id="Other"),)))],
    [Catch(body=(Input(id="Go", parameters=NOTES),)), Input(id="Other")],
    [Loop(times=5, body=(Input(id="Go"),))],
]


@dataclass
class Wait:
    """One build and the wait for its input; of a loop it says `repeats`, as its marked copy does."""

    name: str
    build: Build
    repeats: bool

    def is_over(self, one: Stage) -> bool:
        """Say whether the coordinator has what it needs: an answer, or a doubt about a send that it was told of before.

        Of two copies at once the slower may find the build over, or not know of a send; the other one's report counts then.
        """
        told = [(report.result, report.ending) for report in one.rig.reports if report.wait == self.name]
        sending = (Progressed.ATTEMPT, "")
        since = told if self.repeats else told[told.index(sending) :] if sending in told else []
        return any(result in (Progressed.RESOLVED, Progressed.DOUBTFUL) for result, _ in since)

    def answers(self, one: Stage) -> int:
        """Return how many answers its input has that were not lost in a crash."""
        counted = Counter(
            effect.kind for effect in one.jenkins.effects if effect.subject == f"{self.build.path}/input/Go"
        )
        return counted["input.proceeded"] + counted["input.aborted"] - counted["input.lost"]


def begin(dice: random.Random, one: Stage, number: int) -> Wait:
    shape = dice.choice(SHAPES)
    build = one.jenkins.start_build("job/app", inputs=shape)
    return Wait(f"w{number}", build, repeats=isinstance(shape[0], Loop))


async def decide(dice: random.Random, one: Stage, wait: Wait) -> None:
    """Send the outcome at a moment of chance, and sometimes once more, as a coordinator that heard nothing does."""
    outcome = dice.choice((Outcome.SUCCEEDED, Outcome.FAILED, Outcome.TIMED_OUT))
    for is_resent in dice.choice(((False,), (False,), (False, True))):
        await asyncio.sleep(dice.uniform(0, 0.5))  # chance: nothing is waited for
        sent = {"is_cleared": wait.repeats, "is_resent": is_resent}
        said = EventData(body={"SHA": "abc"})
        await one.send(wait.build, outcome, wait=wait.name, data=said, sent=sent, repeats=wait.repeats)


async def trouble(dice: random.Random, one: Stage) -> None:
    """Let faults wait for the requests, and Jenkins lose answers and restart in between."""
    for _ in range(FAULTS):
        method = dice.choice(("GET", "POST", "POST"))
        one.jenkins.fault(**dice.choice(KINDS), skip=dice.randrange(6), method=method, path="/job/|/crumb")
    # Only one: two in a row to the same form say that its parameters are illegal.
    one.jenkins.fault(FaultKind.STATUS, status=500, skip=dice.randrange(20), method="POST")
    one.jenkins.set_switches({"lose_answers": dice.randrange(4)})
    await asyncio.sleep(dice.uniform(0, 0.7))  # as above
    one.jenkins.restart(requests=dice.randrange(6))


@pytest.mark.parametrize("secret", list(SECRETS))
@pytest.mark.parametrize("seed", range(4))
async def test_jenkins_case_03_no_input_is_answered_twice_or_forgotten(seed: int, secret: str) -> None:
    """Twenty runs with faults at random moments: each input has one answer; one that repeats has at most one."""
    dice = random.Random(f"{seed} {secret}")  # noqa: S311 - chance, not secrecy
    async with stage(settings={"timeout": 1, **SECRETS[secret]}) as one:
        waits = [begin(dice, one, number) for number in range(BUILDS)]
        await asyncio.gather(trouble(dice, one), *(decide(dice, one, wait) for wait in waits))
        await eventually(lambda: all(wait.is_over(one) for wait in waits), within_s=60)
        counted = {wait.name: wait.answers(one) for wait in waits}
    assert {name for name, count in counted.items() if count > 1} == set()
    assert {wait.name for wait in waits if not wait.repeats and not counted[wait.name]} == set()
