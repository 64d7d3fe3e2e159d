"""What a reply says of the requests that are left.

Contract: RateLimit-Limit, -Remaining, -Reset; X-RateLimit-Limit-<Second|Minute|Hour|Day>, X-RateLimit-Remaining, -Reset;
          Reset in seconds; either family, both, or none, by the service that answers: where both are, the lower counts
Source:   CircleCI documentation, "API developer's guide", rate limits (2026-08); no figures are published
"""

import re
from collections.abc import Mapping

from bridge.core.quota import Quota
from bridge.core.request import Reply

_UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_NUMBER = re.compile(r"\s*([0-9]{1,9})(?![0-9])")


def quota_of(reply: Reply) -> Quota | None:
    """Return the tighter of what the two families say; None where neither can be read."""
    told = [quota for quota in (_standard(reply.headers), _legacy(reply.headers)) if quota]
    return min(told, key=lambda quota: (quota.remaining, -quota.reset_s), default=None)


def _standard(headers: Mapping[str, str]) -> Quota | None:
    remaining, reset_s = _number(headers, "ratelimit-remaining"), _number(headers, "ratelimit-reset")
    if remaining is None or reset_s is None:
        return None
    return Quota(remaining, reset_s, _number(headers, "ratelimit-limit"))


def _legacy(headers: Mapping[str, str]) -> Quota | None:
    remaining = _number(headers, "x-ratelimit-remaining")
    limits = {unit: _number(headers, f"x-ratelimit-limit-{unit}") for unit in _UNITS_S}
    told = [(limit, _UNITS_S[unit]) for unit, limit in limits.items() if limit is not None]
    limit, window_s = min(told, default=(None, None))
    reset_s = _number(headers, "x-ratelimit-reset")
    reset_s = window_s if reset_s is None else reset_s
    return None if remaining is None or reset_s is None else Quota(remaining, reset_s, limit)


def _number(headers: Mapping[str, str], name: str) -> int | None:
    found = _NUMBER.match(headers.get(name, ""))
    return int(found[1]) if found else None
