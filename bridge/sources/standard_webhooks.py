"""Standard Webhooks, and Svix: a signed event whose `type` and `data` are the sender's to define.

Contract: POST, JSON, three headers `webhook-id`, `webhook-timestamp`, `webhook-signature`, or all three as `svix-*`
          signature: a space-separated list of `v1,<base64 HMAC-SHA256>` or `v1a,<base64 ed25519>`; one match suffices
          signed: `<id>.<timestamp>.<body>`; the timestamp is within 300 s of now, both ways, the edge included
          2xx in 15 s, else retried for days under the same id
Source:   https://github.com/standard-webhooks/standard-webhooks spec/standard-webhooks.md (v1, read November 2026)
"""

import base64
import binascii
import re
from datetime import datetime, timedelta
from typing import Any, Self

from pydantic import model_validator

from bridge.core.body import media_type, parse_json
from bridge.core.errors import BadSignature, Malformed, UnsupportedEncoding
from bridge.core.event import Event, EventData, Outcome
from bridge.core.inbound import SecretSettings, SecretSource, keys_of, outcome_of, percent_of, said
from bridge.core.request import RawRequest, VerifiedRequest
from bridge.core.signing import body_hash, check_window, hmac_sha256, matches_any

TOLERANCE = timedelta(seconds=300)
UNTYPED = "untyped"
"""The type of an authentic message that names none."""
MAX_SIGNATURES = 20
MAX_TYPE = 255

_FAMILIES = ("webhook", "svix")
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")
_ID = re.compile(r"[!-~]{1,255}")
_SYMMETRIC, _PUBLIC = "whsec_", "whpk_"
_SECRET_BYTES = range(24, 65)
_PUBLIC_BYTES = 32


class StandardWebhooksSettings(SecretSettings):
    """A sender's endpoint. A secret is `whsec_<base64>` (24 to 64 bytes) or the public key `whpk_<base64>`."""

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if not self.unsigned:
            for secret in self.secret:
                read_secret(secret.get_secret_value())
        return self


def read_secret(text: str) -> tuple[str, bytes]:
    """Return the kind of a secret, `v1` or `v1a`, and its bytes.

    Raises:
        ValueError: it is neither; the text does not repeat it.
    """
    version = "v1a" if text.startswith(_PUBLIC) else "v1"
    try:
        raw = base64.b64decode(text.removeprefix(_PUBLIC).removeprefix(_SYMMETRIC), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("secret_env: expected whsec_ or whpk_ and base64") from None
    if version == "v1" and len(raw) not in _SECRET_BYTES:
        raise ValueError("secret_env: expected 24 to 64 bytes after whsec_")
    if version == "v1a" and len(raw) != _PUBLIC_BYTES:
        raise ValueError("secret_env: expected a public key of 32 bytes after whpk_")
    return version, raw


class StandardWebhooks(SecretSource[StandardWebhooksSettings]):
    """Checks the three headers of one family; the message's id is signed, so it alone deduplicates."""

    def __init__(self, name: str, settings: StandardWebhooksSettings) -> None:
        super().__init__(name, settings)
        secrets = [] if settings.unsigned else [read_secret(secret.get_secret_value()) for secret in settings.secret]
        self._symmetric = [key for version, key in secrets if version == "v1"]
        self._public = [key for version, key in secrets if version == "v1a"]

    def check(self, raw: RawRequest, *, now: datetime) -> None:
        message_id, timestamp, signature = self._headers(raw)
        if not _ID.fullmatch(message_id) or not _TIMESTAMP.fullmatch(timestamp):
            raise BadSignature("an id or a timestamp that no sender makes")
        signed = f"{message_id}.{timestamp}.".encode()
        if not self._holds(signature, signed, raw.body):
            raise BadSignature("no signature matches")
        check_window(int(timestamp), now=now, tolerance=TOLERANCE)

    @staticmethod
    def _headers(raw: RawRequest) -> tuple[str, str, str]:
        """Return id, timestamp and signature of the one family that is there; two are never mixed."""
        found = [[raw.header(f"{family}-{part}") for part in ("id", "timestamp", "signature")] for family in _FAMILIES]
        there = [headers for headers in found if any(header is not None for header in headers)]
        if len(there) != 1:
            raise BadSignature("expected the three headers of one family")
        message_id, timestamp, signature = there[0]
        if message_id is None or timestamp is None or signature is None:
            raise BadSignature("one of the three headers is missing")
        return message_id, timestamp, signature

    def _holds(self, header: str, signed: bytes, body: bytes) -> bool:
        """Compare every entry that is in the one right form with every secret of its version."""
        entries = header.split(" ")
        if len(entries) > MAX_SIGNATURES or not header.isascii():
            return False
        given = [entry[3:].encode() for entry in entries if entry.startswith("v1,")]
        expected = [base64.b64encode(hmac_sha256(key, signed, body)) for key in self._symmetric]
        if matches_any(given, expected):
            return True
        asymmetric = [entry[4:] for entry in entries if entry.startswith("v1a,")]
        return any(_is_signed(entry, key, signed + body) for key in self._public for entry in asymmetric)

    def normalise(self, request: VerifiedRequest) -> list[Event]:
        raw = request.raw
        body = _read(raw)
        fields = body if isinstance(body, dict) else {}
        event_type = fields.get("type", UNTYPED)
        if not isinstance(event_type, str) or not 0 < len(event_type) <= MAX_TYPE:
            raise Malformed(f"type: expected a string of 1 to {MAX_TYPE} characters")
        data = describe(body, fields.get("data"), self._dedupe(raw))
        return [Event.new(source=self.name, type=event_type, time=raw.received_at, data=data)]

    def _dedupe(self, raw: RawRequest) -> tuple[str, ...]:
        if self.settings.unsigned:
            return (body_hash(raw.body),)
        return (f"id:{self._headers(raw)[0]}",)


def _is_signed(entry: str, key: bytes, message: bytes) -> bool:
    # Loaded here: most senders sign with a shared secret, and the library costs a start-up half as much again.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        signature = base64.b64decode(entry, validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return base64.b64encode(signature).decode() == entry  # one spelling


def _read(raw: RawRequest) -> Any:
    """Return the parsed body; None for an empty one, which the scheme allows."""
    if not raw.body:
        return None
    media = media_type(raw.header("content-type"))
    if not media.is_json:
        raise UnsupportedEncoding("expected application/json")
    return parse_json(raw.body, media.parameters.get("charset", "utf-8"))


def describe(body: Any, data: Any, dedupe: tuple[str, ...]) -> EventData:
    """Return what a message says: its keys are the scalars of *data*, its outcome is `data.outcome`, absent: none."""
    fields = data if isinstance(data, dict) else {}
    outcome = outcome_of(fields.get("outcome"))
    return EventData.trusted(
        outcome=outcome,
        keys=keys_of(fields),
        percent=percent_of(fields.get("percent")) if outcome is Outcome.PROGRESS else None,
        body=body,
        dedupe=dedupe,
        **said(fields),
    )
