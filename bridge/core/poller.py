"""Poller: the file that asks a remote system which cannot call back. Pure: it says what to ask and what an answer means.

Whoever runs it sends each call with the target's own Http, and lets the state travel in a delayed message between two calls.
A call that is no GET changes something: it is sent at most once, whatever becomes of it.
"""

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from bridge.core.event import Frozen, Outcome
from bridge.core.request import Call, Reply

S = TypeVar("S", bound=Frozen)


@dataclass(frozen=True, slots=True)
class Again(Generic[S]):
    """Ask once more, with this state.

    note: for people, such as why it still waits.
    is_fault: the remote failed, or refused our credential: back off, count it, tell it; the state is as it was.
    """

    state: S
    note: str = ""
    is_fault: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """What the remote came to: the event that is published of it.

    body: small JSON for the pipeline.
    """

    outcome: Outcome
    summary: str
    url: str = ""
    body: Any = None


class Poller(Protocol[S]):
    """One kind of remote. Its first state is what the wait's `poll.with` holds."""

    state_type: type[S]

    def plan(self, state: S) -> Call:
        """Return the next call; its path is relative to the target's base URL."""
        ...

    def read(self, reply: Reply, state: S) -> Again[S] | Finished:
        """Say what *reply* to plan(*state*) means, whatever its status."""
        ...
