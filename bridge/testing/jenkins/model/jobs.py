"""Jobs: their names, their paths, their builds."""

from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from bridge.testing.jenkins.model.builds import Build
from bridge.testing.jenkins.model.script import Parameter, Script, Spec

Names = tuple[str, ...]
"""The names of the folders above a job and its own; a branch's name has its slash as `%2F`."""
_RAW = "!@$&*()-_=+',."


class JobSpec(Spec):
    """How a job is configured."""

    name: str
    """Its path (`job/app`, `job/mb/job/feature%252Fx`), or its full name (`team/app`, `mb/feature%2Fx`)."""
    parameters: tuple[Parameter, ...] = ()
    script: Script = ()
    """What a triggered build does."""
    disabled: bool = False
    refuses: bool = False
    """A decision handler lets nothing into the queue."""
    blocked: str | None = None
    """Why its items in the queue are blocked."""
    trigger_token: str | None = None
    """Of "trigger builds remotely"."""


@dataclass(eq=False)
class Job:
    """One job. Its builds by number; a deleted one is gone."""

    names: Names
    spec: JobSpec
    builds: dict[int, Build] = field(default_factory=dict)
    next_number: int = 1

    @property
    def full_name(self) -> str:
        return "/".join(self.names)

    @property
    def path(self) -> str:
        return path_of(self.names)


def segment(name: str) -> str:
    """Return one name as Jenkins writes it into a URL."""
    return quote(name, safe=_RAW).replace("~", "%7E")


def path_of(names: Names) -> str:
    """Return the raw path of a job, without a leading slash: `job/mb/job/feature%252Fx`."""
    return "/".join(f"job/{segment(name)}" for name in names)


def names_of(job: str) -> Names:
    """Return the names in *job*, a raw path that begins with `job/`, or a full name. Raises ValueError when there are none."""
    parts = job.strip("/").split("/")
    if parts[0] == "job" and len(parts) > 1:
        if len(parts) % 2 or any(part != "job" for part in parts[::2]):
            raise ValueError("a job's path is job/<name>/job/<name>…")
        parts = [unquote(part) for part in parts[1::2]]
    if not all(parts):
        raise ValueError("a job has a name")
    return tuple(parts)
