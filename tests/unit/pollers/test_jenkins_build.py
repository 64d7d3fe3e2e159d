"""What the poller `jenkins-build` asks and how it reads what comes back."""

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from bridge.core.event import Outcome
from bridge.core.poller import Again, Finished
from bridge.core.request import Call, Reply
from bridge.pollers.jenkins_build import JOB_TREE, RUN_TREE, BuildState, JenkinsBuild

JOB = "job/a/job/b%252Fc"
ITEM = BuildState(job=JOB, item=7)
RUN = BuildState(job=JOB, item=7, number=3)


def told(value: Any) -> Reply:
    return Reply(200, {}, orjson.dumps(value))


@pytest.mark.parametrize(
    ("state", "call"),
    [
        (BuildState(job=JOB), Call.post(f"/{JOB}/build")),
        (BuildState(job=JOB, parameters={}), Call.post(f"/{JOB}/buildWithParameters", form={})),
        (BuildState(job=JOB, parameters={"A": "b"}), Call.post(f"/{JOB}/buildWithParameters", form={"A": "b"})),
        (ITEM, Call.get("/queue/item/7/api/json")),
        (ITEM.model_copy(update={"is_lost": True}), Call.get(f"/{JOB}/api/json", query={"tree": JOB_TREE})),
        (RUN, Call.get(f"/{JOB}/3/api/json", query={"tree": RUN_TREE})),
        (RUN.model_copy(update={"is_lost": True}), Call.get(f"/{JOB}/api/json", query={"tree": JOB_TREE})),
    ],
)
def test_plan_is_one_call_for_each_state(state: BuildState, call: Call) -> None:
    """Only what starts a build is no GET."""
    assert JenkinsBuild().plan(state) == call


@pytest.mark.parametrize(
    "location",
    ["", "http://j/job/a/", "http://j/queue/item/x/", "http://j/queue/item/7/../8/", "http://j/queue/item/0/"],
)
def test_a_start_without_an_item_is_not_repeated(location: str) -> None:
    """201 says that it was started: a second start would be a second build."""
    said = JenkinsBuild().read(Reply(201, {"location": location}, b""), BuildState(job=JOB))
    assert said == Finished(Outcome.FAILED, "started, but Jenkins did not tell as what")


@pytest.mark.parametrize(
    ("builds", "number"),
    [
        ([{"number": 9, "queueId": 8}, {"number": 8, "queueId": 7}], 8),
        ([None, "x", {"number": 8}, {"number": "8", "queueId": 7}, {"number": 5, "queueId": 7}], 5),
    ],
)
def test_an_item_is_found_by_its_queue_id(builds: list[Any], number: int) -> None:
    """What the listing holds beside it does not matter."""
    lost = ITEM.model_copy(update={"is_lost": True})
    said = JenkinsBuild().read(told({"builds": builds}), lost)
    assert said == Again(ITEM.model_copy(update={"number": number}))


@pytest.mark.parametrize(
    ("state", "document", "expected"),
    [
        (ITEM, {"cancelled": False, "executable": None, "why": None}, Again(ITEM)),
        (ITEM, {"why": "no executor"}, Again(ITEM, "no executor")),
        (ITEM, {"cancelled": True, "executable": {"number": 3}}, Finished(Outcome.CANCELLED, "cancelled in the queue")),
        (RUN, {"building": True, "result": "FAILURE"}, Again(RUN, "building")),
        (RUN, {"building": False, "result": None}, Again(RUN, "building")),
        (RUN, {}, Again(RUN, "building")),
        (ITEM, [], Again(ITEM, "Jenkins answered 200", is_fault=True)),
    ],
)
def test_read_says_what_an_answer_means(
    state: BuildState, document: Any, expected: Again[BuildState] | Finished
) -> None:
    """Only what is certain is an end."""
    assert JenkinsBuild().read(told(document), state) == expected


def test_a_build_without_an_item_is_found_by_its_number() -> None:
    """It was given as a number; a queueId says nothing then."""
    lost = BuildState(job=JOB, number=3, is_lost=True, is_told=True)
    said = JenkinsBuild().read(told({"builds": [{"number": 4, "queueId": 1}, {"number": 3, "queueId": 0}]}), lost)
    assert said == Again(BuildState(job=JOB, number=3))


@pytest.mark.parametrize(
    "job",
    [
        "",
        "app",
        "job",
        "job/a/b",
        "job/a/../b",
        "job/..",
        "job/%2e%2e",
        "job/a%2Fb",
        "job/a?x",
        "job/a;b",
        "job/a b",
        "job/%ff",
    ],
)
def test_a_job_is_a_plain_path(job: str) -> None:
    """It is ours to call, so it must mean the same to every server on the way."""
    with pytest.raises(ValidationError):
        BuildState(job=job)


def test_slashes_around_a_job_are_no_part_of_it() -> None:
    """As people copy it."""
    assert BuildState(job="/job/a/job/b/").job == "job/a/job/b"
