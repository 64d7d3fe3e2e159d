"""What travels and what is written down: recorded messages, the schemas in schemas/, and the models agree."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bridge.cli.schema import PAGE, files
from bridge.core.errors import Undecodable
from bridge.core.event import Event
from bridge.core.resolution import read_report, read_resolution, write_report, write_resolution

ROOT = Path(__file__).parents[2]
MESSAGES = sorted((ROOT / "tests/data/messages").glob("*.json"))
KINDS = ("event", "resolution", "report")
FILES = files()


def kind_of(path: Path) -> str:
    return path.name.partition("-")[0]


def schema_of(name: str) -> dict[str, Any]:
    return json.loads((ROOT / f"schemas/{name}.json").read_text())  # type: ignore[no-any-return] # an object in every file


def rewritten(kind: str, body: bytes, now: Any) -> bytes:
    """Return *body* as today's code reads and writes it."""
    match kind:
        case "event":
            return Event.parse(body).serialise()
        case "resolution":
            return write_resolution(read_resolution(body), now=now)
        case _:
            return write_report(read_report(body))


def includes(newer: Any, older: Any) -> bool:
    """Return True when *newer* says all that *older* says, at the same places."""
    if isinstance(older, dict):
        return isinstance(newer, dict) and all(key in newer and includes(newer[key], older[key]) for key in older)
    if isinstance(older, list):
        return (
            isinstance(newer, list)
            and len(newer) == len(older)
            and all(includes(new, old) for new, old in zip(newer, older, strict=True))
        )
    return bool(newer == older)


def test_there_are_recorded_messages_of_every_kind() -> None:
    """An empty folder would prove nothing."""
    assert {kind_of(path) for path in MESSAGES} == set(KINDS)


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_todays_code_reads_a_recorded_message_without_loss(path: Path) -> None:
    """What waited in a queue during an update is read whole; fields may be added, none may go."""
    recorded = json.loads(path.read_text())
    again = json.loads(rewritten(kind_of(path), path.read_bytes(), recorded["time"]))
    own = {"id", "time"} if kind_of(path) != "event" else set()  # made anew with each envelope
    assert includes(again, {key: value for key, value in recorded.items() if key not in own})


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_todays_schema_accepts_a_recorded_message(path: Path) -> None:
    """Whoever reads our queues by the schema can read the older messages too."""
    jsonschema.validate(json.loads(path.read_text()), schema_of(kind_of(path)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda message: message.pop("id"),
        lambda message: message.pop("data") if message["source"] == "bridge" else message.update(source="No Name"),
        lambda message: message.update(specversion="2.0"),
        lambda message: message.update(time="yesterday"),
    ],
    ids=["no-id", "no-data", "other-specversion", "no-time"],
)
def test_schema_and_code_refuse_the_same(kind: str, spoil: Callable[[dict[str, Any]], Any]) -> None:
    """The schema is no looser than the parser in what makes a message ours."""
    path = next(path for path in MESSAGES if kind_of(path) == kind)
    message = json.loads(path.read_text())
    spoil(message)
    validator = jsonschema.Draft202012Validator(
        schema_of(kind), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    with pytest.raises(Undecodable):
        rewritten(kind, json.dumps(message).encode(), None)
    if message.get("time") != "yesterday":  # a format is advice to a schema's reader
        assert not validator.is_valid(message)


@pytest.mark.parametrize("path", sorted(FILES), ids=str)
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    """`bridge schema` was run after the models changed."""
    assert (ROOT / path).read_text("utf-8") == FILES[path]


@pytest.mark.parametrize("path", sorted(path for path in FILES if path != PAGE), ids=str)
def test_a_schema_is_a_schema(path: Path) -> None:
    """Every file is valid in the dialect that it names."""
    jsonschema.Draft202012Validator.check_schema(json.loads(FILES[path]))
