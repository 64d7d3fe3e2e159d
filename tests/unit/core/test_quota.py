"""Allowance: seconds are given, nothing waits."""

from bridge.core.quota import MAX_WINDOW_S, Allowance, Quota


def taken(allowance: Allowance, now: float, at_most: int = 100) -> int:
    """Take turns at *now* until one has to wait; return how many were had."""
    return next((number for number in range(at_most) if allowance.take(now)), at_most)


def answer(allowance: Allowance, quota: Quota, now: float) -> None:
    allowance.give_back()
    allowance.learn(quota, now)


def test_without_a_word_there_is_no_limit() -> None:
    """A platform that tells nothing is not slowed."""
    assert taken(Allowance(), 0.0) == 100


def test_what_is_left_is_counted_down_and_the_rest_waits_for_the_window() -> None:
    """Nine are left after the first answer: nine go at once, and the next is told how long it has to wait."""
    allowance = Allowance()
    allowance.take(0.0)
    answer(allowance, Quota(9, 30, limit=10), 1.0)
    assert taken(allowance, 2.0) == 9
    assert allowance.take(11.0) == 20.0
    assert taken(allowance, 31.0) == 10


def test_what_is_under_way_at_the_first_answer_counts() -> None:
    """Eight began before anything was known: the seven that are not answered yet will use the quota too."""
    allowance = Allowance()
    for _ in range(8):
        allowance.take(0.0)
    answer(allowance, Quota(9, 30, limit=10), 0.1)
    assert taken(allowance, 0.1) == 2


def test_an_answer_that_says_less_is_believed_and_one_that_says_more_is_late() -> None:
    """Other processes use the quota too; an answer that was made before our last calls left knows nothing of them."""
    allowance = Allowance()
    allowance.take(0.0)
    answer(allowance, Quota(9, 30, limit=10), 0.0)
    allowance.take(1.0)
    answer(allowance, Quota(2, 29, limit=10), 1.0)
    allowance.take(2.0)
    answer(allowance, Quota(5, 28, limit=10), 2.0)
    assert taken(allowance, 3.0) == 1


def test_whole_seconds_put_no_window_off() -> None:
    """A window of one second is always told as one second: its end stays where the first answer put it."""
    allowance = Allowance()
    allowance.take(0.0)
    answer(allowance, Quota(1, 1, limit=2), 0.0)
    allowance.take(0.9)
    answer(allowance, Quota(0, 1, limit=2), 0.95)
    assert allowance.take(0.95) < 0.1
    assert taken(allowance, 1.0) == 2


def test_a_new_window_that_nobody_has_told_of_yet_is_like_the_last() -> None:
    """Its first calls do not burst beyond the limit; its first answer says when it ends."""
    allowance = Allowance()
    allowance.take(0.0)
    answer(allowance, Quota(1, 10, limit=2), 0.0)
    assert taken(allowance, 10.0) == 2
    assert allowance.take(10.0) == 10.0
    answer(allowance, Quota(1, 4, limit=2), 10.0)
    assert allowance.take(10.0) == 4.0


def test_a_new_window_begins_when_its_first_call_arrives() -> None:
    """Ours began with the turn; the platform's began later and ends later, as its first answer tells."""
    allowance = Allowance()
    allowance.take(0.0)
    answer(allowance, Quota(1, 1, limit=2), 0.0)
    assert taken(allowance, 1.0) == 2
    answer(allowance, Quota(1, 1, limit=2), 1.2)
    assert taken(allowance, 2.1) == 0
    assert taken(allowance, 2.2) == 2


def test_another_limit_that_is_used_up_is_waited_for() -> None:
    """A short window is told again and again, then a long one without a request left: the long one counts."""
    allowance = Allowance()
    allowance.take(0.0)
    answer(allowance, Quota(5, 1, limit=10), 0.0)
    allowance.take(0.5)
    answer(allowance, Quota(0, 40, limit=100), 0.5)
    assert allowance.take(1.5) == 39.0


def test_no_window_is_believed_for_ever() -> None:
    """A day's reset stops nobody for a day: after a minute one more is asked."""
    allowance = Allowance()
    allowance.take(0.0)
    answer(allowance, Quota(0, 86_400), 0.0)
    assert allowance.take(0.0) == MAX_WINDOW_S
    assert allowance.take(MAX_WINDOW_S) == 0.0


def test_a_limit_of_nothing_still_asks_once_a_window() -> None:
    """Who never asks again never learns that the limit was raised."""
    allowance = Allowance()
    allowance.take(0.0)
    answer(allowance, Quota(0, 5, limit=0), 0.0)
    assert allowance.take(1.0) == 4.0
    assert taken(allowance, 5.0) == 1
