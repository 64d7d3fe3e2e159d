"""The bodies of the HTTP API under /v1, both ways. Shapes: DESIGN's table of calls; `schemas/api-*.json` are written from here.

What a client sends is strict (an unknown field is an error) and bounded; what it gets may grow by fields. What is wrong with a
request becomes a problem through `bridge.core.problem`.
"""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
)

from bridge.core.event import BRIDGE, CALLBACK, File, Frozen, Outcome, SourceName
from bridge.core.problem import FieldError
from bridge.core.settings import Duration
from bridge.core.wait import Kind, Reason, State, Verdict

MAX_ADDRESS_BYTES = 16 * 1024
MAX_EXPECTS = 20
MAX_KEYS = 20
MAX_LABELS = 20
MAX_BODY_BYTES = 256 * 1024
"""Of the `body` of an event sent through the API, as compact JSON."""

# --- what a client sends ----------------------------------------------------------------------------------------------


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain U+0000")
    return text


def _bounded_json(maximum_bytes: int) -> AfterValidator:
    def check(value: Any) -> Any:
        try:
            size = len(raw := orjson.dumps(value))
        except orjson.JSONEncodeError:
            raise ValueError("expected JSON that is neither too deep nor holds numbers over 64 bits") from None
        if size > maximum_bytes:
            raise ValueError(f"must be at most {maximum_bytes} bytes of JSON")
        if re.search(rb"(?<!\\)(?:\\\\)*\\u0000", raw):
            raise ValueError("must not contain U+0000")
        return value

    return AfterValidator(check)


def _at_most(count: int) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, dict | list) and len(value) > count:
            raise ValueError(f"must have at most {count} entries")
        return value

    return BeforeValidator(check)


KeyName = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_storable)]
KeyValue = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_storable)]
LabelValue = Annotated[str, StringConstraints(max_length=256), AfterValidator(_storable)]
TypeName = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_storable)]
Keys = Annotated[dict[KeyName, KeyValue], _at_most(MAX_KEYS)]
Text = Annotated[str, StringConstraints(max_length=2048), AfterValidator(_storable)]


class Request(BaseModel):
    """What a client sends: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ExpectationRequest(Request):
    """An event of `source` whose keys include these is for this wait."""

    source: SourceName
    type: TypeName | None = None
    keys: Annotated[Keys, Field(description="not empty; all values are strings")]
    early: Annotated[bool, Field(description="false: only events received after the registration count")] = True

    @field_validator("keys")
    @classmethod
    def _not_empty(cls, keys: dict[str, str]) -> dict[str, str]:
        if not keys:
            raise ValueError("must name at least one key")
        return keys


class RegisterRequest(Request):
    """`POST /v1/waits`. The last five fields are read loosely: unsupported() names those that ask for more than there is."""

    target: Annotated[SourceName, Field(description="a configured target")]
    address: Annotated[
        dict[str, Any],
        _bounded_json(MAX_ADDRESS_BYTES),
        Field(description="what waits there, in the shape of the target's consumer"),
    ]
    timeout: Annotated[Duration, Field(description='"90s" "15m" "8h" "7d" or seconds; bounded by the server')]
    expects: Annotated[tuple[ExpectationRequest, ...], _at_most(MAX_EXPECTS)] = ()
    labels: Annotated[dict[KeyName, LabelValue], _at_most(MAX_LABELS)] = {}
    heartbeat: Any = None
    parties: Any = None
    require: Any = "first"
    poll: Any = None
    on: Any = None


def unsupported(request: RegisterRequest) -> tuple[str, ...]:
    """Return the pointers of fields that this version reads and cannot honour; the answer is 422 `not-supported`."""
    asked = [name for name in ("heartbeat", "parties", "poll", "on") if getattr(request, name) is not None]
    if request.require not in (None, "first"):
        asked.append("require")
    return tuple(f"/{name}" for name in asked)


class ThirdPartyClientRequest(Request):
    """`PUT /v1/third-party-clients/{client_id}`. The token is sealed, and shown by no call."""

    token: Annotated[
        SecretStr, Field(min_length=1, max_length=256, description="as the platform gave it to the client")
    ]


class HandOverRequest(Request):
    """`POST /v1/agents/{agent}/jobs`: a job of a Lambda action, handed over by its function. Nothing else of its event is wanted."""

    job_id: Annotated[
        str,
        StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"),
        Field(description="`CodePipeline.job.id`"),
    ]
    account_id: Annotated[
        str | None, StringConstraints(pattern=r"^[0-9]{12}$"), Field(description="`CodePipeline.job.accountId`")
    ] = None
    region: Annotated[str | None, StringConstraints(max_length=64), Field(description="the function's own")] = None
    continuation_token: Annotated[
        str | None,
        StringConstraints(min_length=1, max_length=2048),
        Field(description="`CodePipeline.job.data.continuationToken`, where there is one"),
    ] = None


class EventSendData(Request):
    """What an operator says in the name of a source."""

    outcome: Literal[Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.PROGRESS, Outcome.NONE] = (
        Outcome.NONE
    )
    keys: Keys = {}
    summary: Text = ""
    url: Annotated[str, StringConstraints(max_length=2048, pattern=r"^(https?://[^\s]+)?$")] = ""
    percent: Annotated[int | None, Field(ge=0, le=100)] = None
    body: Annotated[Any, _bounded_json(MAX_BODY_BYTES)] = None


class EventSendRequest(Request):
    """`POST /v1/events`: an event in the shape of `schemas/event.json`; the id on the line and the time are ours."""

    specversion: Literal["1.0"] = "1.0"
    source: SourceName
    type: TypeName
    subject: Text | None = None
    id: Annotated[
        KeyValue | None, Field(min_length=1, description="the sender's own id: a second one with it is a duplicate")
    ] = None
    time: Annotated[AwareDatetime | None, Field(description="taken and not used: what counts is when it came")] = None
    data: EventSendData = EventSendData()

    @field_validator("source")
    @classmethod
    def _not_ours(cls, source: str) -> str:
        if source in (CALLBACK, BRIDGE):
            raise ValueError("must be a configured source")
        return source


# --- what a client gets -----------------------------------------------------------------------------------------------


class Links(Frozen):
    """Paths below the API's base."""

    self: str
    result: str


class WaitCreated(Frozen):
    """201 of a registration. The URL is shown here and nowhere else; `callback_urls` only with `parties`."""

    id: str
    state: State
    callback_url: str
    callback_urls: dict[str, str] | None = None
    expires_at: AwareDatetime
    links: Links

    def serialise(self) -> bytes:
        return orjson.dumps(self.model_dump(mode="json", exclude_none=True))


class ProgressView(Frozen):
    """The last progress that a remote reported."""

    percent: int | None = None
    message: str = ""
    url: str = ""


class TimelineEntry(Frozen):
    """One line of a wait's life."""

    at: AwareDatetime
    kind: Kind
    event: str | None = None
    attempt: int | None = None
    ending: str | None = None
    note: str | None = None


class WaitView(Frozen):
    """A wait as `GET /v1/waits/{id}` and the items of `GET /v1/waits` show it."""

    id: str
    state: State
    outcome: Outcome | None
    target: str
    address: Annotated[dict[str, Any], Field(description="as registered; a secret field shows as `**********`")]
    created_at: AwareDatetime
    expires_at: AwareDatetime
    decided_at: AwareDatetime | None
    reason: Reason | Literal["heartbeat"] | None
    progress: ProgressView
    labels: dict[str, str]
    timeline: tuple[TimelineEntry, ...]
    links: Links


class ResultData(Frozen):
    """The map that a pipeline gets in every case."""

    outcome: Outcome
    summary: str
    url: str
    data: Annotated[Any, Field(description="the deciding event's body")]


class ResultView(Frozen):
    """200 of `GET /v1/waits/{id}/result`: the wait is decided."""

    outcome: Outcome
    data: ResultData


class ResultPending(Frozen):
    """202 of `GET /v1/waits/{id}/result`: not decided yet."""

    state: State


class WorkAccepted(Frozen):
    """202 of `POST /v1/agents/{agent}/jobs`."""

    work: str


class Accepted(Frozen):
    """202 of a callback and of `POST /v1/events`."""

    event: str


class EventDataView(Frozen):
    """What the sender said; lists leave `body` and `files` out."""

    outcome: Outcome
    keys: dict[str, str]
    summary: str
    url: str
    percent: int | None
    body: Any = None
    files: dict[str, File] | None = None


class EventVerdict(Frozen):
    """What became of an event for one wait."""

    wait: str
    verdict: Verdict


class EventView(Frozen):
    """An event as the API shows it; `verdict` is the first of its verdicts, null until it was looked at."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    time: AwareDatetime
    subject: str | None = None
    data: EventDataView
    verdict: Verdict | None
    verdicts: tuple[EventVerdict, ...] = ()


class TargetView(Frozen):
    """A configured target."""

    name: str
    consumer: str
    base_url: str | None = None
    paused: bool
    waits: Annotated[dict[State, int], Field(description="how many are open, resolving and undeliverable")]


class DeadLetterView(Frozen):
    """A message that nobody could use, or a resolution that can never be applied; lists leave `body` out."""

    id: str
    queue: Annotated[str, Field(description="where it died, without suffix")]
    reason: str
    dead_at: AwareDatetime
    attempt: int
    message_id: str
    target: str | None = None
    wait: str | None = None
    dispatch: int | None = None
    body: Annotated[Any, Field(description="the message as JSON, or as text where it is none")] = None


class QueueView(Frozen):
    """One queue's figures; null where the broker does not tell."""

    name: str
    ready: int | None
    unacked: int | None
    oldest_age_s: float | None
    consumers: int | None


class WaitList(Frozen):
    """`GET /v1/waits`, newest first."""

    items: tuple[WaitView, ...]
    next_cursor: str | None


class EventList(Frozen):
    """`GET /v1/events`, newest first."""

    items: tuple[EventView, ...]
    next_cursor: str | None


class TargetList(Frozen):
    """`GET /v1/targets`."""

    items: tuple[TargetView, ...]
    next_cursor: str | None


class DeadLetterList(Frozen):
    """`GET /v1/dead-letters`, newest first."""

    items: tuple[DeadLetterView, ...]
    next_cursor: str | None


class QueueList(Frozen):
    """`GET /v1/queues`."""

    items: tuple[QueueView, ...]
    next_cursor: None = None


def longest_timeout(request: RegisterRequest, *, maximum: timedelta) -> FieldError | None:
    """Return what is wrong when the wait would be longer than *maximum*, the configured `[waits] max_timeout`."""
    if request.timeout <= maximum:
        return None
    return FieldError(pointer="/timeout", detail=f"must be at most {int(maximum.total_seconds())} seconds")
