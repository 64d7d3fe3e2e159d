"""The Jenkins emulator's model under a fake clock: programs, builds, queue, restarts."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.testing.jenkins.model.builds import Build
from bridge.testing.jenkins.model.inputs import Answer, input_id, normalise
from bridge.testing.jenkins.model.jobs import JobSpec, names_of, path_of, segment
from bridge.testing.jenkins.model.script import Input, script_of
from bridge.testing.jenkins.model.switches import Switches
from bridge.testing.jenkins.model.waiting import ItemState
from bridge.testing.jenkins.model.world import Phase, World


@dataclass
class Bench:
    """A world whose time stands still until it is told."""

    now: float = 1000.0
    effects: list[tuple[str, str]] = field(default_factory=list)
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(record=self._record, clock=lambda: self.now, switches=Switches())

    def _record(self, kind: str, subject: str, **_detail: Any) -> None:
        self.effects.append((kind, subject))

    def start(self, *steps: Any) -> Build:
        build = self.world.start(self.world.job("app"), script_of(list(steps)), {})
        self.world.advance()
        return build

    def at(self, moment: float) -> None:
        self.now = moment
        self.world.advance()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def sleep(seconds: float) -> dict[str, Any]:
    return {"step": "sleep", "seconds": seconds}


def test_time_is_due_step_by_step(bench: Bench) -> None:
    """The world names the next moment at which something happens, and nothing when it waits for a call."""
    build = bench.start(sleep(5), {"step": "input", "id": "Go", "after_s": 2})
    assert bench.world.due() == 1005
    bench.at(1004.9)
    assert not build.had_input
    bench.at(1005)
    assert bench.world.due() == 1007
    bench.at(1007)
    assert [each.id for each in build.pending] == ["Go"]
    assert bench.world.due() is None


@pytest.mark.parametrize("early", [True, False])
def test_reach_counts_before_and_after_the_hold(bench: Bench, *, early: bool) -> None:
    """A call of reach() is kept until a hold of its name takes it, and only one does."""
    build = bench.world.start(bench.world.job("app"), script_of([{"step": "hold", "name": "go"}] * 2), {})
    if not early:
        bench.world.advance()
    build.reach("go")
    bench.world.advance()
    assert build.in_progress
    build.reach("Other")
    bench.world.advance()
    assert build.in_progress
    build.reach()
    bench.world.advance()
    assert build.result == "SUCCESS"


@pytest.mark.parametrize(
    ("steps", "result"),
    [
        ([], "SUCCESS"),
        ([{"step": "fail"}], "FAILURE"),
        ([{"step": "fail"}, {"step": "set-result", "result": "ABORTED"}], "FAILURE"),
        ([{"step": "set-result", "result": "FAILURE"}, {"step": "set-result", "result": "UNSTABLE"}], "FAILURE"),
        ([{"step": "catch", "body": [{"step": "fail"}]}], "SUCCESS"),
        ([{"step": "catch", "result": "UNSTABLE", "body": [{"step": "fail"}]}], "UNSTABLE"),
        ([{"step": "catch", "result": "UNSTABLE", "body": []}], "SUCCESS"),
        ([{"step": "loop", "times": 0, "body": [{"step": "fail"}]}], "SUCCESS"),
        ([{"step": "parallel", "branches": [[], [{"step": "fail"}]]}], "FAILURE"),
        ([{"step": "parallel", "branches": []}], "SUCCESS"),
    ],
)
def test_results(bench: Bench, steps: list[Any], result: str) -> None:
    """A result only worsens, and a catch takes what was thrown."""
    assert bench.start(*steps).result == result


def test_parallel_waits_for_all_unless_fail_fast(bench: Bench) -> None:
    """A failed branch leaves the other alone without fail_fast."""
    branches = [[{"step": "fail"}], [{"step": "input", "id": "Go"}]]
    patient = bench.start({"step": "parallel", "branches": branches})
    hasty = bench.start({"step": "parallel", "branches": branches, "fail_fast": True})
    assert (patient.in_progress, [each.id for each in patient.pending]) == (True, ["Go"])
    assert (hasty.result, hasty.pending) == ("FAILURE", [])


def test_a_timeout_throws_once_into_its_body(bench: Bench) -> None:
    """A body that catches it goes on without limit; one that ends in time is left alone."""
    caught = {"step": "catch", "body": [sleep(10)]}
    build = bench.start({"step": "timeout", "seconds": 5, "body": [caught, {"step": "input", "id": "Go"}]})
    assert bench.world.due() == 1005
    bench.at(1005)
    assert [each.id for each in build.pending] == ["Go"]
    assert bench.world.due() is None
    bench.at(2000)
    assert build.in_progress
    assert bench.start({"step": "timeout", "seconds": 0, "body": []}).result == "SUCCESS"


def test_a_caught_timeout_leaves_no_input_behind(bench: Bench) -> None:
    """The input inside is removed at once, though the build goes on."""
    inside = {"step": "timeout", "seconds": 5, "body": [{"step": "input", "id": "Go"}]}
    build = bench.start({"step": "catch", "body": [inside]}, {"step": "input", "id": "Next"})
    bench.at(1005)
    assert [each.id for each in build.pending] == ["Next"]
    assert ("input.removed", "job/app/1/input/Go") in bench.effects


def test_a_start_forgets_sessions_and_salts_anew(bench: Bench) -> None:
    """Neither an old session nor an old crumb is worth anything after a restart."""
    security = bench.world.security
    session = security.open_session(bench.now)
    crumb = security.crumb("bridge", session)
    assert security.crumb("bridge", session) == crumb
    bench.world.restart()
    assert security.session(session.id, bench.now, 1800) is None
    assert security.crumb("bridge", session) != crumb


def test_an_answer_at_the_deadline_wins(bench: Bench) -> None:
    """What was answered before the timeout is looked at goes on."""
    build = bench.start(
        {"step": "timeout", "seconds": 5, "body": ["ignored"]} | {"body": [{"step": "input", "id": "Go"}]}
    )
    bench.now = 1005
    bench.world.answer(build, build.pending[0], Answer("proceedEmpty", "bridge"))
    bench.world.advance()
    assert build.result == "SUCCESS"


def test_a_build_ends_once(bench: Bench) -> None:
    """Stop and kill of a finished build change nothing and record nothing."""
    build = bench.start()
    build.stop()
    build.kill(bench.now)
    bench.world.advance()
    assert build.result == "SUCCESS"
    assert bench.effects == [("build.started", "job/app/1"), ("build.finished", "job/app/1")]


def test_a_lost_answer_brings_a_finished_build_back(bench: Bench) -> None:
    """The crash came before anything was saved: the same occurrence waits again."""
    build = bench.start("Go")
    bench.world.answer(build, build.pending[0], Answer("proceedEmpty", "bridge"))
    bench.world.advance()
    assert not build.in_progress
    bench.world.crash(lose_answers=True)
    assert build.result is None
    assert build.finished_at is None
    assert [each.occurrence for each in build.pending] == [1]
    assert bench.effects[-1] == ("input.lost", "job/app/1/input/Go")


def test_a_restart_stands_still_until_its_time(bench: Bench) -> None:
    """No build moves while Jenkins is down, and it is due when it comes up."""
    build = bench.start(sleep(1))
    bench.world.restart(for_s=10)
    bench.at(1005)
    assert (build.in_progress, bench.world.phase, bench.world.due()) == (True, Phase.RESTARTING, 1010)
    bench.at(1010)
    assert (build.result, bench.world.phase) == ("SUCCESS", Phase.UP)


def test_quieting_down_holds_what_is_due(bench: Bench) -> None:
    """A sleep that ends meanwhile goes on after the cancellation, and hides no later moment."""
    build = bench.start(sleep(1))
    bench.world.is_quieting_down = True
    bench.at(1005)
    item = bench.world.trigger(bench.world.job("other"), {}, 5).item
    bench.world.advance()
    assert (build.in_progress, bench.world.due()) == (True, 1010)
    bench.world.is_quieting_down = False
    bench.at(1010)
    assert build.result == "SUCCESS"
    assert item is not None
    assert item.build is not None


def test_a_deleted_build_does_nothing_more(bench: Bench) -> None:
    """Neither its time nor a call of reach() moves it."""
    build = bench.start(sleep(1))
    bench.world.delete(build)
    build.reach()
    bench.at(1005)
    assert build.in_progress
    assert bench.effects == [("build.started", "job/app/1")]


def test_a_restart_by_requests_is_not_due(bench: Bench) -> None:
    """Time alone does not bring it up, so nobody has to wake for it."""
    bench.world.restart(requests=2)
    bench.at(5000)
    assert bench.world.due() is None
    assert [bench.world.phase_for_request() for _ in range(3)] == [Phase.RESTARTING, Phase.RESTARTING, Phase.UP]


def test_an_item_goes_through_the_queue_by_time(bench: Bench) -> None:
    """Quiet period, a moment without a build, the build, and oblivion."""
    bench.world.switches.left_without_build_s = 1
    item = bench.world.trigger(bench.world.job("app"), {}, 5).item
    assert item is not None
    bench.world.advance()
    assert (item.state, bench.world.due()) == (ItemState.WAITING, 1005)
    bench.at(1005)
    assert (item.state, item.build, bench.world.due()) == (ItemState.LEFT, None, 1006)
    bench.at(1006)
    assert item.build is not None
    assert item.build.queue_id == item.id
    bench.at(1305)
    assert item.id in bench.world.queue.items
    bench.at(1306)
    assert item.id not in bench.world.queue.items


def test_identical_items_merge_only_while_they_wait(bench: Bench) -> None:
    """The same job with the same values is one item until it left."""
    job = bench.world.add_job(JobSpec(name="app"))
    first = bench.world.trigger(job, {"A": "1"}, 5)
    assert bench.world.trigger(job, {"A": "1"}, 5).item is first.item
    assert bench.world.trigger(job, {"A": "2"}, 5).is_merged is False
    bench.at(1005)
    assert bench.world.trigger(job, {"A": "1"}, 5).is_merged is False


@pytest.mark.parametrize(
    ("given", "names", "path"),
    [
        ("app", ("app",), "job/app"),
        ("job/app", ("app",), "job/app"),
        ("job", ("job",), "job/job"),
        ("/job/A/job/B/", ("A", "B"), "job/A/job/B"),
        ("team/app", ("team", "app"), "job/team/job/app"),
        ("job/mb/job/feature%252Fx", ("mb", "feature%2Fx"), "job/mb/job/feature%252Fx"),
        ("mb/feature%2Fx", ("mb", "feature%2Fx"), "job/mb/job/feature%252Fx"),
        ("job/two%20words", ("two words",), "job/two%20words"),
    ],
)
def test_paths_and_full_names_of_jobs(given: str, names: tuple[str, ...], path: str) -> None:
    """A path is decoded once and a full name is taken as it is; both lead to one path."""
    assert names_of(given) == names
    assert path_of(names) == path


@pytest.mark.parametrize("given", ["", "/", "a//b", "job/a/b", "job/a/job", "job/a/x/b"])
def test_what_is_no_job(given: str) -> None:
    """Empty names and crooked paths are refused."""
    with pytest.raises(ValueError, match="job"):
        names_of(given)


def test_a_segment_is_encoded_as_jenkins_does() -> None:
    """What rawEncode leaves stays, all else is encoded once."""
    assert segment("aZ0!@$&*()-_=+',.") == "aZ0!@$&*()-_=+',."
    assert segment("a b/ä~;%") == "a%20b%2F%C3%A4%7E%3B%25"


@pytest.mark.parametrize(
    ("raw", "expected"), [("deploy-prod", "Deploy-prod"), ("Deploy", "Deploy"), ("9a", "9a"), ("ä", "ä"), ("", "")]
)
def test_normalisation_touches_one_letter(raw: str, expected: str) -> None:
    """Only a first letter a to z is changed."""
    assert normalise(raw) == expected


def test_ids_of_messages() -> None:
    """The contract page's own example; an empty id counts as none."""
    assert input_id(Input(message="Is the build okay?")) == "Ef95dd500ae6ed3b27b89fb852296d12"
    assert input_id(Input(id="", message="Is the build okay?")) == "Ef95dd500ae6ed3b27b89fb852296d12"


@pytest.mark.parametrize("steps", [[{"step": "nap"}], [{"id": "Go"}], [{"step": "loop", "times": -1, "body": []}], [5]])
def test_a_wrong_script_is_refused(steps: list[Any]) -> None:
    """Unknown steps, steps without a name, and nonsense."""
    with pytest.raises(ValidationError):
        script_of(steps)
