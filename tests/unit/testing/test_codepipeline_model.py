"""The pure parts of the CodePipeline emulator: time, what is due, links, words for action types, knobs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.testing.codepipeline import ActionSpec, Artifact, CodepipelineEmulator, Knobs
from bridge.testing.codepipeline.clock import Agenda, Clock
from bridge.testing.codepipeline.spec import Kind, fill_url, parse_action_type
from bridge.testing.codepipeline.state import Caller

NOW = datetime(2026, 7, 7, 12, tzinfo=UTC)
CALLER = Caller("111122223333", "arn:aws:iam::111122223333:user/bridge")
BRIDGE = ("Build", "Custom", "Bridge", "1")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_clock_is_pushed_forward_only() -> None:
    """Advancing adds up, and time does not go back."""
    clock = Clock(lambda: NOW)
    clock.advance(60)
    clock.advance(0.5)
    assert clock.now() == at(60.5)
    with pytest.raises(ValueError, match="0 s or more"):
        clock.advance(-1)


def test_what_is_due_happens_in_order_and_at_its_own_time() -> None:
    """Entries run by time, then in the order of adding; what one adds runs too when it is due; the rest waits."""
    agenda = Agenda()
    done: list[tuple[str, datetime]] = []

    def first(when: datetime) -> None:
        done.append(("first", when))
        agenda.add(at(2), lambda when: done.append(("added", when)))

    agenda.add(at(9), lambda when: done.append(("later", when)))
    agenda.add(at(3), lambda when: done.append(("third", when)))
    agenda.add(at(1), first)
    agenda.add(at(3), lambda when: done.append(("fourth", when)))
    agenda.run_due(at(3))
    assert done == [("first", at(1)), ("added", at(2)), ("third", at(3)), ("fourth", at(3))]
    agenda.run_due(at(3))
    assert len(done) == 4


@pytest.mark.parametrize(
    ("template", "external", "expected"),
    [
        ("", "42", None),
        ("https://x.example/{Config:Job}", None, "https://x.example/load"),
        ("https://x.example/{Config:Other}", None, None),
        ("https://x.example/{Config:Job}/{ExternalExecutionId}", None, None),
        ("https://x.example/{Config:Job}/{ExternalExecutionId}", "a/42", "https://x.example/load/a/42"),
    ],
)
def test_a_link_is_complete_or_not_there(template: str, external: str | None, expected: str | None) -> None:
    """A template gives a link once all its parts are known."""
    assert fill_url(template, {"Job": "load"}, external) == expected


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Test/Custom/LoadTest/1", Kind.CUSTOM),
        ("Deploy/ThirdParty/Partner/2", Kind.THIRD_PARTY),
        ("Invoke/AWS/Lambda/1", Kind.LAMBDA),
        ("Approval/AWS/Manual", Kind.APPROVAL),
    ],
)
def test_action_types_in_words(text: str, kind: Kind) -> None:
    """Four words name a type, and tell how it is worked on."""
    assert parse_action_type(text).kind is kind


@pytest.mark.parametrize("text", ["", "Build", "Build/Custom/a b/1", "Wait/Custom/Bridge/1", "Build/Custom/Bridge/1/2"])
def test_words_that_name_no_type(text: str) -> None:
    """Other words are refused."""
    with pytest.raises(ValidationError):
        parse_action_type(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"output_artifacts": [Artifact(name=f"a{number}") for number in range(6)]},
        {"input_artifacts": [Artifact(name=f"a{number}") for number in range(6)]},
        {"configuration": {"k" * 51: "v"}},
        {"configuration": {"k": "v" * 1001}},
        {"configuration": {"k": ""}},
        {"name": "a b"},
        {"unknown": 1},
    ],
)
def test_what_no_action_may_have(fields: dict[str, Any]) -> None:
    """The limits of configuration and artifacts hold for the pipelines of a test too."""
    with pytest.raises(ValidationError):
        ActionSpec.model_validate(fields)


def test_knobs_are_checked() -> None:
    """A switch that does not exist, or a value it does not have, is refused and changes nothing."""
    emulator = CodepipelineEmulator(follow_up_delay_s=60)
    for changes in ({"unknown": 1}, {"nonce": "odd"}, {"default_batch_size": 0}, {"visibility_s": -1}):
        with pytest.raises(ValidationError):
            emulator.set_knobs(**changes)
    assert emulator.knobs == Knobs(follow_up_delay_s=60)


def test_a_started_timer_keeps_its_time() -> None:
    """A timeout changed by a switch holds for actions started afterwards."""
    emulator = CodepipelineEmulator(clock=lambda: NOW, custom_action_timeout_s=100)
    before = emulator.start_execution()
    emulator.set_knobs(custom_action_timeout_s=10)
    after = emulator.start_execution()
    emulator.advance(10)
    assert (before.status, after.status) == ("InProgress", "Failed")
    emulator.advance(90)
    assert before.status == "Failed"


def test_a_long_jump_does_everything_on_the_way() -> None:
    """A follow-up due inside one long jump is made and times out inside it, each at its own time."""
    emulator = CodepipelineEmulator(clock=lambda: NOW, follow_up_delay_s=60, lambda_reply_timeout_s=100)
    execution = emulator.start_execution(action_type="Invoke/AWS/Lambda/1")
    emulator.service.jobs.follow_up(execution.action, "t", NOW)
    emulator.advance(1000)
    assert execution.job.dispatched_at == at(60)
    assert execution.job.closed_at == at(160)
    assert execution.status == "Failed"


def test_identifiers_repeat_with_a_seed() -> None:
    """The same seed gives the same ids: a recorded run can be repeated."""
    one, two = (CodepipelineEmulator(seed=7).start_execution() for _ in range(2))
    assert (one.id, one.job.id) == (two.id, two.job.id)
    assert CodepipelineEmulator(seed=8).start_execution().id != one.id


def test_a_defined_pipeline_has_versions() -> None:
    """Defining a pipeline anew with another content counts its version, with the same content it does not."""
    emulator = CodepipelineEmulator(clock=lambda: NOW)
    versions = [emulator.start_execution(action=name).version for name in ("One", "One", "Two")]
    assert versions == [1, 1, 2]


def test_polls_of_two_types_do_not_mix() -> None:
    """A poll hands out jobs of its own action type only."""
    emulator = CodepipelineEmulator(clock=lambda: NOW)
    emulator.start_execution(action_type="Test/Custom/LoadTest/1")
    assert emulator.service.poll(CALLER, BRIDGE, 10, {}) == []
    own = emulator.start_execution(action="Wait").job
    assert [job for job, _ in emulator.service.poll(CALLER, BRIDGE, 10, {})] == [own]


def test_a_name_alone_runs_a_pipeline_again() -> None:
    """The name of a pipeline started before runs it as it was; a name with anything else makes it anew."""
    emulator = CodepipelineEmulator(clock=lambda: NOW)
    emulator.start_execution("release", "Approve", action_type="Approval/AWS/Manual/1")
    assert emulator.start_execution("release").action.kind is Kind.APPROVAL
    assert emulator.start_execution("release", mode="PARALLEL").action.kind is Kind.CUSTOM
