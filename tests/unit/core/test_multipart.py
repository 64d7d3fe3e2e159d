"""multipart/form-data: fields, files, and the bounds."""

import base64

import pytest

from bridge.core.body import media_type
from bridge.core.errors import IntakeError, Malformed, UnsupportedEncoding
from bridge.core.event import File
from bridge.core.multipart import MAX_HEADER_BYTES, MAX_PARTS, clean_filename, parse_multipart

MEDIA = media_type("multipart/form-data; boundary=X")


def part(disposition: str, content: bytes, *more: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: {disposition}", *more])
    return b"--X\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def read(*parts: bytes) -> tuple[dict[str, str | list[str]], dict[str, File]]:
    return parse_multipart(b"".join(parts) + b"--X--\r\n", MEDIA)


def test_the_form_of_jenkins_is_read_as_it_is_posted() -> None:
    """`file0`, `json` and `proceed` arrive as one file and two fields."""
    fields, files = read(
        part('form-data; name="file0"; filename="perf.txt"', b"p50=12ms\n", "Content-Type: application/octet-stream"),
        part('form-data; name="json"', b'{"parameter": {"name": "FILE", "file": "file0"}}'),
        part('form-data; name="proceed"', b"Proceed"),
    )
    assert fields == {"json": '{"parameter": {"name": "FILE", "file": "file0"}}', "proceed": "Proceed"}
    assert files == {"file0": File(filename="perf.txt", size=9, content="p50=12ms\n")}


def test_bytes_that_are_no_text_travel_as_base64() -> None:
    """A binary file, or a text with U+0000, keeps every byte."""
    for content in (b"\x89PNG\r\n\x1a\n\xff", b"a\0b"):
        _, files = read(part('form-data; name="f"; filename="x"', content))
        assert files["f"].encoding == "base64"
        assert base64.b64decode(files["f"].content) == content
        assert files["f"].size == len(content)


def test_repeated_fields_are_a_list_and_an_empty_file_input_is_skipped() -> None:
    """A browser's form is read as a browser means it."""
    fields, files = read(
        part("form-data; name=a", b"1"),
        part('form-data; name="a"', b""),
        part('form-data; name="f"; filename=""', b"", "Content-Type: application/octet-stream"),
    )
    assert (fields, files) == ({"a": ["1", ""]}, {})


def test_a_body_without_parts_and_with_a_preamble_is_read() -> None:
    """Preamble and epilogue belong to the format, and say nothing."""
    assert read() == ({}, {})
    body = b"hello\r\n" + part('form-data; name="a"', b"1\r\n--Y\r\n") + b"--X--\r\nbye"
    assert parse_multipart(body, MEDIA) == ({"a": "1\r\n--Y\r\n"}, {})


BROKEN = {
    "no end": part('form-data; name="a"', b"1"),
    "cut in a part": b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n1',
    "no delimiter at all": b"hello",
    "empty": b"",
    "no headers": b"--X\r\n\r\n1\r\n--X--",
    "headers without an end": b'--X\r\nContent-Disposition: form-data; name="a"\r\n--X--',
    "header without a colon": part('form-data; name="a"', b"", "nonsense") + b"--X--",
    "folded header": part('form-data; name="a"', b"", " folded: x") + b"--X--",
    "header twice": part('form-data; name="a"', b"", 'Content-Disposition: form-data; name="b"') + b"--X--",
    "no name": part("form-data", b"") + b"--X--",
    "attachment": part('attachment; name="a"', b"") + b"--X--",
    "name twice": part('form-data; name="a"; name="b"', b"") + b"--X--",
    "open quote": part('form-data; name="f"; filename="a', b"") + b"--X--",
    "delimiter with a tail": part('form-data; name="a"', b"1") + b"--XY\r\n\r\n--X--",
    "delimiter with words": b'--X words\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--X--',
    "header of 64 KiB": part(f'form-data; name="a"; filename="{"x" * 65536}"', b"") + b"--X--",
    "10,000 parts": part('form-data; name="a"', b"") * 10_000 + b"--X--",
    "nested": part('form-data; name="a"', b"", "Content-Type: multipart/mixed; boundary=Y") + b"--X--",
    "one file name twice": part('form-data; name="f"; filename="a"', b"1") * 2 + b"--X--",
    "verdict twice": part('form-data; name="outcome"', b"failed") * 2 + b"--X--",
    "field not utf-8": part('form-data; name="a"', b"\xff") + b"--X--",
    "control in a name": part('form-data; name="a\x00b"', b"1") + b"--X--",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_attack_36_a_broken_or_endless_multipart_is_malformed(body: bytes) -> None:
    """No part is half read, nested, or one of too many."""
    with pytest.raises(Malformed):
        parse_multipart(body, MEDIA)


@pytest.mark.parametrize("boundary", ["", '""', '"a b "', '"' + "x" * 71 + '"', '"a\x01"', '"ü"'])
def test_attack_36_a_boundary_outside_the_grammar_is_malformed(boundary: str) -> None:
    """Without a boundary of RFC 2046 nothing is searched."""
    with pytest.raises(Malformed):
        parse_multipart(b"----", media_type(f"multipart/form-data; boundary={boundary}"))


@pytest.mark.parametrize("header", ["Content-Encoding: gzip", "Content-Transfer-Encoding: base64"])
def test_attack_36_an_encoded_part_is_not_inflated(header: str) -> None:
    """A part is taken as it is or not at all."""
    with pytest.raises(UnsupportedEncoding):
        read(part('form-data; name="f"; filename="a.gz"', b"\x1f\x8b", header))


def test_attack_36_another_multipart_is_unsupported() -> None:
    """Only form-data has fields."""
    with pytest.raises(UnsupportedEncoding):
        parse_multipart(b"--X--", media_type("multipart/mixed; boundary=X"))


def test_the_bounds_themselves_are_allowed() -> None:
    """As many parts, and as long headers, as are promised."""
    fields, _ = read(*(part(f'form-data; name="f{number}"', b"") for number in range(MAX_PARTS)))
    assert len(fields) == MAX_PARTS
    with pytest.raises(Malformed):
        read(*(part(f'form-data; name="f{number}"', b"") for number in range(MAX_PARTS + 1)))
    assert read(part('form-data; name="a"', b"", "X-Pad: " + "x" * (MAX_HEADER_BYTES - 80)))[0] == {"a": ""}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../../../etc/cron.d/x", "x"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\tmp\\a.txt", "a.txt"),
        ("..", ""),
        ("a\0b\x1b[31m\u202e.txt", "ab[31m.txt"),
        ("x" * 1000, "x" * 255),
        ("report (1).xml", "report (1).xml"),
    ],
)
def test_attack_37_a_file_name_is_only_a_label(sent: str, kept: str) -> None:
    """No path and no control character of it is kept."""
    assert clean_filename(sent) == kept


def test_attack_37_a_line_break_in_a_file_name_adds_no_header() -> None:
    """What follows the break is refused or dropped; it never becomes a field or a header of ours."""
    body = part('form-data; name="f"; filename="a\r\nContent-Encoding: x"', b"1") + b"--X--"
    with pytest.raises(IntakeError):
        parse_multipart(body, MEDIA)
    _, files = read(part("form-data; name=\"f\"; filename*=UTF-8''..%2F%0d%0aSet-Cookie%3A%20a", b"1"))
    assert files == {"f": File(filename="", size=1, content="1")}
