"""How each pipeline must have been resumed, and the one judge of it: once, with the right result, and what followed from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.testing.emulator import Effect

RESUMES = frozenset(
    {
        "input.proceeded",
        "input.aborted",
        "approval.approved",
        "approval.canceled",
        "workflow.canceled",
        "job.succeeded",
        "job.continued",
        "job.failed",
    }
)
"""The effects at the emulators that move a pipeline which waits."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What one pipeline is owed.

    pipeline, result: for people. wait: its id. subjects: where an effect may resume it: an input, an approval or its
    workflow, a job. kind, detail: the one effect, and what it must say at least. end: how the pipeline ends then;
    ended: asks the platform.
    """

    pipeline: str
    result: str
    wait: str
    outcome: str
    subjects: frozenset[str]
    kind: str
    end: str
    ended: Callable[[], str]
    detail: Mapping[str, Any] = field(default_factory=dict)


def resumes(effects: Sequence[Effect], promise: Promise) -> list[Effect]:
    """Return the effects that resumed the promise's pipeline."""
    return [effect for effect in effects if effect.kind in RESUMES and effect.subject in promise.subjects]


def faults(promise: Promise, effects: Sequence[Effect], wait: Mapping[str, Any]) -> list[str]:
    """Say what is wrong; nothing: the promise is kept.

    effects: of all platforms. wait: as `GET /v1/waits/{id}` shows it.
    """
    return [*_wait_faults(promise, wait), *_effect_faults(promise, resumes(effects, promise)), *_end_faults(promise)]


def _wait_faults(promise: Promise, wait: Mapping[str, Any]) -> list[str]:
    shown = (wait.get("state"), wait.get("outcome"))
    wanted = ("resolved", promise.outcome)
    return [] if shown == wanted else [f"the wait is {shown[0]}, {shown[1]}; expected {wanted[0]}, {wanted[1]}"]


def _effect_faults(promise: Promise, found: Sequence[Effect]) -> list[str]:
    if len(found) != 1:
        return [f"resumed {len(found)} times; expected once"]
    effect = found[0]
    if effect.kind != promise.kind:
        return [f"{effect.kind}; expected {promise.kind}"]
    differing = [name for name, value in promise.detail.items() if effect.detail.get(name) != value]
    return [f"{name} is {effect.detail.get(name)!r}; expected {promise.detail[name]!r}" for name in differing]


def _end_faults(promise: Promise) -> list[str]:
    end = promise.ended()
    return [] if end == promise.end else [f"the pipeline ended {end}; expected {promise.end}"]
