"""Settings models of sources, targets and agents, found by the file that a section names: a file's name is its registration.

These files stand above the config in the line, so they are imported by name, when a section asks for one.
"""

import pkgutil
from importlib import import_module
from typing import Any, cast

from bridge.core.consumer import load_consumer
from bridge.core.errors import ConfigError
from bridge.core.event import CALLBACK
from bridge.core.sealed import secret_fields
from bridge.core.settings import AgentSettings, SourceSettings, TargetSettings
from bridge.core.source import Source, Whole


def source_kind(kind: str) -> type[Source[Any]]:
    """Return the class of a source's `kind`.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return cast("type[Source[Any]]", import_module("bridge.sources").load_source_kind(kind))
    except ConfigError as exc:
        raise ValueError(str(exc)) from None


def source_settings(kind: str) -> type[SourceSettings]:
    """Return the settings model of `kind`; raises as source_kind()."""
    return source_kind(kind).settings_type


def target_settings(consumer: str) -> type[TargetSettings]:
    """Return the settings model of a target's `consumer`.

    Raises:
        ValueError: there is none of that name.
    """
    return load_consumer(consumer).settings_type


def whole_of(settings: SourceSettings) -> tuple[Whole, str] | None:
    """Return what the events of such a source add up to, and the target to ask for it; None: nothing, or nobody is asked."""
    whole = source_kind(settings.kind).whole
    target = getattr(settings, whole.setting) if whole else None
    return (whole, target) if whole and target else None


def tells_wholes(consumer: str) -> bool:
    """Return True when such a target can be asked what became of a whole; *consumer* is one that target_settings() found."""
    return load_consumer(consumer).tells_wholes()


def takes_secrets(consumer: str) -> bool:
    """Return True when an address at such a target may hold a secret; *consumer* is one that target_settings() found."""
    return load_consumer(consumer).takes_secrets()


def needs_sealing(consumer: str) -> list[str]:
    """Return what is refused at such a target without keys to seal secrets with, in words; empty: nothing."""
    kind = load_consumer(consumer)
    if not kind.takes_secrets():
        return []
    fields = secret_fields(kind.address_type)
    held = [f"a secret in an address ({', '.join(fields)})"] if fields else []
    return held + (["the token of a third-party client"] if kind.names_clients() else [])


def agent_settings(kind: str) -> type[AgentSettings]:
    """Return the settings model of an agent's `kind`.

    Raises:
        ValueError: there is none of that name.
    """
    if kind not in built_in("agents"):
        raise ValueError(f"no agent {kind!r}")
    return cast("type[AgentSettings]", import_module(f"bridge.agents.{kind}").SETTINGS)


def built_in(package: str) -> list[str]:
    """Return what stands in bridge/<package>, as a section would name it."""
    path = import_module(f"bridge.{package}").__path__
    names = (module.name.replace("_", "-") for module in pkgutil.iter_modules(path) if module.name[0] != "_")
    return sorted(name for name in names if name != CALLBACK)
