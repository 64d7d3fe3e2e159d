"""The bridge's config and random secrets, in a folder of the demo's own: to read, and to run again with `bridge run -c`."""

import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bridge.testing.circleci import TOKEN as CIRCLECI_TOKEN

JENKINS_USER = "bridge"
JENKINS_TOKEN = "jenkins-token"  # noqa: S105 - the emulator's own
AWS_REGION = "eu-west-1"
AWS_KEY_ID = "AKIDEXAMPLE"
AWS_SECRET = "secret"  # noqa: S105 - the emulator's own

_CONFIG = """\
# What `bridge demo` runs: every role in one process, three emulated platforms as targets.
# Secrets are named here and stand in files beside this one; in production they are often variables (token_env).
public_url = "{url}"

[http]
listen = "127.0.0.1:{port}"

[broker]
url_file = "secrets/broker-url"

[store]
url = "sqlite:///{folder}/store.db"

[callbacks]                       # callback URLs are signed with the first key
keys = [{{ id = "demo", file = "secrets/callback-key" }}]

[clients.pipelines]               # who may open waits
token_file = "secrets/api-token"
roles = ["register", "read", "operate"]
targets = ["*"]
sources = ["*"]

[sources.circleci-b]              # posts to {url}/hooks/circleci-b
kind = "circleci"
secret_file = "secrets/circleci-webhook"

[sources.github]                  # posts to {url}/hooks/github
kind = "github"
secret_file = "secrets/github-webhook"

[targets.jenkins]
consumer = "jenkins"
base_url = "{jenkins}"
username = "bridge"
token_file = "secrets/jenkins-token"

[targets.circleci]
consumer = "circleci"
base_url = "{circleci}"
token_file = "secrets/circleci-token"

[targets.codepipeline]
consumer = "codepipeline"
region = "eu-west-1"
endpoint_url = "{codepipeline}"   # without it: AWS; without keys: AWS's own chain of credentials
access_key_id_file = "secrets/aws-access-key-id"
secret_access_key_file = "secrets/aws-secret-access-key"
"""


def free_port() -> int:
    """Return a free loopback port: the public URL, which holds it, is written before the bridge starts.

    It lies below those that the kernel gives to clients, so that it stays free until then.
    """
    while True:
        port = 12_000 + secrets.randbelow(8_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass(frozen=True, slots=True)
class Setting:
    """One demo's bridge. broker_url: None: SQLite in the folder."""

    folder: Path
    broker_url: str | None = None
    port: int = field(default_factory=free_port)
    api_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    circleci_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    github_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.folder / "bridge.toml"

    @property
    def log(self) -> Path:
        return self.folder / "bridge.log"

    def write(self, *, jenkins: str, circleci: str, codepipeline: str) -> None:
        """Write config and secrets; the arguments are the platforms' URLs."""
        folder = self.folder / "secrets"
        folder.mkdir(mode=0o700)
        for name, value in self._secrets().items():
            file = folder / name
            file.touch(mode=0o600)
            file.write_text(f"{value}\n")
        self.config.write_text(
            _CONFIG.format(
                url=self.url,
                port=self.port,
                folder=self.folder,
                jenkins=jenkins,
                circleci=circleci,
                codepipeline=codepipeline,
            )
        )

    def _secrets(self) -> Mapping[str, str]:
        return {
            "broker-url": self.broker_url or f"sqlite:///{self.folder}/broker.db",
            "callback-key": secrets.token_urlsafe(48),
            "api-token": self.api_token,
            "circleci-webhook": self.circleci_secret,
            "github-webhook": self.github_secret,
            "jenkins-token": JENKINS_TOKEN,
            "circleci-token": CIRCLECI_TOKEN,
            "aws-access-key-id": AWS_KEY_ID,
            "aws-secret-access-key": AWS_SECRET,
        }
