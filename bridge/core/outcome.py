"""What became of one attempt to resume a pipeline, and settle(): what follows from it.

An ending is a value that can also be raised, so that a consumer may `return judge(reply)` or `raise Later(...)`
from deep inside; the worker turns every raised one back into a value. See DESIGN section 4 for the table.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias


class _Ending(Exception):
    """Base of all endings."""

    slug = ""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.reason))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


class Done(_Ending):
    """The platform took the answer."""

    slug = "done"


class AlreadyDone(_Ending):
    """It was applied before: by an earlier attempt of ours or by a person. *reason* says by whom, where known."""

    slug = "already-done"


class NotYet(_Ending):
    """The pipeline has not reached the place where it waits. No failure: own tight curve until the delivery window ends."""

    slug = "not-yet"


class Later(_Ending):
    """May succeed later: time-outs, 429, 5xx, a refused credential of ours.

    after: what the platform asked us to wait at least.
    is_doubtful: the request may have been applied, so the repeat looks first.
    is_throttled: the platform is well and asked for less (429); it does not count towards the breaker.
    """

    slug = "later"

    def __init__(
        self,
        reason: str = "",
        after: timedelta | None = None,
        *,
        is_doubtful: bool = False,
        is_throttled: bool = False,
    ) -> None:
        super().__init__(reason)
        self.after = after
        self.is_doubtful = is_doubtful
        self.is_throttled = is_throttled


class Gone(_Ending):
    """What waited is over: build finished, workflow cancelled, job abandoned."""

    slug = "gone"


class Refused(_Ending):
    """This resolution can never succeed: illegal choice, not a submitter, unknown approval."""

    slug = "refused"


class InDoubt(_Ending):
    """An earlier delivery may have answered and the platform does not tell; the coordinator, which remembers, decides."""

    slug = "doubtful"


class Unmarked(_Ending):
    """A `repeats` address can be answered and has no mark: the coordinator stores the mark and sends a cleared copy."""

    slug = "unmarked"


Ending: TypeAlias = Done | AlreadyDone | NotYet | Later | Gone | Refused | InDoubt | Unmarked


class CredentialRefused(Exception):
    """The platform answered 401 or 403; the worker's credential probe tells whose fault it is."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the platform answered {status}")
        self.status = status


class Standing(StrEnum):
    """Where the thing that waits stands, as a consumer's look() sees it."""

    WAITING = "waiting"
    """It can be answered now."""
    NOT_THERE = "not-there"
    """Certainly not reached yet."""
    ANSWERED = "answered"
    """Somebody answered it, us or a person."""
    ABSENT = "absent"
    """Not reached yet or answered before: the platform does not tell the two apart."""
    GONE = "gone"
    """The build, workflow or job is over without an answer of ours."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A Standing, and what a consumer saw on the way: one listing serves look() and the resume() that follows at once.

    note: for people, such as who answered or how the build ended; never a secret.
    seen: the consumer's own; the worker hands it on and does not read it.
    """

    standing: Standing
    note: str = ""
    seen: Any = None


class Health(StrEnum):
    """The platform's and our credential's health."""

    UP = "up"
    CREDENTIAL = "credential"
    """It is up and refuses our credential."""
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Ack:
    """Report, then ack."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Store a copy that comes back *after*, then release this delivery."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Report undeliverable with *reason*, then dead-letter with it."""

    reason: str


Settlement: TypeAlias = Ack | Retry | DeadLetter

NOT_REACHED = "not_reached"


def settle(ending: Ending, *, delay: timedelta, now: datetime, deadline: datetime) -> Settlement:
    """Return what follows from *ending*: a pure table.

    delay: what the retry policy says for this attempt (already at least what the platform asked for).
    deadline: the end of the resolution's delivery window; the last attempt is made at it, none after.
    """
    match ending:
        case Done() | AlreadyDone() | InDoubt() | Unmarked():
            return Ack()
        case Gone() | Refused():
            return DeadLetter(ending.slug)
        case NotYet() | Later():
            if now >= deadline:
                return DeadLetter(NOT_REACHED)
            return Retry(min(delay, max(deadline - now, timedelta(0))))
