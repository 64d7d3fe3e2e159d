"""Bounds: bytes under way, and guesses."""

import pytest

from bridge.ingress.limits import Budget, Busy, Guesses, Room


def test_a_budget_is_taken_and_given_back() -> None:
    """What is taken is missing, and comes back whole."""
    budget = Budget(2 * 4096 + 300)
    first, second = Room(budget), Room(budget)
    first.take(100)
    second.take(200)
    with pytest.raises(Busy):
        first.take(1)
    with pytest.raises(Busy):
        Room(budget)
    second.give_back()
    first.take(200)
    assert budget.free == 4096
    first.give_back()
    assert budget.free == 2 * 4096 + 300


def test_a_claim_takes_no_room() -> None:
    """Only what has come is held; what is not taken costs nothing."""
    budget = Budget(10_000)
    room = Room(budget)
    room.take(5000)
    with pytest.raises(Busy):
        room.take(5000)
    assert budget.free == 10_000 - 4096 - 5000
    room.give_back()
    assert budget.free == 10_000


def test_guesses_are_answered_up_to_a_number_a_minute() -> None:
    """Then a caller is told for how long it is not answered; after a minute it is again."""
    guesses = Guesses(3)
    assert [guesses.count("10.0.0.1", 100.0) for _ in range(3)] == [0, 0, 0]
    assert guesses.count("10.0.0.1", 110.0) == 50.0
    assert guesses.count("10.0.0.2", 110.0) == 0
    assert guesses.count("10.0.0.1", 160.0) == 0


def test_an_ipv6_client_is_its_network() -> None:
    """It commands 2**64 addresses, and counts as one; an odd address counts as itself."""
    guesses = Guesses(1)
    assert guesses.count("2001:db8::1", 0.0) == 0
    assert guesses.count("2001:db8::ffff:1%eth0", 0.0) > 0
    assert guesses.count("2001:db8:0:1::1", 0.0) == 0
    assert guesses.count("", 0.0) == 0


def test_the_memory_of_guesses_is_bounded() -> None:
    """The address seen least recently is forgotten first."""
    guesses = Guesses(1)
    for number in range(10_000):
        guesses.count(f"10.{number >> 8}.{number & 255}.1", 0.0)
    assert guesses.count("10.0.0.1", 0.0) > 0
    guesses.count("192.0.2.1", 0.0)
    assert guesses.count("10.0.1.1", 0.0) == 0
    assert len(guesses._seen) == 10_000
