"""scripts/ and .ci/: what may be installed, and when; nothing is installed here."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [path for path in [*ROOT.glob("scripts/*"), *ROOT.glob("scripts/lib/*"), ROOT / ".ci/run"] if path.is_file()]
SHELL = [path for path in SCRIPTS if path.suffix == ".sh" or "bash" in path.read_text("utf-8").partition("\n")[0]]

SERVERS = """
set -euo pipefail
. scripts/lib/servers.sh
has_apt() { true; }
as_root() { cat >/dev/null; echo "as root: ${*:4}" >&4; }
exec 4>&1
"""
"""ensure_servers with root's part taken out: what it would install is printed instead."""


def shell(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run *script* in bash in the repository, with a small environment and no terminal."""
    path = {"PATH": os.environ["PATH"]}
    return subprocess.run(  # noqa: S603 - our own words
        ["bash", "-c", script, "scripts/test"],  # noqa: S607 - as the scripts find it
        cwd=ROOT,
        env=path | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_is_well_formed(path: Path) -> None:
    """Bash can read every script, and what is started by name may be executed."""
    assert shell(f"bash -n '{path}'").stderr == ""
    assert path.suffix == ".sh" or os.access(path, os.X_OK)


def test_ci_runs_demo_and_tests_and_nothing_else() -> None:
    """What CI runs is what a person runs, with CI's rule for servers: installed where they are missing, never skipped."""
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == [
        "set -e",
        'cd "$(dirname "$0")/.."',
        'export CI="${CI:-true}"',
        "scripts/demo",
        "scripts/demo --rabbitmq",
        "scripts/test",
    ]


def test_what_is_there_is_not_installed() -> None:
    """A server that a variable names and a tool that is found need nothing."""
    given = {"BRIDGE_TEST_AMQP_URL": "amqp://there/", "BRIDGE_TEST_POSTGRES_URL": "postgresql://there/", "CI": "true"}
    done = shell(SERVERS + "_finds() { false; }; ensure_servers rabbitmq postgresql bash", **given)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_nothing_is_installed_unasked() -> None:
    """Without a terminal, the option and CI one line says what is missing and how to get it, and the caller decides."""
    done = shell(SERVERS + "_is_there() { [ $1 = curl ]; }; ensure_servers rabbitmq postgresql curl git")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "test: missing: rabbitmq postgresql git; --install installs rabbitmq-server postgresql git"
        "; or name servers in BRIDGE_TEST_AMQP_URL and BRIDGE_TEST_POSTGRES_URL\n"
    )


@pytest.mark.parametrize(("option", "environ"), [("--install", {}), ("", {"CI": "true"})], ids=["option", "ci"])
def test_what_is_missing_is_installed_where_that_is_said(option: str, environ: dict[str, str]) -> None:
    """The option, and CI, install the packages of what is missing and of nothing else; then it has to be there."""
    absent = "_is_there() { [ -e $folder/$1 ]; }; folder=$(mktemp -d); trap 'rm -r $folder' EXIT; touch $folder/curl\n"
    done = shell(f"{SERVERS}{absent}ensure_servers {option} rabbitmq curl git", **environ)
    assert (done.returncode, done.stdout) == (1, "as root: rabbitmq-server git\n")
    assert "test: installing rabbitmq-server git; no service is started\n" in done.stderr
    assert done.stderr.endswith("test: missing: rabbitmq, although rabbitmq-server is installed\n")


def test_no_service_is_started_by_an_installation(tmp_path: Path) -> None:
    """Root's part forbids it by a rule of its own, takes that away again also after a failure, and keeps another's."""
    rule = tmp_path / "policy-rc.d"
    packages = (ROOT / "scripts/lib/packages.sh").read_text().replace("/usr/sbin/policy-rc.d", str(rule))
    script = f"""
    as_root() {{ "$@"; }}
    apt-get() {{ "{rule}" || echo "apt-get $* $?" >>"{tmp_path}/log"; [ "$2" != install ]; }}
    export -f apt-get
    install_packages one two
    """
    done = shell(packages + script)
    assert done.returncode != 0
    assert (tmp_path / "log").read_text() == (
        "apt-get -qq update 101\napt-get -qq install -y --no-install-recommends one two 101\n"
    )
    assert not rule.exists()
    rule.write_text("#!/bin/sh\nexit 7\n")
    rule.chmod(0o755)
    shell(packages + script)
    assert rule.read_text() == "#!/bin/sh\nexit 7\n"


def test_an_asked_for_python_is_taken_or_refused() -> None:
    """A PYTHON that is none, or too old, is an error with its name: no other one is taken instead."""
    done = shell("PYTHON=/nowhere/python scripts/setup")
    assert done.returncode == 1
    assert done.stderr == "setup: PYTHON=/nowhere/python is not a Python 3.11 or newer\n"


def test_every_test_is_in_one_of_the_runs() -> None:
    """The runs of scripts/test share the files of the integration tests: each is in one, and none in two."""
    lines = [line.strip() for line in (ROOT / "scripts/test").read_text().splitlines()]
    runs = [line.removeprefix("start_pytest ") for line in lines if line.startswith("start_pytest ") and "$all" in line]
    done = shell("all=tests/integration; printf '%s\\n' " + " ".join(runs))
    folder = ROOT / "tests/integration"
    there = [*folder.glob("test_*.py"), folder / "cli"]
    chosen = [path for path in done.stdout.split() if path.startswith("tests/integration/")]
    assert sorted(chosen) == sorted(str(path.relative_to(ROOT)) for path in there)
