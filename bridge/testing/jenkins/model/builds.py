"""One build: its program, how it is answered and stopped, and what a crash takes from it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge.testing.jenkins.model.inputs import Answer, InputExecution, normalise
from bridge.testing.jenkins.model.program import ANY_HOLD, Note, Program
from bridge.testing.jenkins.model.switches import Switches

Record = Callable[..., None]
"""record(kind, subject, **detail): adds an effect."""
Executions = Literal["loaded", "loading", "unloadable"]


class ExecutionsLoadingError(Exception):
    """The executions of a build are not at hand yet; wait until `build.executions` changes."""

    def __init__(self, build: "Build") -> None:
        super().__init__(build.path)
        self.build = build


@dataclass(frozen=True)
class Returned:
    """What one input step gave back to the pipeline."""

    id: str
    occurrence: int
    answer: Answer


@dataclass(eq=False)
class Build:
    """A build. `path`: raw, without context and slashes around it: `job/app/1`. Times in seconds since 1970."""

    job: str
    path: str
    number: int
    queue_id: int
    started_at: float
    program: Program
    record: Record
    touch: Callable[["Build"], None]
    """Called after each change, so that the build is run."""
    switches: Switches
    parameters: dict[str, Any] = field(default_factory=dict)
    finished_at: float | None = None
    is_deleted: bool = False
    executions: Executions = "loaded"
    """Whether Jenkins has the executions of this build at hand; change it with JenkinsEmulator.set_executions()."""
    before_answer: Program | None = field(default=None, repr=False)
    """The program as it was before the newest answer; a crash may go back to it."""

    @property
    def in_progress(self) -> bool:
        return not self.program.is_over

    @property
    def result(self) -> str | None:
        return self.program.result

    @property
    def building(self) -> bool:
        return self.result is None or self.in_progress

    @property
    def had_input(self) -> bool:
        return self.program.had_input

    @property
    def pending(self) -> list[InputExecution]:
        """The inputs that wait, in order of arrival, whether Jenkins has them at hand or not."""
        return list(self.program.executions)

    def listing(self) -> list[InputExecution]:
        """Return the inputs that wait as far as Jenkins can tell. Raises ExecutionsLoadingError."""
        if self.executions == "loading":
            raise ExecutionsLoadingError(self)
        return [] if self.executions == "unloadable" else self.pending

    @property
    def returned(self) -> list[Returned]:
        """What the answered inputs gave to the pipeline, oldest first."""
        return [
            Returned(each.id, each.occurrence, each.answer) for each in self.program.answered if each.answer is not None
        ]

    def find(self, input_id: str) -> InputExecution | None:
        """Return the first pending input with exactly this id. Raises ExecutionsLoadingError."""
        return next((each for each in self.listing() if each.id == input_id), None)

    def advance(self, now: float) -> None:
        """Run as far as possible, and record what became of it."""
        was_over = self.program.is_over
        self.program.advance(now, self.switches)
        self._drain()
        if self.program.is_over and not was_over:
            self._finished(now)

    def clear_settled(self, now: float) -> None:
        self.program.clear_settled(now)

    def answer(self, execution: InputExecution, answer: Answer, now: float) -> None:
        """Answer a pending input."""
        self.before_answer = deepcopy(self.program)
        self.program.settle(execution, answer, now + self.switches.settle_s)
        self._drain()
        self.touch(self)

    def reach(self, name: str | None = None) -> None:
        """Let the next held input of this id, or hold of this name, go on; None: whichever comes first."""
        self.program.permits[ANY_HOLD if name is None else normalise(name)] += 1
        self.touch(self)

    def stop(self, result: str = "ABORTED") -> None:
        """Interrupt it as a person or a newer build does."""
        if self.in_progress:
            self.program.interrupt(result)
            self.touch(self)

    def kill(self, now: float) -> None:
        """End it without asking the script."""
        if self.in_progress:
            self.program.finish("ABORTED")
            self._drain()
            self._finished(now)

    def lose_answer(self) -> None:
        """Go back to before the newest answer, as after a crash that came before it was saved."""
        if self.before_answer is None:
            return
        lost = self.program.answered[-1]
        self.program, self.before_answer = self.before_answer, None
        self.finished_at = None
        self._record_input(Note("input.lost", lost))
        self.touch(self)

    def due(self) -> float | None:
        return self.program.due()

    def _finished(self, now: float) -> None:
        self.finished_at = now
        kind = "build.aborted" if self.result in ("ABORTED", "NOT_BUILT") else "build.finished"
        self.record(kind, self.path, result=self.result)

    def _drain(self) -> None:
        notes, self.program.notes = self.program.notes, []
        for note in notes:
            self._record_input(note)

    def _record_input(self, note: Note) -> None:
        detail: dict[str, Any] = {"occurrence": note.execution.occurrence}
        answer = note.execution.answer
        if answer is not None:
            detail |= {"verb": answer.verb, "user": answer.user, "values": answer.values, "returned": answer.returned}
        self.record(note.kind, f"{self.path}/input/{note.execution.id}", **detail)
