"""The sections of the config. Each source and target adds its own fields in its own file; DESIGN 5.2 is the whole table."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, SerializeAsAny, StringConstraints

from bridge.config.values import BaseUrl, BrokerUrl, Listen, StoreUrl, split_listen
from bridge.core.settings import AgentSettings, Duration, Settings, SourceSettings, TargetSettings
from bridge.core.signing import MIN_KEY_BYTES, CallbackKeys

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""Of a source, target or client; it becomes a word of queue names and paths."""
ANY = "*"


class Role(StrEnum):
    """What a process does; `bridge run` does all of it."""

    INGRESS = "ingress"
    COORDINATOR = "coordinator"
    WORKER = "worker"
    AGENT = "agent"
    POLLER = "poller"


class ClientRole(StrEnum):
    """What a client of the API may do."""

    REGISTER = "register"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


class HttpSettings(Settings):
    """`[http]`: the server of this process."""

    listen: Listen = Field(default="127.0.0.1:8080", description="host and port")
    max_body_bytes: int = Field(
        default=1_048_576, ge=1, le=64 * 1_048_576, description="of a webhook or callback; more is refused with 413"
    )

    @property
    def host(self) -> str:
        return split_listen(self.listen)[0]

    @property
    def port(self) -> int:
        return split_listen(self.listen)[1]


class BrokerSettings(Settings):
    """`[broker]`: where messages wait."""

    url: BrokerUrl = Field(
        default=SecretStr("sqlite:///bridge.db"),
        description="`amqp://`, `amqps://`, `sqlite:///path` (one machine) or `memory:` (tests)",
    )
    metrics_url: BaseUrl | None = Field(
        default=None, description="RabbitMQ's Prometheus listener: unacked counts; without it they are null"
    )

    @property
    def scheme(self) -> str:
        """`amqp`, `amqps`, `sqlite` or `memory`."""
        return self.url.get_secret_value().partition(":")[0]

    @property
    def path(self) -> Path:
        """The file of a `sqlite` broker."""
        return Path(self.url.get_secret_value().removeprefix("sqlite:///"))


class StoreSettings(Settings):
    """`[store]`: where waits are remembered."""

    url: StoreUrl = Field(
        default=SecretStr("sqlite:///bridge.db"), description="`postgresql://` or `sqlite:///path` (one machine)"
    )
    keep: Duration = Field(default=timedelta(days=30), description="how long finished waits and their events are kept")

    @property
    def scheme(self) -> str:
        """`postgresql` or `sqlite`; empty where this process does not use the store."""
        return self.url.get_secret_value().partition(":")[0]

    @property
    def path(self) -> Path:
        """The file of a `sqlite` store."""
        return Path(self.url.get_secret_value().removeprefix("sqlite:///"))


class WaitsSettings(Settings):
    """`[waits]`: the bounds of every wait."""

    max_timeout: Duration = Field(default=timedelta(days=7), description="the longest `timeout` of a wait")
    keep_early: Duration = Field(
        default=timedelta(hours=24), description="how long an event is kept for a wait that is registered after it"
    )
    max_early: int = Field(default=100_000, ge=1, description="events kept so, per source; the newest")
    delivery_window: Duration = Field(
        default=timedelta(hours=24), description="how long a decided wait is tried to be delivered, at least"
    )


class NamedKey(Settings):
    """One key of `[callbacks]` or `[secrets]`; in the file its `env` names a variable or its `file` a file."""

    id: Name = Field(description="a name, to tell keys apart during a rotation")
    key: SecretStr = Field(description=f"at least {MIN_KEY_BYTES} bytes of text, used as they are")


class CallbacksSettings(Settings):
    """`[callbacks]`: what callback URLs are signed with."""

    keys: tuple[NamedKey, ...] = Field(default=(), description="the first signs, all verify")


class SecretsSettings(Settings):
    """`[secrets]`: what secret address fields and third-party client tokens are sealed with."""

    keys: tuple[NamedKey, ...] = Field(default=(), description="the first seals, all open")


class ClientSettings(Settings):
    """`[clients.<name>]`: who may use the API."""

    token: SecretStr = Field(description="sent as `Authorization: Bearer`")
    roles: frozenset[ClientRole] = Field(default=frozenset(), description="`register`, `read`, `operate`, `admin`")
    targets: tuple[str, ...] = Field(
        default=(), description='targets that every read and write is limited to; `["*"]`: all'
    )
    sources: tuple[str, ...] = Field(
        default=(), description='sources that expectations and events are limited to; `["*"]`: all'
    )

    def may_use_target(self, name: str) -> bool:
        return ANY in self.targets or name in self.targets

    def may_use_source(self, name: str) -> bool:
        return ANY in self.sources or name in self.sources


class ConfigFile(Settings):
    """The whole file."""

    public_url: BaseUrl = Field(
        description="the base of every callback URL; never taken from a request. Needed unless `http.listen` is loopback"
    )
    http: HttpSettings = HttpSettings()
    broker: BrokerSettings = BrokerSettings()
    store: StoreSettings = StoreSettings()
    waits: WaitsSettings = WaitsSettings()
    callbacks: CallbacksSettings = CallbacksSettings()
    secrets: SecretsSettings = SecretsSettings()
    clients: dict[Name, ClientSettings] = Field(default={}, description="who may use the API")
    sources: dict[Name, SerializeAsAny[SourceSettings]] = Field(default={}, description="who calls us")
    targets: dict[Name, SerializeAsAny[TargetSettings]] = Field(default={}, description="whom we resume")
    agents: dict[Name, SerializeAsAny[AgentSettings]] = Field(default={}, description="whose jobs we take")


class Config(ConfigFile):
    """What one process works with: the file, the environment over it, and what this process is.

    The secrets of a section in `unread` are empty: this process has no use for them, and nothing verifies with an empty one.
    """

    roles: frozenset[Role] = Field(exclude=True)
    worker_targets: tuple[str, ...] = Field(exclude=True)
    """The targets that this process works for; empty without the worker's role. One that has an agent is its agent's."""
    agent_targets: tuple[str, ...] = Field(exclude=True)
    """The targets whose jobs this process takes; empty without the agent's role."""
    poller_targets: tuple[str, ...] = Field(exclude=True)
    """The targets that this process asks what wholes came to; empty without the poller's role."""
    unread: frozenset[str] = Field(exclude=True)
    """Sections, such as `targets.jenkins-prod`, with a secret that this process did not read."""

    def runs(self, role: Role) -> bool:
        return role in self.roles

    @property
    def callback_keys(self) -> CallbackKeys:
        """The signer and verifier of callback tokens; of ingress and coordinator only."""
        return CallbackKeys([key.key.get_secret_value().encode() for key in self.callbacks.keys])

    @property
    def sealing_keys(self) -> list[tuple[str, bytes]]:
        """Ids and texts of what seals and opens; empty where there are none, or this process has no use for them."""
        keys = ((key.id, key.key.get_secret_value().encode()) for key in self.secrets.keys)
        return [(key_id, text) for key_id, text in keys if text]

    def callback_url(self, token: str) -> str:
        """Return the URL that a remote is given."""
        return f"{self.public_url}/cb/{token}"
