"""What people see: seconds since the start, who, what. In colour on a terminal, plain text elsewhere."""

import io
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

_COLOURS = {"bridge": "green", "Jenkins": "blue", "CircleCI": "magenta", "CodePipeline": "yellow"}
_REMOTE = "cyan"
_WHO = 14
_INDENT = 6 + 2 + _WHO
_COMMAND_INDENT = 12
_PLAIN_WIDTH = 100
_MAX_WIDTH = 120


def make_console() -> Console:
    """Return the console of standard output; a pipe has no width, so it gets one. No terminal is too old for a line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


class Timeline:
    """Prints lines as they come. Times are moments; shown are the seconds since this object was made."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = datetime.now(UTC)

    @property
    def elapsed_s(self) -> float:
        return (datetime.now(UTC) - self._start).total_seconds()

    @property
    def text_width(self) -> int:
        """How many characters a line has for what is said."""
        return max(20, self._width - _INDENT)

    @property
    def _width(self) -> int:
        return min(self._console.width, _MAX_WIDTH) - 1

    def chapter(self, title: str, about: str) -> None:
        """Begin a story."""
        line = "─" * max(2, self._width - len(title) - 4)
        self._print(Text.assemble("\n── ", (title, "bold"), (f" {line}", "dim")))
        for text in textwrap.wrap(about, self._width - 3):
            self._print(Text(f"   {text}", style="italic"))

    def say(self, who: str, text: str, *, at: datetime | None = None) -> None:
        """Print one line of the story; a long one goes on below itself."""
        self._story_lines(
            who, textwrap.wrap(text, self.text_width, break_on_hyphens=False, break_long_words=False) or [""], at
        )

    def command(self, who: str, lines: Sequence[str]) -> None:
        """Print a command that *who* runs, before it runs."""
        self._story_lines(who, [f"$ {lines[0]}"], None)
        for line in lines[1:]:
            self._print(Text(" " * _COMMAND_INDENT + line))

    def note(self, text: str | Text) -> None:
        """Print text that belongs to no story, as it is: what is to be copied is not folded."""
        self._print(Text(text) if isinstance(text, str) else text)

    def _story_lines(self, who: str, lines: Sequence[str], at: datetime | None) -> None:
        moment = max(0.0, ((at or datetime.now(UTC)) - self._start).total_seconds())
        style = _COLOURS.get(who, _REMOTE)
        self._print(Text.assemble((f"{moment:6.1f}  ", "dim"), (f"{who:<{_WHO}}", style), lines[0]))
        for line in lines[1:]:
            self._print(Text(" " * _INDENT + line))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)
