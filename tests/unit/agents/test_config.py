"""`[agents.<name>]`: what a process makes of it, and what is wrong with it."""

from pathlib import Path
from typing import Any

import pytest

from bridge.config import Config, Role, load_config
from bridge.core.errors import ConfigError

SMALL = """
[callbacks]
keys = [{ id = "a", env = "KEY" }]
[targets.farm]
consumer = "jenkins"
base_url = "https://jenkins.example.com/"
username = "bridge"
token_env = "TOKEN"
"""
AGENT = """
[targets.aws]
consumer = "codepipeline"
region = "eu-west-1"
[agents.loadtest]
kind = "codepipeline"
target = "aws"
action_type = { category = "Test", owner = "Custom", provider = "LoadTest" }
start = { url = "https://loadtest.example.com/jobs" }
"""
ENVIRON = {"KEY": "k" * 32, "TOKEN": "t", "STORE": "postgresql://db/bridge", "RABBIT": "amqp://r/"}


def load_small(folder: Path, text: str, **more: Any) -> Config:
    path = folder / "bridge.toml"
    path.write_text(text)
    return load_config(path, environ=ENVIRON, **more)


def problems(folder: Path, text: str, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_small(folder, text, **more)
    return caught.value.problems


def test_the_agent_reads_what_it_needs(tmp_path: Path) -> None:
    """Broker, store, callback keys and its own sections; no client's token and no other target's."""
    more = '[broker]\nurl_env = "RABBIT"\n[store]\nurl_env = "STORE"\n[clients.ci]\ntoken_env = "NOT_SET"\n'
    config = load_small(tmp_path, SMALL.replace("TOKEN", "NOT_SET") + AGENT + more, roles=[Role.AGENT])
    assert (config.broker.scheme, config.store.scheme) == ("amqp", "postgresql")
    assert config.callback_keys
    assert config.unread == {"targets.farm", "clients.ci"}


def test_an_agents_process_needs_an_agent(tmp_path: Path) -> None:
    """Without a section there is nothing to do."""
    assert problems(tmp_path, SMALL, roles=[Role.AGENT]) == ["agents: an agent needs at least one [agents.<name>]"]


def test_a_target_with_an_agent_is_the_agents(tmp_path: Path) -> None:
    """Whoever puts results at a target is one role alone: the worker leaves it to the agent."""
    text = SMALL + AGENT
    everything = load_small(tmp_path, text)
    assert (everything.worker_targets, everything.agent_targets) == (("farm",), ("aws",))
    assert load_small(tmp_path, text, roles=[Role.WORKER]).worker_targets == ("farm",)
    agent = load_small(tmp_path, text, roles=[Role.AGENT])
    assert (agent.worker_targets, agent.agent_targets) == ((), ("aws",))
    assert load_small(tmp_path, text, targets=["farm"]).agent_targets == ()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('target = "aws"', 'target = "gcp"', "agents.loadtest.target: there is no [targets.gcp]"),
        ('target = "aws"', 'target = "farm"', 'agents.loadtest.target: [targets.farm] has another consumer than "codepipeline"'),
        ('target = "aws"', 'target = "aws"\ntimeout = "8d"', "agents.loadtest.timeout: must be at most [waits] max_timeout"),
        ("https://loadtest.example.com/jobs", "https://u:hunter2@loadtest.example.com/jobs", "agents.loadtest.start.url"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_agent(tmp_path: Path, old: str, new: str, line: str) -> None:
    """A target that is none or another platform's, a wait that is longer than any, a credential in a URL."""
    (found,) = problems(tmp_path, SMALL + AGENT.replace(old, new))
    assert found.startswith(line)
    assert "hunter2" not in found


def test_two_agents_take_no_jobs_of_one_type(tmp_path: Path) -> None:
    """Each job is taken once, so one agent takes an action type."""
    second = AGENT[AGENT.index("[agents") :].replace("loadtest]", "other]")
    assert problems(tmp_path, SMALL + AGENT + second) == ["agents.other: takes the same jobs as agents.loadtest"]
