"""Callback URLs: whoever holds one reports the outcome of one wait, in any form, and can do nothing else.

Contract: POST or PUT /cb/<token>, /cb/<token>/{succeeded,failed,cancelled,progress}, any content type or none
          202 accepted, 400 unreadable, 404 no token of ours, 410 its wait is over
          progress takes percent, message and url as query or body
The event's subject is the suffix of the path, where there was one: it goes before the wait's own mapping.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import Field

from bridge.core.body import MediaType, media_type, parse_form, parse_json, parse_text
from bridge.core.errors import Expired, Malformed, UnknownSource
from bridge.core.event import CALLBACK, Event, EventData, File, Outcome
from bridge.core.inbound import line, link, outcome_of, percent_of
from bridge.core.multipart import as_file, parse_multipart
from bridge.core.request import RawRequest, VerifiedRequest
from bridge.core.settings import SourceSettings
from bridge.core.signing import CallbackKeys
from bridge.core.source import Source

PATH = re.compile(r"/cb/([A-Za-z0-9_-]{1,128})(?:/(succeeded|failed|cancelled|progress))?")
"""The raw path, matched whole: no escape in it is decoded, so no two spellings reach one token."""


class CallbackSettings(SourceSettings):
    """Nothing to set: the keys stand under `[callbacks]`."""

    kind: str = CALLBACK
    unsigned: bool = Field(default=True, description="the path is the proof")


@dataclass(frozen=True, slots=True)
class CallbackRequest(VerifiedRequest):
    """A request with a token of ours."""

    wait: str


class Callback(Source[CallbackSettings]):
    """The source of every callback URL. verify() needs no body."""

    def __init__(self, keys: CallbackKeys) -> None:
        super().__init__(CALLBACK, CallbackSettings())
        self._keys = keys

    def verify(self, raw: RawRequest, *, now: datetime) -> CallbackRequest:
        match = PATH.fullmatch(raw.path)
        token = self._keys.read(match[1]) if match else None
        if token is None:
            raise UnknownSource("no callback URL of ours")
        if token.expires_at <= now:
            raise Expired("the callback URL's wait is over")
        return CallbackRequest(raw, token.wait)

    def normalise(self, request: VerifiedRequest) -> list[Event]:
        if not isinstance(request, CallbackRequest):
            raise TypeError("a callback's request comes from its own verify()")
        raw = request.raw
        suffix = raw.path.rpartition("/")[2]
        suffix = suffix if outcome_of(suffix) is not Outcome.NONE else ""
        body, files = read_body(raw)
        return [
            Event.new(
                source=CALLBACK,
                type=CALLBACK,
                time=raw.received_at,
                subject=suffix or None,
                data=describe(request.wait, suffix, raw.query, body, files),
            )
        ]


def read_body(raw: RawRequest) -> tuple[Any, dict[str, File]]:
    """Return the body in the form that it declares, and the files posted with it; None for an empty body."""
    media = media_type(raw.header("content-type"))
    charset = media.parameters.get("charset", "utf-8")
    if not raw.body:
        return None, {}
    if media.is_json:
        return parse_json(raw.body, charset), {}
    if media.is_multipart:
        return parse_multipart(raw.body, media)
    if media.is_text:
        return parse_text(raw.body, charset), {}
    found = _json_object(raw.body)
    if found is not None:
        return found, {}
    return (parse_form(raw.body), {}) if media.is_form else _untyped(raw.body, media)


def _json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that *body* is, though it is not declared as one; None where it is none.

    Raises:
        Malformed: it looks like one with an outcome, and cannot be read. Taken as something else it would be a success.
    """
    if not body.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"{"):
        return None
    try:
        value = parse_json(body)
    except Malformed:
        if b"outcome" in body:
            raise
        return None
    return value if isinstance(value, dict) else None


def _untyped(body: bytes, media: MediaType) -> tuple[Any, dict[str, File]]:
    """Return text as text; other bytes as the file `body`."""
    file = as_file(body)
    if file.encoding == "utf-8":
        return parse_text(body, media.parameters.get("charset", "utf-8")), {}
    return None, {"body": file}


def describe(wait: str, suffix: str, query: str, body: Any, files: dict[str, File]) -> EventData:
    """Return what a callback says. The suffix decides before the body's `outcome`; neither is there: it succeeded."""
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    outcome = outcome_of(suffix or fields["outcome"]) if suffix or "outcome" in fields else Outcome.SUCCEEDED
    # The query speaks for progress only: nothing in it may change what a result says.
    more = {**fields, **parse_form(query.encode())} if outcome is Outcome.PROGRESS else fields
    return EventData.trusted(
        outcome=outcome,
        keys={"wait": wait},
        summary=line(more.get("summary")) or line(more.get("message")),
        url=link(more.get("url")),
        percent=_percent(more.get("percent"), outcome),
        body=body,
        files=files,
    )


def _percent(value: Any, outcome: Outcome) -> int | None:
    try:
        return percent_of(value)
    except Malformed:
        if outcome is Outcome.PROGRESS:
            raise
        return None  # a result's own field of that name
