"""`bridge demo`: the stories of `bridge.demo`, for people who have ten minutes."""

import shutil
from importlib.util import find_spec
from typing import Annotated

import typer

from bridge.cli.output import fail


def demo(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C, and say what to try.")
    ] = False,
    broker: Annotated[
        str | None,
        typer.Option(metavar="URL", help="amqp:// of a virtual host for this demo alone, in place of SQLite."),
    ] = None,
) -> None:
    """Play a story for each way a remote system calls back, on emulated platforms; 0 if every pipeline was resumed once."""
    if broker is not None and not broker.startswith(("amqp://", "amqps://")):
        raise typer.BadParameter("expected amqp:// or amqps://", param_hint="--broker")
    if find_spec("aiobotocore") is None:
        fail("the demo has a CodePipeline story, which needs the extra aws: pip install 'callback-bridge[aws]'")
    if shutil.which("curl") is None:
        fail("the demo needs curl: install it")
    from bridge.demo.show import demo as show  # noqa: PLC0415 - help and version do not load it

    raise typer.Exit(show(keep=keep, broker_url=broker))
