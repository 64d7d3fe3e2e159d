from typing import Any

import orjson
import pytest

from bridge.core.event import Outcome
from bridge.core.outcome import AlreadyDone, Done, Ending, Gone, Later, NotYet, Refused, Standing
from bridge.core.request import Call, Reply
from tests.support.acme.acme_ci import AcmeAddress, judge, plan, standing
from tests.support.fakes import a_resolution

PAGE = b"<html>Sign in</html>"


def reply(status: int, document: Any = None, body: bytes | None = None) -> Reply:
    return Reply(status, {}, orjson.dumps(document) if body is None else body)


@pytest.mark.parametrize(
    ("outcome", "approved", "comment"),
    [(Outcome.SUCCEEDED, True, ""), (Outcome.FAILED, False, ""), (Outcome.TIMED_OUT, False, "timed out")],
)
def test_plan_is_one_call(*, outcome: Outcome, approved: bool, comment: str) -> None:
    """A resolution becomes one POST to its gate, the name encoded."""
    call = plan(AcmeAddress(gate="a/b ä"), a_resolution(outcome=outcome))
    assert call == Call.post("/v2/gates/a%2Fb%20%C3%A4/decision", json={"approved": approved, "comment": comment})


@pytest.mark.parametrize(
    ("given", "ending"),
    [
        (reply(200, {}), Done()),
        (reply(200, body=PAGE), Later("not Acme's answer", is_doubtful=True)),
        (reply(409), AlreadyDone()),
        (reply(404), NotYet()),
        (reply(410), Gone("the gate is closed")),
        (reply(418), Refused("gate answered 418")),
    ],
)
def test_judge_says_what_an_answer_means(given: Reply, ending: Ending) -> None:
    """Each documented status has its ending; any other is refused by number."""
    assert judge(given) == ending


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (reply(404, body=PAGE), Standing.NOT_THERE),
        (reply(200, {"state": "waiting"}), Standing.WAITING),
        (reply(200, {"state": "approved"}), Standing.ANSWERED),
        (reply(200, {"state": "denied"}), Standing.ANSWERED),
        (reply(200, {"state": "closed"}), Standing.GONE),
    ],
)
def test_standing_reads_the_gates_state(given: Reply, expected: Standing) -> None:
    """Each documented state has its standing."""
    assert standing(given) is expected


@pytest.mark.parametrize("given", [reply(200, body=PAGE), reply(200, {"state": "new"}), reply(418, {})])
def test_standing_says_nothing_of_what_acme_did_not_say(given: Reply) -> None:
    """A page of a proxy and an unknown state are later, never an end."""
    with pytest.raises(Later):
        standing(given)
