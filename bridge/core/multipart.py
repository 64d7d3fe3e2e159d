"""multipart/form-data (RFC 7578): the fields and files of one body, with bounds on everything.

Nothing is decoded, inflated or written anywhere; a sender's file name is a label and never becomes a path or a header.
"""

import base64
import re
from collections.abc import Mapping

from bridge.core.body import Fields, MediaType, add_field, utf8
from bridge.core.errors import Malformed, UnsupportedEncoding
from bridge.core.event import File

MAX_PARTS = 200
MAX_HEADER_BYTES = 8192
MAX_NAME = 200
MAX_FILENAME = 255

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PARAMETER = re.compile(r""";[ \t]*([A-Za-z*]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))""")
_FORM_DATA = re.compile(r"""form-data(?:;[ \t]*[A-Za-z*]+=(?:"(?:[^"\\]|\\.)*"|[^\s;"]+))*[ \t]*;?""", re.IGNORECASE)
_PLAIN_TRANSFER = frozenset({"", "7bit", "8bit", "binary"})


def parse_multipart(body: bytes, media: MediaType) -> tuple[Fields, dict[str, File]]:
    """Return the fields and the files, each by its field's name.

    A part with a filename is a file: UTF-8 text stays text, other bytes become base64. A file input left empty is skipped.

    Raises:
        Malformed: no boundary, no end, too many parts, a part that is not form-data, a file's name given twice.
        UnsupportedEncoding: an encoded part.
    """
    if media.name != "multipart/form-data":
        raise UnsupportedEncoding("a multipart body that is no form-data")
    fields: Fields = {}
    files: dict[str, File] = {}
    for part in _split(body, media.parameters.get("boundary", "")):
        _take(part, fields, files)
    return fields, files


def _split(body: bytes, boundary: str) -> list[bytes]:
    if not _BOUNDARY.fullmatch(boundary):
        raise Malformed("multipart without a usable boundary")
    delimiter = b"\r\n--" + boundary.encode()
    pieces = (b"\r\n" + body).split(delimiter, MAX_PARTS + 2)
    if len(pieces) > MAX_PARTS + 2:
        raise Malformed(f"multipart of more than {MAX_PARTS} parts")
    parts, end = pieces[1:-1], pieces[-1]  # before the first delimiter stands a preamble
    if len(pieces) == 1 or not end.startswith(b"--"):
        raise Malformed("multipart without an end")
    return [_after_line(part) for part in parts]


def _after_line(part: bytes) -> bytes:
    """Drop the rest of the delimiter's line: padding and CR LF."""
    padding, found, rest = part.partition(b"\r\n")
    if not found or padding.strip(b" \t"):
        raise Malformed("multipart with a broken delimiter")
    return rest


def _take(part: bytes, fields: Fields, files: dict[str, File]) -> None:
    headers, content = _open(part)
    name, filename = _disposition(headers.get("content-disposition", ""))
    if headers.get("content-type", "").lower().startswith("multipart/"):
        raise Malformed("multipart within multipart")
    if "content-encoding" in headers or headers.get("content-transfer-encoding", "").lower() not in _PLAIN_TRANSFER:
        raise UnsupportedEncoding("an encoded part")
    if filename is None:
        add_field(fields, name, utf8(content))
    elif filename or content:
        if name in files:
            raise Malformed("two files under one name")
        files[name] = as_file(content, filename)


def _open(part: bytes) -> tuple[Mapping[str, str], bytes]:
    """Split *part* into its headers, names in lower case, and its content."""
    head, found, content = (b"\r\n" + part).partition(b"\r\n\r\n")
    if not found:
        raise Malformed("a part without an end of its headers")
    if len(head) > MAX_HEADER_BYTES:
        raise Malformed("the headers of a part are too long")
    headers: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        key = name.lower()
        if not colon or key in headers or key.strip() != key:
            raise Malformed("a broken header of a part")
        headers[key] = value.strip()
    return headers, content


def _disposition(value: str) -> tuple[str, str | None]:
    """Return the field's name and the cleaned file name, None for a plain field."""
    parameters: dict[str, str] = {}
    for match in _PARAMETER.finditer(value):
        key = match[1].lower()
        if key in parameters:
            raise Malformed("a parameter of a part is given twice")
        parameters[key] = re.sub(r'\\(["\\])', r"\1", match[2]) if match[2] is not None else match[3]
    name = parameters.get("name", "")
    if not _FORM_DATA.fullmatch(value) or not name or len(name) > MAX_NAME or not name.isprintable():
        raise Malformed("a part that is no field of a form")
    filename = parameters.get("filename", "" if "filename*" in parameters else None)
    return name, None if filename is None else clean_filename(filename)


def clean_filename(name: str) -> str:
    """Return the last component of *name* without control characters: a label to show, nothing else."""
    last = re.split(r"[/\\]", name)[-1]
    label = "".join(character for character in last if character.isprintable())[:MAX_FILENAME]
    return "" if label in {".", ".."} else label


def as_file(content: bytes, filename: str = "") -> File:
    """Return *content* as text where it is UTF-8 without U+0000, else as base64."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return File(filename=filename, size=len(content), content=text)
    return File(filename=filename, size=len(content), content=base64.b64encode(content).decode(), encoding="base64")
