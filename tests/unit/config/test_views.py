"""What is shown of a config: in force, at risk, as a schema and as a page."""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bridge.config import load_config
from bridge.config.check import loads, warnings
from bridge.config.kinds import built_in
from bridge.config.reference import reference_page
from bridge.config.schema import config_schema
from bridge.config.show import HIDDEN, UNREAD, redacted, to_toml
from tests.support.config_kinds import ENVIRON, SMALL, load_small, use_plain_kinds, write_config

EXAMPLE = Path(__file__).parents[3] / "docs/bridge.toml"


def test_shown_config_holds_no_secret_and_is_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value that is in force can be seen, and none that must not be."""
    use_plain_kinds(monkeypatch)
    config = load_small(tmp_path, SMALL + 'rate = "20/s"\n[broker]\nurl = "amqp://u:hunter2@rabbit/"\n')
    text = to_toml(redacted(config))
    assert not any(secret in text for secret in ("hunter2", *ENVIRON.values()))
    shown = tomllib.loads(text)
    assert shown["broker"]["url"] == "amqp://u:********@rabbit/"
    assert shown["targets"]["jenkins-test"]["rate"] == "20/s"
    assert shown["targets"]["jenkins-prod"]["timeout"] == "30s"
    assert shown["sources"]["farm"]["secret"] == [HIDDEN]
    assert shown["callbacks"]["keys"] == [{"id": "2026a", "key": HIDDEN}]
    assert sorted(shown["clients"]["ci"]["roles"]) == ["read", "register"]


def test_shown_config_tells_what_was_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A placeholder is not shown as a secret."""
    use_plain_kinds(monkeypatch)
    shown = redacted(load_small(tmp_path, environ={}, secrets_of=()))
    assert shown["clients"]["ci"]["token"] == UNREAD
    assert shown["sources"]["farm"]["secret"] == [UNREAD]


def test_loads_multiply_with_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both bounds hold for each worker process."""
    use_plain_kinds(monkeypatch)
    config = load_small(tmp_path, SMALL + 'rate = "20/s"\nconcurrency = 3\n')
    prod, test = loads(config, processes=4)
    assert (prod.concurrency, prod.rate) == (32, None)
    assert (test.concurrency, test.rate) == (12, 80.0)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('public_url = "http://bridge.example.com"\n' + SMALL, "public_url"),
        (SMALL.replace("https://ci.", "http://ci."), "targets.jenkins-prod.base_url"),
        (SMALL + '[broker]\nurl = "memory:"\n', "broker.url"),
        (SMALL + '[broker]\nurl = "amqp://u:p@rabbit/"\n[store]\nurl = "postgresql://d/b"\n', "broker.url"),
        (SMALL + '[broker]\nurl = "amqp://rabbit/"\n', "store.url"),
        (SMALL + '[clients.x]\ntoken_env = "FARM_SECRET"\n', "clients.x.roles"),
        (SMALL + '[clients.x]\ntoken_env = "FARM_SECRET"\nroles = ["read"]\n', "clients.x.targets"),
        (SMALL.replace('kind = "plain"', 'kind = "plain"\nunsigned = true'), "sources.farm.unsigned"),
    ],
)
def test_risks_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, key: str) -> None:
    """What is allowed and probably not meant."""
    use_plain_kinds(monkeypatch)
    assert warnings(load_small(tmp_path)) == []
    assert key in {line.partition(": ")[0] for line in warnings(load_small(tmp_path, text))}


KEYS = SMALL[: SMALL.index("[clients")]


def test_addresses_with_secrets_want_keys(tmp_path: Path) -> None:
    """Without [secrets] keys a check tells, a line a target, what registrations will be refused."""
    eu = '[targets.eu]\nconsumer = "codepipeline"\nregion = "eu-west-1"\n'
    ci = '[targets.circleci]\nconsumer = "circleci"\ntoken_env = "JENKINS_TOKEN"\n'
    lines = [line for line in warnings(load_small(tmp_path, KEYS + ci + eu)) if "secrets.keys" in line]
    whose = "the token of a third-party client"
    assert lines == [
        "targets.circleci: without secrets.keys a secret in an address (continuation_key) will be refused",
        f"targets.eu: without secrets.keys a secret in an address (approval) and {whose} will be refused",
    ]
    keys = '[secrets]\nkeys = [{ id = "a", env = "BRIDGE_CALLBACK_KEY" }]\n'
    assert [line for line in warnings(load_small(tmp_path, KEYS + ci + eu + keys)) if "secrets.keys" in line] == []


def example() -> dict[str, Any]:
    """Return the example, without sections of consumers that are not there."""
    document = tomllib.loads(EXAMPLE.read_text())
    targets = document["targets"]
    document["targets"] = {name: data for name, data in targets.items() if data["consumer"] in built_in("consumers")}
    return document


def test_the_schema_accepts_the_example_and_refuses_what_the_loader_refuses() -> None:
    """An editor that knows the schema helps with the right keys."""
    validator = jsonschema.Draft202012Validator(config_schema())
    assert list(validator.iter_errors(example())) == []
    for place, key, value in [
        ((), "colour", 1),
        (("http",), "listn", "x"),
        (("clients", "ci"), "token", "x"),
        (("sources", "farm"), "kind", "nope"),
        (("sources", "farm"), "secret", "x"),
        (("sources",), "Big", {"kind": "github"}),
        (("waits",), "max_timeout", "soon"),
        (("callbacks",), "keys", [{"id": "a"}]),
    ]:
        document = example()
        table = document
        for part in place:
            table = table[part]
        table[key] = value
        assert not validator.is_valid(document), (place, key)


def test_the_page_names_every_key() -> None:
    """Nothing that may be written is missing from the reference."""
    page = reference_page()
    keys = ("max_body_bytes", "metrics_url", "keep", "delivery_window", "keys[].env", "token_env", "unsigned", "rate")
    assert all(f"`{key}`" in page for key in keys)


def test_the_example_is_a_config(tmp_path: Path) -> None:
    """docs/bridge.toml loads as it stands, with every secret it names."""
    text = EXAMPLE.read_text().replace("/run/secrets/", "")
    (tmp_path / "bridge-store-url").write_text("postgresql://bridge:secret@db/bridge\n")
    (tmp_path / "bridge-callback-key-old").write_text("o" * 40)
    environ = dict.fromkeys(
        (
            *("GITHUB_WEBHOOK_SECRET", "CIRCLECI_WEBHOOK_SECRET", "CIRCLECI_WEBHOOK_SECRET_OLD", "LAB_PATH_SECRET"),
            *("BRIDGE_CALLBACK_KEY", "BRIDGE_SECRETS_KEY", "BRIDGE_API_TOKEN", "JENKINS_TOKEN", "CIRCLECI_TOKEN"),
        ),
        "s" * 40,
    )
    environ |= {
        "BRIDGE_AMQP_URL": "amqps://bridge:secret@rabbit/",
        "BRIDGE_OPERATOR_TOKEN": "o" * 40,
        "FARM_WEBHOOK_SECRET": "whsec_" + "c2VjcmV0" * 4,
    }
    config = load_config(write_config(tmp_path, text), environ=environ)
    assert config.public_url == "https://bridge.example.com"
    assert config.waits.max_timeout == timedelta(days=7)
    assert set(config.worker_targets) == {"jenkins-prod", "circleci"}
    assert config.agent_targets == ("codepipeline-eu",)
    assert warnings(config) == ["sources.lab.unsigned: whoever knows its URL can send events of it"]
