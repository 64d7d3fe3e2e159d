"""`bridge run`: every role of the config in one process, or those that are asked for."""

from typing import Annotated

import typer

from bridge.cli.loading import load
from bridge.cli.options import ConfigPath
from bridge.cli.output import fail

_ROLES = ("ingress", "coordinator", "worker", "agent", "poller")


def _roles(names: list[str] | None) -> list[str]:
    for name in names or []:
        if name not in _ROLES:
            raise typer.BadParameter(f"expected one of {', '.join(_ROLES)}")
    return names or []


def run(
    *,
    role: Annotated[
        list[str] | None,
        typer.Option(
            callback=_roles, help="ingress, coordinator, worker, agent or poller; again for each. Default: all."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="What the worker, agent or poller works with; again for each. Default: all targets."),
    ] = None,
    listen: Annotated[str | None, typer.Option(help="host:port, over the config's http.listen.")] = None,
    config: ConfigPath = None,
) -> None:
    """Run the bridge until SIGTERM or Ctrl-C."""
    from bridge.config import Role  # noqa: PLC0415 - help and version do not load it

    roles = {Role(name) for name in role} if role else None
    if target and roles is not None and not roles & {Role.WORKER, Role.AGENT, Role.POLLER}:
        raise typer.BadParameter("is for a worker, agent or poller; add --role worker", param_hint="--target")
    loaded = load(config, roles=roles, targets=target or None, listen=listen)
    from bridge.app import run as run_app  # noqa: PLC0415 - only a config without problems loads the whole line
    from bridge.core.errors import ConfigError  # noqa: PLC0415

    try:
        code = run_app(loaded)
    except ConfigError as exc:
        fail(*exc.problems)
    except OSError as exc:
        fail(f"http.listen: cannot listen on {loaded.http.listen}: {exc.strerror or exc}")
    raise typer.Exit(code)
