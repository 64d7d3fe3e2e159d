"""Bounds on what strangers can make an ingress hold: bodies under way, and guesses at capabilities."""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

_OVERHEAD_BYTES = 4096
"""What a request costs beside its body, roughly: headers, task, buffers."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one ingress process."""

    body_timeout_s: float = 20.0
    """From the head of a request to the end of its body."""
    max_bytes_under_way: int = 32 * 1_048_576
    """Bodies read and not answered yet; parsed they take several times this."""
    guesses_per_minute: int = 60
    """Wrong callback tokens, sources or path secrets from one address that are answered 404; those beyond it 429."""


class Budget:
    """Bytes that may be under way at once."""

    def __init__(self, total_bytes: int) -> None:
        self._free = total_bytes

    def take(self, body_bytes: int) -> bool:
        """Take room for a body; False: there is none, nothing was taken."""
        cost = body_bytes + _OVERHEAD_BYTES
        if cost > self._free:
            return False
        self._free -= cost
        return True

    def give_back(self, body_bytes: int) -> None:
        self._free += body_bytes + _OVERHEAD_BYTES


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
