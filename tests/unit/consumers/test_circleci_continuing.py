from typing import Any

import orjson
import pytest

from bridge.consumers.circleci import Circleci, CircleciAddress, CircleciSettings
from bridge.consumers.circleci.continuing import judge_continue, plan_continue, standing_of
from bridge.core.consumer import AddressError
from bridge.core.event import Event, EventData, Outcome
from bridge.core.outcome import AlreadyDone, Done, Ending, Gone, Later, Refused, Standing
from bridge.core.request import Reply
from bridge.core.resolution import Resolution
from tests.support.fakes import START, FakeHttp, a_resolution

KEY = "c0ntinue-0f-a-test"
P = "0b35cb7d-6d0f-4c2e-a2ef-d5a1c7f1ba43"
CONFIG = "version: 2.1\njobs: {}\n"


def address(**more: Any) -> CircleciAddress:
    return CircleciAddress.model_validate({"continuation_key": KEY, "configuration": CONFIG, **more})


def told(outcome: Outcome = Outcome.SUCCEEDED, **data: Any) -> Resolution:
    said = EventData(outcome=outcome, **data)
    return a_resolution(outcome=outcome, event=Event.new(source="farm", type="done", time=START, data=said))


def test_the_canonical_place_is_the_key_unseen() -> None:
    """Another configuration is the same place; the key is not in it, nor in what is shown of the address."""
    one = address()
    assert one.canonical(None) == address(configuration="other", pipeline_id=P).canonical(None)
    assert one.canonical(None) != address(continuation_key="another").canonical(None)
    assert one.canonical(None).startswith("continuation:")
    assert not any(KEY in text for text in (one.canonical(None), repr(one), one.model_dump_json()))


def test_an_expression_that_cannot_be_read_is_told() -> None:
    """Before the wait is opened, with its parameter."""
    with pytest.raises(AddressError) as caught:
        address(parameters={"result": "body.["}).canonical(None)
    assert caught.value.pointer == "/parameters/result"


def test_the_key_alone_authorises_the_call() -> None:
    """It stands in the body, and the call goes without the target's token."""
    call = plan_continue(address(parameters={"result": "outcome"}), told(Outcome.FAILED))
    assert (call.method, call.path, dict(call.query), call.is_signed) == (
        "POST",
        "/api/v2/pipeline/continue",
        {},
        False,
    )
    assert call.json == {"continuation-key": KEY, "configuration": CONFIG, "parameters": {"result": "failed"}}


@pytest.mark.parametrize(
    ("parameters", "resolution", "sent"),
    [
        (None, told(), {"outcome": "succeeded"}),
        (None, a_resolution(outcome=Outcome.TIMED_OUT, event=None), {"outcome": "timed_out"}),
        ({}, told(), {}),
        (
            {
                "text": "summary",
                "number": "body.n",
                "flag": "body.ok",
                "map": "body.m",
                "share": "body.f",
                "no": "body.x",
            },
            told(summary="12 of 12", body={"n": 7, "ok": True, "m": {"a": [1]}, "f": 0.5}),
            {"text": "12 of 12", "number": 7, "flag": True, "map": '{"a":[1]}', "share": "0.5"},
        ),
        ({"fixed": "'nightly'", "long": "body"}, told(body="x" * 512), {"fixed": "nightly", "long": "x" * 512}),
    ],
)
def test_parameters(parameters: dict[str, str] | None, resolution: Resolution, sent: dict[str, Any]) -> None:
    """By expression; the outcome alone where none is given, so that no pipeline goes on as if all were well."""
    assert plan_continue(address(parameters=parameters), resolution).json["parameters"] == sent


@pytest.mark.parametrize("value", ["ü" * 513, ["x" * 509], {"a": "x" * 505}])
def test_a_value_that_is_too_long_is_refused(value: Any) -> None:
    """With its name and length, never with its text; characters count, not bytes."""
    with pytest.raises(Refused) as caught:
        plan_continue(address(parameters={"detail": "body"}), told(body=value))
    assert caught.value.reason == "parameter detail: 513 characters; CircleCI takes 512"


@pytest.mark.parametrize(
    ("status", "first", "in_doubt"),
    [
        (200, Done, Done),
        (409, Gone, AlreadyDone),
        (400, Refused, Refused),
        (403, Refused, Refused),
        (404, Refused, Refused),
        (422, Refused, Refused),
        (302, Later, Later),
    ],
)
def test_judge_continue(status: int, first: type[Ending], in_doubt: type[Ending]) -> None:
    """In doubt a used key was used by us; otherwise the pipeline has gone on, or never will."""
    reply = Reply(status, {}, b"{}")
    assert type(judge_continue(reply, is_in_doubt=False)) is first
    assert type(judge_continue(reply, is_in_doubt=True)) is in_doubt


def test_a_proxys_page_is_no_continuation() -> None:
    """A 200 for people says nothing."""
    ending = judge_continue(Reply(200, {}, b"<html>"), is_in_doubt=False)
    assert isinstance(ending, Later)
    assert ending.is_doubtful


@pytest.mark.parametrize(
    ("state", "standing"),
    [
        ("setup-pending", Standing.WAITING),
        ("setup", Standing.WAITING),
        ("pending", Standing.ANSWERED),
        ("created", Standing.ANSWERED),
        ("errored", Standing.GONE),
    ],
)
def test_standing_of(state: str, standing: Standing) -> None:
    """A pipeline leaves its setup by being continued."""
    assert standing_of(state) is standing


@pytest.mark.parametrize(
    ("pipeline_id", "answers", "standing"),
    [
        (None, [Reply(500, {}, b"")], Standing.WAITING),
        (P, [Reply(200, {}, orjson.dumps({"state": "created"}))], Standing.ANSWERED),
        (P, [Reply(404, {}, b"{}"), Reply(200, {}, b"{}")], Standing.WAITING),
    ],
)
async def test_in_doubt_the_pipeline_is_asked(
    pipeline_id: str | None, answers: list[Reply], standing: Standing
) -> None:
    """Where its id is known, and the token may see it; else the key's own answer has to tell."""
    made = CircleciSettings.model_validate({"consumer": "circleci", "token": "t"})
    sight = await Circleci(made, FakeHttp(*answers)).look_closely(address(pipeline_id=pipeline_id))
    assert sight.standing is standing
