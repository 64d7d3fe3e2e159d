"""What is allowed and still worth a second look, and how much load a worker puts on each target."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from bridge.config import kinds
from bridge.config.models import Config, Role
from bridge.config.values import is_local_url, is_loopback

SHORT_SECRET = 16


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one try to connect gave. name: `broker`, `store`, `targets.<name>`; detail: for people, never a secret."""

    name: str
    is_ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """What the workers of one target may do at most."""

    target: str
    consumer: str
    concurrency: int
    rate: float | None
    """Attempts begun in a second; None: no limit."""


def loads(config: Config, *, processes: int = 1) -> list[Load]:
    """Return each target's bounds with *processes* worker processes: both settings hold for each process alone."""
    return [
        Load(
            name,
            settings.consumer,
            settings.concurrency * processes,
            None if settings.rate is None else settings.rate * processes,
        )
        for name, settings in config.targets.items()
    ]


def warnings(config: Config) -> list[str]:
    """Return what is risky, one `key: why` line each."""
    return [*_urls(config), *_broker(config), *_clients(config), *_sources(config), *_secrets(config)]


def _urls(config: Config) -> list[str]:
    lines = []
    if config.public_url.startswith("http:") and not is_local_url(config.public_url):
        lines.append("public_url: callback URLs travel unencrypted; use https")
    for name, settings in config.targets.items():
        url = str(getattr(settings, "base_url", "") or "")
        if url.startswith("http:") and not is_local_url(url):
            lines.append(f"targets.{name}.base_url: the credential travels unencrypted; use https")
    return lines


def _broker(config: Config) -> list[str]:
    lines = []
    url = config.broker.url.get_secret_value()
    match config.broker.scheme:
        case "memory":
            lines.append("broker.url: memory: loses every message when the process ends")
        case "amqp" if urlsplit(url).password and not is_loopback(urlsplit(url).hostname or ""):
            lines.append("broker.url: the password travels unencrypted; use amqps")
        case "amqp" | "amqps" if config.store.scheme == "sqlite" and Role.COORDINATOR in config.roles:
            lines.append("store.url: sqlite is for one coordinator process; several need postgresql")
    return lines


def _clients(config: Config) -> list[str]:
    lines = [] if config.clients else ["clients: there are none, so nobody can register a wait"]
    for name, client in config.clients.items():
        if not client.roles:
            lines.append(f"clients.{name}.roles: is empty, so it may do nothing")
        if client.roles and not client.targets:
            lines.append(f"clients.{name}.targets: is empty, so it sees no wait")
        if 0 < len(client.token.get_secret_value()) < SHORT_SECRET:
            lines.append(f"clients.{name}.token_env: is shorter than {SHORT_SECRET} characters")
    return lines


def _sources(config: Config) -> list[str]:
    return [
        f"sources.{name}.unsigned: whoever knows its URL can send events of it"
        for name, settings in config.sources.items()
        if settings.unsigned
    ]


def _secrets(config: Config) -> list[str]:
    if config.secrets.keys:
        return []
    refused = {name: kinds.needs_sealing(settings.consumer) for name, settings in config.targets.items()}
    return [
        f"targets.{name}: without secrets.keys {' and '.join(what)} will be refused"
        for name, what in refused.items()
        if what
    ]
