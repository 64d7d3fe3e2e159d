"""The tutorial, typed as it stands: every command works, and what happens is what the page shows."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.processes import free_port

TUTORIAL = Path(__file__).parents[2] / "docs/tutorial.md"
PROLOGUE = """
set -e
within() { local n; for n in $(seq 300); do eval "$1" && return; sleep 0.1; done; echo "never: $1" >&2; exit 9; }
newest() { bridge wait list --json --limit 1 | sed 's/.*"items":\\[{"id":"\\([0-9a-f]*\\)".*/\\1/'; }
"""
AFTERWARDS = {
    "python -m bridge.testing.jenkins": "curl -fsS -o out $JENKINS/_emulator/builds",
    "bridge run": "curl -fsS -o out $BRIDGE_URL/readyz",
    '"outcome": "succeeded"': "bridge wait list --state resolved | grep -q succeeded",
    '{"phase": "up"}': "bridge wait list --state resolving | grep -q 'no waits'",
    "bridge event list": "bridge event list | grep -q late && bridge event list | grep -q duplicate",
}
"""What is true a moment after a block with these words: a reader sees it, a script waits for it."""
EPILOGUE = """
echo "== waits"; bridge wait list --json
echo "== events"; bridge event list --json
echo "== effects"; curl -fsS $JENKINS/_emulator/effects
"""


@pytest.fixture
def bash(tmp_path: Path) -> list[str]:
    """The programs that the page takes for granted."""
    missing = [name for name in ("bash", "curl", "openssl") if not shutil.which(name)]
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")
    return ["bash", str(tmp_path / "tutorial.sh")]


def script(text: str) -> str:
    """Return the page's shell blocks, the set-up of the repository aside, with a wait behind each that needs one."""
    lines = [PROLOGUE]
    for block in re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if "scripts/setup" in block:
            continue
        lines.append(re.sub(r"\b[0-9a-f]{32}\b", '"$(newest)"', block))
        lines += [f"within {condition!r}" for words, condition in AFTERWARDS.items() if words in block]
    return "\n".join([*lines, EPILOGUE])


def test_the_tutorial_works_as_written(tmp_path: Path, bash: list[str]) -> None:
    """Two builds are resumed once each, the second one over a restart of Jenkins and a kill -9 of the bridge."""
    ours, theirs = free_port(), free_port()
    text = TUTORIAL.read_text().replace("8080", str(ours)).replace("8090", str(theirs))
    [config] = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "bridge.toml").write_text(config)
    (tmp_path / "tutorial.sh").write_text(script(text))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
    environ = kept | {
        "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
        "BRIDGE_HTTP__LISTEN": f"127.0.0.1:{ours}",
        "BRIDGE_URL": f"http://127.0.0.1:{ours}",
        "JENKINS": f"http://127.0.0.1:{theirs}",
    }
    with (tmp_path / "out.txt").open("wb") as out:
        process = subprocess.Popen(bash, cwd=tmp_path, env=environ, stdout=out, stderr=out, start_new_session=True)  # noqa: S603 - our own page
    try:
        code = process.wait(90)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    printed = (tmp_path / "out.txt").read_text()
    assert code == 0, printed
    waits, events, effects = (json.loads(part.partition("\n")[2]) for part in printed.split("== ")[1:])
    assert [wait["state"] for wait in waits["items"]] == ["resolved", "resolved"]
    assert [event["verdict"] for event in events["items"]] == ["resumed", "late", "duplicate", "resumed", "progress"]
    assert [one["subject"] for one in effects if one["kind"] == "input.proceeded"] == [
        "job/app/1/input/Load-test",
        "job/app/2/input/Load-test",
    ]
