"""A source that names the target to ask what its events add up to: who reads what, and what is wrong."""

from pathlib import Path
from typing import Any

import pytest

from bridge.config import Config, Role, load_config
from bridge.core.errors import ConfigError

SMALL = """
[callbacks]
keys = [{ id = "a", env = "KEY" }]
[sources.b]
kind = "circleci"
secret_env = "HOOK"
pipelines = "circleci"
[targets.circleci]
consumer = "circleci"
token_env = "TOKEN"
[targets.farm]
consumer = "jenkins"
base_url = "https://ci.example.com"
username = "bridge"
token_env = "OTHER"
"""
ENVIRON = {"KEY": "k" * 32, "TOKEN": "t", "OTHER": "o", "HOOK": "h", "STORE": "postgresql://db/bridge"}


def load(folder: Path, text: str = SMALL, environ: dict[str, str] | None = None, **more: Any) -> Config:
    path = folder / "bridge.toml"
    path.write_text(text)
    return load_config(path, environ=ENVIRON if environ is None else environ, **more)


def problems(folder: Path, text: str, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, **more)
    return caught.value.problems


def test_a_poller_reads_the_credential_of_what_it_asks(tmp_path: Path) -> None:
    """Store, broker and that target's token: no sender's secret, no client's, no key, no other target's."""
    text = SMALL + '[store]\nurl_env = "STORE"\n[clients.ci]\ntoken_env = "NOT_SET"\n'
    environ = {name: ENVIRON[name] for name in ("TOKEN", "STORE")}
    config = load(tmp_path, text, environ, roles=[Role.POLLER])
    assert (config.poller_targets, config.worker_targets) == (("circleci",), ())
    assert config.store.scheme == "postgresql"
    assert config.unread == {"callbacks", "sources.b", "targets.farm", "clients.ci"}
    del environ["TOKEN"]
    wrong = problems(tmp_path, text, environ=environ, roles=[Role.POLLER])
    assert wrong == ["targets.circleci.token_env: the variable TOKEN is not set"]


def test_every_role_together_asks_too(tmp_path: Path) -> None:
    """`bridge run` polls; with `--target`, what is chosen alone."""
    assert load(tmp_path).poller_targets == ("circleci",)
    assert load(tmp_path, targets=["farm"]).poller_targets == ()
    assert load(tmp_path, roles=[Role.WORKER]).poller_targets == ()


def test_a_pollers_process_needs_something_to_ask(tmp_path: Path) -> None:
    """Without such a source there is nothing to do."""
    text = SMALL.replace('pipelines = "circleci"', "")
    assert problems(tmp_path, text, roles=[Role.POLLER]) == [
        "sources: a poller needs at least one source with pipelines"
    ]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("nobody", "there is no [targets.nobody]"),
        ("farm", "[targets.farm] cannot be asked for pipelines: its consumer offers no such reading"),
    ],
)
def test_who_is_asked_must_be_able_to_answer(tmp_path: Path, asked: str, line: str) -> None:
    """The key is named, in every role."""
    text = SMALL.replace('pipelines = "circleci"', f'pipelines = "{asked}"')
    for roles in (None, [Role.INGRESS]):
        assert problems(tmp_path, text, roles=roles) == [f"sources.b.pipelines: {line}"]
