"""Event: one normalised fact from a remote system, a CloudEvent 1.0 in structured JSON."""

import hashlib
import os
import random
import re
import time
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, Self, TypeVar

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bridge.core.errors import Undecodable

MAX_ROUTING_KEY_BYTES = 255
MAX_TYPE = 1024
CALLBACK = "callback"
"""Source and type of an event that came through a callback URL; its only key is `wait`."""
BRIDGE = "bridge"
"""Source of our own events: `wait.expired`."""
WAIT_EXPIRED = "wait.expired"

M = TypeVar("M", bound=BaseModel)

SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class Outcome(StrEnum):
    """What an event says about the work that a pipeline waits for."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PROGRESS = "progress"
    NONE = "none"
    TIMED_OUT = "timed_out"

    @property
    def decides(self) -> bool:
        """True when a sender may end a wait with it; only a timer makes `timed_out`."""
        return self in _DECIDING


_DECIDING = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED})


_new, _set = object.__new__, object.__setattr__


class Frozen(BaseModel):
    """A value: immutable; unknown fields of a newer writer are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def trusted(cls, **fields: Any) -> Self:
        """Return what the constructor would of *fields* that are right already: every webhook comes through here.

        It is `model_construct` without its copies: absent fields hold the class's own defaults, which nobody changes.
        """
        value, (defaults, names) = _new(cls), _template(cls)
        _set(value, "__dict__", defaults | fields)
        _set(value, "__pydantic_fields_set__", names)
        _set(value, "__pydantic_extra__", None)
        _set(value, "__pydantic_private__", None)
        return value


@cache
def _template(kind: type[BaseModel]) -> tuple[dict[str, Any], set[str]]:
    """Return every field of *kind* in its order, a required one as None until its value is laid over it; and all names."""
    defaults = {
        name: None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
        for name, field in kind.model_fields.items()
    }
    return defaults, set(defaults)


class File(Frozen):
    """One posted file."""

    filename: str = ""
    size: int
    """Bytes as received."""
    content: str
    """Text, or base64 when *encoding* says so."""
    encoding: Literal["utf-8", "base64"] = "utf-8"


class EventData(Frozen):
    """What the sender said, normalised."""

    outcome: Outcome = Outcome.NONE
    keys: dict[str, str] = {}
    """What a wait can expect it by; all values are strings."""
    summary: str = ""
    url: str = ""
    """A link to show, http or https, else empty."""
    percent: int | None = None
    body: Any = None
    """Parsed JSON, the fields of a form, or text; null when nothing was sent."""
    files: dict[str, File] = {}
    dedupe: tuple[str, ...] = ()
    """The sender's own ids for this fact: another event of the source with one of them is a duplicate."""


class Event(Frozen):
    """The envelope. `time` is when we received it; `source` is a configured source, `callback` or `bridge`."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: SourceName
    type: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TYPE)]
    time: AwareDatetime
    subject: str | None = None
    data: EventData = Field(default_factory=EventData)

    @classmethod
    def new(cls, *, source: str, type: str, time: datetime, data: EventData, subject: str | None = None) -> Self:  # noqa: A002 - CloudEvents' own attribute name
        """Return an event with a fresh id. *source* is a configured name, *time* aware.

        Raises:
            ValueError: *type*, which may come from a request, is empty or longer than an event's may be.
        """
        if not 0 < len(type) <= MAX_TYPE:
            raise ValueError("an event's type has 1 to 1024 characters")
        return cls.trusted(id=new_id(), source=source, type=type, time=time, subject=subject, data=data)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read one message body.

        Raises:
            Undecodable: it is not JSON, or not in the shape of `schemas/event.json`.
        """
        return decode(cls, body)

    def serialise(self) -> bytes:
        return encode(self)

    @property
    def routing_key(self) -> str:
        return routing_key(self.source, self.type)

    @property
    def flat(self) -> dict[str, Any]:
        """What JMESPath sees: `id source type time` and the fields of `data` at one level."""
        document = self.model_dump(mode="json")
        envelope = {name: document[name] for name in ("id", "source", "type", "time")}
        return {**envelope, **document["data"]}


def encode(value: BaseModel) -> bytes:
    """Return compact JSON; an absent `subject` is left out, as CloudEvents wants it."""
    document = value.model_dump(mode="json")
    if document.get("subject", "") is None:
        del document["subject"]
    return orjson.dumps(document)


def decode(model: type[M], body: bytes) -> M:
    """Read *body* as *model*.

    Raises:
        Undecodable: with the places that are wrong, never with the content.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        places = ", ".join("/" + "/".join(map(str, error["loc"])) for error in exc.errors(include_input=False)[:5])
        raise Undecodable(f"{model.__name__}: {places or 'not JSON'}") from None


_UNSAFE = re.compile(rb"[^A-Za-z0-9_-]")


def routing_key(source: str, type: str) -> str:  # noqa: A002 - CloudEvents' own attribute name
    """Return `<source>.<type>`, each word encoded so that nothing from a request can address or match another's binding.

    Dots in *type* separate words; other bytes outside `[A-Za-z0-9_-]` are `%XX`. Over 255 bytes the last word becomes
    its SHA-256 in hex; a key that is still too long is cut to the source and the hash of the whole type.
    """
    words = [encode_word(word) for word in (source, *type.split("."))]
    key = ".".join(words)
    if len(key) <= MAX_ROUTING_KEY_BYTES:
        return key
    words[-1] = hashlib.sha256(type.rpartition(".")[2].encode()).hexdigest()
    key = ".".join(words)
    if len(key) <= MAX_ROUTING_KEY_BYTES:
        return key
    return f"{words[0]}.{hashlib.sha256(type.encode()).hexdigest()}"


def encode_word(word: str) -> str:
    """Return *word* as one routing-key word: bytes outside `[A-Za-z0-9_-]` as `%XX`."""
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], word.encode()).decode()


_chance = random.Random(os.urandom(32))  # noqa: S311 - an id has to be unique, not secret; a system call each is the costlier


_LOW_62_BITS = (1 << 62) - 1


def new_id() -> str:
    """Return a fresh id: 48 bits of milliseconds and 74 random ones in the text form of a UUIDv7, so that ids sort by time."""
    chance = _chance.getrandbits(74)
    version_7 = 0x7000 | chance >> 62
    digits = f"{time.time_ns() // 1_000_000 << 80 | version_7 << 64 | 1 << 63 | chance & _LOW_62_BITS:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def includes(keys: Mapping[str, str], expected: Mapping[str, str]) -> bool:
    """Return True when *keys* of an event include every expected one."""
    return all(keys.get(name) == value for name, value in expected.items())
