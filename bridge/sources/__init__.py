"""Who calls us: one file a system. The file's name is its registration: `kind = "standard-webhooks"` loads standard_webhooks.py."""

import importlib
import inspect
import pkgutil
from typing import Any

from bridge.core.errors import ConfigError
from bridge.core.event import CALLBACK
from bridge.core.source import Source


def source_kinds() -> list[str]:
    """Return the kinds that a config may name, sorted. Callback URLs are no source of the config."""
    names = (module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if name != CALLBACK)


def load_source_kind(kind: str) -> type[Source[Any]]:
    """Return the class of *kind*.

    Raises:
        ConfigError: there is no such file.
    """
    if kind not in source_kinds():
        raise ConfigError([f"kind: no such kind of source; there are {', '.join(source_kinds())}"])
    module = importlib.import_module(f"{__name__}.{kind.replace('-', '_')}")
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Source) and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ConfigError([f"kind: {kind} defines {len(found)} sources, expected one"])
    return found[0]
