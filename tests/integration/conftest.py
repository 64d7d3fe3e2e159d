"""What several integration tests stand on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.coordinator.store.engine import Database


@pytest.fixture(params=["sqlite", "postgresql"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty store, on each database."""
    url = f"sqlite:///{tmp_path}/store.db" if request.param == "sqlite" else request.getfixturevalue("database_url")
    database = Database(url)
    await database.migrate()
    yield database
    await database.close()
