"""The running steps of a script: each frame advances until it waits, and can be interrupted from outside."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.testing.jenkins.model.inputs import InputExecution, fails_the_build, input_id, normalise
from bridge.testing.jenkins.model.script import (
    Catch,
    Fail,
    Hold,
    Input,
    Loop,
    Parallel,
    SetResult,
    Sleep,
    Step,
    Timeout,
)
from bridge.testing.jenkins.model.switches import Switches

if TYPE_CHECKING:
    from bridge.testing.jenkins.model.program import Program


@dataclass(frozen=True)
class End:
    """How a step ended: as it should when `thrown` is None, else with that result for the build."""

    thrown: str | None = None


@dataclass
class Frame:
    """One running step. `thrown`: what was thrown into it from outside."""

    thrown: End | None = field(default=None, kw_only=True)

    def advance(self, program: "Program", now: float, switches: Switches) -> End | None:
        """Go as far as possible; return how it ended, None while it waits."""
        raise NotImplementedError

    def interrupt(self, program: "Program", end: End) -> None:  # noqa: ARG002 - for those with frames or inputs inside
        self.thrown = end

    def due(self) -> float | None:
        return None


@dataclass
class Sequence(Frame):
    steps: tuple[Step, ...]
    index: int = 0
    current: Frame | None = None

    def advance(self, program: "Program", now: float, switches: Switches) -> End | None:
        while True:
            if self.current is None:
                if self.thrown is not None or self.index >= len(self.steps):
                    return self.thrown or End()
                self.current = frame_of(self.steps[self.index])
                self.index += 1
            end = self.current.advance(program, now, switches)
            if end is None:
                return None
            self.current = None
            if end.thrown is not None:
                return end

    def interrupt(self, program: "Program", end: End) -> None:
        if self.current is None:
            self.thrown = end
        else:
            self.current.interrupt(program, end)

    def due(self) -> float | None:
        return self.current.due() if self.current is not None else None


@dataclass
class Pause(Frame):
    """A sleep."""

    seconds: float
    until: float | None = None

    def advance(self, program: "Program", now: float, switches: Switches) -> End | None:  # noqa: ARG002
        if self.until is None:
            self.until = now + self.seconds
        return self.thrown or (End() if now >= self.until else None)

    def due(self) -> float | None:
        return self.until


@dataclass
class Held(Frame):
    """A step that waits for reach()."""

    name: str

    def advance(self, program: "Program", now: float, switches: Switches) -> End | None:  # noqa: ARG002
        return self.thrown or (End() if program.take_permit(self.name) else None)


@dataclass
class AtOnce(Frame):
    """A step that takes no time: it sets a result, or fails."""

    step: SetResult | Fail

    def advance(self, program: "Program", now: float, switches: Switches) -> End | None:  # noqa: ARG002
        if isinstance(self.step, Fail):
            return End("FAILURE")
        program.worsen(self.step.result)
        return self.thrown or End()


@dataclass
class Waiting(Frame):
    """An input step."""

    spec: Input
    execution: InputExecution | None = None

    def advance(self, program: "Program", now: float, switches: Switches) -> End | None:  # noqa: ARG002
        if self.thrown is not None:
            return self.thrown
        if self.execution is None:
            if fails_the_build(self.spec, ids_checked=switches.ids_checked, unsafe_files=switches.unsafe_files):
                return End("FAILURE")
            self.execution = program.reach(self.spec)
        answer = self.execution.answer
        if answer is None or self.execution in program.executions:
            return None
        return End("ABORTED") if answer.is_abort else End()

    def interrupt(self, program: "Program", end: End) -> None:
        self.thrown = end
        if self.execution is not None:
            program.remove(self.execution)


@dataclass
class SideBySide(Frame):
    """A parallel step."""

    branches: list[Frame]
    fail_fast: bool
    ends: dict[int, End] = field(default_factory=dict)
    """How branches ended, by their place, the first to end first."""

    def advance(self, program: "Program", now: float, switches: Switches) -> End | None:
        self._advance_branches(program, now, switches)
        if self.fail_fast and self._first_thrown() is not None and len(self.ends) < len(self.branches):
            for branch in self._running():
                branch.interrupt(program, End("ABORTED"))
            self._advance_branches(program, now, switches)
        return self._first_thrown() or End() if len(self.ends) == len(self.branches) else None

    def _advance_branches(self, program: "Program", now: float, switches: Switches) -> None:
        for place, branch in enumerate(self.branches):
            if place not in self.ends:
                end = branch.advance(program, now, switches)
                if end is not None:
                    self.ends[place] = end

    def _running(self) -> list[Frame]:
        return [branch for place, branch in enumerate(self.branches) if place not in self.ends]

    def _first_thrown(self) -> End | None:
        return next((end for end in self.ends.values() if end.thrown is not None), None)

    def interrupt(self, program: "Program", end: End) -> None:
        for branch in self._running():
            branch.interrupt(program, end)

    def due(self) -> float | None:
        return earliest(branch.due() for branch in self._running())


@dataclass
class Limited(Frame):
    """A timeout step."""

    seconds: float
    body: Frame
    until: float | None = None

    def advance(self, program: "Program", now: float, switches: Switches) -> End | None:
        if self.until is None:
            self.until = now + self.seconds
        end = self.body.advance(program, now, switches)
        if end is not None or now < self.until:
            return end
        self.until = float("inf")
        self.body.interrupt(program, End("ABORTED"))
        return self.body.advance(program, now, switches)

    def interrupt(self, program: "Program", end: End) -> None:
        self.body.interrupt(program, end)

    def due(self) -> float | None:
        return earliest([self.until, self.body.due()])


@dataclass
class Caught(Frame):
    """A catch around its body."""

    result: str | None
    body: Frame

    def advance(self, program: "Program", now: float, switches: Switches) -> End | None:
        end = self.body.advance(program, now, switches)
        if end is None or end.thrown is None:
            return end
        if self.result is not None:
            program.worsen(self.result)
        return End()

    def interrupt(self, program: "Program", end: End) -> None:
        self.body.interrupt(program, end)

    def due(self) -> float | None:
        return self.body.due()


def frame_of(step: Step) -> Frame:  # noqa: PLR0911 - one arm for each kind
    """Return the frame that runs *step*."""
    match step:
        case Input():
            return _input_frame(step)
        case Sleep():
            return Pause(step.seconds)
        case Hold():
            return Held(normalise(step.name))
        case SetResult() | Fail():
            return AtOnce(step)
        case Parallel():
            return SideBySide([Sequence(branch) for branch in step.branches], step.fail_fast)
        case Loop():
            return Sequence(step.body * step.times)
        case Timeout():
            return Limited(step.seconds, Sequence(step.body))
        case Catch():
            return Caught(step.result, Sequence(step.body))


def _input_frame(step: Input) -> Frame:
    """An input that is reached late is a sleep, a hold and an input."""
    before: list[Step] = []
    if step.after_s:
        before.append(Sleep(seconds=step.after_s))
    if step.held:
        before.append(Hold(name=input_id(step)))
    if not before:
        return Waiting(step)
    return Sequence((*before, step.model_copy(update={"after_s": 0.0, "held": False})))


def earliest(moments: Iterable[float | None]) -> float | None:
    """Return the first of the moments that are set; infinity is none."""
    known = [moment for moment in moments if moment is not None and moment != float("inf")]
    return min(known, default=None)
