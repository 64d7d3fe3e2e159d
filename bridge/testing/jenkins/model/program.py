"""The running script of one build, its inputs and its result, in given time.

A program is plain data all the way down, so that a copy of it is what a controller would find on its disk.
"""

from collections import Counter
from dataclasses import dataclass, field

from bridge.testing.jenkins.model.frames import End, Frame, Sequence, earliest
from bridge.testing.jenkins.model.inputs import Answer, InputExecution, input_id
from bridge.testing.jenkins.model.script import Input, Script
from bridge.testing.jenkins.model.switches import Switches

RESULTS = ("SUCCESS", "UNSTABLE", "FAILURE", "NOT_BUILT", "ABORTED")
"""Best first; a result only ever worsens."""
ANY_HOLD = ""


@dataclass(frozen=True)
class Note:
    """Something that happened to the inputs of a build, for the list of effects."""

    kind: str
    execution: InputExecution


@dataclass
class Program:
    """A script and how far it is."""

    root: Frame
    executions: list[InputExecution] = field(default_factory=list)
    """The pending inputs, in order of arrival."""
    answered: list[InputExecution] = field(default_factory=list)
    had_input: bool = False
    result: str | None = None
    is_over: bool = False
    permits: Counter[str] = field(default_factory=Counter)
    """How many holds of a name may pass."""
    reached: Counter[str] = field(default_factory=Counter)
    """How often an input of an id was reached."""
    notes: list[Note] = field(default_factory=list)

    @classmethod
    def of(cls, script: Script) -> "Program":
        return cls(Sequence(script))

    def advance(self, now: float, switches: Switches) -> None:
        """Run until every branch waits, or to the end."""
        if self.is_over:
            return
        end = self.root.advance(self, now, switches)
        if end is not None:
            self.finish(end.thrown or "SUCCESS")

    def finish(self, result: str) -> None:
        """End here and now with *result*, or the worse one it has."""
        self.worsen(result)
        for execution in list(self.executions):
            self.remove(execution)
        self.is_over = True

    def interrupt(self, result: str) -> None:
        """Throw into whatever runs, as stop, a newer build and `timeout` do; the script may catch it."""
        self.root.interrupt(self, End(result))

    def worsen(self, result: str) -> None:
        if self.result is None or RESULTS.index(result) > RESULTS.index(self.result):
            self.result = result

    def reach(self, spec: Input) -> InputExecution:
        """Make an input pending."""
        id_ = input_id(spec)
        self.reached[id_] += 1
        execution = InputExecution(spec, id_, self.reached[id_])
        self.executions.append(execution)
        self.had_input = True
        self.notes.append(Note("input.reached", execution))
        return execution

    def settle(self, execution: InputExecution, answer: Answer, removed_at: float) -> None:
        """Store the answer; the step goes on when the input is removed and the program runs."""
        execution.answer = answer
        execution.removed_at = removed_at
        self.answered.append(execution)
        self.notes.append(Note("input.aborted" if answer.is_abort else "input.proceeded", execution))

    def clear_settled(self, now: float) -> None:
        """Remove the answered inputs whose settle window is over."""
        self.executions = [each for each in self.executions if each.removed_at is None or each.removed_at > now]

    def remove(self, execution: InputExecution) -> None:
        """Take a pending input away without an answer."""
        if execution not in self.executions:
            return
        self.executions.remove(execution)
        if not execution.is_settled:
            self.notes.append(Note("input.removed", execution))

    def take_permit(self, name: str) -> bool:
        for known in (name, ANY_HOLD):
            if self.permits[known]:
                self.permits[known] -= 1
                return True
        return False

    def due(self) -> float | None:
        """Return when time alone next changes something."""
        if self.is_over:
            return None
        return earliest([self.root.due(), *(each.removed_at for each in self.executions)])
