"""Trail: what a copy of a resolution remembers of the copies before it. It travels in headers of ours."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from bridge.core.outcome import Ending, Later
from bridge.core.ports import Delivery
from bridge.core.resolution import Resolution
from bridge.core.topology import TRACEPARENT

DOUBT = "bridge-doubt"
ANNOUNCED = "bridge-announced"
FAILURES = "bridge-failures"
LAST = "bridge-last"


@dataclass(frozen=True, slots=True)
class Trail:
    """One delivery's past.

    in_doubt: somebody may have sent this dispatch to the platform already.
    is_announced: the coordinator was told that it is about to be sent; so the place was seen waiting.
    failures: attempts in a row that ended `later`.
    last: fingerprint of the ending that was reported last.
    traceparent: the trace that the resolution belongs to; empty where there is none.
    """

    attempt: int = 1
    in_doubt: bool = False
    is_announced: bool = False
    failures: int = 0
    last: str = ""
    traceparent: str = ""

    @classmethod
    def of(cls, delivery: Delivery, resolution: Resolution) -> Self:
        headers = delivery.headers
        return cls(
            attempt=delivery.attempt,
            in_doubt=delivery.is_redelivered or resolution.is_resent or DOUBT in headers,
            is_announced=ANNOUNCED in headers,
            failures=_number(headers.get(FAILURES, 0)),
            last=str(headers.get(LAST, "")),
            traceparent=str(headers.get(TRACEPARENT, "")),
        )

    def after(self, ending: Ending, *, is_announced: bool) -> dict[str, str | int]:
        """Return the headers of the copy that follows this attempt. A doubt is never forgotten."""
        headers: dict[str, str | int] = {
            FAILURES: self.failures + 1 if isinstance(ending, Later) else 0,
            LAST: fingerprint(ending),
        }
        if self.in_doubt or (isinstance(ending, Later) and ending.is_doubtful):
            headers[DOUBT] = 1
        if self.is_announced or is_announced:
            headers[ANNOUNCED] = 1
        return headers


def kept(delivery: Delivery) -> Mapping[str, str | int]:
    """Return the headers for a copy of a delivery that was never started: a broker's copy forgets the redelivered flag."""
    return {DOUBT: 1} if delivery.is_redelivered else {}


def fingerprint(ending: Ending) -> str:
    """Return a short name of what *ending* tells people; a header never holds a platform's own words."""
    return f"{ending.slug}:{hashlib.sha256(ending.reason.encode()).hexdigest()[:12]}"


def _number(value: str | int) -> int:
    try:
        return max(int(value), 0)
    except ValueError:
        return 0
