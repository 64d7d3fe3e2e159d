"""Sealed text: opened by who has the key and asks for what it was sealed for, and by nobody else."""

import base64

import pytest

from bridge.core.errors import Unopened
from bridge.core.sealed import Binding, is_sealed, of_address, of_client
from bridge.sealing import Sealing

OLD = ("2026a", b"a" * 32)
NEW = ("2026b", b"b" * 40)
TEXT = "s3cr3t äöü"
PLACE = of_address("circleci", "w1", ("approval", "token"))


@pytest.mark.parametrize("text", ["", "x", TEXT, "k" * 4096, "\x00\ud7ff"])
@pytest.mark.parametrize("binding", [PLACE, of_client("c1")])
def test_who_has_the_key_opens_what_was_sealed(text: str, binding: Binding) -> None:
    """Any text comes back as it was, and nothing of it shows on the way."""
    sealing = Sealing([OLD])
    sealed = sealing.seal(text, binding)
    assert is_sealed(sealed)
    assert sealed.startswith("sealed:v1:2026a:")
    assert len(text) < 3 or text not in sealed
    assert sealing.open(sealed, binding) == text


def test_no_two_seals_are_alike() -> None:
    """A fresh nonce each time: equal secrets cannot be told by their sealed texts."""
    sealing = Sealing([OLD])
    assert len({sealing.seal(TEXT, PLACE) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "other",
    [
        of_address("circleci", "w2", ("approval", "token")),
        of_address("jenkins", "w1", ("approval", "token")),
        of_address("circleci", "w1", ("token",)),
        of_address("circleci", "w1", ("approval", "token", 0)),
        of_address("circleci", "w1", ("approvaltoken",)),
        of_address("circleciw", "1", ("approval", "token")),
        of_client("w1"),
        (),
    ],
)
def test_a_sealed_text_serves_no_other_place(other: Binding) -> None:
    """Moved to another wait, target, field or client it stays closed."""
    sealing = Sealing([OLD])
    with pytest.raises(Unopened, match="made for something else"):
        sealing.open(sealing.seal(TEXT, PLACE), other)


def test_every_changed_bit_is_seen() -> None:
    """One bit anywhere in nonce, ciphertext or tag, and it stays closed."""
    sealing = Sealing([OLD])
    head, _, content = sealing.seal(TEXT, PLACE).rpartition(":")
    raw = base64.urlsafe_b64decode(content + "=" * (-len(content) % 4))
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        text = base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
        with pytest.raises(Unopened):
            sealing.open(f"{head}:{text}", PLACE)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda sealed: sealed.replace("2026a", "2026b"), "the key 2026b, which is not in"),
        (lambda sealed: sealed.replace(":v1:", ":v2:"), "sealed as v2"),
        (lambda sealed: sealed[:40], "cannot be opened"),
        (lambda sealed: sealed[:-1], "cannot be opened"),
        (lambda _: "sealed:v1:2026a:A", "cannot be opened"),
        (lambda _: "sealed:v1:2026a:", "no sealed text"),
        (lambda _: "sealed:v1:2026a:%%%%", "no sealed text"),
        (lambda _: TEXT, "no sealed text"),
        (lambda _: "", "no sealed text"),
    ],
)
def test_what_cannot_be_opened_says_why_and_nothing_else(spoil: object, says: str) -> None:
    """The reason is for an operator: it names the key, and holds nothing of the text."""
    sealing = Sealing([OLD])
    spoiled = spoil(sealing.seal(TEXT, PLACE))  # type: ignore[operator] # one of the functions above
    with pytest.raises(Unopened, match=says) as caught:
        sealing.open(spoiled, PLACE)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_another_key_of_the_same_id_opens_nothing() -> None:
    """An id is a name: what counts is the key."""
    sealed = Sealing([OLD]).seal(TEXT, PLACE)
    with pytest.raises(Unopened, match="cannot be opened with the key 2026a"):
        Sealing([("2026a", b"z" * 32)]).open(sealed, PLACE)


def test_the_first_key_seals_and_all_open() -> None:
    """Put the new key first and nothing is lost; take the old one away and only its texts are."""
    before, during, after = Sealing([OLD]), Sealing([NEW, OLD]), Sealing([NEW])
    old, new = before.seal(TEXT, PLACE), during.seal(TEXT, PLACE)
    assert new.startswith("sealed:v1:2026b:")
    assert during.open(old, PLACE) == during.open(new, PLACE) == after.open(new, PLACE) == TEXT
    with pytest.raises(Unopened, match="the key 2026a, which is not in"):
        after.open(old, PLACE)
