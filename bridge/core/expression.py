"""JMESPath over a resolution: what an address may compute its parameters with (DESIGN 5.4)."""

import re
from collections.abc import Iterable
from typing import Annotated, Any

import jmespath
from pydantic import Field

from bridge.core.consumer import AddressError
from bridge.core.resolution import Resolution

Expression = Annotated[str, Field(min_length=1, max_length=1000)]

_LIKE_A_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def check_expressions(named: Iterable[tuple[str, str]]) -> None:
    """Compile the expressions of an address's `parameters`, given with their names.

    Raises:
        AddressError: one cannot be read; its pointer names it where the name is fit to be repeated.
    """
    for name, expression in named:
        try:
            jmespath.compile(expression)
        except (ValueError, RecursionError):  # the parser's own text repeats the expression
            pointer = f"/parameters/{name}" if _LIKE_A_NAME.fullmatch(name) else "/parameters"
            raise AddressError(pointer, "expected a JMESPath expression") from None


def document_of(resolution: Resolution) -> dict[str, Any]:
    """Return what expressions see: the event at one level, with what was decided; without an event the latter alone."""
    seen = resolution.event.flat if resolution.event else {"body": None}
    decided = {"outcome": resolution.outcome.value, "summary": resolution.summary, "url": resolution.url}
    return {**seen, **decided}


def search(expression: str, document: dict[str, Any]) -> Any:
    """Return the result; None where the expression does not fit what was sent."""
    try:
        return jmespath.search(expression, document)
    except (ValueError, TypeError, RecursionError):  # a function of something that is not there
        return None
