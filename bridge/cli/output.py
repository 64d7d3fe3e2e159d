"""What people and machines see: tables and relative times, or JSON. Text of others is shown without its control characters."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import typer

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def clean(value: Any) -> str:
    """Return *value* as text that cannot steer a terminal: what remotes said is shown, not obeyed."""
    if value is None:
        return ""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", str(value))


def relative(moment: str | datetime | None, *, now: datetime | None = None) -> str:
    """Return `3 min ago`, `in 2 h` or `now`; empty for no moment."""
    if not moment:
        return ""
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    seconds = int((when - (now or datetime.now(UTC))).total_seconds())
    if seconds == 0:
        return "now"
    size, unit = next(pair for pair in _UNITS if abs(seconds) >= pair[0])
    text = f"{round(abs(seconds) / size)} {unit}"
    return f"in {text}" if seconds > 0 else f"{text} ago"


def age(seconds: float | None) -> str:
    """Return a length of time in its largest unit; `?` where it is not known."""
    if seconds is None:
        return "?"
    whole = int(timedelta(seconds=seconds).total_seconds())
    size, unit = next((pair for pair in _UNITS if whole >= pair[0]), (1, "s"))
    return f"{round(whole / size)} {unit}"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, nothing: str) -> None:
    """Print *rows*, or the line *nothing* when there are none."""
    from rich import box  # noqa: PLC0415 - rich is loaded when a table is shown
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    lines = [[Text(clean(cell)) for cell in row] for row in rows]
    if not lines:
        say(nothing)
        return
    grid = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for line in lines:
        grid.add_row(*line)
    _console().print(grid)


def details(values: Mapping[str, Any]) -> None:
    """Print `name  value` lines; empty values are left out."""
    shown = {name: clean(value) for name, value in values.items() if value not in (None, "", {}, [])}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        say(f"{name:<{width}}  {value}")


def _console() -> Any:
    from rich.console import Console  # noqa: PLC0415 - rich is loaded when a table is shown

    console = Console(highlight=False)
    # A pipe has no width: a row is not folded there, so that it can be searched.
    return console if console.is_terminal else Console(highlight=False, width=250)


def say(text: str) -> None:
    """Print a line for people, or a line of JSON."""
    typer.echo(text)


def dump(value: Any) -> None:
    """Print *value* as JSON."""
    import orjson  # noqa: PLC0415 - `bridge --version` does not need it

    say(orjson.dumps(value).decode())


def done(value: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Say that something was done: *value* for machines, *text* for people."""
    if as_json:
        dump(value)
    else:
        say(text)


def fail(*lines: str) -> NoReturn:
    """Print *lines* to standard error and end with 1: refused or failed."""
    for line in lines:
        typer.echo(clean(line), err=True)
    raise typer.Exit(1)
