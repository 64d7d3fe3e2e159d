"""The judge of the demo: a promise is kept by one right effect, and by nothing else."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bridge.demo.promises import Promise, faults
from bridge.demo.show import Row, exit_code
from bridge.testing.emulator import Effect

PROMISE = Promise(
    pipeline="Jenkins job/app/1",
    result="proceeded",
    wait="w1",
    outcome="succeeded",
    subjects=frozenset({"job/app/1/input/Go"}),
    kind="input.proceeded",
    detail={"values": {"RESULTS": "3 passed"}},
    end="SUCCESS",
    ended=lambda: "SUCCESS",
)
RESOLVED = {"state": "resolved", "outcome": "succeeded"}


def effect(kind: str = "input.proceeded", subject: str = "job/app/1/input/Go", value: str = "3 passed") -> Effect:
    return Effect(
        at=datetime.now(UTC), kind=kind, subject=subject, detail={"user": "bridge", "values": {"RESULTS": value}}
    )


def test_one_right_effect_keeps_the_promise() -> None:
    """What else happened at the platform, and to other pipelines, is nobody's business."""
    others = [effect("input.reached"), effect(subject="job/app/2/input/Go"), effect("build.finished", "job/app/1")]
    assert faults(PROMISE, [*others, effect()], RESOLVED) == []


@pytest.mark.parametrize(
    ("effects", "fault"),
    [
        ([], "resumed 0 times; expected once"),
        ([effect(), effect()], "resumed 2 times; expected once"),
        ([effect(), effect("input.aborted")], "resumed 2 times; expected once"),
        ([effect("input.aborted")], "input.aborted; expected input.proceeded"),
        (
            [effect(value="0 passed")],
            "values is {'RESULTS': '0 passed'}; expected {'RESULTS': '3 passed'}",
        ),
    ],
)
def test_wrong_effects_break_it(effects: list[Effect], fault: str) -> None:
    """None, two, the other answer, another value: each is told."""
    assert faults(PROMISE, effects, RESOLVED) == [fault]


@pytest.mark.parametrize(
    "wait",
    [
        {"state": "resolving", "outcome": "succeeded"},
        {"state": "undeliverable", "outcome": "succeeded"},
        {"state": "resolved", "outcome": "failed"},
        {},
    ],
)
def test_wait_must_be_resolved_with_the_outcome(wait: dict[str, Any]) -> None:
    """The API has to agree with the platform."""
    [fault] = faults(PROMISE, [effect()], wait)
    assert fault.endswith("expected resolved, succeeded")


def test_pipeline_must_end_as_promised() -> None:
    """An answered input in a build that fails is no resumed pipeline."""
    promise = replace(PROMISE, ended=lambda: "FAILURE")
    assert faults(promise, [effect()], RESOLVED) == ["the pipeline ended FAILURE; expected SUCCESS"]


def test_only_good_rows_are_a_success() -> None:
    """One problem, or no pipeline at all, is 1."""
    good, bad = Row("a", "proceeded"), Row("b", "proceeded", "resumed 2 times; expected once")
    assert exit_code([good, good]) == 0
    assert exit_code([good, bad]) == 1
    assert exit_code([]) == 1
