"""How an input's declared parameters are filled from a resolution."""

import base64
import json
from typing import Any

import orjson
import pytest

from bridge.consumers.jenkins.parameters import MAX_FORM_BYTES, Declared, Filled, fill
from bridge.core.event import Event, EventData, File, Outcome
from bridge.core.outcome import Refused
from bridge.core.resolution import Resolution
from tests.support.fakes import START, a_resolution

BASE64_FILE = "Base64FileParameterDefinition"
BOOLEAN = "BooleanParameterDefinition"
CHOICE = "ChoiceParameterDefinition"
TEXT = File(filename="log.txt", size=4, content="ok ä")
BYTES = File(filename="core", size=3, content=base64.b64encode(b"\xff\x00\x01").decode(), encoding="base64")


def said(body: Any = None, files: dict[str, File] | None = None, **more: Any) -> Resolution:
    data = EventData(outcome=Outcome.SUCCEEDED, body=body, files=files or {}, **more)
    return a_resolution(event=Event.new(source="callback", type="callback", time=START, data=data))


def filled(declared: list[Declared], resolution: Resolution, expressions: dict[str, str] | None = None) -> Filled:
    return fill(declared, resolution, expressions)


def values(names: str, resolution: Resolution, expressions: dict[str, str] | None = None) -> dict[str, Any]:
    """Return what text parameters of these names get; one that is not sent is not there."""
    entries = filled([Declared(name) for name in names.split()], resolution, expressions).entries
    return {entry["name"]: entry["value"] for entry in entries}


def form(*entries: Any) -> str:
    return json.dumps({"parameter": list(entries)})


# ---- by name


def test_fields_fill_by_exact_name_and_what_is_missing_is_not_sent() -> None:
    """Case counts, null is missing, an empty text is not, and what the input does not declare stays here."""
    body = {"A": "x", "a": "y", "N": None, "E": "", "other": "z"}
    assert values("A E N a b", said(body)) == {"A": "x", "E": "", "a": "y"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ä \n&+%\"'<", "ä \n&+%\"'<"),
        ({"b": [1, "ü"], "a": None}, '{"b":[1,"ü"],"a":null}'),
        (["x", "y"], '["x","y"]'),
        (True, "true"),
        (3, "3"),
        (1.5, "1.5"),
    ],
)
def test_text_stays_and_all_else_goes_in_as_compact_json(value: Any, text: str) -> None:
    """Scalars, lists and objects become JSON in their own order."""
    assert values("A", said({"A": value})) == {"A": text}


def test_files_go_before_fields() -> None:
    """A file and a field of one name: the file."""
    assert values("A B", said({"A": "field", "B": "b"}, {"A": TEXT})) == {"A": "ok ä", "B": "b"}


def test_bytes_are_refused_by_a_text_parameter() -> None:
    """What is no text cannot become some; the parameter is named."""
    with pytest.raises(Refused, match="parameter A: the file is not UTF-8 text"):
        values("A", said({}, {"A": BYTES}))


def test_the_form_field_json_is_read_first() -> None:
    """Each entry's value, or the part that its file names, fills its name; an entry with neither leaves it to the others."""
    text = form(
        {"name": "A", "value": "from json"},
        {"name": "B", "file": "file0"},
        {"name": "C", "file": "nosuch"},
        {"name": "D", "value": None},
        {"name": "E", "value": ["x"]},
        {"name": "F", "base64": base64.b64encode(b"decoded").decode()},
        {"name": "G", "runId": "job#7"},
        {"name": "URL", "value": "u"},
        {"value": "nameless"},
        "no object",
    )
    body = {"json": text, "A": "field", "C": "c", "D": "d"}
    files = {"file0": TEXT, "A": TEXT}
    assert values("A B C D E F G URL", said(body, files)) == {
        "A": "from json",
        "B": "ok ä",
        "C": "c",
        "D": "d",
        "E": '["x"]',
        "F": "decoded",
        "G": "job#7",
        "URL": "u",
    }


def test_one_entry_needs_no_list() -> None:
    """`parameter` may be a single object."""
    assert values("A", said({"json": '{"parameter":{"name":"A","value":"x"}}'})) == {"A": "x"}


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"parameter":7}', '{"parameter":[[]]}', ["{}", "{}"], {"a": 1}])
def test_a_field_json_in_another_shape_is_a_field_like_any_other(text: Any) -> None:
    """It gives no values, and may itself be declared."""
    sent = values("A json", said({"json": text, "A": "a"}))
    assert sent == {"A": "a", "json": text if isinstance(text, str) else orjson.dumps(text).decode()}


def test_broken_base64_is_refused() -> None:
    """The remote sent a file that is none."""
    with pytest.raises(Refused, match="parameter A: its base64"):
        values("A", said({"json": form({"name": "A", "base64": "?"})}))


@pytest.mark.parametrize("name", ["PAYLOAD", "payload", "Payload"])
@pytest.mark.parametrize(
    ("resolution", "text"),
    [
        (said({"b": 1, "a": "ä"}), '{"b":1,"a":"ä"}'),
        (said({"field": "x"}, {"f": TEXT}), '{"field":"x"}'),
        (said([1, 2]), "[1,2]"),
        (said(" plain\ntext "), " plain\ntext "),
        (said(7), "7"),
        (said(), ""),
        (said({}), "{}"),
        (a_resolution(outcome=Outcome.TIMED_OUT), ""),
    ],
)
def test_payload_gets_the_whole_body(name: str, resolution: Resolution, text: str) -> None:
    """Compact JSON for objects and forms, else the text, empty without a body; in any case of the name."""
    assert values(name, resolution) == {name: text}


def test_a_body_of_bytes_is_payload_for_a_file_only() -> None:
    """Such a body is kept as the file `body`; a text parameter refuses it."""
    resolution = said(None, {"body": BYTES})
    assert filled([Declared("Payload", BASE64_FILE)], resolution).parts[0].content == b"\xff\x00\x01"
    with pytest.raises(Refused):
        values("PAYLOAD", resolution)


def test_outcome_summary_and_url_are_given_by_us() -> None:
    """In any case of the name; a field of exactly that name goes before."""
    resolution = said({"Summary": "theirs"}, summary="12 passed", url="https://farm.example/7")
    sent = values("OUTCOME outcome Url Summary SUMMARY", resolution)
    assert sent == {
        "OUTCOME": "succeeded",
        "outcome": "succeeded",
        "Url": "https://farm.example/7",
        "Summary": "theirs",
        "SUMMARY": "12 passed",
    }


def test_a_timers_end_says_so() -> None:
    """Without an event nothing but the outcome is known, and the summary says it in words."""
    resolution = a_resolution(outcome=Outcome.TIMED_OUT)
    assert values("OUTCOME SUMMARY URL A", resolution) == {"OUTCOME": "timed_out", "SUMMARY": "timed out", "URL": ""}


# ---- by expression


def test_expressions_fill_exactly_what_they_name() -> None:
    """Nothing is found by name any more; null and what the input does not declare are not sent."""
    resolution = said({"v": "1.2", "list": [1, 2], "A": "by name"}, {"log": TEXT}, summary="s")
    expressions = {
        "V": "body.v",
        "N": "length(body.list)",
        "L": "body.list",
        "NONE": "body.nosuch",
        "UNDECLARED": "body.v",
        "S": "summary",
        "K": "source",
        "O": "outcome",
        "F": "files.log",
        "C": "files.log.content",
    }
    assert values("V N L NONE S K O F C A PAYLOAD", resolution, expressions) == {
        "V": "1.2",
        "N": "2",
        "L": "[1,2]",
        "S": "s",
        "K": "callback",
        "O": "succeeded",
        "F": "ok ä",
        "C": "ok ä",
    }
    assert values("A", resolution, {}) == {}


def test_expressions_see_a_timers_end() -> None:
    """Outcome, summary and url are there; body is null, and so is what an event would have brought."""
    expressions = {"O": "outcome", "S": "summary", "U": "url", "B": "body", "I": "id", "T": "[type, source, time]"}
    sent = values("O S U B I T", a_resolution(outcome=Outcome.TIMED_OUT), expressions)
    assert sent == {"O": "timed_out", "S": "timed out", "U": "", "T": "[null,null,null]"}


def test_expressions_see_what_was_decided() -> None:
    """The outcome is that of the wait, which a mapping may have made of another word."""
    resolution = said({"status": "broken"}).model_copy(update={"outcome": Outcome.FAILED})
    assert values("O", resolution, {"O": "outcome"}) == {"O": "failed"}


@pytest.mark.parametrize("expression", ["length(body)", "sum(body)", "nosuch(@)", "sort_by(@, &x)"])
def test_an_expression_that_does_not_fit_sends_nothing(expression: str) -> None:
    """A function of something that is not there has no value; the pipeline is resumed all the same."""
    assert values("A B", said(None), {"A": expression, "B": "'x'"}) == {"B": "x"}


# ---- kinds


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (True, True),
        (False, False),
        ("TRUE", True),
        (" yes ", True),
        ("on", True),
        (1, True),
        ("0", False),
        ("No", False),
        ("", False),
    ],
)
def test_booleans(value: Any, *, sent: bool) -> None:
    """The words that Jenkins knows, as a JSON boolean."""
    assert filled([Declared("B", BOOLEAN)], said({"B": value})).entries == [{"name": "B", "value": sent}]


@pytest.mark.parametrize("value", ["maybe", 2, [], {"a": 1}])
def test_no_boolean_is_refused(value: Any) -> None:
    """Jenkins would take it for false without a word."""
    with pytest.raises(Refused, match="parameter B: not a boolean"):
        filled([Declared("B", BOOLEAN)], said({"B": value}))


def test_choices_are_checked_before_anything_is_sent() -> None:
    """A listed choice goes out as text; another one is refused; without a list nothing is known and Jenkins decides."""
    choice = Declared("C", CHOICE, ("dev", "3"))
    assert filled([choice], said({"C": 3})).entries == [{"name": "C", "value": "3"}]
    assert filled([Declared("C", CHOICE)], said({"C": "x"})).entries == [{"name": "C", "value": "x"}]
    assert filled([choice], said({})).entries == []
    with pytest.raises(Refused, match="parameter C: not one of its choices"):
        filled([choice], said({"C": "prod"}))


def test_a_run_is_named_by_its_id() -> None:
    """A run parameter takes `runId`, not `value`."""
    run = Declared("R", "RunParameterDefinition")
    assert filled([run], said({"R": "job#7"})).entries == [{"name": "R", "runId": "job#7"}]


def test_base64_files_take_files_as_parts_and_text_inline() -> None:
    """A posted file becomes a part of its own, a text is encoded."""
    declared = [Declared(name, BASE64_FILE) for name in "ABC"]
    result = filled(declared, said({"B": "täxt"}, {"A": BYTES, "C": TEXT}))
    assert result.entries == [
        {"name": "A", "file": "file0"},
        {"name": "B", "base64": base64.b64encode("täxt".encode()).decode()},
        {"name": "C", "file": "file1"},
    ]
    assert [(part.name, part.filename, part.content) for part in result.parts] == [
        ("file0", "core", b"\xff\x00\x01"),
        ("file1", "log.txt", "ok ä".encode()),
    ]


def test_an_expression_may_name_a_file() -> None:
    """`files.core` is the file itself, bytes included."""
    result = filled([Declared("A", BASE64_FILE)], said({}, {"core": BYTES}), {"A": "files.core"})
    assert result.parts[0].content == b"\xff\x00\x01"


# ---- the form


def test_a_form_without_files_is_urlencoded_and_limited() -> None:
    """One field `json`; what Jetty would not read is refused with both numbers, before it is sent."""
    small = filled([Declared("A")], said({"A": "ä"})).body()
    assert small == {"form": {"json": '{"parameter":[{"name":"A","value":"ä"}]}'}}
    with pytest.raises(Refused, match=f"reads {MAX_FORM_BYTES}"):
        filled([Declared("A")], said({"A": "x" * MAX_FORM_BYTES})).body()
    assert filled([Declared("A")], said({"A": "x" * (MAX_FORM_BYTES - 100)})).body()
    with pytest.raises(Refused):
        filled([Declared("A")], said({"A": "%" * (MAX_FORM_BYTES // 3)})).body()


def test_a_form_with_files_is_multipart_and_has_no_limit() -> None:
    """The part `json` is ASCII, because nobody says what its charset is; it means the same."""
    declared = [Declared("A"), Declared("F", BASE64_FILE)]
    body = filled(declared, said({"A": "ä" * MAX_FORM_BYTES}, {"F": TEXT})).body()
    part, file = body["multipart"]
    assert (part.name, part.filename, file.name) == ("json", None, "file0")
    assert part.content.isascii()
    assert json.loads(part.content)["parameter"][0] == {"name": "A", "value": "ä" * MAX_FORM_BYTES}
