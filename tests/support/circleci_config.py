r"""CircleCI configs and orb sources: packed, read strictly, and their `run` steps run, all on this machine.

Contract: `circleci orb pack`: a folder of parts by kind, a file's name is the part's; `<<include(path)>>` is a whole value, and
          each `<<` of the included file is escaped as `\<<`
          `<< parameters.name >>` is filled in; `\<<` becomes `<<`; `run` steps start `bash -eo pipefail`, which reads $BASH_ENV
Source:   https://circleci.com/docs/reference/configuration-reference/, …/reusing-config/ (2026-08);
          CircleCI-Public/circleci-cli (2026-08), process of `orb pack`
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_INCLUDE = re.compile(r"<<\s*include\(([-\w/.]+)\)\s*>>")
_TAG = re.compile(r"(?<!\\)<<\s*parameters\.(\w+)\s*>>")
_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_STEP_WITHIN_S = 60


# --- what a source may hold


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_TYPES: dict[str, type] = {"boolean": bool, "integer": int}


class Parameter(Strict):
    """A parameter. One without a default has to be given."""

    type: Literal["boolean", "string", "enum", "executor", "integer", "env_var_name"]
    description: str
    default: Any = None
    enum: list[str] | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        assert (self.type == "enum") == (self.enum is not None), "an enum, and nothing else, lists its words"
        if self.default is not None:
            self.check(self.default)
        return self

    @property
    def is_required(self) -> bool:
        return self.default is None

    def check(self, value: Any) -> None:
        """Fail when *value* is none for this parameter."""
        wanted = _TYPES.get(self.type, str)
        assert type(value) is wanted, f"{value!r} is no {self.type}"
        assert self.enum is None or value in self.enum, f"{value!r} is not one of {self.enum}"
        assert self.type != "env_var_name" or _VARIABLE.fullmatch(str(value)), f"{value!r} names no variable"


def _is_2_1(version: float) -> float:
    assert version == 2.1, "the only version with orbs"
    return version


Version = Annotated[float, AfterValidator(_is_2_1)]


class Run(Strict):
    command: str
    name: str = ""
    environment: dict[str, str] = {}


class Command(Strict):
    description: str
    parameters: dict[str, Parameter] = {}
    steps: list[Any] = Field(min_length=1)


class Executor(Strict):
    description: str
    parameters: dict[str, Parameter] = {}
    docker: list[dict[str, str]]


class Job(Strict):
    description: str = ""
    parameters: dict[str, Parameter] = {}
    executor: str = ""
    docker: list[dict[str, str]] = []
    steps: list[Any] = Field(min_length=1)

    @model_validator(mode="after")
    def _runs_somewhere(self) -> Self:
        assert bool(self.executor) != bool(self.docker), "a job has an executor or an image"
        return self


class Workflow(Strict):
    jobs: list[Any]


class Config(Strict):
    """A `.circleci/config.yml`."""

    version: Version
    orbs: dict[str, str] = {}
    jobs: dict[str, Job]
    workflows: dict[str, Workflow]


class Example(Strict):
    description: str
    usage: Config


class Orb(Strict):
    """A packed orb."""

    version: Version
    description: str
    commands: dict[str, Command]
    jobs: dict[str, Job]
    executors: dict[str, Executor]
    examples: dict[str, Example]


def pack(source: Path) -> Orb:
    """Return the orb of a source folder, checked."""
    packed = _included(yaml.safe_load((source / "@orb.yml").read_text()), source)
    for kind in ("commands", "jobs", "executors", "examples"):
        files = sorted((source / kind).glob("*.yml"))
        packed[kind] = {file.stem: _included(yaml.safe_load(file.read_text()), source) for file in files}
    return Orb.model_validate(packed)


def _included(value: Any, source: Path) -> Any:
    match value:
        case str() if found := _INCLUDE.fullmatch(value.strip()):
            return (source / found[1]).read_text().replace("<<", "\\<<")
        case list():
            return [_included(item, source) for item in value]
        case dict():
            return {name: _included(item, source) for name, item in value.items()}
        case _:
            return value


# --- parameters, and what they are filled into


def tags(value: Any) -> Iterator[str]:
    """Yield the names of the parameters that *value* asks for."""
    match value:
        case str():
            yield from _TAG.findall(value)
        case list():
            for item in value:
                yield from tags(item)
        case dict():
            for item in value.values():
                yield from tags(item)


def arguments(part: Command | Job, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each parameter of *part*; fail where one is missing, unknown or of another type."""
    assert set(given) <= set(part.parameters), f"unknown parameters: {sorted(set(given) - set(part.parameters))}"
    for name, value in given.items():
        part.parameters[name].check(value)
    missing = [name for name, one in part.parameters.items() if one.is_required and name not in given]
    assert not missing, f"missing parameters: {missing}"
    return {name: given.get(name, one.default) for name, one in part.parameters.items()}


def fill(value: Any, values: Mapping[str, Any]) -> Any:
    """Return *value* with parameters filled in; a text that is one tag takes the value's own type."""
    match value:
        case str() if found := _TAG.fullmatch(value.strip()):
            return values[found[1]]
        case str():
            return _TAG.sub(lambda found: _text(values[found[1]]), value)
        case list():
            return [fill(item, values) for item in value]
        case dict():
            return {name: fill(item, values) for name, item in value.items()}
        case _:
            return value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def named(item: str | dict[str, Any]) -> tuple[str, Any]:
    """Return the name of a step, or of a workflow's job, and what it is given: `name`, or `{name: given}`."""
    if isinstance(item, str):
        return item, {}
    (pair,) = item.items()
    return pair


def runs_of(orb: Orb, steps: list[Any], prefix: str) -> Iterator[Run]:
    """Yield the `run` steps of *steps*, those of the orb's commands among them. prefix: `bridge/` outside of the orb."""
    for step in steps:
        kind, given = named(step)
        if kind == "run":
            run: dict[str, Any] = {"command": given} if isinstance(given, str) else given
            environment = {name: _text(value) for name, value in run.get("environment", {}).items()}
            assert not re.search(r"(?<!\\)<<", run["command"]), "CircleCI: Unclosed '<<' tag"
            command = run["command"].replace("\\<<", "<<")
            yield Run.model_validate({**run, "environment": environment, "command": command})
        elif kind == "store_artifacts":
            assert set(given) == {"path"}
        else:
            assert kind.startswith(prefix)
            part = orb.commands[kind.removeprefix(prefix)]
            yield from runs_of(orb, fill(part.steps, arguments(part, given)), "")


def runs_of_job(orb: Orb, config: Config, reference: Any) -> list[Run]:
    """Return the `run` steps of a job as a workflow names it."""
    name, given = named(reference)
    if name in config.jobs:
        return list(runs_of(orb, config.jobs[name].steps, "bridge/"))
    job = orb.jobs[name.removeprefix("bridge/")]
    own = {key: value for key, value in dict(given).items() if key not in ("requires", "context", "name")}
    values = arguments(job, own)
    assert fill(job.executor, values) in orb.executors
    return list(runs_of(orb, fill(job.steps, values), ""))


# --- running


@dataclass(frozen=True)
class Ran:
    """What became of a step. shown: both outputs, as the job's log has them."""

    code: int
    shown: str


async def run(step: Run, folder: Path, environ: Mapping[str, str], shell: tuple[str, ...]) -> Ran:
    """Run one step in *folder* with nothing but *environ* and its own."""
    script = folder / "step.sh"
    script.write_text(step.command)
    process = await asyncio.create_subprocess_exec(
        *shell,
        str(script),
        cwd=folder,
        env={**environ, **step.environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_STEP_WITHIN_S):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(process.returncode or 0, out.decode())
