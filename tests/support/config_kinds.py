"""A source kind and a consumer of tests, so that the config is tested without any real sender or platform."""

from pathlib import Path
from typing import Any, Self

import pytest
from pydantic import Field, SecretStr, field_validator, model_validator

from bridge.config import Config, kinds, load_config
from bridge.core.settings import SourceSettings, TargetSettings

CALLBACK_KEY = "k" * 32

SMALL = """
[callbacks]
keys = [{ id = "2026a", env = "BRIDGE_CALLBACK_KEY" }]
[clients.ci]
token_env = "BRIDGE_API_TOKEN"
roles = ["register", "read"]
targets = ["*"]
sources = ["farm"]
[sources.farm]
kind = "plain"
secret_env = "FARM_SECRET"
[targets.jenkins-prod]
consumer = "plain"
base_url = "https://ci.example.com"
token_env = "JENKINS_TOKEN"
[targets.jenkins-test]
consumer = "plain"
base_url = "https://test.example.com"
token_env = "JENKINS_TEST_TOKEN"
"""

ENVIRON = {
    "BRIDGE_CALLBACK_KEY": CALLBACK_KEY,
    "BRIDGE_API_TOKEN": "api-token-of-the-tests",
    "FARM_SECRET": "whsec_farm",
    "JENKINS_TOKEN": "jenkins-token",
    "JENKINS_TEST_TOKEN": "jenkins-test-token",
}


class PlainSource(SourceSettings):
    """Has one or several secrets, each of which must begin with `whsec_`."""

    secret: tuple[SecretStr, ...] = Field(default=(), description="what it signs with")

    @field_validator("secret")
    @classmethod
    def _check(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(secret.get_secret_value().startswith("whsec_") for secret in secrets):
            raise ValueError('expected "whsec_" and base64')
        return secrets

    @model_validator(mode="after")
    def _there(self) -> Self:
        if self.secret and not all(secret.get_secret_value() for secret in self.secret):
            raise ValueError("secret_env: a secret is empty")
        return self


class PlainTarget(TargetSettings):
    """Has a URL, a credential and a text."""

    base_url: str
    token: SecretStr = Field(min_length=3, description="of the platform")
    username: str = "bridge"

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.username == "nobody":
            raise ValueError("username: must be somebody")
        return self


def find(model: type[Any]) -> Any:
    """Return a finder that knows `plain` alone."""

    def finder(name: str) -> type[Any]:
        if name != "plain":
            raise ValueError(name)
        return model

    return finder


def use_plain_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `kind = "plain"` and `consumer = "plain"` name the models above."""
    monkeypatch.setattr(kinds, "source_settings", find(PlainSource))
    monkeypatch.setattr(kinds, "whole_of", lambda _settings: None)
    monkeypatch.setattr(kinds, "needs_sealing", lambda _consumer: [])
    monkeypatch.setattr(kinds, "target_settings", find(PlainTarget))
    monkeypatch.setattr(kinds, "takes_secrets", lambda _consumer: False)
    monkeypatch.setattr(kinds, "built_in", lambda _package: ["plain"])


def write_config(folder: Path, text: str) -> Path:
    """Write *text* as `bridge.toml` below *folder*."""
    path = folder / "bridge.toml"
    path.write_text(text)
    return path


def load_small(folder: Path, text: str = SMALL, **more: Any) -> Config:
    """Load *text* with every variable of ENVIRON, and *more* arguments of load_config()."""
    environ = ENVIRON | more.pop("extra", {})
    return load_config(write_config(folder, text), **{"environ": environ, **more})
