"""Session fixtures: real servers, given by a variable, else private ones of the installed packages, else a named skip."""

import asyncio
import gc
import os
import shutil
from collections.abc import Callable, Iterator

import pytest
import uvloop

from tests.support import forked
from tests.support.servers import (
    AMQP_VARIABLE,
    POSTGRES_VARIABLE,
    PostgresNode,
    RabbitmqNode,
    drop_database,
    drop_vhost,
    find_postgres,
    find_rabbitmq,
    fresh_database,
    fresh_vhost,
)
from tests.support.servers import metrics_url as metrics_url_of

gc.set_threshold(20_000)  # as a running bridge has it


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the loop that a bridge runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def _forked_bridges() -> Iterator[None]:
    with forked.on():
        yield


def _missing(what: str) -> None:
    """Skip by name on a person's machine; on CI a missing server is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def amqp_url() -> Iterator[str]:
    """A broker for the whole run. Do not kill it; take `vhost_url` for a place of your own."""
    given = os.environ.get(AMQP_VARIABLE)
    if given:
        yield given
        return
    if find_rabbitmq() is None:
        _missing(f"RabbitMQ: {AMQP_VARIABLE} is not set and rabbitmq-server is not installed")
    with RabbitmqNode() as node:
        yield node.url


@pytest.fixture(scope="session")
def metrics_url(amqp_url: str) -> str:
    """Where that broker shows its figures."""
    return metrics_url_of(amqp_url)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for the whole run. Do not kill it; take `database_url` for a place of your own."""
    given = os.environ.get(POSTGRES_VARIABLE)
    if given:
        yield given
        return
    if find_postgres() is None:
        _missing(f"PostgreSQL: {POSTGRES_VARIABLE} is not set and postgresql is not installed")
    with PostgresNode() as node:
        yield node.url


def _command(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        _missing(f"{name} is not installed")
    return str(found)


@pytest.fixture(scope="session")
def groovy() -> str:
    """The command that runs Groovy."""
    return _command("groovy")


@pytest.fixture(scope="session")
def curl() -> str:
    """The real curl, for those that put something before it."""
    return _command("curl")


@pytest.fixture
def vhost_url(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty virtual host of the shared broker, for one test. Nobody kills that broker, so new queues need no time."""
    monkeypatch.setattr("bridge.brokers.rabbitmq.declaring.SETTLE_S", 0.0)
    url = fresh_vhost(amqp_url)
    yield url
    drop_vhost(url)


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """An empty database of the shared server, for one test."""
    url = fresh_database(postgres_url)
    yield url
    drop_database(url)


@pytest.fixture(scope="session")
def idle_rabbitmq_node() -> Iterator[RabbitmqNode]:
    """A private node that nobody has started yet, for the first that wants it so."""
    if find_rabbitmq() is None:
        _missing("RabbitMQ: a node that may be killed needs rabbitmq-server installed")
    node = RabbitmqNode()
    yield node
    node.close()


@pytest.fixture(scope="session")
def _private_postgres() -> Iterator[PostgresNode]:
    if find_postgres() is None:
        _missing("PostgreSQL: a server that may be killed needs postgresql installed")
    with PostgresNode() as node:
        yield node


@pytest.fixture
def rabbitmq_node(idle_rabbitmq_node: RabbitmqNode) -> RabbitmqNode:
    """A running private node that a test may stop, kill and block; it is started again for the next one."""
    if not idle_rabbitmq_node.is_running:
        idle_rabbitmq_node.start()
    return idle_rabbitmq_node


@pytest.fixture
def postgres_node(_private_postgres: PostgresNode) -> PostgresNode:
    """A running private server that a test may stop and kill; it is started again for the next one."""
    if not _private_postgres.is_running:
        _private_postgres.start()
    return _private_postgres
