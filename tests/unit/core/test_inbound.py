"""What sources share: a secret's settings, the secret in a path, links and lines."""

from typing import Any

import pytest
from pydantic import ValidationError

from bridge.core.errors import Malformed, UnknownSource
from bridge.core.inbound import SecretSettings, SecretSource, is_id, keys_of, line, link, percent_of
from tests.support.senders import NOW, raw


def settings(**given: Any) -> SecretSettings:
    return SecretSettings.model_validate({"kind": "any", **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "a source needs a secret"),
        ({"secret": ()}, "a source needs a secret"),
        ({"unsigned": True}, "needs a secret for the path"),
        ({"secret": ""}, "a secret is empty"),
        ({"secret": ("good", " ")}, "a secret is empty"),
        ({"unsigned": True, "secret": "short"}, "at least 8 characters"),
        ({"secret": "good", "colour": "red"}, "Extra inputs"),
    ],
)
def test_a_source_without_a_usable_secret_ends_the_start_up(given: dict[str, Any], message: str) -> None:
    """Each with what is missing, named as it is written in the config."""
    with pytest.raises(ValidationError, match=message):
        settings(**given)


def test_a_secret_is_one_or_several() -> None:
    """Several during a rotation; none of them is shown."""
    assert len(settings(secret="one").secret) == 1  # noqa: S106 - of this test only
    both = settings(secret=("one", "two"))
    assert [secret.get_secret_value() for secret in both.secret] == ["one", "two"]
    assert "two" not in repr(both)


def test_an_unsigned_source_is_known_by_the_last_part_of_its_path() -> None:
    """In either spelling of that part; nothing else opens it."""
    source = SecretSource("plain", settings(unsigned=True, secret=("first one", "the-second")))
    for path in ("/hooks/plain/first%20one", "/hooks/plain/the-second"):
        assert source.verify(raw(path=path), now=NOW).raw.path == path
    for path in (
        "/hooks/plain/",
        "/hooks/plain/first",
        "/hooks/plain/THE-SECOND",
        "/hooks/plain/the-second/",
        "/hooks/plain/\xff",
    ):
        with pytest.raises(UnknownSource):
            source.verify(raw(path=path), now=NOW)


def test_a_signed_source_is_not_known_by_its_path() -> None:
    """There is no second way in."""
    source = SecretSource("signed", settings(secret="the-secret"))  # noqa: S106 - of this test only
    with pytest.raises(NotImplementedError):
        source.verify(raw(path="/hooks/signed/the-secret"), now=NOW)


@pytest.mark.parametrize("value", [None, 7, [], {}, b"x", True])
def test_what_is_no_text_is_no_line_and_no_link(value: Any) -> None:
    """Odd values are left out, never shown."""
    assert (line(value), link(value)) == ("", "")


def test_a_link_is_short_http_and_without_credentials() -> None:
    """Everything else is not shown."""
    assert link("https://ci.example/x?y#z") == "https://ci.example/x?y#z"
    assert link("https://ci.example/" + "x" * 2000) == ""
    for url in (
        "javascript:alert(1)",
        "data:text/html,x",
        "https://a\n.example/",
        "https://a.example/\u202e",
        "https:/a",
        " https://a",
    ):
        assert link(url) == ""


def test_percent_is_cut_to_a_whole_number() -> None:
    """0 to 100, as number or text."""
    assert [percent_of(value) for value in (None, 0, 100, 99.9, "7", "7.25")] == [None, 0, 100, 99, 7, 7]
    odd: list[Any] = [-1, 100.5, "100.5", True, [], "7 ", "\u0667"]
    for value in odd:
        with pytest.raises(Malformed):
            percent_of(value)


def test_keys_are_texts_as_json_writes_scalars() -> None:
    """So that a wait can name them; what is no scalar, empty or too long for an index is left out."""
    values = {
        "s": "x",
        "i": 7,
        "f": 1.5,
        "t": True,
        "f2": False,
        "n": None,
        "l": [],
        "o": {},
        "e": "",
        "long": "x" * 1025,
    }
    assert keys_of(values) == {"s": "x", "i": "7", "f": "1.5", "t": "true", "f2": "false"}
    assert keys_of({"x" * 201: 1, "y" * 200: "é" * 512}) == {"y" * 200: "é" * 512}
    assert len(keys_of({str(number): number for number in range(1000)})) == 100


def test_an_id_is_a_short_string() -> None:
    """It becomes a dedupe key."""
    assert is_id("x" * 200)
    odd: list[Any] = ["", "x" * 201, "é" * 101, 7, None]
    assert list(map(is_id, odd)) == [False] * 5
