import pytest
from pydantic import BaseModel, SecretStr

from bridge.worker.reporting import Redaction


class Inner(BaseModel):
    key: SecretStr = SecretStr("inner-key")


class Holder(BaseModel):
    token: SecretStr = SecretStr("to/ken")
    empty: SecretStr = SecretStr("")
    inner: Inner = Inner()
    many: dict[str, list[SecretStr]] = {"a": [SecretStr("to/ken-longer")]}
    plain: str = "plain"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("say to/ken", "say ***"),
        ("say to%2Fken", "say ***"),
        ("say to/ken-longer", "say ***"),
        ("say inner-key twice inner-key", "say *** twice ***"),
        ("plain stays", "plain stays"),
        ("no\r\nline\x1b[31m breaks", "no  line [31m breaks"),
        ("x" * 501, "x" * 499 + "…"),
    ],
)
def test_a_note_is_one_short_line_without_secrets(text: str, shown: str) -> None:
    """Secrets are found at any depth, also percent-encoded; control characters and length cannot hurt a log."""
    assert Redaction(Holder())(text) == shown
