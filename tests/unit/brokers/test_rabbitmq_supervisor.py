"""Hosts and backoff."""

import pytest

from bridge.brokers.rabbitmq.supervisor import Link, backoff_s, split_hosts
from bridge.core.errors import ConfigError


def test_every_host_gets_the_whole_url() -> None:
    """User, virtual host and query belong to all hosts of the authority."""
    one, two = split_hosts("amqps://u:p%40ss@one:5671,two/vh%2Fx?cafile=/ca.pem&heartbeat=7")
    assert (one.host, one.port, one.user, one.password) == ("one", 5671, "u", "p@ss")
    assert (two.host, two.user, two.password) == ("two", "u", "p@ss")
    assert one.query["cafile"] == two.query["cafile"] == "/ca.pem"
    assert one.query["heartbeat"] == "7"
    assert two.raw_path == "/vh%2Fx"


def test_heartbeat_has_a_short_default() -> None:
    """A silent peer is noticed in half a minute, not in three."""
    assert split_hosts("amqp://h/")[0].query["heartbeat"] == "10"


@pytest.mark.parametrize(
    "url",
    [
        "http://h/",
        "amqp://",
        "amqp://u:p@/",
        "amqp://u:p@h:port/",
        "amqp://h,,i/",
        "h:5672",
        "amqps://h/?no_verify_ssl=1",
    ],
)
def test_unusable_url_is_refused_without_its_password(url: str) -> None:
    """The error names the key and never holds what was written."""
    with pytest.raises(ConfigError, match=r"^broker\.url: ") as caught:
        split_hosts(url)
    assert "u:p" not in str(caught.value).replace("[user[:password]", "")


@pytest.mark.parametrize(
    ("url", "vhost"),
    [("amqp://h", "/"), ("amqp://h/", "/"), ("amqp://h/%2F", "/"), ("amqp://h/a%2Fb", "a/b"), ("amqp://h/a", "a")],
)
def test_virtual_host_is_the_path(url: str, vhost: str) -> None:
    """An empty path is the default virtual host, as in the driver."""
    assert Link(split_hosts(url), "test").vhost == vhost


@pytest.mark.parametrize(("failures", "most"), [(0, 0.4), (1, 0.8), (5, 2.0), (1000, 2.0)])
def test_backoff_is_jittered_between_its_bounds(failures: int, most: float) -> None:
    """Reconnects come between 0.2 s and a bound that doubles up to 2 s, and differ."""
    waits = [backoff_s(failures) for _ in range(200)]
    assert min(waits) >= 0.2
    assert max(waits) <= most
    assert len(set(waits)) > 100
