"""Pytest fixtures: a running emulator of each platform, fresh for each test.

A project that writes its own consumer adds `pytest_plugins = ["bridge.testing.fixtures"]` to its top `conftest.py`, or imports
the fixtures it wants. Each yields the emulator itself, already served: `jenkins.base_url` is where it listens. pytest and
pytest-asyncio are the only packages needed beyond those of the bridge.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from bridge.testing.circleci import CircleciEmulator
    from bridge.testing.codepipeline import CodepipelineEmulator
    from bridge.testing.jenkins import JenkinsEmulator


@pytest_asyncio.fixture
async def jenkins() -> AsyncIterator["JenkinsEmulator"]:
    """A Jenkins with no jobs, up and reachable."""
    from bridge.testing.jenkins import JenkinsEmulator  # noqa: PLC0415 - only those asked for are imported

    emulator = JenkinsEmulator()
    async with emulator.serve():
        yield emulator


@pytest_asyncio.fixture
async def circleci() -> AsyncIterator["CircleciEmulator"]:
    """A CircleCI with no pipelines, up and reachable."""
    from bridge.testing.circleci import CircleciEmulator  # noqa: PLC0415 - only those asked for are imported

    emulator = CircleciEmulator()
    async with emulator.serve():
        yield emulator


@pytest_asyncio.fixture
async def codepipeline() -> AsyncIterator["CodepipelineEmulator"]:
    """A CodePipeline with no pipelines, up and reachable."""
    from bridge.testing.codepipeline import CodepipelineEmulator  # noqa: PLC0415 - only those asked for are imported

    emulator = CodepipelineEmulator()
    async with emulator.serve():
        yield emulator
