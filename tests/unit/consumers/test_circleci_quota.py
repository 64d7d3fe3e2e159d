import pytest

from bridge.consumers.circleci import Circleci
from bridge.core.quota import Quota
from bridge.core.request import Reply

STANDARD = {"ratelimit-limit": "100", "ratelimit-remaining": "40", "ratelimit-reset": "30"}
LEGACY = {"x-ratelimit-limit-minute": "50", "x-ratelimit-remaining": "7", "x-ratelimit-reset": "12"}


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        ({}, None),
        (STANDARD, Quota(40, 30, 100)),
        (LEGACY, Quota(7, 12, 50)),
        (STANDARD | LEGACY, Quota(7, 12, 50)),
        (STANDARD | LEGACY | {"x-ratelimit-remaining": "45"}, Quota(40, 30, 100)),
        (STANDARD | LEGACY | {"x-ratelimit-remaining": "40", "x-ratelimit-reset": "59"}, Quota(40, 59, 50)),
        ({"ratelimit-remaining": "3", "ratelimit-reset": "2"}, Quota(3, 2)),
        ({"ratelimit-remaining": "3"}, None),
        ({"ratelimit-remaining": "soon", "ratelimit-reset": "2"}, None),
        ({"ratelimit-remaining": "-1", "ratelimit-reset": "2"}, None),
        ({"ratelimit-remaining": "3, 3;w=60", "ratelimit-reset": " 2 "}, Quota(3, 2)),
        ({"ratelimit-remaining": "1234567890123", "ratelimit-reset": "2"}, None),
        ({"x-ratelimit-limit-second": "5", "x-ratelimit-remaining": "2"}, Quota(2, 1, 5)),
        ({"x-ratelimit-limit-hour": "900", "x-ratelimit-remaining": "2"}, Quota(2, 3600, 900)),
        (
            {"x-ratelimit-limit-second": "5", "x-ratelimit-limit-day": "9000", "x-ratelimit-remaining": "2"},
            Quota(2, 1, 5),
        ),
        ({"x-ratelimit-limit-day": "9000"}, None),
    ],
)
def test_quota(headers: dict[str, str], quota: Quota | None) -> None:
    """Either family or the tighter of both; what is no whole number is as if it were absent."""
    assert Circleci.quota(Reply(200, headers, b"")) == quota
