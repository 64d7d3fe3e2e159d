"""Waiting and ending in spite of lost cancellations.

`wait_for` of Python 3.11, which the driver uses in every call to the broker, drops a cancellation that comes together
with the answer.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

AGAIN_S = 4.0
"""Longer than an orderly end takes (`errors.CLOSE_TIMEOUT_S`): a second cancellation would cut that short."""


def raise_if_cancelled() -> None:
    """Raise the CancelledError that the driver dropped: to be called between its answer and a wait without an end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def first_of(*awaitables: Awaitable[object]) -> None:
    """Wait for the first of *awaitables*, whatever its result; the others are cancelled.

    Raises:
        CancelledError: also when we were cancelled before and the driver dropped it.
    """
    waits = [asyncio.ensure_future(each) for each in awaitables]
    try:
        raise_if_cancelled()
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancel *task* until it has ended; an error it ended with is raised."""
    if task is None:
        return
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN_S)
    with suppress(asyncio.CancelledError):
        task.result()
