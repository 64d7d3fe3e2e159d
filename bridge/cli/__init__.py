"""The command line: `bridge <command>`. Each command imports what it needs when it runs, so that help and version are quick."""

from typing import Annotated

import typer

from bridge import __version__
from bridge.cli import client, config, dead, demo, event, queue, run, schema, target, verify, wait
from bridge.cli.options import group

app = group("Lets a CI pipeline wait for a system outside CI, and resumes it once when that system calls back.")
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.add_typer(config.app, name="config")
app.command("schema")(schema.schema)
app.add_typer(wait.app, name="wait")
app.add_typer(event.app, name="event")
app.add_typer(queue.app, name="queue")
app.add_typer(dead.app, name="dead")
app.add_typer(target.app, name="target")
app.add_typer(client.app, name="client")
app.command("verify")(verify.verify)


def _show_version(is_asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if is_asked:
        typer.echo(f"bridge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Take the options before the command; there is only one."""


def main() -> None:
    """Run the command of `sys.argv`: 0 done, 1 refused or failed, 2 wrong use."""
    app(prog_name="bridge")
