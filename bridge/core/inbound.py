"""What the sources share: the settings and the proof of a shared secret, and the words of a callback."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self, TypeGuard, TypeVar

from pydantic import Field, SecretStr, field_validator, model_validator

from bridge.core.errors import Malformed, UnknownSource
from bridge.core.event import Outcome
from bridge.core.request import RawRequest, VerifiedRequest, segment
from bridge.core.settings import SourceSettings
from bridge.core.signing import matches_any
from bridge.core.source import Source

MIN_PATH_SECRET = 8
MAX_SUMMARY = 1000
MAX_LINK = 2000
MAX_KEYS = 100
MAX_KEY_BYTES = 1024
"""Of a key's value: what an index of a store takes."""
MAX_ID_BYTES = 200


class SecretSettings(SourceSettings):
    """A source that shares a secret with its sender."""

    secret: tuple[SecretStr, ...] = Field(
        default=(),
        description="what the sender signs with, several during a rotation; with `unsigned` the last part of the hook's path",
    )

    @field_validator("secret", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | SecretStr) else value

    @model_validator(mode="after")
    def _there(self) -> Self:
        values = [secret.get_secret_value() for secret in self.secret]
        if not values and self.unsigned:
            raise ValueError("secret_env: unsigned = true needs a secret for the path /hooks/<source>/<secret>")
        if not values:
            raise ValueError(
                "secret_env: a source needs a secret; if the sender cannot sign, set unsigned = true and a secret for the path"
            )
        if not all(value.strip() for value in values):
            raise ValueError("secret_env: a secret is empty")
        if self.unsigned and min(map(len, values)) < MIN_PATH_SECRET:
            raise ValueError(f"secret_env: a secret that stands in a path has at least {MIN_PATH_SECRET} characters")
        return self


S = TypeVar("S", bound=SecretSettings)


class SecretSource(Source[S]):
    """A source whose sender proves a shared secret: by a signature, or, with `unsigned`, by the path it posts to."""

    def __init__(self, name: str, settings: S) -> None:
        super().__init__(name, settings)
        self._secrets = tuple(secret.get_secret_value().encode() for secret in settings.secret)

    def verify(self, raw: RawRequest, *, now: datetime) -> VerifiedRequest:
        if self.settings.unsigned:
            self._check_path(raw)
        else:
            self.check(raw, now=now)
        return VerifiedRequest(raw)

    def check(self, raw: RawRequest, *, now: datetime) -> None:
        """Check the signature of *raw* over its exact bytes.

        Raises:
            BadSignature, Stale, Malformed: it does not hold.
        """
        raise NotImplementedError

    def _check_path(self, raw: RawRequest) -> None:
        given = raw.path.rpartition("/")[2].encode()
        spellings = [form for secret in self._secrets for form in (secret, segment(secret.decode()).encode())]
        if not matches_any([given], spellings):
            raise UnknownSource("the secret of the path is wrong")


_WORDS = {
    outcome.value: outcome for outcome in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.PROGRESS)
}


def outcome_of(word: Any) -> Outcome:
    """Return what a sender's *word* says; anything but the four words of a callback is `none`."""
    return _WORDS.get(word, Outcome.NONE) if isinstance(word, str) else Outcome.NONE


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LINK = re.compile(r"https?://[^/?#@\s]+(?:[/?#]\S*)?", re.IGNORECASE)


def line(value: Any) -> str:
    """Return *value* as one line for people, at most MAX_SUMMARY characters; empty for what is no string."""
    if isinstance(value, str) and len(value) <= MAX_SUMMARY and value.isprintable():
        return value.strip()
    return _CONTROL.sub(" ", value[: 2 * MAX_SUMMARY]).strip()[:MAX_SUMMARY] if isinstance(value, str) else ""


def link(value: Any) -> str:
    """Return *value* if it is a link to show: http or https, no credentials in it, printable; else empty."""
    if not isinstance(value, str) or len(value) > MAX_LINK or not value.isprintable():
        return ""
    return value if _LINK.fullmatch(value) else ""


def said(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary and url that *fields* name, as fields of EventData."""
    return {"summary": line(fields.get("summary")) or line(fields.get("message")), "url": link(fields.get("url"))}


_PERCENT = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,6})?")


def percent_of(value: Any) -> int | None:
    """Read a percentage, 0 to 100, as a number or its text; fractions are cut.

    Raises:
        Malformed: it is neither.
    """
    if value is None:
        return None
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:  # noqa: PLR2004 - percent
        raise Malformed("percent: expected a number from 0 to 100")
    return int(value)


def keys_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys that *values* make: scalars as text; what is empty, too long or no scalar is left out."""
    keys: dict[str, str] = {}
    for name, value in values.items():
        text = value if isinstance(value, str) else _text_key(value)
        is_short = len(text) <= _SURE_OF_KEY and len(name) <= _SURE_OF_ID
        if text and len(keys) < MAX_KEYS and (is_short or _fit(name, text)):
            keys[name] = text
    return keys


_SURE_OF_KEY, _SURE_OF_ID = MAX_KEY_BYTES // 4, MAX_ID_BYTES // 4
"""Characters that fit for certain: each takes four bytes at most."""


def _fit(name: str, text: str) -> bool:
    return len(text.encode()) <= MAX_KEY_BYTES and len(name.encode()) <= MAX_ID_BYTES


def _text_key(value: Any) -> str:
    """Return numbers and booleans as JSON writes them, else nothing."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case _:
            return ""


def is_id(value: Any) -> TypeGuard[str]:
    """Return True for what can be the id of something: a short string."""
    return isinstance(value, str) and 0 < len(value.encode()) <= MAX_ID_BYTES
