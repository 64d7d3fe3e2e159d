from datetime import timedelta
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from bridge.consumers.circleci.listing import Workflow
from bridge.consumers.circleci.pipelines import outcome_of
from bridge.consumers.circleci.triggering import (
    SETTLED,
    Start,
    Started,
    conclude,
    judge_start,
    listing,
    plan_start,
    seen_in,
)
from bridge.core.event import Outcome
from bridge.core.outcome import CredentialRefused, Later, NotYet, Refused
from bridge.core.request import Reply
from tests.support.fakes import START

D = "5034460f-c7c4-4c43-9457-de07e2029e7b"
LONG_AGO, JUST_NOW = START - timedelta(hours=1), START - timedelta(seconds=1)


def start(**more: Any) -> Start:
    return Start.model_validate({"project": "gh/acme/b", **more})


@pytest.mark.parametrize(
    ("given", "path", "body"),
    [
        ({}, "/pipeline", {}),
        ({"branch": "main", "parameters": {"n": 1}}, "/pipeline", {"branch": "main", "parameters": {"n": 1}}),
        ({"tag": "v1"}, "/pipeline", {"tag": "v1"}),
        ({"definition_id": D}, "/pipeline/run", {"definition_id": D}),
        (
            {"definition_id": D, "branch": "main", "parameters": {"ok": True}},
            "/pipeline/run",
            {
                "definition_id": D,
                "config": {"branch": "main"},
                "checkout": {"branch": "main"},
                "parameters": {"ok": True},
            },
        ),
    ],
)
def test_plan_start(given: dict[str, Any], path: str, body: dict[str, Any]) -> None:
    """Two calls: only one of them takes a pipeline definition, and it takes nothing that it does not know."""
    call = plan_start(start(**given))
    assert (call.method, call.path, call.json) == ("POST", f"/api/v2/project/gh/acme/b{path}", body)


def test_a_projects_slashes_stay() -> None:
    """All else in it is encoded; `pipeline/run` is not found behind %2F."""
    assert listing(start(project="gh/a+b/c%2Fd")).path == "/api/v2/project/gh/a%2Bb/c%252Fd/pipeline"


@pytest.mark.parametrize(
    "given",
    [
        {"project": "acme/b"},
        {"project": "gh/acme/b/c"},
        {"branch": "a", "tag": "b"},
        {"definition_id": "main"},
        {"parameters": {"p": "x" * 513}},
        {"parameters": {"p" * 129: "x"}},
        {"parameters": {str(number): "x" for number in range(101)}},
        {"parameters": {"p": 0.5}},
        {"parameters": {"p": None}},
        {"parameters": {"p": ["x"]}},
    ],
)
def test_what_circleci_takes_not_is_refused_before_it_is_sent(given: dict[str, Any]) -> None:
    """Its limits are documented: 100 parameters, names of 128 and values of 512 characters, three types."""
    with pytest.raises(ValidationError):
        start(**given)
    assert start(parameters={"p" * 128: "ü" * 512}).parameters


def reply(status: int, body: Any) -> Reply:
    return Reply(status, {}, orjson.dumps(body))


def test_judge_start() -> None:
    """Started; not triggered; refused for good; or nobody knows."""
    assert judge_start(reply(201, {"id": "p", "number": 7, "state": "pending"})) == Started("p", 7)
    assert judge_start(reply(200, {"message": "skipped"})) == Refused(
        "CircleCI took the call and triggered no pipeline"
    )
    assert judge_start(reply(400, {"message": "secret text"})) == Refused(
        "CircleCI answered 400 to the start of a pipeline"
    )
    for strange in (reply(201, {}), reply(302, {}), Reply(200, {}, b"<html>")):
        ending = judge_start(strange)
        assert isinstance(ending, Later)
        assert ending.is_doubtful
    for status in (401, 403, 404):
        with pytest.raises(CredentialRefused):
            judge_start(reply(status, {}))


def listed(name: str, **more: Any) -> dict[str, Any]:
    trigger = {"type": "api", "actor": {"login": "bot", "avatar_url": None}}
    return {"id": name, "number": 1, "created_at": START.isoformat(), "trigger": trigger, **more}


@pytest.mark.parametrize(
    ("one", "is_it"),
    [
        (listed("p"), True),
        (listed("p", created_at=JUST_NOW.isoformat()), True),
        (listed("p", trigger={"type": "explicit", "actor": {"login": "bot"}}), True),
        (listed("p", vcs={"branch": "main"}), True),
        (listed("p", vcs={"branch": "other"}), False),
        (listed("p", trigger={"type": "webhook", "actor": {"login": "bot"}}), False),
        (listed("p", trigger={"type": "api", "actor": {"login": "ana"}}), False),
        (listed("p", trigger={"type": "api", "actor": None}), False),
        (listed("p", created_at=LONG_AGO.isoformat()), False),
        (listed("known"), False),
    ],
)
def test_seen_in(one: dict[str, Any], *, is_it: bool) -> None:
    """Ours by its time, its kind, its user and its branch, and no other start of ours."""
    found, _ = seen_in({"items": [one]}, start(branch="main"), since=START, login="bot", known={"known"})
    assert found == ([Started("p", 1)] if is_it else [])


def test_pages_are_read_until_they_are_older_than_the_start() -> None:
    """The newest come first; what is older than the start is not read."""
    page: dict[str, Any] = {"items": [listed("p")], "next_page_token": "next"}
    assert seen_in(page, start(), since=START, login="bot")[1] == "next"
    page["items"].append(listed("old", created_at=LONG_AGO.isoformat()))
    assert seen_in(page, start(), since=START, login="bot")[1] == ""
    with pytest.raises(Later):
        seen_in({"items": [{}]}, start(), since=START, login="bot")


def test_conclude() -> None:
    """One is ours; several are nobody's to tell; none is waited out before the start is made again."""
    one, other = Started("p"), Started("q")
    assert conclude([one], since=START, now=START) == one
    assert isinstance(conclude([one, other], since=START, now=START + SETTLED), Refused)
    assert isinstance(conclude([], since=START, now=START + SETTLED - timedelta(seconds=1)), NotYet)
    assert conclude([], since=START, now=START + SETTLED) is None


# --- a whole pipeline


def ran(status: str | None, name: str = "build", **more: Any) -> Workflow:
    given = {"id": f"{name}-{status}", "name": name, "status": status, "created_at": LONG_AGO, "stopped_at": LONG_AGO}
    return Workflow.model_validate({**given, **more})


@pytest.mark.parametrize(
    ("state", "workflows", "outcome"),
    [
        ("errored", [], Outcome.FAILED),
        ("pending", [], None),
        ("created", [], None),
        ("setup", [ran("success", "setup", tag="setup")], None),
        ("created", [ran("success", "setup", tag="setup"), ran("running", stopped_at=None)], None),
        ("created", [ran("failed", "setup", tag="setup"), ran("success")], Outcome.SUCCEEDED),
        ("setup", [ran("failed", "setup", tag="setup")], Outcome.FAILED),
        ("setup", [ran("canceled", "setup", tag="setup")], Outcome.CANCELLED),
        ("setup", [ran("failed", "setup", tag="setup", stopped_at=JUST_NOW)], None),
        (
            "setup",
            [ran("failed", "setup", tag="setup"), ran("success", "setup", tag="setup", created_at=JUST_NOW)],
            None,
        ),
        ("created", [ran("failed", "setup", tag="setup")], None),
        ("created", [ran("success"), ran("success", "lint")], Outcome.SUCCEEDED),
        ("created", [ran("success"), ran("failed", "lint")], Outcome.FAILED),
        ("created", [ran("canceled"), ran("unauthorized", "lint")], Outcome.FAILED),
        ("created", [ran("success"), ran("canceled", "lint")], Outcome.CANCELLED),
        ("created", [ran("success"), ran("not_run", "lint")], Outcome.CANCELLED),
        ("created", [ran("success"), ran("failing", "lint")], None),
        ("created", [ran("success"), ran("frobnicated", "lint")], None),
        ("created", [ran("failed"), ran("success", created_at=JUST_NOW)], Outcome.SUCCEEDED),
        ("created", [ran("success", created_at=JUST_NOW), ran("failed")], Outcome.SUCCEEDED),
        ("created", [ran("failed"), ran("running", created_at=JUST_NOW, stopped_at=None)], None),
        ("created", [ran("success", stopped_at=JUST_NOW)], None),
    ],
)
def test_outcome_of(state: str, workflows: list[Workflow], outcome: Outcome | None) -> None:
    """The newest run of each workflow but the setup's; nothing is over while more may appear."""
    assert outcome_of(state, workflows, START) is outcome
