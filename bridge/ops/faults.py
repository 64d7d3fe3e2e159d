"""How a fault is told in the log: its class and its places. Its text and values may hold what a message or a request said."""

import traceback
from typing import Any


def places(exc: BaseException) -> list[str]:
    """Return where it happened, innermost last."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(exc.__traceback__)]


def where(exc: BaseException | None) -> dict[str, Any]:
    """Return the fields of a log line about *exc*: its class and the innermost place, as `file:line`."""
    frames = traceback.extract_tb(exc.__traceback__) if exc else []
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return {"error": type(exc).__name__ if exc else "", "at": place}
