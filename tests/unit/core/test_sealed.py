"""Where secrets stand in an address: the types of its model say it, whether the text is plain or sealed."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasChoices, BaseModel, Field, Secret, SecretBytes, SecretStr

from bridge.core.consumer import Address
from bridge.core.errors import Unopened
from bridge.core.sealed import (
    HIDDEN,
    Location,
    given_secrets,
    has_secrets,
    hidden,
    is_sealed,
    no_key,
    of_client,
    redacted,
    with_secrets,
)
from bridge.core.signing import CallbackKeys

SEALED = "sealed:v1:2026a:AbCd-_09"


class Plain(BaseModel):
    name: str = ""
    inner: "Plain | None" = None


class Leaf(BaseModel):
    name: str = ""
    token: SecretStr | None = None
    next: "Leaf | None" = None


class Tagged(BaseModel):
    kind: Literal["token"]
    value: SecretStr


class Other(BaseModel):
    kind: Literal["name"]
    value: str


class Deep(Address):
    name: str = ""
    key: Annotated[SecretStr, Field(min_length=1)] | None = None
    raw: SecretBytes | None = None
    typed: Secret[str] | None = None
    leaf: Leaf | None = None
    either: Annotated[Tagged | Other, Field(discriminator="kind")] | str | None = None
    many: tuple[SecretStr, ...] = ()
    few: frozenset[SecretStr] = frozenset()
    leaves: list[Leaf] = Field(default_factory=list)
    named: dict[str, SecretStr | int] = Field(default_factory=dict)
    mapped: dict[str, list[Leaf]] = Field(default_factory=dict)
    other: SecretStr | None = Field(default=None, alias="otherName")
    third: SecretStr | None = Field(default=None, validation_alias=AliasChoices("a3", "b3"))


@pytest.mark.parametrize(
    ("raw", "places"),
    [
        ({}, []),
        ({"name": "x"}, []),
        ({"key": "x"}, [("key",)]),
        ({"key": None}, []),
        ({"raw": "x", "typed": "y"}, [("raw",), ("typed",)]),
        ({"leaf": {"name": "n", "token": "x"}}, [("leaf", "token")]),
        ({"leaf": {"next": {"next": {"token": "x"}}}}, [("leaf", "next", "next", "token")]),
        ({"either": {"kind": "token", "value": "x"}}, [("either", "value")]),
        (
            {"either": {"kind": "name", "value": "x"}},
            [("either", "value")],
        ),  # too much is sealed rather than too little
        ({"either": "x"}, []),
        ({"many": ["x", "y"]}, [("many", 0), ("many", 1)]),
        ({"few": ["x"]}, [("few", 0)]),
        ({"leaves": [{"token": "x"}, {}, {"token": "y"}]}, [("leaves", 0, "token"), ("leaves", 2, "token")]),
        ({"named": {"a/b": "x", "n": 1}}, [("named", "a/b")]),
        ({"mapped": {"m": [{"token": "x"}]}}, [("mapped", "m", 0, "token")]),
        ({"otherName": "x", "a3": "y"}, [("otherName",), ("a3",)]),
        ({"b3": "y"}, [("b3",)]),
    ],
)
def test_every_secret_is_found_where_it_stands(raw: dict[str, Any], places: list[Location]) -> None:
    """At whatever depth, and nothing else; what stands around it stays as it was."""
    Deep.model_validate(raw)
    assert list(given_secrets(Deep, raw)) == places
    assert with_secrets(Deep, raw, lambda _place, text: text) == raw
    changed = with_secrets(Deep, raw, lambda place, text: f"{place}{text}")
    assert list(given_secrets(Deep, changed)) == places
    for place in places:
        before: Any = raw
        after: Any = changed
        for step in place:
            before, after = before[step], after[step]
        assert after == f"{place}{before}"


def test_models_with_and_without_secrets_are_told_apart() -> None:
    """By types alone, also where a model holds itself."""
    assert has_secrets(Deep)
    assert has_secrets(Leaf)
    assert not has_secrets(Plain)
    assert not has_secrets(Address)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (SEALED, HIDDEN),
        ({"a": [SEALED, {"b": SEALED}], "c": 1, "d": None}, {"a": [HIDDEN, {"b": HIDDEN}], "c": 1, "d": None}),
        (f'cut off: {{"key": "{SEALED}"', f'cut off: {{"key": "{HIDDEN}"'),
        ("sealed", "sealed"),
        ({"sealed:v1": True}, {"sealed:v1": True}),
    ],
)
def test_sealed_text_is_shown_by_nobody(value: Any, shown: Any) -> None:
    """Whatever is shown of an address or a message has stars in its place."""
    assert hidden(value) == shown


@pytest.mark.parametrize(
    ("text", "secrets", "shown"),
    [
        ("no hunter2 here", ["hunter2"], "no *** here"),
        ("/a%2Fb?k=a/b", ["a/b"], "/***?k=***"),
        ("hunter2-long hunter2", ["hunter2", "hunter2-long"], "*** ***"),
        ("nothing", ["", "x"], "nothing"),
    ],
)
def test_a_text_is_redacted_in_every_spelling(text: str, secrets: list[str], shown: str) -> None:
    """As it is and percent-encoded, the longest first; an empty secret hides nothing."""
    assert redacted(text, secrets) == shown


def test_without_keys_nothing_opens() -> None:
    """A process without keys knows a sealed text and says what it lacks."""
    assert is_sealed(SEALED)
    assert not is_sealed(f" {SEALED}")
    with pytest.raises(Unopened, match=r"no \[secrets\] keys"):
        no_key(SEALED, of_client("c"))


def test_a_request_is_known_again_while_its_key_is_there() -> None:
    """Under a new first key the old mark is still among those compared; of another body none is."""
    before, after = CallbackKeys([b"a" * 32]), CallbackKeys([b"b" * 32, b"a" * 32])
    (mark,) = before.request_marks(b"{}")
    assert mark in after.request_marks(b"{}")
    assert mark != after.request_marks(b"{}")[0]
    assert not set(before.request_marks(b"{ }")) & set(after.request_marks(b"{}"))
