"""The HMAC that is set up once for each key."""

import hashlib
import hmac

import pytest

from bridge.core.signing import hmac_sha256


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 131, 1000])
def test_an_hmac_is_the_librarys(size: int) -> None:
    """For keys shorter than, as long as and longer than a block, whole or in parts, and again from the same key."""
    key = bytes(number % 251 for number in range(size))
    for parts in [(b"",), (b"Hi There",), (b"1", b".", b"x" * 5000)]:
        expected = hmac.new(key, b"".join(parts), hashlib.sha256).digest()
        assert hmac_sha256(key, *parts) == expected
        assert hmac_sha256(key, *parts) == expected
