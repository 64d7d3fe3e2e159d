"""The configuration: one TOML file, the environment over it, and every problem at once. See docs/reference/config.md."""

from bridge.config.document import find_file
from bridge.config.loader import load_config
from bridge.config.models import (
    BrokerSettings,
    CallbacksSettings,
    ClientRole,
    ClientSettings,
    Config,
    HttpSettings,
    NamedKey,
    Role,
    SecretsSettings,
    StoreSettings,
    WaitsSettings,
)
from bridge.config.values import is_loopback, redact_url, split_listen

__all__ = [
    "BrokerSettings",
    "CallbacksSettings",
    "ClientRole",
    "ClientSettings",
    "Config",
    "HttpSettings",
    "NamedKey",
    "Role",
    "SecretsSettings",
    "StoreSettings",
    "WaitsSettings",
    "find_file",
    "is_loopback",
    "load_config",
    "redact_url",
    "split_listen",
]
