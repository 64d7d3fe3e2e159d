"""Source: the base class of the files that say who calls us. It does no I/O: what it needs from outside it asks ingress for."""

from collections.abc import Collection, Mapping
from datetime import datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, get_args

from bridge.core.event import Event
from bridge.core.request import Call, RawRequest, VerifiedRequest
from bridge.core.settings import SourceSettings

S = TypeVar("S", bound=SourceSettings)


class Whole(NamedTuple):
    """What the events of a kind add up to, such as a pipeline of several workflows. No sender tells it: it is asked for.

    type: of the event that tells what it came to.
    key: names the whole, in that event and in those of its parts.
    keys: all keys of that event.
    parts: keys that only events of a part have; who names one does not mean the whole.
    told_by: the type of an event after which the whole may be over.
    setting: the source's setting that names the target to ask; it has no whole without.
    """

    type: str
    key: str
    keys: frozenset[str]
    parts: frozenset[str]
    told_by: str
    setting: str

    def is_meant(self, keys: Collection[str]) -> bool:
        """Return True when an expectation without a type that names *keys* is for the whole."""
        return self.key in keys and self.parts.isdisjoint(keys)


class Answer(NamedTuple):
    """What the sender gets after its events are confirmed. Never holds a byte of the request."""

    status: HTTPStatus = HTTPStatus.ACCEPTED
    json: Any = None
    headers: Mapping[str, str] = MappingProxyType({})


class Errand(NamedTuple):
    """A GET that a source cannot do itself, for ingress to do.

    base_url: made from the settings alone, never from a request; so a source has few of them.
    """

    base_url: str
    call: Call


class Source(Generic[S]):
    """One configured remote system. The file's name under bridge/sources is the kind."""

    settings_type: ClassVar[type[SourceSettings]] = SourceSettings
    required_keys: ClassVar[dict[str, frozenset[str]]] = {}
    """By event type: keys that an expectation of it must name, so that a fact about something else never counts.

    An expectation without `type` is held to the union of all of them.
    """
    whole: ClassVar[Whole | None] = None
    """What the events add up to; None: each stands for itself."""

    def __init_subclass__(cls, **more: Any) -> None:
        """Take the settings model from `Source[Settings]`."""
        super().__init_subclass__(**more)
        for base in getattr(cls, "__orig_bases__", ()):
            arguments = get_args(base)
            if len(arguments) == 1 and isinstance(arguments[0], type):
                cls.settings_type = arguments[0]

    def __init__(self, name: str, settings: S) -> None:
        self.name = name
        self.settings = settings

    def needs(self, raw: RawRequest) -> Errand | None:  # noqa: ARG002 - for senders whose public keys are fetched
        """Return what must be fetched before verify() can judge *raw*, such as a signing certificate; None: nothing.

        Raises:
            IntakeError: *raw* would not count, whatever were fetched.
        """
        return None

    def learn(self, raw: RawRequest, document: bytes) -> None:
        """Keep the *document* that needs(raw) asked for.

        Raises:
            BadSignature: it is not what was asked for.
        """

    def owes(self, request: VerifiedRequest) -> Errand | None:  # noqa: ARG002 - for senders that want to be confirmed
        """Return the call that the sender waits for, beside the answer; made after the broker has confirmed the events."""
        return None

    def verify(self, raw: RawRequest, *, now: datetime) -> VerifiedRequest:
        """Prove who sent *raw*, over its exact bytes.

        Raises:
            BadSignature, Stale, Malformed: nothing is published.
        """
        raise NotImplementedError

    def normalise(self, request: VerifiedRequest) -> list[Event]:
        """Return the events of a proven request; none for a ping.

        Raises:
            Malformed: authentic, but not in the sender's own shape.
        """
        raise NotImplementedError

    def answer(self, request: VerifiedRequest, events: list[Event]) -> Answer:  # noqa: ARG002 - a sender's own rule may need the request
        """Return what that sender expects; called after the broker has confirmed *events*."""
        return Answer(json={"event": events[0].id}) if events else Answer()
