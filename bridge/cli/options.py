"""Options that several commands share. They stand after the command: `bridge run -c bridge.toml`."""

from pathlib import Path
from typing import Annotated, Any

import typer

ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", help="The TOML file; default: bridge.toml here, where there is one.", dir_okay=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For machines: the API's own JSON.")]
Url = Annotated[
    str,
    typer.Option("--url", envvar="BRIDGE_URL", help="Where the API is. The token comes from BRIDGE_TOKEN."),
]
Limit = Annotated[int | None, typer.Option(min=1, max=500, help="How many to list; the API's default is 50.")]
Cursor = Annotated[str | None, typer.Option(help="Go on where a list ended: its next_cursor.")]

DEFAULT_URL = "http://127.0.0.1:8080"


def group(help: str) -> typer.Typer:  # noqa: A002 - typer's own word
    """Return a group of commands; a traceback never shows local values, which may be secrets."""
    return typer.Typer(
        help=help,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """Read `key=value` texts.

    Raises:
        typer.BadParameter: one is none, or a key comes twice.
    """
    found: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter("expected KEY=VALUE", param_hint=option)
        if key in found:
            raise typer.BadParameter(f"the key {key} is given twice", param_hint=option)
        found[key] = value
    return found


def read_json(text: str, option: str) -> Any:
    """Read JSON given as it is, or as `@file` (`@-`: standard input).

    Raises:
        typer.BadParameter: it is none, or the file cannot be read.
    """
    import orjson  # noqa: PLC0415 - `bridge --version` does not need it

    try:
        return orjson.loads(read_bytes(text[1:], option) if text.startswith("@") else text)
    except orjson.JSONDecodeError as exc:
        raise typer.BadParameter(f"expected JSON: {exc}", param_hint=option) from None


def read_object(text: str, option: str) -> dict[str, Any]:
    """Read a JSON object as read_json() does."""
    value = read_json(text, option)
    if not isinstance(value, dict):
        raise typer.BadParameter("expected a JSON object", param_hint=option)
    return value


def read_bytes(name: str, option: str) -> bytes:
    """Read the file *name*; `-` is standard input.

    Raises:
        typer.BadParameter: it cannot be read.
    """
    try:
        return typer.get_binary_stream("stdin").read() if name == "-" else Path(name).read_bytes()
    except OSError as exc:
        raise typer.BadParameter(f"cannot be read: {exc.strerror}", param_hint=option) from None
