"""Paths of URLs that others name and that we call: what is in them must mean the same to every server on the way."""

from urllib.parse import unquote_to_bytes

SEGMENT = r"(?:[A-Za-z0-9\-._~!$&'()*+,=:@]|%[0-9A-Fa-f]{2})+"
"""One segment as it goes over the wire: RFC 3986's `pchar`, without the semicolon that begins parameters."""


def check_segments(path: str) -> None:
    """Refuse what a server on the way could read as another path.

    Raises:
        ValueError: with what was expected.
    """
    for part in path.split("/"):
        try:
            name = unquote_to_bytes(part).decode()
        except UnicodeDecodeError:
            raise ValueError("must be UTF-8, percent-encoded") from None
        if name in (".", "..") or any(character < " " or character == "\x7f" for character in name):
            raise ValueError("must hold no dot segment and no control character")
        if "/" in name:
            raise ValueError("holds %2F: a slash inside a name, such as a branch's, is %252F here")
