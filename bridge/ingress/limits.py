"""Bounds on what strangers can make an ingress hold: bodies under way, and guesses at capabilities."""

from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address

from bridge.core.errors import IntakeError

_OVERHEAD_BYTES = 4096
"""What a request costs beside its body, roughly: headers, task, buffers."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one ingress process."""

    body_timeout_s: float = 20.0
    """From the head of a request to the end of its body."""
    max_bytes_under_way: int = 64 * 1_048_576
    """Bodies read and not answered yet; parsed they take several times this."""
    guesses_per_minute: int = 60
    """Wrong callback tokens, sources or path secrets from one address that are answered 404; those beyond it 429."""


class Busy(IntakeError):
    """No room for another body, or too many guesses."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, text: str, *, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Budget:
    """Bytes that may be under way at once. What counts is what has come, not what was announced: a claim costs nothing."""

    def __init__(self, total_bytes: int) -> None:
        self.free = total_bytes


class Room:
    """What one request holds of a budget."""

    __slots__ = ("_budget", "_held")

    def __init__(self, budget: Budget) -> None:
        """Raises Busy: there is none at all."""
        self._budget = budget
        self._held = 0
        self.take(_OVERHEAD_BYTES)

    def take(self, number: int) -> None:
        """Hold *number* more bytes.

        Raises:
            Busy: there are not as many free.
        """
        if number > self._budget.free:
            raise Busy("no room for another body", retry_after_s=1)
        self._budget.free -= number
        self._held += number

    def give_back(self) -> None:
        self._budget.free += self._held
        self._held = 0


class Guesses:
    """Counts failed guesses by client address, in windows of a minute. A right one is never counted nor refused."""

    _WINDOW_S = 60.0
    _MAX_ADDRESSES = 10_000

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, address: str, now_s: float) -> float:
        """Count one failed guess; return for how many seconds no further one is answered, 0 while they still are."""
        key = _network(address)
        began, number = self._seen.pop(key, (now_s, 0))
        if now_s - began >= self._WINDOW_S:
            began, number = now_s, 0
        self._seen[key] = (began, number + 1)
        if len(self._seen) > self._MAX_ADDRESSES:
            self._seen.popitem(last=False)
        return self._WINDOW_S - (now_s - began) if number >= self._per_minute else 0.0


def _network(address: str) -> str:
    """Return what one client commands: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(IPv6Address(int(parsed) >> 64 << 64)) if parsed.version == 6 else address  # noqa: PLR2004 - IP's own number
