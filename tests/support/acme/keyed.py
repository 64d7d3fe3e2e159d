"""Acme CI with keyed gates: a platform whose addresses hold secrets, and whose gates may belong to a partner's client.

Contract: as acme_ci.py; the decision's comment is what a gate is opened with: its key, and what is nested around it.
Source:   https://docs.acme.example/api/gates (v2, read 2025-01-31)
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from bridge import Address, Bearer, Call, Consumer, Ending, Health, Resolution, Standing, healthy, segment
from tests.support.acme.acme_ci import AcmeSettings, judge, standing


class Lock(BaseModel):
    """What stands in front of a gate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    code: SecretStr | None = None

    @field_validator("code")
    @classmethod
    def _is_no_word(cls, code: SecretStr | None) -> SecretStr | None:
        """Repeat what is wrong, as no consumer should: whoever shows it has to take the secret out."""
        if code and code.get_secret_value().startswith("word"):
            raise ValueError(f"{code.get_secret_value()} is no code")
        return code


class KeyedAddress(Address):
    """One gate and the secrets that open it; of a partner's gate, whose client it belongs to."""

    gate: Annotated[str, Field(min_length=1, max_length=64)]
    key: Annotated[SecretStr, Field(min_length=3)] | None = None
    lock: Lock | None = None
    codes: tuple[SecretStr, ...] = ()
    notes: dict[str, SecretStr] = Field(default_factory=dict)
    client: str | None = None

    def canonical(self, settings: object) -> str:  # noqa: ARG002 - the port's shape
        return self.gate

    @property
    def third_party_client(self) -> str | None:
        return self.client

    @property
    def given(self) -> list[str]:
        """Every secret, in the order of the fields; the client's token last."""
        lock = [self.lock.code] if self.lock and self.lock.code else []
        found = [self.key] if self.key else []
        token = [self.client_token] if self.client else []
        return [secret.get_secret_value() for secret in (*found, *lock, *self.codes, *self.notes.values(), *token)]


class KeyedAcme(Consumer[AcmeSettings, KeyedAddress]):
    """Decides a gate by telling all its secrets."""

    auth = Bearer("token")

    async def look(self, address: KeyedAddress) -> Standing:
        return standing(await self.http.send(Call.get(f"/v2/gates/{segment(address.gate)}")))

    async def health(self) -> Health:
        return healthy(await self.http.send(Call.get("/v2/me")))

    async def resume(self, address: KeyedAddress, resolution: Resolution) -> Ending:
        told = {"approved": resolution.succeeded, "comment": " ".join(address.given)}
        return judge(await self.http.send(Call.post(f"/v2/gates/{segment(address.gate)}/decision", json=told)))
