"""Reading of bodies: strict JSON, forms, text."""

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.body import MAX_DEPTH, MAX_FIELDS, media_type, parse_form, parse_json, parse_text
from bridge.core.errors import IntakeError, Malformed, UnsupportedEncoding

UNREADABLE = {
    "not json": b"OK",
    "empty": b"",
    "blank": b" \r\n",
    "two values": b"{}{}",
    "trailing comma": b'{"a":1,}',
    "comment": b'{"a":1/**/}',
    "single quotes": b"{'a':1}",
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    """Nothing is read more leniently than RFC 8259."""
    with pytest.raises(Malformed):
        parse_json(body)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["arrays", "objects"])
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 253, 254, 255, 1023, 1025, 100_000])
def test_attack_26_deep_json_is_malformed(opening: bytes, levels: int) -> None:
    """Nesting beyond the bound is refused before anything recurses into it."""
    closing = b"]" if opening == b"[" else b"}"
    with pytest.raises(Malformed):
        parse_json(opening * levels + b"1" + closing * levels)
    with pytest.raises(Malformed):
        parse_json(opening * levels)


def test_json_at_the_bound_of_depth_is_read() -> None:
    """The bound itself is allowed, and brackets inside strings do not count."""
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None
    assert parse_json(orjson.dumps("[" * 500)) == "[" * 500


@pytest.mark.parametrize("body", [b"NaN", b"[Infinity]", b"-Infinity", b'{"a":1e999}', b"-1e400"])
def test_attack_27_numbers_that_are_none_are_malformed(body: bytes) -> None:
    """A number that no float holds has no agreed value."""
    with pytest.raises(Malformed):
        parse_json(body)


REPEATED = {
    "plain": b'{"outcome":"failed","outcome":"succeeded"}',
    "same value": b'{"a":1,"a":1}',
    "nested": b'{"x":[{"a":1,"b":{"c":1,"c":2}}]}',
    "escaped letter": b'{"outcome":"failed","\\u006futcome":"succeeded"}',
    "colons hidden in a value": b'{"a":1,"a":2,"x":"\\u003a"}',
    "colons hidden in upper case": b'{"a":1,"a":2,"x":"\\u003A"}',
    "colons in a lost value": b'{"a":"::","a":2,"x":"\\u003a\\u003a\\u003a"}',
    "an object is lost": b'{"a":{"b":":"},"a":2}',
}


@pytest.mark.parametrize("body", REPEATED.values(), ids=REPEATED)
def test_attack_28_a_repeated_key_is_malformed(body: bytes) -> None:
    """Neither the first nor the last value wins, however the key is spelt and the count is disguised."""
    with pytest.raises(Malformed, match="twice"):
        parse_json(body)


def test_keys_that_only_look_alike_are_read() -> None:
    """Colons and braces in strings, spaces and escapes do not make a key repeated."""
    document = {"a": ":", ":": {"a": '"a":1,"a":2'}, "b": [{"a": 1}, {"a": 2}], "ü": "\\u003a", "c": "\\"}
    assert parse_json(orjson.dumps(document)) == document
    assert parse_json(json.dumps(document, indent=3).encode()) == document


_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_characters="\0", codec="utf-8"))
)
_documents = st.recursive(
    _scalars,
    lambda children: st.lists(children) | st.dictionaries(st.sampled_from(["a", "b", ":", "\u003a:", "é"]), children),
)


@given(_documents, st.booleans())
def test_every_document_without_repeated_keys_is_read_as_it_is(document: Any, ascii_only: bool) -> None:  # noqa: FBT001 - hypothesis passes it by position
    """The count of colons refuses no honest body, in either way of writing it."""
    assert parse_json(json.dumps(document, ensure_ascii=ascii_only).encode()) == document


@given(st.lists(st.tuples(st.sampled_from(["a", "b", ":"]), st.sampled_from(['":"', '"\\u003a"', '{"a":":"}', "1"]))))
def test_a_repeated_key_is_found_as_a_slow_reading_finds_it(pairs: list[tuple[str, str]]) -> None:
    """The count agrees with a parser that sees every pair."""
    body = "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"
    is_repeated = len({name for name, _ in pairs}) < len(pairs)
    assert _fails(lambda: parse_json(body.encode())) == is_repeated


def _fails(call: Callable[[], Any]) -> bool:
    try:
        call()
    except IntakeError:
        return True
    return False


NOT_UTF8 = {
    "invalid": b'{"a":"\xff"}',
    "overlong": b'{"a":"\xc0\xaf"}',
    "bom": b'\xef\xbb\xbf{"a":1}',
    "utf-16": '{"a":1}'.encode("utf-16"),
    "utf-16 without bom": '{"a":1}'.encode("utf-16-le"),
    "lone high surrogate": b'{"a":"\\ud800"}',
    "lone low surrogate": b'{"a":"\\udc00x"}',
    "surrogate in a key": b'{"\\ud800":1}',
    "encoded surrogate": b'{"a":"\xed\xa0\x80"}',
}


@pytest.mark.parametrize("body", NOT_UTF8.values(), ids=NOT_UTF8)
def test_attack_29_json_that_is_not_utf8_is_malformed(body: bytes) -> None:
    """What could not be written again is not read."""
    with pytest.raises(Malformed):
        parse_json(body)


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "iso-8859-1", "x"])
def test_attack_29_json_in_another_charset_is_unsupported(charset: str) -> None:
    """A declared charset is believed, so that nothing is guessed."""
    with pytest.raises(UnsupportedEncoding):
        parse_json(b"{}", charset)


def test_attack_30_a_number_of_4000_digits_is_refused_at_once() -> None:
    """No reading takes time that grows with the square of the digits."""
    with pytest.raises(Malformed):
        parse_json(b'{"a":' + b"9" * 4000 + b"}")
    assert parse_json(b'{"a":"\\u003a","b":1.' + b"9" * 4000 + b"}")["b"] == 2.0


def test_attack_30_nul_is_refused_in_names_and_replaced_in_values() -> None:
    """What PostgreSQL cannot store never reaches it."""
    with pytest.raises(Malformed):
        parse_json(b'{"a\\u0000b":1}')
    assert parse_json(b'{"a":["\\u0000",{"b":"x\\u0000"}],"c":"\\\\u0000"}') == {
        "a": ["\ufffd", {"b": "x\ufffd"}],
        "c": "\\u0000",
    }
    assert parse_form(b"a=%00x") == {"a": "\ufffdx"}
    with pytest.raises(Malformed):
        parse_form(b"a%00=x")
    assert parse_text(b"a\0b") == "a\ufffdb"


def test_a_form_keeps_blank_and_repeated_fields() -> None:
    """`curl -d OK` is a field without a value; a repeated one is the list of its values."""
    assert parse_form(b"OK") == {"OK": ""}
    assert parse_form(b"a=1&b=x+y%2B%C3%BC&a=2&a=&&c=") == {"a": ["1", "2", ""], "b": "x y+ü", "c": ""}
    assert parse_form("name=ü".encode()) == {"name": "ü"}


def test_attack_34_a_form_cannot_grow_or_contradict_itself() -> None:
    """Too many fields, a verdict given twice and broken escapes are refused."""
    assert len(parse_form(b"&".join(b"f%d=" % number for number in range(MAX_FIELDS)))) == MAX_FIELDS
    for body in (
        b"&".join(b"f%d=" % number for number in range(100_000)),
        b"&" * 100_000,
        b"outcome=failed&outcome=succeeded",
        b"outcome=failed&%6futcome=succeeded",
        b"status=failed&status=success",
        b"a=%",
        b"a=%zz",
        b"a=%4",
        b"a=%ff",
        b"a=\xff",
    ):
        with pytest.raises(Malformed):
            parse_form(body)


def test_text_is_read_in_its_charset() -> None:
    """UTF-8 is assumed, a BOM dropped, Latin-1 known, anything else unsupported."""
    assert parse_text("\ufeffgrün".encode()) == "grün"
    assert parse_text("grün".encode("latin-1"), "ISO-8859-1") == "grün"
    with pytest.raises(Malformed):
        parse_text(b"\xff\xfe")
    with pytest.raises(UnsupportedEncoding):
        parse_text(b"+AGE-", "utf-7")


@pytest.mark.parametrize(
    ("header", "name", "charset"),
    [
        (None, "", None),
        ("", "", None),
        ("Application/JSON", "application/json", None),
        ("application/json;charset=UTF-8", "application/json", "UTF-8"),
        ('text/plain; charset="utf-8"; x=y', "text/plain", "utf-8"),
        ('text/plain; charset="u\\t\\"f"', "text/plain", 'ut"f'),
        ("nonsense", "", None),
        ("a/b/c", "", None),
        ("*/*\u00ff", "", None),
    ],
)
def test_a_content_type_is_read_or_unknown(header: str | None, name: str, charset: str | None) -> None:
    """An unreadable type is no type, never an error."""
    media = media_type(header)
    assert (media.name, media.parameters.get("charset")) == (name, charset)


def test_a_charset_given_twice_is_malformed() -> None:
    """Two charsets are two readings."""
    with pytest.raises(Malformed):
        media_type("text/plain; charset=utf-8; Charset=utf-7")
