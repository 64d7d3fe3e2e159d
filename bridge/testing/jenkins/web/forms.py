"""What a request brings along: query, urlencoded form, multipart parts.

The container's parameters are those of the query and of an urlencoded body. Parts of a multipart body are no parameters:
only `json` and the files it names are read from there. A JSON body is not read at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import parse_qsl

from bridge.testing.jenkins.model.parameters import Upload

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"


@dataclass(frozen=True)
class Form:
    """`parameters`: query and urlencoded body; `fields`, `uploads`: multipart parts without and with a file name."""

    parameters: Mapping[str, tuple[str, ...]]
    is_multipart: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)
    uploads: Mapping[str, Upload] = field(default_factory=dict)

    def parameter(self, name: str) -> str | None:
        """Return the first value of a parameter."""
        return next(iter(self.parameters.get(name, ())), None)

    @property
    def submitted(self) -> str | None:
        """The `json` field; None when it is missing or empty."""
        return (self.fields.get("json") if self.is_multipart else self.parameter("json")) or None

    @property
    def refusal(self) -> str:
        """What Jenkins says when there is no `json`."""
        has_any = bool(self.parameters or self.fields or self.uploads)
        return "This page expects a form submission" if has_any else "Nothing is submitted"


def read_form(query: str, content_type: str, body: bytes) -> Form:
    """Return what was sent. query: raw, without the question mark; content_type: the header's value."""
    header = Message()
    header["Content-Type"] = content_type or "application/octet-stream"
    pairs = parse_qsl(query, keep_blank_values=True)
    kind = header.get_content_type()
    if kind == _MULTIPART:
        boundary = header.get_param("boundary")
        fields, uploads = _parts(body, str(boundary or ""))
        return Form(_grouped(pairs), is_multipart=True, fields=fields, uploads=uploads)
    if kind == _FORM:
        pairs += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    return Form(_grouped(pairs))


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        grouped[name] = (*grouped.get(name, ()), value)
    return grouped


def _parts(body: bytes, boundary: str) -> tuple[dict[str, str], dict[str, Upload]]:
    fields: dict[str, str] = {}
    uploads: dict[str, Upload] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name, filename = _disposition(head.decode("utf-8", "replace"))
        if filename is None:
            fields[name] = content.decode("utf-8", "replace")
        else:
            uploads[name] = Upload(filename, content)
    return fields, uploads


def _disposition(head: str) -> tuple[str, str | None]:
    message = Message()
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            message["Content-Disposition"] = value.strip()
    name_ = message.get_param("name", "", header="Content-Disposition")
    filename = message.get_param("filename", None, header="Content-Disposition")
    return str(name_), None if filename is None else str(filename)
