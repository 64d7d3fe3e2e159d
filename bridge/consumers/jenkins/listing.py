"""What Jenkins tells of a build and its inputs: pure readings of its answers.

Contract: the `tree` below; InputAction stays in a build's actions for the build's whole life, so it means "has had an input";
          `executions` are those pending now, in order of arrival; of several with one id the first is the one answered
Source:   pipeline-input-step-plugin @ d2b888dfb50d (InputAction), from 466 on; before, executions are not shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from bridge.consumers.jenkins.parameters import Declared
from bridge.core.outcome import Later, Sight, Standing
from bridge.core.request import Reply

RUN_TREE = "building,result,actions[waitingForInput,executions[id,settled,input[parameters[name,type,choices]]]]"
JOB_TREE = "nextBuildNumber,lastBuild[number]"


def _listed(value: Any) -> Any:
    """Return a list without its nulls; Jenkins writes null for an empty one, too."""
    return [one for one in value if one is not None] if isinstance(value, list) else value or []


class _Wire(BaseModel):
    """A part of an answer: what else is in it does not matter."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Parameter(_Wire):
    name: str
    type: str = ""
    choices: tuple[str, ...] | None = None

    @property
    def declared(self) -> Declared:
        return Declared(self.name, self.type, self.choices)


class _Step(_Wire):
    parameters: Annotated[list[_Parameter], BeforeValidator(_listed)] = []


class _Execution(_Wire):
    id: str
    settled: bool = False
    input: _Step = _Step()


class _Action(_Wire):
    kind: str = Field(default="", alias="_class")
    executions: list[_Execution] | None = None


class _Run(_Wire):
    building: bool
    result: str | None = None
    actions: Annotated[list[_Action], BeforeValidator(_listed)] = []


class _Numbered(_Wire):
    number: int


class Job(_Wire):
    """What a job tells of its builds."""

    next_number: int = Field(default=0, alias="nextBuildNumber")
    last: _Numbered | None = Field(default=None, alias="lastBuild")

    @property
    def last_number(self) -> int:
        return self.last.number if self.last else 0


class _Older(_Wire):
    """One of wfapi's pending inputs."""

    class _Input(_Wire):
        class _Definition(_Wire):
            choices: tuple[str, ...] | None = None

        name: str
        type: str = ""
        definition: _Definition = _Definition()

    id: str
    inputs: Annotated[list[_Input], BeforeValidator(_listed)] = []

    @property
    def pending(self) -> "Pending":
        inputs = ((one.name, one.type, one.definition.choices or None) for one in self.inputs)
        return Pending(self.id, tuple(Declared(*one) for one in inputs))


_OLDER = TypeAdapter(list[_Older])


@dataclass(frozen=True, slots=True)
class Pending:
    """An input that waits; settled: it was answered a moment ago."""

    id: str
    declared: tuple[Declared, ...] = ()
    is_settled: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A build.

    had_input: it has reached one, or nothing tells that it has not.
    shows_inputs: what is pending was listed.
    """

    is_building: bool
    result: str = ""
    had_input: bool = False
    shows_inputs: bool = False
    pending: Sequence[Pending] = ()

    @classmethod
    def read(cls, reply: Reply) -> Self:
        """Read `{run}/api/json`.

        Raises:
            Later: it is no answer of Jenkins.
        """
        try:
            run = _Run.model_validate(reply.json() if reply.is_success else None)
        except ValidationError:
            raise stranger(reply) from None
        actions = [one for one in run.actions if one.executions is not None]
        pending = [
            Pending(one.id, tuple(parameter.declared for parameter in one.input.parameters), one.settled)
            for action in actions
            for one in action.executions or ()
        ]
        had_input = bool(actions) or any(one.kind.endswith(".InputAction") for one in run.actions)
        return cls(run.building, run.result or "", had_input, bool(actions), pending)


def read_older(reply: Reply) -> list[Pending] | None:
    """Read `{run}/wfapi/pendingInputActions`; None where the plugin for it is not installed.

    Raises:
        Later: it is no answer of Jenkins.
    """
    if reply.status == 404:  # noqa: PLR2004 - HTTP's own
        return None
    try:
        return [one.pending for one in _OLDER.validate_python(reply.json() if reply.is_success else None)]
    except ValidationError:
        raise stranger(reply) from None


def read_job(reply: Reply) -> Job:
    """Read `{job}/api/json`.

    Raises:
        Later: it is no answer of Jenkins.
    """
    try:
        return Job.model_validate(reply.json() if reply.is_success else None)
    except ValidationError:
        raise stranger(reply) from None


def stranger(reply: Reply) -> Later:
    """Return the ending of an answer that somebody else gave: a proxy's page, a redirect to a login."""
    return Later(f"not Jenkins's answer ({reply.status})")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look leaves for the answer that follows.

    declared: the parameters of the input that waits.
    session: changes at each start of Jenkins; empty where it was not told.
    """

    declared: tuple[Declared, ...] = ()
    session: str = ""


def standing(run: Run, input_id: str, session: str) -> Sight:
    """Say where the input of this id stands."""
    if not run.is_building:
        return Sight(Standing.GONE, f"the build is over: {run.result}")
    first = next((one for one in run.pending if one.id == input_id), None)
    if first is None:
        if run.had_input:
            return Sight(Standing.ABSENT, "no input of this id is pending", Seen((), session))
        return Sight(Standing.NOT_THERE, "the build has reached no input yet", Seen((), session))
    if first.is_settled:
        return Sight(Standing.ANSWERED, "answered a moment ago", Seen((), session))
    return Sight(Standing.WAITING, seen=Seen(first.declared, session))


def standing_without_run(job: Job, number: int) -> Sight:
    """Say what it means that a visible job has no build of this number."""
    if job.last_number >= number:
        return Sight(Standing.GONE, "the build was deleted")
    if job.next_number > number:  # it was the newest and deleted, or is being made right now
        return Sight(Standing.ABSENT, "the build is not there")
    return Sight(Standing.NOT_THERE, "the build has not started")
