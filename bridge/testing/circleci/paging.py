"""Pages of a list: `page-token` in the query, `next_page_token` in the body."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from bridge.testing.circleci.gate import ApiError
from bridge.testing.circleci.knobs import Knobs

_MARK = "+/ "
"""In every token, so that one that is not URL-encoded does not survive the query."""


def page(items: Sequence[Any], token: str, size: int, knobs: Knobs) -> dict[str, Any]:
    """Return the page of *items* that *token* names; an empty token names the first.

    Raises:
        ApiError: 400, the token is none of ours.
    """
    start = _offset(token) if token else 0
    body: dict[str, Any] = {"items": list(items[start : start + size])}
    if start + size < len(items):
        return body | {"next_page_token": _token(start + size)}
    match knobs.last_page_token:
        case "missing":
            return body
        case "empty":
            return body | {"next_page_token": ""}
        case "null":
            return body | {"next_page_token": None}


def _token(offset: int) -> str:
    return _MARK + base64.b64encode(f"offset={offset:08d}".encode()).decode() + "&="


def _offset(token: str) -> int:
    if token.startswith(_MARK) and token.endswith("&="):
        try:
            text = base64.b64decode(token[len(_MARK) : -2], validate=True).decode()
            return int(text.removeprefix("offset="))
        except (binascii.Error, UnicodeDecodeError, ValueError):
            pass
    raise ApiError(400, "Invalid page token.")
