"""What every section of the config shares; each source, broker and consumer adds its own fields in its own file."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_RATE = re.compile(r"([0-9]{1,6})/(s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Settings(BaseModel):
    """A section: immutable, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def parse_duration(value: Any) -> timedelta:
    """Read `"90s" "15m" "8h" "7d"` or integer seconds; positive.

    Raises:
        ValueError: with what was expected.
    """
    if isinstance(value, timedelta):
        return value
    seconds = None
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds is None or not 0 < seconds < 10**9:
        raise ValueError('expected a duration such as "90s", "15m", "8h" or "7d", or a positive number of seconds')
    return timedelta(seconds=seconds)


def show_duration(value: timedelta) -> str:
    """Return *value* in the largest unit that divides it, as it would be written in the config."""
    seconds = int(value.total_seconds())
    unit = next(name for name in ("d", "h", "m", "s") if seconds % _SECONDS[name] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(show_duration, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^[0-9]+(s|m|h|d)$"}, {"type": "integer", "minimum": 1}]}),
]


def parse_rate(value: Any) -> float:
    """Read `"20/s"`, `"600/m"` or `"1000/h"` as calls per second.

    Raises:
        ValueError: with what was expected.
    """
    if isinstance(value, float):
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if not match or int(match[1]) == 0:
        raise ValueError('expected a rate such as "20/s", "600/m" or "1000/h"')
    return int(match[1]) / _SECONDS[match[2]]


Rate = Annotated[
    float,
    BeforeValidator(parse_rate),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+/(s|m|h)$"}),
]


class TargetSettings(Settings):
    """One `[targets.<name>]` section; a consumer's own settings inherit from it."""

    consumer: str = Field(description="`jenkins`, `circleci`, `codepipeline`, or `module:Class` for one kept elsewhere")
    concurrency: int = Field(default=8, ge=1, le=1000, description="calls under way at once, per worker process")
    rate: Rate | None = Field(
        default=None, description='attempts begun, per worker process, such as "20/s"; none: no limit'
    )
    timeout: Duration = Field(
        default=timedelta(seconds=30), description="for one call to the platform, unless it says otherwise"
    )


class AgentSettings(Settings):
    """One `[agents.<name>]` section; a kind's own settings inherit from it."""

    kind: str = Field(description="the file in bridge/agents that takes the jobs")
    target: str = Field(
        description="the `[targets.<name>]` whose jobs it takes; that target is then worked for by the agent alone"
    )

    def waits_at_most(self) -> timedelta:
        """Return the longest that a wait of this agent is open; `[waits] max_timeout` bounds it."""
        raise NotImplementedError

    def takes(self) -> tuple[str, ...]:
        """Return what tells the jobs of this agent from those of another; no two agents of a config take the same."""
        raise NotImplementedError


class SourceSettings(Settings):
    """One `[sources.<name>]` section; a kind's own settings inherit from it."""

    kind: str = Field(description="the file in bridge/sources that verifies and normalises")
    unsigned: bool = Field(default=False, description="the sender signs nothing; it posts to /hooks/<source>/<secret>")
