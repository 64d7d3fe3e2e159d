"""URLs, listen addresses and names as the config reads them."""

from collections.abc import Callable

import pytest
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from bridge.config.models import BrokerSettings, StoreSettings
from bridge.config.values import BaseUrl, Listen, is_loopback, redact_url, secret_fields, split_listen


class Shapes(BaseModel):
    """Every way in which a section may hold secrets."""

    one: SecretStr
    maybe: SecretStr | None = None
    many: tuple[SecretStr, ...] = ()
    maybe_many: tuple[SecretStr, ...] | None = None
    plain: tuple[str, ...] = ()


def test_secret_fields_are_found_in_every_shape() -> None:
    """Single or several, optional or not; plain fields are none."""
    found = secret_fields(Shapes)
    assert {name: field.is_many for name, field in found.items()} == {
        "one": False,
        "maybe": False,
        "many": True,
        "maybe_many": True,
    }
    assert not any(field.may_be_written for field in found.values())
    assert secret_fields(BrokerSettings)["url"].may_be_written


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("[::1]:0", "::1", 0),
        ("localhost:65535", "localhost", 65535),
        (":80", "0.0.0.0", 80),  # noqa: S104 - nothing is bound
    ],
)
def test_listen_is_host_and_port(text: str, host: str, port: int) -> None:
    """An IPv6 address stands in brackets; an empty host is every address."""
    assert split_listen(text) == (host, port)


@pytest.mark.parametrize("text", ["8080", "::1:80", "[::1]", "[nope]:1", "a:65536", "a:-1", "a b:1", "a:\u0661", ""])
def test_a_wrong_listen_is_refused(text: str) -> None:
    """Whatever cannot be bound is told at the start."""
    with pytest.raises(ValidationError):
        TypeAdapter(Listen).validate_python(text)


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - nothing is bound
        ("::", False),
        ("x", False),
    ],
)
def test_loopback(host: str, *, is_own: bool) -> None:
    """Only what this machine alone can reach."""
    assert is_loopback(host) is is_own


def test_a_base_url_loses_its_last_slash() -> None:
    """A path in front stays, so that the bridge may stand below one."""
    assert TypeAdapter(BaseUrl).validate_python("https://x.example.com/bridge/") == "https://x.example.com/bridge"


@pytest.mark.parametrize(
    "url",
    [
        "x",
        "ftp://x",
        "https://",
        "https://u:hunter2@x",
        "https://x?a",
        "https://x#a",
        "https://x:p",
        "http://a b",
        "http://x\n",
    ],
)
def test_a_wrong_base_url_is_refused_without_its_text(url: str) -> None:
    """Nothing that could carry a secret or change what is called."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(BaseUrl).validate_python(url)
    assert "hunter2" not in str(caught.value.errors(include_input=False, include_url=False))


@pytest.mark.parametrize(
    ("make", "url", "scheme"),
    [
        (BrokerSettings, "amqp://bridge@rabbit/", "amqp"),
        (BrokerSettings, "amqps://u:p@rabbit:5671/vhost?heartbeat=5", "amqps"),
        (BrokerSettings, "sqlite:///bridge.db", "sqlite"),
        (BrokerSettings, "memory:", "memory"),
        (StoreSettings, "postgresql://bridge@db/bridge", "postgresql"),
        (StoreSettings, "sqlite:////var/lib/bridge.db", "sqlite"),
    ],
)
def test_broker_and_store_urls(make: Callable[..., BrokerSettings | StoreSettings], url: str, scheme: str) -> None:
    """The schemes of DESIGN 5.2."""
    assert make(url=url).scheme == scheme


@pytest.mark.parametrize(
    ("make", "url"),
    [
        (BrokerSettings, "memory"),
        (BrokerSettings, "sqlite:///"),
        (BrokerSettings, "sqlite://x.db"),
        (BrokerSettings, "amqp:///vhost"),
        (BrokerSettings, "postgresql://db/x"),
        (StoreSettings, "memory:"),
        (StoreSettings, "postgresql://db"),
        (StoreSettings, "mysql://db/x"),
    ],
)
def test_other_urls_are_refused(make: Callable[..., BrokerSettings | StoreSettings], url: str) -> None:
    """A store in memory would forget its waits; the rest is nobody's."""
    with pytest.raises(ValidationError):
        make(url=url)


def test_sqlite_paths_are_as_written() -> None:
    """Three slashes are relative, four absolute."""
    assert str(BrokerSettings.model_validate({"url": "sqlite:///a/b.db"}).path) == "a/b.db"
    assert str(StoreSettings.model_validate({"url": "sqlite:////a/b.db"}).path) == "/a/b.db"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://u:hunter2@rabbit:5672/v", "amqp://u:********@rabbit:5672/v"),
        ("amqp://u@rabbit/", "amqp://u@rabbit/"),
        ("amqp://u:hunt@er2@rabbit/", "amqp://u:********@rabbit/"),
        ("postgresql://db/x?password=hunter2", "postgresql://db/x"),
        ("postgresql://u@db/x?password=hunter2", "postgresql://u@db/x"),
        ("sqlite:///bridge.db", "sqlite:///bridge.db"),
        ("memory:", "memory:"),
        ("amqp://[u:hunter2@x", "********"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    """Neither in the user part nor in the query."""
    assert redact_url(url) == shown
