"""From what happened to what is told: effects at the platforms and the timelines of waits, as lines of the story."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from bridge.testing.emulator import Effect

_SHOWN_CHARS = 60


class Line(NamedTuple):
    """One line of the timeline."""

    at: datetime
    who: str
    text: str


def effect_line(effect: Effect) -> Line | None:
    """Return what people are told of *effect*; None for what is not worth a line."""
    told = _jenkins(effect) or _circleci(effect) or _codepipeline(effect)
    return Line(effect.at, *told) if told else None


def _jenkins(effect: Effect) -> tuple[str, str] | None:
    build, _, input_id = effect.subject.partition("/input/")
    detail = effect.detail
    match effect.kind:
        case "input.reached":
            return "Jenkins", f"{build} waits at input {input_id}, without an agent"
        case "input.proceeded":
            values = ", ".join(f"{name} = {_short(value)}" for name, value in (detail.get("values") or {}).items())
            return "Jenkins", f"{build} goes on: answered by {detail['user']}{f', {values}' if values else ''}"
        case "input.aborted":
            return "Jenkins", f"{build}: input {input_id} aborted by {detail['user']}"
        case "build.finished" | "build.aborted":
            return "Jenkins", f"{build} ends {detail['result']}"
    return None


def _circleci(effect: Effect) -> tuple[str, str] | None:
    detail = effect.detail
    match effect.kind:
        case "approval.approved":
            return "CircleCI", f"{detail['workflow']}: {detail['name']} approved by {detail['by']}"
        case "approval.canceled":
            return "CircleCI", f"{detail['workflow']}: {detail['name']} canceled by {detail['by']}"
        case "workflow.finished":
            return "CircleCI", f"workflow {detail['name']} ends: {detail['status']}"
    return None


def _codepipeline(effect: Effect) -> tuple[str, str] | None:
    detail = effect.detail
    match effect.kind:
        case "job.succeeded":
            variables = ", ".join(f"{name} = {value}" for name, value in detail["outputVariables"].items())
            run = detail["externalExecutionId"]
            return "CodePipeline", f"job ended Succeeded: {detail['summary']}; run {run}; {variables}"
        case "job.failed":
            return "CodePipeline", f"job ended Failed: {detail['failureType']}: {detail['failureMessage']}"
    return None


def entry_line(entry: Mapping[str, Any], target: str) -> Line | None:
    """Return what people are told of an entry of a wait's timeline; None for what is not worth a line."""
    told = _entry(entry, target)
    return Line(datetime.fromisoformat(entry["at"]), "bridge", told) if told else None


def _entry(entry: Mapping[str, Any], target: str) -> str | None:
    note, attempt, ending = entry.get("note"), entry.get("attempt"), entry.get("ending")
    match entry["kind"]:
        case "decided":
            return f"the wait is decided: {note}"
        case "attempt" if ending:
            return f"{target}: attempt {attempt}: {_words(ending)}{f' ({note})' if note else ''}; tries again"
        case "report":
            return f"{target}: attempt {attempt}: {_words(ending)}{f' ({note})' if note and ending != 'done' else ''}"
        case "event" if note in ("duplicate", "late", "ignored"):
            return f"one more event for the wait: {note}"
    return None


def new_lines(effects: Sequence[Effect], entries: Sequence[tuple[Mapping[str, Any], str]]) -> list[Line]:
    """Return the lines of both in the order in which it happened. entries: each with its wait's target."""
    lines = [effect_line(effect) for effect in effects] + [entry_line(entry, target) for entry, target in entries]
    return sorted((line for line in lines if line), key=lambda line: line.at)


def _words(ending: Any) -> str:
    return str(ending).replace("_", " ").replace("-", " ")


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"
