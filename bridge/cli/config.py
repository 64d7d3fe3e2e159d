"""`bridge config`: check, show."""

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.loading import load
from bridge.cli.options import ConfigPath, Json, group
from bridge.cli.output import dump, say, table

if TYPE_CHECKING:  # help and version do not load it
    from bridge.config import Config
    from bridge.config.check import Load, ProbeResult

app = group("The configuration: is it right, and what is in force.")


@app.command()
def check(
    *,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also try the broker, the store and each target's health call.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, help="Worker processes of each target: both of its bounds hold for each process.")
    ] = 1,
    config: ConfigPath = None,
    as_json: Json = False,
) -> None:
    """Print every problem and end with 1, or what the config amounts to."""
    from bridge.config.check import loads, warnings  # noqa: PLC0415 - help and version do not load it

    loaded = load(config)
    load_of = loads(loaded, processes=processes)
    risks = warnings(loaded)
    probes = _probe(loaded) if connect else []
    if as_json:
        dump(_document(load_of, risks, probes))
    else:
        _print(loaded, load_of, risks, probes, processes)
    raise typer.Exit(0 if all(probe.is_ok for probe in probes) else 1)


def _probe(loaded: "Config") -> list["ProbeResult"]:
    import asyncio  # noqa: PLC0415 - help and version do not load it

    from bridge.app import probe  # noqa: PLC0415 - the whole line

    return asyncio.run(probe(loaded))


def _document(load_of: list["Load"], risks: list[str], probes: list["ProbeResult"]) -> dict[str, object]:
    from dataclasses import asdict  # noqa: PLC0415

    return {
        "problems": [],
        "warnings": risks,
        "targets": [asdict(each) for each in load_of],
        "probes": [asdict(each) for each in probes],
    }


def _print(
    loaded: "Config", load_of: list["Load"], risks: list[str], probes: list["ProbeResult"], processes: int
) -> None:
    from bridge.config import redact_url  # noqa: PLC0415

    say(f"listens on {loaded.http.listen}, callback URLs below {loaded.public_url}/cb/")
    say(f"broker {redact_url(loaded.broker.url.get_secret_value())}")
    say(f"store {redact_url(loaded.store.url.get_secret_value())}")
    say(f"sources {_names(list(loaded.sources))}; clients {_names(list(loaded.clients))}")
    if loaded.agents:
        agents = [f"{name} (of {agent.target})" for name, agent in loaded.agents.items()]
        say(f"agents {_names(agents)}; their targets are worked for by the role agent alone")
    each = "one worker process" if processes == 1 else f"{processes} worker processes together"
    table(
        ("target", "consumer", f"calls at once, {each}", "attempts begun"),
        ((load.target, load.consumer, load.concurrency, _rate(load.rate)) for load in load_of),
        nothing="no targets",
    )
    if load_of and processes == 1:
        say("concurrency and rate hold for each worker process: N processes make N times that (--processes N)")
    for risk in risks:
        say(f"warning: {risk}")
    for probe in probes:
        say(f"{'ok' if probe.is_ok else 'FAILED'}: {probe.name} {probe.detail}".rstrip())
    say("no problems" if not probes or all(probe.is_ok for probe in probes) else "not everything can be reached")


def _names(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _rate(rate: float | None) -> str:
    if rate is None:
        return "no limit"
    return f"{rate:g}/s" if rate >= 1 else f"{rate * 60:g}/m"


@app.command()
def show(*, config: ConfigPath = None, as_json: Json = False) -> None:
    """Print what is in force, defaults and overrides included, secrets redacted; it needs no secret but the broker's."""
    from bridge.config.show import redacted, to_toml  # noqa: PLC0415 - help and version do not load it

    shown = redacted(load(config, secrets_of=()))
    if as_json:
        dump(shown)
    else:
        say(to_toml(shown).rstrip())
