"""What senders do: sign, and build requests as plain values."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from bridge.core.request import RawRequest

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = "correct horse battery staple"  # noqa: S105 - of these tests only
WHSEC = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
JSON = "application/json"


def raw(
    body: bytes = b"",
    content_type: str | None = None,
    *,
    headers: Sequence[tuple[str, str]] = (),
    path: str = "/",
    query: str = "",
    method: str = "POST",
) -> RawRequest:
    """Return a request received at NOW."""
    typed = [("content-type", content_type)] if content_type is not None else []
    return RawRequest(method, path, query, [*typed, *headers], body, NOW)


def mac(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github(body: Any, event: str, *, secret: str = SECRET, delivery: str = "d-1") -> RawRequest:
    """Return *body*, bytes or JSON to be, as GitHub sends it."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return raw(
        content,
        JSON,
        headers=[
            ("x-github-event", event),
            ("x-github-delivery", delivery),
            ("x-hub-signature-256", f"sha256={mac(content, secret)}"),
        ],
    )


def circleci(body: Any, *, secret: str = SECRET) -> RawRequest:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return raw(content, JSON, headers=[("circleci-signature", f"v1={mac(content, secret)}")])


def standard(
    body: Any,
    *,
    secret: str = WHSEC,
    message_id: str = "msg_1",
    timestamp: str | None = None,
    family: str = "webhook",
    content_type: str = JSON,
) -> RawRequest:
    """Return *body* signed as Standard Webhooks wants it, at NOW or with *timestamp*."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    stamp = timestamp if timestamp is not None else str(int(NOW.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{message_id}.{stamp}.".encode() + content, hashlib.sha256).digest()
    return raw(
        content,
        content_type,
        headers=[
            (f"{family}-id", message_id),
            (f"{family}-timestamp", stamp),
            (f"{family}-signature", "v1," + base64.b64encode(signed).decode()),
        ],
    )


def without(request: RawRequest, name: str) -> RawRequest:
    """Return *request* without header *name*."""
    return with_headers(request, [header for header in request.headers if header[0] != name])


def replaced(request: RawRequest, name: str, *values: str) -> RawRequest:
    """Return *request* with header *name* sent once for each of *values*."""
    return with_headers(without(request, name), [*without(request, name).headers, *((name, value) for value in values)])


def with_headers(request: RawRequest, headers: Sequence[tuple[str, str]]) -> RawRequest:
    return RawRequest(request.method, request.path, request.query, headers, request.body, request.received_at)


def with_body(request: RawRequest, body: bytes) -> RawRequest:
    return RawRequest(request.method, request.path, request.query, request.headers, body, request.received_at)
