"""Proof: HMACs compared in constant time, timestamp windows, and our own callback tokens.

A callback token is the capability of one wait. 39 bytes in URL-safe base64 (52 characters, no padding, one spelling):

    version 1 B | expiry, ms since 1970, 6 B | wait id, 128 random bits, 16 B | HMAC-SHA256 of all before, first 16 B

Ingress checks it alone: a guess costs no message and no row. The wait id is no secret: without a key it opens nothing.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from bridge.core.errors import Stale

_VERSION = b"\x01"
_MAC_BYTES = 16
_BLOCK_BYTES = 64
_INNER = bytes(number ^ 0x36 for number in range(256))
_OUTER = bytes(number ^ 0x5C for number in range(256))
_TOKEN_CHARACTERS = 52
_CONTEXT = b"bridge callback token\n"
_REQUEST_CONTEXT = b"bridge request\n"
MIN_KEY_BYTES = 32


def new_wait_id() -> str:
    """Return 128 random bits in hex."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class CallbackToken:
    """What a genuine token says. An expired one is still genuine: the caller compares `expires_at`."""

    wait: str
    expires_at: datetime


class CallbackKeys:
    """The keys of `[callbacks]`: the first signs, all verify.

    keys: at least one, each of at least 32 bytes of text, used as they are.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def sign(self, wait: str, expires_at: datetime) -> str:
        """Return the token of *wait*: the same for the same arguments and first key."""
        payload = _VERSION + _millis(expires_at).to_bytes(6, "big") + bytes.fromhex(wait)
        return base64.urlsafe_b64encode(payload + self._mac(self._keys[0], payload)).decode()

    def read(self, token: str) -> CallbackToken | None:
        """Return what *token* says, or None for any token that is not ours. Every key is tried, each in constant time."""
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            return None
        if len(token) != _TOKEN_CHARACTERS or raw[:1] != _VERSION:
            return None
        payload, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not any([hmac.compare_digest(self._mac(key, payload), mac) for key in self._keys]):  # noqa: C419 - all keys, in equal time
            return None
        millis = int.from_bytes(payload[1:7], "big")
        return CallbackToken(
            payload[7:].hex(), datetime.fromtimestamp(millis // 1000, UTC) + timedelta(milliseconds=millis % 1000)
        )

    def request_marks(self, body: bytes) -> list[str]:
        """Return what a request body is known again by, under each key; the first is to be stored.

        No plain hash: a body may hold a secret, and a short one could be guessed by its hash.
        """
        return [hmac_sha256(key, _REQUEST_CONTEXT, body).hex() for key in self._keys]

    @staticmethod
    def _mac(key: bytes, payload: bytes) -> bytes:
        return hmac_sha256(key, _CONTEXT, payload)[:_MAC_BYTES]


def _millis(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def hmac_sha256(key: bytes, *parts: bytes) -> bytes:
    """Return the HMAC-SHA256 (RFC 2104) of the concatenated *parts*.

    The library's own one-shot sets its key up anew for each webhook, which costs more than a body of 1 KiB.
    """
    inner, outer = _padded(key)
    inside, outside = inner.copy(), outer.copy()
    for part in parts:
        inside.update(part)
    outside.update(inside.digest())
    return outside.digest()


@lru_cache(maxsize=256)
def _padded(key: bytes) -> tuple["hashlib._Hash", "hashlib._Hash"]:
    """Return the inner and the outer hash of an HMAC, begun with *key*."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def matches_any(candidates: Sequence[bytes], expected: Sequence[bytes]) -> bool:
    """Return True when one candidate equals one expected value; every pair is compared, each in constant time."""
    return any([hmac.compare_digest(candidate, value) for candidate in candidates for value in expected])  # noqa: C419 - equal time


def check_window(timestamp_s: int, *, now: datetime, tolerance: timedelta) -> None:
    """Accept a signed timestamp within *tolerance* of *now*, both ways, the edge included.

    Raises:
        Stale: it is outside.
    """
    if abs(timestamp_s - int(now.timestamp())) > tolerance.total_seconds():
        raise Stale("the signed timestamp is outside the window")


def body_hash(body: bytes) -> str:
    """Return the dedupe key of a body, for senders whose signed part holds no id."""
    return "sha256:" + hashlib.sha256(body, usedforsecurity=False).hexdigest()
