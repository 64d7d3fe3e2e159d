"""The envelope: ids, and events made of what is right already."""

import re
from datetime import UTC, datetime

import pytest

from bridge.core.event import MAX_TYPE, Event, EventData, File, Outcome, new_id

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_trusted_event_is_the_validated_one() -> None:
    """Made without checks it equals, shows and copies itself as one that was checked."""
    said = EventData.trusted(outcome=Outcome.FAILED, keys={"wait": "w"}, files={"a": File(size=1, content="x")})
    event = Event.new(source="farm", type="done", time=START, data=said)
    checked = Event(id=event.id, source="farm", type="done", time=START, data=EventData(**vars(said)))
    assert event == checked
    assert list(vars(event)) == list(vars(checked))
    assert list(vars(said)) == list(vars(checked.data))
    assert event.serialise() == checked.serialise()
    assert Event.parse(event.serialise()) == checked
    moved = event.model_copy(update={"type": "moved"})
    assert (moved.type, event.type, moved.model_fields_set) == ("moved", "done", set(vars(event)))


def test_an_absent_field_is_the_default() -> None:
    """Every field that is not given holds what the constructor would put there."""
    assert EventData.trusted() == EventData()


@pytest.mark.parametrize("type_", ["", "x" * (MAX_TYPE + 1)])
def test_a_type_has_bounds(type_: str) -> None:
    """What a sender names its event is no event type of ours at any length."""
    with pytest.raises(ValueError, match="1024"):
        Event.new(source="farm", type=type_, time=START, data=EventData())


def test_an_id_is_a_uuid_of_version_7_that_sorts_by_time() -> None:
    """48 bits of milliseconds, version, variant, and no id twice."""
    ids = [new_id() for _ in range(2_000)]
    shape = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(shape.fullmatch(one) for one in ids)
    assert len(set(ids)) == len(ids)
    millis = [one[:13] for one in ids]
    assert millis == sorted(millis)
    now = datetime.now(UTC).timestamp() * 1000
    assert abs(int(ids[-1][:8] + ids[-1][9:13], 16) - now) < 60_000
