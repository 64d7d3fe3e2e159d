"""`bridge schema`: the JSON Schemas of messages, API bodies and config, and the config's reference page."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.cli.output import fail, say

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PAGE = Path("docs/reference/config.md")


def schema(
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; end with 1 when a file differs.")] = False,
    folder: Annotated[Path, typer.Option("--folder", help="Where schemas/ and docs/ stand.", file_okay=False)] = Path(),
) -> None:
    """Write schemas/*.json and docs/reference/config.md from the models."""
    wanted = files()
    differing = sorted(str(path) for path, text in wanted.items() if _read(folder / path) != text)
    stale = sorted(
        str(path.relative_to(folder))
        for path in folder.glob("schemas/*.json")
        if path.relative_to(folder) not in wanted
    )
    if check and (differing or stale):
        lines = [*(f"{path} differs" for path in differing), *(f"{path} describes nothing" for path in stale)]
        fail(*lines, "run bridge schema")
    if check:
        say(f"{len(wanted)} files are up to date")
        return
    for path in differing:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(wanted[Path(path)], "utf-8")
    for path in stale:
        (folder / path).unlink()
    say(f"{len(differing)} written, {len(stale)} removed, {len(wanted) - len(differing)} as they were")


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except OSError:
        return None


def files() -> dict[Path, str]:
    """Return every generated file, by its path."""
    from bridge.config.reference import reference_page  # noqa: PLC0415 - help and version do not load it
    from bridge.config.schema import config_schema, untitled  # noqa: PLC0415

    documents = {name: untitled(model.model_json_schema()) for name, model in _models().items()}
    documents["config"] = config_schema()
    found = {Path(f"schemas/{name}.json"): _text(name, document) for name, document in documents.items()}
    found[PAGE] = reference_page()
    return found


def _models() -> dict[str, Any]:
    from bridge.core import api  # noqa: PLC0415 - help and version do not load it
    from bridge.core.event import Event  # noqa: PLC0415
    from bridge.core.problem import Problem  # noqa: PLC0415
    from bridge.core.resolution import ReportMessage, ResolutionMessage  # noqa: PLC0415

    return {
        "event": Event,
        "resolution": ResolutionMessage,
        "report": ReportMessage,
        "api-problem": Problem,
        "api-wait-register": api.RegisterRequest,
        "api-wait-created": api.WaitCreated,
        "api-wait": api.WaitView,
        "api-wait-list": api.WaitList,
        "api-result": api.ResultView,
        "api-result-pending": api.ResultPending,
        "api-accepted": api.Accepted,
        "api-event": api.EventView,
        "api-event-list": api.EventList,
        "api-event-send": api.EventSendRequest,
        "api-third-party-client": api.ThirdPartyClientRequest,
        "api-hand-over": api.HandOverRequest,
        "api-work-accepted": api.WorkAccepted,
        "api-target-list": api.TargetList,
        "api-dead-letter": api.DeadLetterView,
        "api-dead-letter-list": api.DeadLetterList,
        "api-queue-list": api.QueueList,
    }


def _text(name: str, document: dict[str, Any]) -> str:
    import json  # noqa: PLC0415

    headed = {"$schema": DIALECT, "title": name, **document}
    return json.dumps(headed, indent=2, ensure_ascii=False, sort_keys=False) + "\n"
