"""What the parts of the model share: time, knobs, identifiers, and where effects go."""

import base64
import random
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, Protocol

from bridge.testing.codepipeline.clock import Agenda, Clock
from bridge.testing.codepipeline.knobs import Knobs


class Record(Protocol):
    """Takes a change that a client made."""

    def __call__(self, kind: str, subject: str, **detail: Any) -> None: ...


class Ids:
    """Identifiers, from a given source of randomness."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._nonces = count(self._source.randrange(1, 1000))
        self._numbers = count(1)

    def uuid(self) -> str:
        """Return a UUID in lower case."""
        return str(uuid.UUID(int=self._source.getrandbits(128), version=4))

    def long_text(self) -> str:
        """Return base64 text of 180 characters, as third-party job ids are."""
        return base64.b64encode(self._source.randbytes(135)).decode()

    def nonce(self) -> str:
        """Return a number as text, never the same twice."""
        return str(next(self._nonces))

    def number(self) -> int:
        """Return 1, 2, 3, …."""
        return next(self._numbers)


@dataclass(slots=True, eq=False)
class World:
    """One account's or several accounts' CodePipeline in one Region."""

    region: str
    account_id: str
    clock: Clock
    knobs: Knobs
    ids: Ids
    record: Record
    agenda: Agenda = field(default_factory=Agenda)

    def now(self) -> datetime:
        return self.clock.now()

    def settle(self) -> None:
        """Let everything happen that was due by now."""
        self.agenda.run_due(self.now())
