"""Sealing: secrets of waits and third-party clients, encrypted where they are stored and while they travel.

A sealed text is `sealed:v1:<key id>:<base64url of nonce and ciphertext>`: AES-256-GCM with a fresh 96-bit random nonce. The
associated data is the head (`sealed:v1:<key id>`) and what the text is for, so that a sealed text moved to another wait, field
or client cannot be opened. A key is derived from its configured text by HKDF-SHA256, so any text of 32 bytes and more serves.

Random nonces: after 2^32 texts under one key a repeat has a chance of 2^-33; rotate long before.
"""

import base64
import binascii
import secrets
from collections.abc import Sequence

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.core.errors import Unopened
from bridge.core.sealed import Binding, is_sealed

_VERSION = "v1"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_CONTEXT = b"bridge sealing v1"


class Sealing:
    """The keys of `[secrets]`: the first seals, all open.

    keys: (id, text) each, at least one; a text of at least 32 bytes.
    """

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        self._ciphers = {key_id: AESGCM(_derived(text)) for key_id, text in keys}
        self._first = keys[0][0]

    def seal(self, text: str, binding: Binding) -> str:
        """Return *text* sealed for *binding*; another one each time."""
        head = f"sealed:{_VERSION}:{self._first}"
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(nonce, text.encode(), _associated(head, binding))
        return f"{head}:{base64.urlsafe_b64encode(nonce + sealed).rstrip(b'=').decode()}"

    def open(self, sealed: str, binding: Binding) -> str:
        """Return the text that was sealed for *binding*.

        Raises:
            Unopened: it is no sealed text, of another version, its key is not here, or it was made for something else.
        """
        if not is_sealed(sealed):
            raise Unopened("is no sealed text")
        head, _, content = sealed.rpartition(":")
        _, version, key_id = head.split(":")
        if version != _VERSION:
            raise Unopened(f"is sealed as {version}, which this version cannot open")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise Unopened(f"is sealed with the key {key_id}, which is not in [secrets] keys")
        try:
            raw = base64.urlsafe_b64decode(content + "=" * (-len(content) % 4))
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _associated(head, binding)).decode()
        except (binascii.Error, InvalidTag, ValueError):  # ValueError: too short to hold a nonce
            raise Unopened(f"cannot be opened with the key {key_id}: made for something else, or changed") from None


def _derived(text: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_CONTEXT).derive(text)


def _associated(head: str, binding: Binding) -> bytes:
    """Return head and binding as bytes, with no two alike."""
    return orjson.dumps([head, *binding])
