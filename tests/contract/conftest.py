"""The brokers that every promise is tested on. RabbitMQ runs when there is one, memory and SQLite always."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.brokers.memory import MemoryBroker
from bridge.brokers.sqlite import SqliteBroker
from bridge.core.ports import Broker
from tests.support.brokers import BrokerPlace


def _place(kind: str, request: pytest.FixtureRequest) -> BrokerPlace:
    if kind == "memory":
        the_only_one = MemoryBroker()
        return BrokerPlace(kind, lambda: the_only_one)
    if kind == "sqlite":
        path: Path = request.getfixturevalue("tmp_path") / "bridge.db"
        return BrokerPlace(kind, lambda: SqliteBroker(path))
    url: str = request.getfixturevalue("vhost_url")
    metrics_url: str = request.getfixturevalue("metrics_url")
    from bridge.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415 - the other two run without its client

    return BrokerPlace(kind, lambda: RabbitmqBroker(url, metrics_url=metrics_url))


@pytest.fixture(params=["memory", "sqlite", "rabbitmq"])
def place(request: pytest.FixtureRequest) -> BrokerPlace:
    """A place of its own for one test."""
    return _place(request.param, request)


@pytest.fixture(params=["sqlite", "rabbitmq"])
def durable_place(request: pytest.FixtureRequest) -> BrokerPlace:
    """A place that outlives its brokers."""
    return _place(request.param, request)


@pytest.fixture
async def broker(place: BrokerPlace) -> AsyncIterator[Broker]:
    """A broker that is ready, with the test's target declared."""
    broker = await place.open()
    yield broker
    await broker.close()
