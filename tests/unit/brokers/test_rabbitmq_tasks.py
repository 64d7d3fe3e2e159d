"""Waiting and ending in spite of lost cancellations."""

import asyncio

import pytest

from bridge.brokers.rabbitmq import tasks
from bridge.brokers.rabbitmq.tasks import end, first_of


async def test_swallowed_cancellation_ends_the_next_wait() -> None:
    """A task whose cancellation was dropped by the driver ends where it would have waited for ever."""

    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await first_of(asyncio.Event().wait())

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(0.5):
        await end(task)
    assert task.cancelled()


async def test_end_cancels_until_the_task_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """One dropped cancellation does not keep a process from closing."""
    monkeypatch.setattr(tasks, "AGAIN_S", 0.01)

    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end(task)
    assert task.done()


async def test_end_raises_what_the_task_ended_with() -> None:
    """A bug in a supervising task is not lost."""

    async def broken() -> None:
        raise LookupError

    task = asyncio.create_task(broken())
    await asyncio.wait({task})
    with pytest.raises(LookupError):
        await end(task)


async def test_first_of_cancels_the_others() -> None:
    """Nothing is left waiting behind."""
    other = asyncio.ensure_future(asyncio.Event().wait())
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_exception(ValueError())
    done.exception()
    await first_of(done, other)
    await asyncio.wait({other})
    assert other.cancelled()
