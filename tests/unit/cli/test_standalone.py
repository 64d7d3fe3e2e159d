"""The commands that work alone: config, schema, run's options, version."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bridge import __version__
from bridge.cli import app
from bridge.config import Config, Role
from bridge.config.check import ProbeResult
from bridge.core.errors import ConfigError
from tests.support.config_kinds import ENVIRON, SMALL, use_plain_kinds, write_config


@pytest.fixture(autouse=True)
def _plain_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    use_plain_kinds(monkeypatch)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Stand in for bridge.app: it keeps the config that it was given."""
    module = ModuleType("bridge.app")
    module.ran = []  # type: ignore[attr-defined] # a stand-in

    def run(config: Config) -> int:
        module.ran.append(config)
        return 0

    async def probe(_config: Config) -> list[ProbeResult]:
        return [ProbeResult("broker", is_ok=True), ProbeResult("store", is_ok=False, detail="refused the password")]

    module.run = run  # type: ignore[attr-defined] # a stand-in
    module.probe = probe  # type: ignore[attr-defined] # a stand-in
    monkeypatch.setitem(sys.modules, "bridge.app", module)
    return module


def bridge(*arguments: str, environ: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, arguments, env=ENVIRON if environ is None else environ)


def test_version() -> None:
    """The distribution's own."""
    assert bridge("--version").stdout == f"bridge {__version__}\n"


def test_the_start_is_light() -> None:
    """Help and version load neither the line nor its libraries."""
    heavy = "{'aiohttp', 'aio_pika', 'sqlalchemy', 'rich', 'bridge.config', 'bridge.app', 'bridge.coordinator'}"
    code = f"import sys, bridge.cli; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter
    assert found.stdout == "[]\n"


def test_check_prints_what_the_config_amounts_to(tmp_path: Path) -> None:
    """Exit 0, the bounds of each target, and how they multiply."""
    path = write_config(tmp_path, SMALL + 'rate = "20/s"\n')
    result = bridge("config", "check", "-c", str(path), "--processes", "3")
    assert result.exit_code == 0, result.output
    rows = [row.split() for row in result.stdout.splitlines() if "plain" in row]
    assert rows == [["jenkins-prod", "plain", "24", "no", "limit"], ["jenkins-test", "plain", "24", "60/s"]]
    assert result.stdout.endswith("no problems\n")
    assert not any(secret in result.output for secret in ENVIRON.values())


def test_check_prints_every_problem(tmp_path: Path) -> None:
    """Exit 1; each line begins with its key; the last counts them."""
    path = write_config(tmp_path, "colour = 1\n[routes]\n" + SMALL)
    result = bridge("config", "check", "-c", str(path))
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == ["colour", "routes"]
    assert lines[-1] == f"2 problems ({path})"


def test_check_tries_to_connect(tmp_path: Path, line: ModuleType) -> None:
    """What cannot be reached is told, with exit 1."""
    del line
    path = write_config(tmp_path, SMALL)
    result = bridge("config", "check", "--connect", "-c", str(path))
    assert result.exit_code == 1
    assert "ok: broker\nFAILED: store refused the password\n" in result.stdout
    document = json.loads(bridge("config", "check", "--connect", "--json", "-c", str(path)).stdout)
    assert [probe["is_ok"] for probe in document["probes"]] == [True, False]


def test_show_needs_no_secret_and_shows_none(tmp_path: Path) -> None:
    """The effective config as TOML, or JSON."""
    path = write_config(tmp_path, SMALL)
    result = bridge("config", "show", "-c", str(path), environ={"BRIDGE_HTTP__LISTEN": "127.0.0.1:9"})
    assert tomllib.loads(result.stdout)["http"]["listen"] == "127.0.0.1:9"
    assert json.loads(bridge("config", "show", "-c", str(path), "--json").stdout)["store"]["keep"] == "30d"


def test_the_config_here_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`./bridge.toml` where there is one; without it, what is missing is told."""
    monkeypatch.chdir(tmp_path)
    result = bridge("config", "check")
    assert result.exit_code == 1
    assert "callbacks.keys: at least one key is needed" in result.stderr
    write_config(tmp_path, SMALL)
    assert bridge("config", "check").exit_code == 0


@pytest.mark.parametrize(
    ("options", "roles", "targets"),
    [
        ([], set(Role), ("jenkins-prod", "jenkins-test")),
        (["--role", "worker", "--target", "jenkins-test"], {Role.WORKER}, ("jenkins-test",)),
        (["--role", "ingress", "--role", "coordinator"], {Role.INGRESS, Role.COORDINATOR}, ()),
        (["--role", "ingress", "--role", "poller"], {Role.INGRESS, Role.POLLER}, ()),
    ],
)
def test_run_hands_over_roles_and_targets(
    tmp_path: Path, line: Any, options: list[str], roles: set[Role], targets: tuple[str, ...]
) -> None:
    """One process is what its options say."""
    path = write_config(tmp_path, SMALL)
    result = bridge("run", "-c", str(path), "--listen", "127.0.0.1:0", *options)
    assert result.exit_code == 0, result.output
    (config,) = line.ran
    assert (config.roles, config.worker_targets, config.http.port) == (roles, targets, 0)


@pytest.mark.parametrize(
    "options",
    [
        ["--role", "king"],
        ["--role", "ingress", "--target", "jenkins-prod"],
        ["-c", "/x", "--nope"],
    ],
)
def test_run_refuses_wrong_use(tmp_path: Path, line: Any, options: list[str]) -> None:
    """Exit 2 before anything starts."""
    path = write_config(tmp_path, SMALL)
    assert bridge("run", "-c", str(path), *options).exit_code == 2
    assert line.ran == []


@pytest.mark.parametrize("fault", [ConfigError(["broker.url: in use"]), OSError(98, "Address already in use")])
def test_run_tells_why_it_could_not_start(
    tmp_path: Path, line: Any, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """A line with the key and exit 1, no traceback."""

    def run(_config: Config) -> int:
        raise fault

    monkeypatch.setattr(line, "run", run)
    result = bridge("run", "-c", str(write_config(tmp_path, SMALL)))
    assert result.exit_code == 1
    assert result.stderr.rstrip().endswith("in use")


def test_schema_writes_checks_and_clears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is written, what differs is named, what describes nothing is removed."""
    monkeypatch.undo()  # the real kinds
    folder = ["--folder", str(tmp_path)]
    assert bridge("schema", "--check", *folder).exit_code == 1
    assert bridge("schema", *folder).exit_code == 0
    assert bridge("schema", "--check", *folder).exit_code == 0
    (tmp_path / "schemas/event.json").write_text("{}")
    (tmp_path / "schemas/old.json").write_text("{}")
    result = bridge("schema", "--check", *folder)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "schemas/event.json differs",
        "schemas/old.json describes nothing",
        "run bridge schema",
    ]
    assert bridge("schema", *folder).stdout.startswith("1 written, 1 removed")
    assert bridge("schema", "--check", *folder).exit_code == 0
