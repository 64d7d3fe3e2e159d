"""accept(): the steps from a request to confirmed events, without HTTP."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.errors import BadSignature, BrokerUnavailable, Expired, UnknownSource
from bridge.core.event import Event, EventData, File, Outcome
from bridge.ingress.errands import Errands
from bridge.ingress.intake import Intake, new_traceparent, outgoing, serialise
from bridge.sources.callback import Callback
from tests.support.fakes import START, FakeClock
from tests.support.ingress import KEYS, PATH_SECRET, WAIT, RecordingBroker, sources
from tests.support.senders import circleci, github, with_body

WORKFLOW = {"type": "workflow-completed", "id": "e-1", "workflow": {"id": "w-1", "name": "b", "status": "failed"}}


@pytest.fixture
async def broker() -> RecordingBroker:
    return RecordingBroker()


@pytest.fixture
async def intake(broker: RecordingBroker) -> Intake:
    return Intake(broker=broker, clock=FakeClock(), sources=sources(), callback=Callback(KEYS), errands=Errands())


async def test_a_proven_request_becomes_a_confirmed_event(intake: Intake, broker: RecordingBroker) -> None:
    """Verified, normalised, published, answered, in that order."""
    answer = await intake.accept(intake.find("/hooks/circleci-b"), circleci(WORKFLOW))
    (event,) = broker.events
    assert (answer.status, answer.json) == (202, {"event": event.id})
    assert (event.source, event.type, event.data.outcome) == ("circleci-b", "workflow.completed", "failed")


async def test_what_is_not_proven_is_not_published(intake: Intake, broker: RecordingBroker) -> None:
    """The first step that fails is the last."""
    request = circleci(WORKFLOW)
    with pytest.raises(BadSignature):
        await intake.accept(intake.find("/hooks/circleci-b"), with_body(request, request.body + b" "))
    assert broker.published == []


async def test_a_broker_that_does_not_confirm_is_no_answer(intake: Intake, broker: RecordingBroker) -> None:
    """The fault goes up; nobody says 2xx."""
    broker.fault = BrokerUnavailable("no confirm")
    with pytest.raises(BrokerUnavailable):
        await intake.accept(intake.find("/hooks/gh"), github({"action": "x"}, "star"))


@pytest.mark.parametrize(
    "path",
    ["/hooks/none", "/hooks/gh/secret", "/hooks/plain", "/hooks/gh/", "/hooks", "/hooks/Gh", "/hooks/gh?x", "/x/gh"],
)
async def test_only_a_sources_own_path_finds_it(intake: Intake, path: str) -> None:
    """A signed source has no secret in its path, an unsigned one nothing but."""
    with pytest.raises(UnknownSource):
        intake.find(path)


async def test_a_capability_is_checked_before_the_body_is_there(intake: Intake) -> None:
    """A guess costs nothing."""
    live = KEYS.sign(WAIT, START + timedelta(seconds=1))
    over = KEYS.sign(WAIT, START)
    for path in (f"/cb/{live}", f"/cb/{live}/failed", f"/hooks/plain/{PATH_SECRET}"):
        intake.check_path(intake.find(path), "POST", path)
    for path in (f"/cb/{live[:-1]}", f"/cb/{live}/x", "/hooks/plain/wrong"):
        with pytest.raises(UnknownSource):
            intake.check_path(intake.find(path), "POST", path)
    with pytest.raises(Expired):
        intake.check_path(intake.find(f"/cb/{over}"), "POST", f"/cb/{over}")


_texts = st.text(st.characters(codec="utf-8"), max_size=20)
_files = st.builds(
    File, filename=_texts, size=st.integers(0, 2**40), content=_texts, encoding=st.sampled_from(["utf-8", "base64"])
)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner) | st.dictionaries(_texts, inner),
)
_data = st.builds(
    EventData,
    outcome=st.sampled_from(Outcome),
    keys=st.dictionaries(_texts, _texts),
    summary=_texts,
    url=_texts,
    percent=st.none() | st.integers(0, 100),
    body=_json,
    files=st.dictionaries(_texts, _files, max_size=2),
    dedupe=st.lists(_texts).map(tuple),
)
_times = st.datetimes(START.replace(tzinfo=None)).map(lambda moment: moment.replace(tzinfo=START.tzinfo))


@given(_data, _times, st.none() | _texts)
def test_the_fast_writing_of_an_event_is_the_events_own(data: EventData, time: Any, subject: str | None) -> None:
    """Byte for byte what `Event.serialise` writes."""
    event = Event.new(source="farm", type="a.b", time=time, data=data, subject=subject)
    assert serialise(event) == event.serialise()


def test_a_message_carries_ids_of_ours_only() -> None:
    """A route made of encoded words, the event's id, a trace of its own."""
    event = Event.new(source="farm", type="a.#.b*", time=START, data=EventData())
    message = outgoing(event)
    assert (message.route.exchange, message.route.key) == ("bridge.events", event.routing_key)
    assert (message.correlation_id, set(message.headers)) == (event.id, {"traceparent"})
    assert new_traceparent(event.id) != new_traceparent(event.id)
