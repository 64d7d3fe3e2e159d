"""The API's bodies: what is taken, what is refused, and what a refusal says."""

import json
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.core.api import EventSendRequest, RegisterRequest, WaitCreated, longest_timeout, unsupported
from bridge.core.problem import FieldError, Problem, Slug, field_errors, pointer

GOOD: dict[str, Any] = {"target": "jenkins-prod", "address": {"build_url": "x"}, "timeout": "8h"}


def read(**changes: Any) -> RegisterRequest:
    return RegisterRequest.model_validate_json(json.dumps(GOOD | changes))


def errors(**changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        read(**changes)
    return [(error.pointer, error.detail) for error in field_errors(caught.value)]


def test_a_small_registration_has_defaults() -> None:
    """Target, address and timeout are enough."""
    asked = read()
    assert asked.timeout == timedelta(hours=8)
    assert (asked.expects, asked.labels, unsupported(asked)) == ((), {}, ())


@pytest.mark.parametrize(("value", "seconds"), [("90s", 90), ("15m", 900), ("7d", 604800), (30, 30)])
def test_durations(value: Any, seconds: int) -> None:
    """Text with a unit, or whole seconds."""
    assert read(timeout=value).timeout == timedelta(seconds=seconds)


def test_an_expectation_looks_back_unless_it_says_not_to() -> None:
    """`early` is true by default; keys are strings."""
    (first, second) = read(
        expects=[{"source": "a", "keys": {"k": "1"}}, {"source": "b", "type": "t", "keys": {"k": ""}, "early": False}]
    ).expects
    assert (first.early, first.type) == (True, None)
    assert (second.early, second.type) == (False, "t")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"target": "No Name"}, "/target"),
        ({"target": None}, "/target"),
        ({"address": []}, "/address"),
        ({"address": {"a": "x" * 16384}}, "/address"),
        ({"address": {"a": "\x00"}}, "/address"),
        ({"address": {"a": {"b": ["\\\x00"]}}}, "/address"),
        ({"timeout": "soon"}, "/timeout"),
        ({"timeout": 0}, "/timeout"),
        ({"timeout": True}, "/timeout"),
        ({"expects": {}}, "/expects"),
        ({"expects": [{"source": "a", "keys": {}}]}, "/expects/0/keys"),
        ({"expects": [{"source": "a", "keys": {"k": 1}}]}, "/expects/0/keys/k"),
        ({"expects": [{"source": "a", "keys": {"k": "1"}, "kind": "x"}]}, "/expects/0/kind"),
        ({"expects": [{"source": "a", "keys": {str(n): "" for n in range(21)}}]}, "/expects/0/keys"),
        ({"expects": [{"source": "a", "keys": {"k": "1"}}] * 21}, "/expects"),
        ({"labels": {"k": "x" * 257}}, "/labels/k"),
        ({"labels": {"k": "\x00"}}, "/labels/k"),
        ({"labels": {str(n): "" for n in range(21)}}, "/labels"),
        ({"labels": {"": "x"}}, "/labels"),
        ({"time_out": 1}, "/time_out"),
    ],
)
def test_what_is_wrong_is_named_by_its_pointer(changes: dict[str, Any], place: str) -> None:
    """One error, at its own field."""
    assert [each[0] for each in errors(**changes)] == [place]


def test_a_backslash_before_u0000_is_no_nul() -> None:
    """Text that only looks like the escape is stored as it is."""
    assert read(address={"a": "\\u0000"}).address == {"a": "\\u0000"}


def test_every_error_is_told() -> None:
    """A client repairs all of it at once."""
    assert [place for place, _ in errors(target="!", timeout="x", labels=1)] == ["/target", "/timeout", "/labels"]


@pytest.mark.parametrize(
    "changes",
    [
        {"hunter2": 1},
        {"target": "Hunter2!"},
        {"labels": {"Hunter2": 1}},
        {"address": "hunter2"},
        {"timeout": "hunter2"},
        {"expects": [{"source": "Hunter2", "keys": {"Hunter2": 1}, "Hunter2": 1}]},
    ],
)
def test_no_error_repeats_bytes_of_the_request(changes: dict[str, Any]) -> None:
    """Neither values nor keys that are no plain names."""
    assert "hunter2" not in str(errors(**changes)).lower()


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ((), ""),
        (("expects", 0, "keys"), "/expects/0/keys"),
        (("labels", "a~b"), "/labels"),
        (("labels", "<b>", "x"), "/labels"),
        (("a" * 31,), "/" + "a" * 31),
        (("a" * 32,), ""),
    ],
)
def test_pointers_are_cut_before_strange_names(location: tuple[int | str, ...], text: str) -> None:
    """What is left is always a true prefix."""
    assert pointer(location) == text


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"heartbeat": "5m"}, ("/heartbeat",)),
        ({"parties": ["a"], "require": "all"}, ("/parties", "/require")),
        ({"poll": {"poller": "x"}, "on": {}}, ("/poll", "/on")),
        ({"require": 2}, ("/require",)),
        ({"require": "first", "heartbeat": None, "on": None}, ()),
    ],
)
def test_fields_of_a_later_version_are_told_apart(changes: dict[str, Any], places: tuple[str, ...]) -> None:
    """They are read, and named so that the answer can be not-supported."""
    assert unsupported(read(**changes)) == places


def test_the_longest_timeout_is_the_servers() -> None:
    """Exactly as long is allowed."""
    assert longest_timeout(read(), maximum=timedelta(hours=8)) is None
    wrong = longest_timeout(read(), maximum=timedelta(hours=8) - timedelta(seconds=1))
    assert wrong == FieldError(pointer="/timeout", detail="must be at most 28799 seconds")


def test_a_sent_event_is_bounded_like_a_wait() -> None:
    """Only configured sources, only what a sender may say."""
    good = {"source": "farm", "type": "run.finished", "data": {"outcome": "succeeded", "keys": {"run": "1"}}}
    assert EventSendRequest.model_validate(good | {"specversion": "1.0", "id": "x"}).data.percent is None
    for changes in (
        {"source": "callback"},
        {"source": "bridge"},
        {"type": ""},
        {"data": {"outcome": "timed_out"}},
        {"data": {"url": "javascript:1"}},
        {"data": {"percent": 101}},
        {"data": {"body": "\x00"}},
        {"data": {"body": "x" * 300_000}},
        {"data": {"dedupe": ["x"]}},
        {"specversion": "2.0"},
    ):
        with pytest.raises(ValidationError):
            EventSendRequest.model_validate(good | changes)


@pytest.mark.parametrize("slug", list(Slug))
def test_every_slug_has_a_status(slug: Slug) -> None:
    """And its own path."""
    problem = Problem.of(slug, "No")
    assert problem.status >= HTTPStatus.BAD_REQUEST
    assert json.loads(problem.serialise()) == {"type": f"/problems/{slug}", "title": "No", "status": problem.status}


def test_a_created_wait_leaves_out_what_it_has_not() -> None:
    """`callback_urls` is there with parties only."""
    made = WaitCreated.model_validate(
        {
            "id": "w",
            "state": "open",
            "callback_url": "https://b/cb/t",
            "expires_at": "2026-01-31T12:00:00Z",
            "links": {"self": "/v1/waits/w", "result": "/v1/waits/w/result"},
        }
    )
    assert set(json.loads(made.serialise())) == {"id", "state", "callback_url", "expires_at", "links"}
