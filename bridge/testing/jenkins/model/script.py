"""What a build does: a list of steps, written in Python or sent as JSON.

As JSON each step names itself in `step`: `[{"step": "sleep", "seconds": 1}, {"step": "input", "id": "Go"}]`.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ParameterType(StrEnum):
    STRING = "string"
    TEXT = "text"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    PASSWORD = "password"  # noqa: S105 - a kind of parameter
    CREDENTIALS = "credentials"
    RUN = "run"
    BASE64_FILE = "base64File"
    FILE = "file"
    """A core `file` parameter: it fails the build that reaches it in an input."""
    STASHED_FILE = "stashedFile"
    """Of the file-parameters plugin; it fails the build in the same way."""


class Parameter(Spec):
    """One declared parameter of an input or of a job."""

    name: str
    type: ParameterType = ParameterType.STRING
    default: str | bool | None = None
    choices: tuple[str, ...] = ()
    description: str = ""
    trim: bool = False
    """Of string and text: surrounding white space is cut off."""
    required: bool = False
    """Of credentials: a blank value takes the default."""


class Input(Spec):
    """An input step. It waits until it is answered."""

    step: Literal["input"] = "input"
    id: str | None = None
    """As the Jenkinsfile has it, before normalisation; None takes the MD5 of the message."""
    message: str = "Proceed?"
    ok: str = "Proceed"
    cancel: str = "Abort"
    parameters: tuple[Parameter, ...] = ()
    submitter: str | None = None
    """Users or groups, separated by commas."""
    submitter_parameter: str | None = None
    after_s: float = 0.0
    """The input is reached this much later than the step before it ended."""
    held: bool = False
    """The input is reached only when reach() says so."""


class Sleep(Spec):
    """Goes on after some time."""

    step: Literal["sleep"] = "sleep"
    seconds: float


class Hold(Spec):
    """Goes on when reach(name) was called, before or after this step began."""

    step: Literal["hold"] = "hold"
    name: str


class SetResult(Spec):
    """Sets the result early, as `unstable` and `currentBuild.result` do; the build goes on."""

    step: Literal["set-result"] = "set-result"
    result: Literal["SUCCESS", "UNSTABLE", "FAILURE", "NOT_BUILT", "ABORTED"]


class Fail(Spec):
    """The `error` step."""

    step: Literal["fail"] = "fail"


class Parallel(Spec):
    """Runs its branches side by side; with `fail_fast` the first that fails or is aborted ends the others."""

    step: Literal["parallel"] = "parallel"
    branches: tuple[tuple["Step", ...], ...]
    fail_fast: bool = False


class Loop(Spec):
    """Runs its body several times; an input in it repeats its id."""

    step: Literal["loop"] = "loop"
    times: int = Field(ge=0)
    body: tuple["Step", ...]


class Timeout(Spec):
    """Aborts its body, and the build with it, when the time is over."""

    step: Literal["timeout"] = "timeout"
    seconds: float
    body: tuple["Step", ...]


class Catch(Spec):
    """Goes on behind its body whatever became of it; `result` is set when the body failed or was aborted."""

    step: Literal["catch"] = "catch"
    body: tuple["Step", ...]
    result: Literal["SUCCESS", "UNSTABLE", "FAILURE", "NOT_BUILT", "ABORTED"] | None = None


Step = Annotated[
    Input | Sleep | Hold | SetResult | Fail | Parallel | Loop | Timeout | Catch, Field(discriminator="step")
]
Script = tuple[Step, ...]

for _model in (Parallel, Loop, Timeout, Catch):
    _model.model_rebuild()

SCRIPT: TypeAdapter[tuple[Any, ...]] = TypeAdapter(Script)


def script_of(steps: Any) -> Script:
    """Return the checked script.

    steps: a list of steps, of objects in their JSON form, or of strings, each the id of an input.
    Raises pydantic.ValidationError.
    """
    return SCRIPT.validate_python([Input(id=step) if isinstance(step, str) else step for step in steps])
