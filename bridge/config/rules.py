"""Rules that hold between sections: what must be there, and what must not be there twice."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, SecretStr

from bridge.config import kinds
from bridge.config.models import ANY, Config, NamedKey, Role
from bridge.config.problems import Problems
from bridge.config.values import secret_fields
from bridge.core.event import CALLBACK
from bridge.core.signing import MIN_KEY_BYTES

IsRead = Callable[[str], bool]


def check_whole(config: Config, problems: Problems, *, is_read: IsRead, names: Mapping[str, frozenset[str]]) -> None:
    """Note what is wrong with *config* as a whole.

    is_read: whether this process read the secrets of a section.
    names: sources and targets as written, also those whose sections are wrong.
    """
    _callback_keys(config, problems, is_needed=is_read("callbacks"))
    _named_keys("secrets", config.secrets.keys, problems)
    _clients(config, problems, names)
    for name, settings in config.sources.items():
        if is_read(f"sources.{name}"):
            _source_secret(name, settings, problems)
    _agents(config, problems, names)
    _wholes(config, problems, names)
    if Role.WORKER in config.roles and len(config.roles) == 1 and not names["targets"]:
        problems.add("targets", "a worker needs at least one [targets.<name>]")
    if Role.AGENT in config.roles and len(config.roles) == 1 and not config.agents and not problems.has("agents"):
        problems.add("agents", "an agent needs at least one [agents.<name>]")
    if (
        Role.POLLER in config.roles
        and len(config.roles) == 1
        and not config.poller_targets
        and not problems.has("sources")
    ):
        problems.add("sources", "a poller needs at least one source with pipelines")


def _wholes(config: Config, problems: Problems, names: Mapping[str, frozenset[str]]) -> None:
    for name, settings in config.sources.items():
        if (found := kinds.whole_of(settings)) is None:
            continue
        (whole, asked), key = found, f"sources.{name}.{found[0].setting}"
        target = config.targets.get(asked)
        if asked not in names["targets"]:
            problems.add(key, f"there is no [targets.{asked}]")
        elif target is not None and not kinds.tells_wholes(target.consumer):
            problems.add(
                key, f"[targets.{asked}] cannot be asked for {whole.setting}: its consumer offers no such reading"
            )


def _agents(config: Config, problems: Problems, names: Mapping[str, frozenset[str]]) -> None:
    seen: dict[object, str] = {}
    for name, agent in config.agents.items():
        key = f"agents.{name}"
        target = config.targets.get(agent.target)
        if agent.target not in names["targets"]:
            problems.add(f"{key}.target", f"there is no [targets.{agent.target}]")
        elif target is not None and target.consumer != agent.kind:
            problems.add(f"{key}.target", f'[targets.{agent.target}] has another consumer than "{agent.kind}"')
        if agent.waits_at_most() > config.waits.max_timeout:
            problems.add(f"{key}.timeout", "must be at most [waits] max_timeout")
        if (other := seen.setdefault(agent.takes(), name)) != name:
            problems.add(key, f"takes the same jobs as agents.{other}")


def _callback_keys(config: Config, problems: Problems, *, is_needed: bool) -> None:
    keys = config.callbacks.keys
    if is_needed and not keys and not problems.has("callbacks"):
        problems.add(
            "callbacks.keys",
            'at least one key is needed to sign callback URLs, such as [{ id = "2026a", env = "BRIDGE_CALLBACK_KEY" }]',
        )
    _named_keys("callbacks", keys, problems)


def _named_keys(section: str, keys: Sequence[NamedKey], problems: Problems) -> None:
    if len({key.id for key in keys}) < len(keys):
        problems.add(f"{section}.keys", "two keys have the same id")
    for index, key in enumerate(keys):
        size = len(key.key.get_secret_value().encode())
        if 0 < size < MIN_KEY_BYTES:
            problems.add(f"{section}.keys[{index}]", f"must be at least {MIN_KEY_BYTES} bytes of text, is {size}")


def _clients(config: Config, problems: Problems, names: Mapping[str, frozenset[str]]) -> None:
    seen: dict[str, str] = {}
    for name, client in config.clients.items():
        token = client.token.get_secret_value()
        if token and token in seen:
            problems.add(f"clients.{name}.token_env", f"must differ from the token of clients.{seen[token]}")
        seen.setdefault(token, name)
        for target in client.targets:
            if target != ANY and target not in names["targets"]:
                problems.add(f"clients.{name}.targets", f"there is no [targets.{target}]")
        for source in client.sources:
            if source not in (ANY, CALLBACK) and source not in names["sources"]:
                problems.add(f"clients.{name}.sources", f"there is no [sources.{source}]")


def _source_secret(name: str, settings: BaseModel, problems: Problems) -> None:
    fields = secret_fields(type(settings))
    if not fields or any(has_secret(getattr(settings, field)) for field in fields):
        return
    key = f"sources.{name}"
    first = next(iter(fields))
    if any(problems.has(f"{key}.{field}") for field in fields):
        return
    if getattr(settings, "unsigned", False):
        problems.add(f"{key}.{first}_env", f"is required with unsigned: the last part of /hooks/{name}/<secret>")
    else:
        problems.add(f"{key}.{first}_env", "is required: a source needs a secret, or unsigned = true")


def has_secret(value: Any) -> bool:
    """Return True when *value* is a secret that is not empty, or holds one."""
    if isinstance(value, SecretStr):
        return bool(value.get_secret_value())
    return isinstance(value, tuple | list | frozenset) and any(has_secret(item) for item in value)
