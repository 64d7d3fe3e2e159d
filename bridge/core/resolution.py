"""Resolution and Report: what goes to a worker and what comes back. Both travel as CloudEvents in structured JSON."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import AwareDatetime, Field

from bridge.core.event import Event, Frozen, Outcome, decode, encode, new_id


class Resolution(Frozen):
    """The instruction to resume one address with one outcome."""

    wait: str
    target: str
    dispatch: int
    """Numbers the instructions of one wait; a replay counts on. A resend keeps the number."""
    address: dict[str, Any]
    """As registered, its secret fields sealed. The worker opens it and reads it with the consumer's Address model."""
    outcome: Literal[Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT]
    decided_at: AwareDatetime
    deliver_until: AwareDatetime
    event: Event | None = None
    """What decided; None when a timer did."""
    client_token: str | None = Field(default=None, exclude_if=lambda token: token is None)
    """Of the address's third-party client, sealed, as it was when this copy was sent; absent where none is needed or known."""
    is_resent: bool = False
    """A copy with this number may be on its way or applied: the worker is in doubt and looks first."""
    is_cleared: bool = False
    """The coordinator has stored the mark that a `repeats` address needs before its first send."""

    @property
    def succeeded(self) -> bool:
        return self.outcome is Outcome.SUCCEEDED

    @property
    def summary(self) -> str:
        """One line for people; `timed out` when a timer decided and nobody said more."""
        return outcome_summary(self.outcome, self.event)

    @property
    def url(self) -> str:
        return self.event.data.url if self.event else ""

    @property
    def body(self) -> Any:
        """What the remote sent: parsed JSON, the fields of a form, text, or None."""
        return self.event.data.body if self.event else None

    @property
    def result(self) -> dict[str, Any]:
        """The map that a pipeline gets in every case: `outcome summary url data`."""
        return {"outcome": self.outcome.value, "summary": self.summary, "url": self.url, "data": self.body}


def outcome_summary(outcome: Outcome, cause: Event | None) -> str:
    """Return what the deciding event said in one line; `timed out` where a timer decided."""
    if cause and cause.data.summary:
        return cause.data.summary
    return "timed out" if outcome is Outcome.TIMED_OUT else ""


class Progressed(StrEnum):
    """What a report says."""

    ATTEMPT = "attempt"
    """An attempt is about to be made, or ended without deciding anything; for the timeline, and the mark of rule 9."""
    MARK = "mark"
    """A `repeats` address asks for its mark before the first send."""
    DOUBTFUL = "doubtful"
    """In doubt, and the platform does not tell: the coordinator decides from what it remembers."""
    RESOLVED = "resolved"
    UNDELIVERABLE = "undeliverable"


class Report(Frozen):
    """What a worker says of one dispatch."""

    wait: str
    target: str
    dispatch: int
    result: Progressed
    ending: str = ""
    """The ending's slug: `done`, `already-done`, `not-yet`, `later`, `gone`, `refused`, `doubtful`."""
    reason: str = ""
    """Only with `undeliverable`: `not_reached`, `no_target`, `gone`, `refused` or `doubtful`."""
    note: str = ""
    """For people; never holds a secret or a body."""
    attempt: int = 1
    at: AwareDatetime


class _Envelope(Frozen):
    specversion: Literal["1.0"] = "1.0"
    id: str
    source: Literal["bridge"] = "bridge"
    type: str
    time: AwareDatetime


class ResolutionMessage(_Envelope):
    """A Resolution on the wire."""

    type: Literal["bridge.resolution"] = "bridge.resolution"
    data: Resolution

    @classmethod
    def wrap(cls, resolution: Resolution, *, now: datetime) -> Self:
        return cls(id=new_id(), time=now, data=resolution)


class ReportMessage(_Envelope):
    """A Report on the wire."""

    type: Literal["bridge.report"] = "bridge.report"
    data: Report

    @classmethod
    def wrap(cls, report: Report) -> Self:
        return cls(id=new_id(), time=report.at, data=report)


def write_resolution(resolution: Resolution, *, now: datetime) -> bytes:
    return encode(ResolutionMessage.wrap(resolution, now=now))


def read_resolution(body: bytes) -> Resolution:
    """Read one message body.

    Raises:
        Undecodable: it is no resolution.
    """
    return decode(ResolutionMessage, body).data


def write_report(report: Report) -> bytes:
    return encode(ReportMessage.wrap(report))


def read_report(body: bytes) -> Report:
    """Read one message body.

    Raises:
        Undecodable: it is no report.
    """
    return decode(ReportMessage, body).data
