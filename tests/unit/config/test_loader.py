"""load_config(): one file, the environment over it, every problem at once."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.config import Role, kinds, load_config
from bridge.core.errors import ConfigError
from tests.support.config_kinds import CALLBACK_KEY, ENVIRON, SMALL, load_small, use_plain_kinds


@pytest.fixture(autouse=True)
def _plain_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    use_plain_kinds(monkeypatch)


def problems(folder: Path, text: str = SMALL, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_small(folder, text, **more)
    return caught.value.problems


def test_small_config_has_the_documented_defaults(tmp_path: Path) -> None:
    """What the file leaves out is as DESIGN 5.2 says."""
    config = load_small(tmp_path)
    assert config.broker.url.get_secret_value() == config.store.url.get_secret_value() == "sqlite:///bridge.db"
    assert (config.http.host, config.http.port, config.http.max_body_bytes) == ("127.0.0.1", 8080, 1_048_576)
    assert (config.store.keep, config.waits.max_timeout) == (timedelta(days=30), timedelta(days=7))
    assert (config.waits.keep_early, config.waits.max_early) == (timedelta(days=1), 100_000)
    assert config.waits.delivery_window == timedelta(days=1)


def test_loopback_gets_a_public_url_of_its_own(tmp_path: Path) -> None:
    """On loopback the callback URLs are below the listen address, also below `--listen`."""
    assert load_small(tmp_path).public_url == "http://127.0.0.1:8080"
    assert load_small(tmp_path, listen="[::1]:9000").callback_url("t") == "http://[::1]:9000/cb/t"


def test_public_url_is_required_outside_loopback(tmp_path: Path) -> None:
    """A server that others reach must be told under which name."""
    assert problems(tmp_path, listen="0.0.0.0:8080") == [
        "public_url: is required: http.listen is not a loopback address"
    ]
    config = load_small(tmp_path, 'public_url = "https://bridge.example.com/"\n' + SMALL, listen="0.0.0.0:8080")
    assert config.public_url == "https://bridge.example.com"


def test_a_worker_needs_no_public_url(tmp_path: Path) -> None:
    """It makes no callback URL and serves only health and metrics."""
    assert load_small(tmp_path, listen="0.0.0.0:9100", roles=[Role.WORKER]).http.port == 9100


BAD = """
public_url = "ftp://x"
colour = 1
[htpp]
[http]
listen = "8080"
max_body_byte = 1
[broker]
url = "http://rabbit"
[store]
url = "mysql://user:hunter2@db/x"
keep = "forever"
[waits]
max_timeout = 0
[callbacks]
keys = [{ id = "a", env = "SHORT" }, { id = "a", env = "UNSET" }, { id = "c" }, { id = "d", evn = "X", file = "none" }]
[clients.ci]
token = "hunter2"
roles = ["read", "dance"]
[clients.Big]
[sources.callback]
kind = "plain"
[sources.farm]
kind = "nope"
[sources.lab]
kind = "plain"
[targets.a]
consumer = "plain"
[targets.b]
[agents.x]
[[routes]]
"""


def test_every_problem_is_told_at_once_with_its_key(tmp_path: Path) -> None:
    """One run shows all there is to repair."""
    lines = problems(tmp_path, BAD, extra={"SHORT": "short"})
    keys = {line.partition(": ")[0] for line in lines}
    assert keys == {
        "public_url",
        "colour",
        "htpp",
        "http.listen",
        "http.max_body_byte",
        "broker.url",
        "store.url",
        "store.keep",
        "waits.max_timeout",
        "callbacks.keys",
        "callbacks.keys[0]",
        "callbacks.keys[1].env",
        "callbacks.keys[2]",
        "callbacks.keys[3].evn",
        "callbacks.keys[3].file",
        "clients.ci.token",
        "clients.ci.roles[1]",
        "clients.Big",
        "sources.callback",
        "sources.farm.kind",
        "sources.lab.secret_env",
        "targets.a.base_url",
        "targets.a.token_env",
        "targets.b.consumer",
        "agents.x.kind",
        "routes",
    }
    assert "http.max_body_byte: unknown key; did you mean max_body_bytes?" in lines
    assert "routes: is not supported yet" in lines


def test_no_problem_repeats_a_value(tmp_path: Path) -> None:
    """A password in a wrong URL, or a token written into the file, does not reach a log."""
    assert "hunter2" not in "\n".join(problems(tmp_path, BAD))


def test_a_secret_written_where_a_variable_is_named_is_not_repeated(tmp_path: Path) -> None:
    """`token_env = "<the token itself>"` is a common slip."""
    lines = problems(tmp_path, SMALL.replace("JENKINS_TOKEN", "a8f3-hunter2-91"))
    assert lines == ["targets.jenkins-prod.token_env: the variable is not set"]


@pytest.mark.parametrize(
    ("roles", "missing", "key"),
    [
        ([Role.INGRESS], "FARM_SECRET", "sources.farm.secret_env"),
        ([Role.INGRESS], "BRIDGE_CALLBACK_KEY", "callbacks.keys[0].env"),
        ([Role.COORDINATOR], "BRIDGE_CALLBACK_KEY", "callbacks.keys[0].env"),
        ([Role.COORDINATOR], "BRIDGE_API_TOKEN", "clients.ci.token_env"),
        ([Role.WORKER], "JENKINS_TOKEN", "targets.jenkins-prod.token_env"),
    ],
)
def test_a_role_needs_its_own_secrets(tmp_path: Path, roles: list[Role], missing: str, key: str) -> None:
    """What the role uses must be there, under its own name."""
    environ = {name: value for name, value in ENVIRON.items() if name != missing}
    assert problems(tmp_path, roles=roles, environ=environ) == [f"{key}: the variable {missing} is not set"]


@pytest.mark.parametrize(
    ("roles", "enough"),
    [
        ([Role.INGRESS], {"FARM_SECRET", "BRIDGE_CALLBACK_KEY"}),
        ([Role.COORDINATOR], {"BRIDGE_API_TOKEN", "BRIDGE_CALLBACK_KEY"}),
        ([Role.WORKER], {"JENKINS_TOKEN", "JENKINS_TEST_TOKEN"}),
    ],
)
def test_a_role_starts_without_the_secrets_of_others(tmp_path: Path, roles: list[Role], enough: set[str]) -> None:
    """Another role's missing variable is no error, and what was not read is known and empty."""
    environ = {name: value for name, value in ENVIRON.items() if name in enough}
    config = load_small(tmp_path, roles=roles, environ=environ)
    read = {
        "callbacks": config.callbacks.keys[0].key.get_secret_value() == CALLBACK_KEY,
        "clients.ci": config.clients["ci"].token.get_secret_value() != "",
        "sources.farm": config.sources["farm"].secret[0].get_secret_value() != "",  # type: ignore[attr-defined] # PlainSource
        "targets.jenkins-prod": config.targets["jenkins-prod"].token.get_secret_value() != "",  # type: ignore[attr-defined] # PlainTarget
    }
    assert {key for key, is_read in read.items() if not is_read} == config.unread - {"targets.jenkins-test"}


def test_a_worker_reads_its_own_targets_secret_only(tmp_path: Path) -> None:
    """`--target` bounds what a process learns, and works without the others' variables."""
    config = load_small(
        tmp_path, roles=[Role.WORKER], targets=["jenkins-test"], environ={"JENKINS_TEST_TOKEN": "secret"}
    )
    assert config.worker_targets == ("jenkins-test",)
    assert "targets.jenkins-prod" in config.unread


def test_an_unknown_target_of_the_command_is_told(tmp_path: Path) -> None:
    """A typo in `--target` does not start an idle worker."""
    assert problems(tmp_path, targets=["jenkins"]) == ["targets.jenkins: is asked for and does not exist"]


def test_secrets_come_from_files_relative_to_the_config(tmp_path: Path) -> None:
    """A file's last line end does not count; several names make several secrets."""
    (tmp_path / "token").write_text("from-file\n")
    text = SMALL.replace('token_env = "JENKINS_TOKEN"', 'token_file = "token"')
    text = text.replace('secret_env = "FARM_SECRET"', 'secret_env = ["FARM_SECRET", "FARM_NEXT"]')
    config = load_small(tmp_path, text, extra={"FARM_NEXT": "whsec_next"})
    assert config.targets["jenkins-prod"].token.get_secret_value() == "from-file"  # type: ignore[attr-defined] # PlainTarget
    values = [secret.get_secret_value() for secret in config.sources["farm"].secret]  # type: ignore[attr-defined] # PlainSource
    assert values == ["whsec_farm", "whsec_next"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            'token_file = "absent"',
            "targets.jenkins-prod.token_file: the file cannot be read: No such file or directory",
        ),
        ('token_file = "empty"', "targets.jenkins-prod.token_file: the file is empty"),
        ('token_env = "EMPTY"', "targets.jenkins-prod.token_env: the variable EMPTY is empty"),
        ('token_env = ["A", "B"]', "targets.jenkins-prod.token_env: expected one secret, named once"),
        ("token_env = 1", "targets.jenkins-prod.token_env: expected the name of a variable"),
    ],
)
def test_a_secret_that_cannot_be_read_is_told(tmp_path: Path, change: str, line: str) -> None:
    """Each way to name a secret wrongly has its own words."""
    (tmp_path / "empty").write_text("\n")
    text = SMALL.replace('token_env = "JENKINS_TOKEN"', change)
    assert problems(tmp_path, text, extra={"EMPTY": ""}) == [line]


def test_urls_may_be_written_or_named(tmp_path: Path) -> None:
    """A broker's URL holds a password at some places and none at others."""
    named = SMALL + '[broker]\nurl_env = "RABBIT"\n[store]\nurl = "postgresql://bridge@db/bridge"\n'
    config = load_small(tmp_path, named, extra={"RABBIT": "amqps://u:p@rabbit/"})
    assert (config.broker.scheme, config.store.scheme) == ("amqps", "postgresql")
    assert "p@rabbit" not in repr(config)


@pytest.mark.parametrize("role", [Role.INGRESS, Role.COORDINATOR, Role.WORKER])  # others need sections of their own
def test_every_role_reads_the_brokers_url(tmp_path: Path, role: Role) -> None:
    """Whatever a process does, it does over the broker."""
    config = load_small(tmp_path, SMALL + '[broker]\nurl_env = "RABBIT"\n', roles=[role], extra={"RABBIT": "amqp://r/"})
    assert config.broker.scheme == "amqp"
    assert config.store.scheme == "sqlite"


def test_the_store_is_not_read_by_a_worker(tmp_path: Path) -> None:
    """A worker beside a Jenkins does not know where the store is."""
    text = SMALL + '[store]\nurl_env = "STORE_URL"\n'
    config = load_small(tmp_path, text, roles=[Role.WORKER])
    assert config.store.scheme == ""
    assert "store" in config.unread


def test_the_environment_overrides_keys(tmp_path: Path) -> None:
    """Nested keys, dashes in names, numbers, lists and text: what the key wants is what it gets."""
    config = load_small(
        tmp_path,
        extra={
            "BRIDGE_BROKER__URL": "amqp://rabbit/",
            "BRIDGE_TARGETS__JENKINS_PROD__CONCURRENCY": "3",
            "BRIDGE_TARGETS__JENKINS_PROD__USERNAME": "1234",
            "BRIDGE_TARGETS__JENKINS_TEST__USERNAME": '"a"\nconcurrency = 2',
            "BRIDGE_CLIENTS__CI__ROLES": '["operate"]',
            "BRIDGE_WAITS__MAX_TIMEOUT": "1h",
            "BRIDGE_PUBLIC_URL": "https://b.example.com",
        },
    )
    assert config.broker.scheme == "amqp"
    assert config.targets["jenkins-prod"].concurrency == 3
    assert config.targets["jenkins-prod"].username == "1234"  # type: ignore[attr-defined] # PlainTarget
    assert config.targets["jenkins-test"].username == '"a"\nconcurrency = 2'  # type: ignore[attr-defined] # PlainTarget
    assert [role.value for role in config.clients["ci"].roles] == ["operate"]
    assert config.waits.max_timeout == timedelta(hours=1)
    assert config.public_url == "https://b.example.com"


def test_an_override_replaces_the_other_way_to_say_it(tmp_path: Path) -> None:
    """`BRIDGE_BROKER__URL` wins over `url_env`, and `…__TOKEN_FILE` over `token_env`."""
    (tmp_path / "token").write_text("from-file")
    config = load_small(
        tmp_path,
        SMALL + '[broker]\nurl_env = "UNSET"\n',
        extra={"BRIDGE_BROKER__URL": "memory:", "BRIDGE_TARGETS__JENKINS_PROD__TOKEN_FILE": "token"},
    )
    assert config.broker.scheme == "memory"
    assert config.targets["jenkins-prod"].token.get_secret_value() == "from-file"  # type: ignore[attr-defined] # PlainTarget


def test_other_variables_are_left_alone(tmp_path: Path) -> None:
    """`BRIDGE_` is also the prefix of the command line's and the tests' own variables."""
    others = {"BRIDGE_URL": "x", "BRIDGE_TOKEN": "y", "BRIDGE_TEST_A__B": "z", "BRIDGED__X": "1"}
    assert load_small(tmp_path, extra=others) == load_small(tmp_path)


def test_an_override_of_nothing_is_told(tmp_path: Path) -> None:
    """A typo in a variable is no silent default."""
    lines = problems(tmp_path, extra={"BRIDGE_BROKR__URL": "memory:", "BRIDGE_HTTP__LISTN": "x"})
    assert [line.partition(":")[0] for line in lines] == ["BRIDGE_BROKR__URL", "http.listn"]


def test_without_any_file_it_says_what_is_missing() -> None:
    """The defaults alone cannot sign a callback URL; with a key in the environment they can."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, environ={})
    assert [line.partition(":")[0] for line in caught.value.problems] == ["callbacks.keys"]
    key = {"BRIDGE_CALLBACKS__KEYS": '[{ id = "a", env = "KEY" }]', "KEY": CALLBACK_KEY}
    assert load_config(None, environ=key).callback_keys.read("x") is None


@pytest.mark.parametrize(
    ("content", "word"), [(b"a = ", "is not TOML"), (b"\xff", "is not UTF-8"), (None, "No such file")]
)
def test_an_unreadable_file_is_told(tmp_path: Path, content: bytes | None, word: str) -> None:
    """The file's name and the reason, no traceback."""
    path = tmp_path / "bridge.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=word):
        load_config(path, environ={})


def test_a_source_needs_a_secret_also_when_it_signs_nothing(tmp_path: Path) -> None:
    """An unsigned source is believed by the secret part of its path, so it has one too."""
    text = SMALL.replace('secret_env = "FARM_SECRET"', "unsigned = true")
    (line,) = problems(tmp_path, text)
    assert line.startswith("sources.farm.secret_env: is required with unsigned")


def test_two_clients_with_one_token_are_refused(tmp_path: Path) -> None:
    """A token must name one client."""
    text = SMALL + '[clients.other]\ntoken_env = "BRIDGE_API_TOKEN"\n'
    assert problems(tmp_path, text) == ["clients.other.token_env: must differ from the token of clients.ci"]


def test_tokens_that_are_not_read_are_not_compared(tmp_path: Path) -> None:
    """A worker sees empty placeholders of every client."""
    text = SMALL + '[clients.other]\ntoken_env = "OTHER"\n'
    assert set(load_small(tmp_path, text, roles=[Role.WORKER]).clients) == {"ci", "other"}


def test_a_rule_of_a_whole_section_names_its_key(tmp_path: Path) -> None:
    """A rule over several fields may say which one it means."""
    text = SMALL + 'username = "nobody"\n'
    assert problems(tmp_path, text) == ["targets.jenkins-test.username: must be somebody"]


def test_keys_that_are_no_list_are_one_problem(tmp_path: Path) -> None:
    """What is wrong is told once, not also as missing."""
    text = SMALL.replace('[{ id = "2026a", env = "BRIDGE_CALLBACK_KEY" }]', '"x"')
    (line,) = problems(tmp_path, text)
    assert line.startswith("callbacks.keys: expected a list")


def test_clients_name_things_that_are_there(tmp_path: Path) -> None:
    """A limit to a target that does not exist is a typo."""
    text = SMALL.replace('targets = ["*"]', 'targets = ["jenkins"]').replace('["farm"]', '["fram"]')
    assert problems(tmp_path, text) == [
        "clients.ci.targets: there is no [targets.jenkins]",
        "clients.ci.sources: there is no [sources.fram]",
    ]


def test_secrets_of_names_the_sections_to_read(tmp_path: Path) -> None:
    """A command that looks at one source asks for no other secret."""
    config = load_small(tmp_path, environ={"FARM_SECRET": "whsec_x"}, secrets_of=["sources.farm"])
    assert "sources.farm" not in config.unread
    assert {"callbacks", "clients.ci"} <= config.unread


SEALED = SMALL + '[secrets]\nkeys = [{ id = "2026b", env = "NEW" }, { id = "2026a", env = "OLD" }]\n'


def test_sealing_keys_are_read_in_their_order(tmp_path: Path) -> None:
    """The first seals; without the section there are none, and nothing else needs one."""
    config = load_small(tmp_path, SEALED, extra={"NEW": "n" * 32, "OLD": "o" * 32})
    assert config.sealing_keys == [("2026b", b"n" * 32), ("2026a", b"o" * 32)]
    assert "n" * 32 not in repr(config)
    assert load_small(tmp_path).sealing_keys == []


def test_wrong_sealing_keys_are_told(tmp_path: Path) -> None:
    """As those of the callbacks: too short, twice, not there, no list."""
    text = SEALED.replace('"2026a", env = "OLD"', '"2026b", env = "OLD"')
    lines = problems(tmp_path, text, extra={"NEW": "short", "OLD": "o" * 32})
    assert lines == [
        "secrets.keys: two keys have the same id",
        "secrets.keys[0]: must be at least 32 bytes of text, is 5",
    ]
    lines = problems(tmp_path, SEALED, extra={"NEW": "n" * 32})
    assert lines == ["secrets.keys[1].env: the variable OLD is not set"]
    (line,) = problems(tmp_path, SMALL + '[secrets]\nkeys = "x"\n')
    assert line == 'secrets.keys: expected a list such as [{ id = "2026a", env = "BRIDGE_SECRETS_KEY" }]'


@pytest.mark.parametrize(
    ("roles", "takes_secrets", "is_read"),
    [
        ([Role.INGRESS], True, False),
        ([Role.COORDINATOR], False, True),
        ([Role.WORKER], True, True),
        ([Role.WORKER], False, False),
    ],
)
def test_only_who_seals_or_opens_reads_the_sealing_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roles: list[Role], *, takes_secrets: bool, is_read: bool
) -> None:
    """A coordinator seals; a worker opens what its own platform's addresses may hold, and else knows no key."""
    monkeypatch.setattr(kinds, "takes_secrets", lambda _consumer: takes_secrets)
    if is_read:
        assert len(problems(tmp_path, SEALED, roles=roles)) == 2
        return
    config = load_small(tmp_path, SEALED, roles=roles)
    assert config.sealing_keys == []
    assert "secrets" in config.unread
