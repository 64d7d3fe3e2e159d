"""Recorded webhooks, read from a folder beside the checkout where there is one."""

import base64
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bridge.core.request import RawRequest

FOLDER = Path(os.environ.get("BRIDGE_TEST_VECTORS", Path(__file__).parents[3] / "shared" / "vectors"))

OUTCOMES = {
    "approved": "succeeded",
    "passed": "succeeded",
    "signal": "succeeded",
    "rejected": "failed",
    "failed": "failed",
    "cancelled": "cancelled",
    "in_progress": "none",
    "review_withdrawn": "none",
    "comment": "none",
    "none": "none",
    "duplicate_body": "succeeded",
}
"""The recordings' words as ours. What is under way decides nothing, so it is no progress either (DESIGN 5.4)."""


@dataclass(frozen=True)
class Vector:
    """One recorded request and what is expected of it."""

    name: str
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    secret: str | None
    now: datetime
    expect: dict[str, Any] = field(default_factory=dict)
    case: dict[str, Any] = field(default_factory=dict)
    """The recording as it is, for what one sender alone has."""

    def request(self, path: str | None = None) -> RawRequest:
        return RawRequest(self.method, path or self.path, "", self.headers, self.body, self.now)


def vectors(folder: str) -> list[Any]:
    """Return the cases of *folder* as parameters; one that is skipped by name where there are none."""
    found = [pytest.param(vector, id=vector.name) for vector in _read(FOLDER / folder)]
    return found or [
        pytest.param(None, marks=pytest.mark.skip(reason=f"no recorded webhooks in {FOLDER.name}/{folder}"))
    ]


def _read(folder: Path) -> Iterator[Vector]:
    for path in sorted(folder.glob("*.json")):
        case = _load(path.read_text())
        text = case["body"]
        yield Vector(
            name=case["name"],
            method=case["method"],
            path=case["path"],
            headers=[
                (name.lower(), value)
                for name, values in case["headers"].items()
                for value in (values if isinstance(values, list) else [values])
            ],
            body=base64.b64decode(text) if case["body_encoding"] == "base64" else text.encode(),
            secret=case["secret"],
            now=datetime.fromtimestamp(case.get("now") or 1_700_000_000, UTC),
            expect=case["expect"],
            case=case,
        )


_LINE = re.compile(r'^(\s*"[\w-]+": ")(.*)(",?)$', re.MULTILINE)


def _load(text: str) -> Any:
    """Parse one recording; some hold a remark with quotes that are not escaped."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        repaired = _LINE.sub(lambda line: line[1] + re.sub(r'(?<!\\)"', r"\"", line[2]) + line[3], text)
        return json.loads(repaired)
