from typing import Any

import pytest

from bridge.core.consumer import AddressError
from bridge.core.event import Event, EventData, Outcome
from bridge.core.expression import check_expressions, document_of, search
from tests.support.fakes import START, a_resolution


def test_an_expression_sees_the_event_and_the_decision() -> None:
    """The envelope and the data at one level; the outcome is the wait's, which a mapping may have made."""
    data = EventData(outcome=Outcome.NONE, summary="12 of 12", body={"run": {"id": 7}})
    event = Event.new(source="farm", type="done", time=START, data=data)
    seen = document_of(a_resolution(outcome=Outcome.FAILED, event=event))
    assert (seen["source"], seen["type"], seen["outcome"], seen["summary"]) == ("farm", "done", "failed", "12 of 12")
    assert search("body.run.id", seen) == 7


def test_a_timers_decision_has_no_event() -> None:
    """What was decided is there, and the body is null."""
    seen = document_of(a_resolution(outcome=Outcome.TIMED_OUT, event=None))
    assert seen == {"body": None, "outcome": "timed_out", "summary": "timed out", "url": ""}


@pytest.mark.parametrize("expression", ["body.absent.deeper", "length(body.absent)", "no_such_function(body)"])
def test_what_does_not_fit_is_none(expression: str) -> None:
    """The remote's words decide no error of ours."""
    document: dict[str, Any] = {"body": {}}
    assert search(expression, document) is None


@pytest.mark.parametrize(
    ("name", "expression", "pointer"),
    [
        ("VERSION", "body.[", "/parameters/VERSION"),
        ("a b", "((", "/parameters"),
        ("DEEP", "[" * 900, "/parameters/DEEP"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_name(name: str, expression: str, pointer: str) -> None:
    """The text never repeats the expression."""
    with pytest.raises(AddressError) as caught:
        check_expressions([("FINE", "body.a"), (name, expression)])
    assert (caught.value.pointer, caught.value.detail) == (pointer, "expected a JMESPath expression")
