"""An address at registration: read by the consumer's own model, and told what is wrong with it."""

from typing import Any

import pytest
from pydantic import SecretStr, field_validator

from bridge.coordinator.errors import Rejected
from bridge.coordinator.registry import Target, read_address
from bridge.core.consumer import Address, AddressError, Consumer, NotSupported
from bridge.core.settings import TargetSettings


class Berth(Address):
    pier: str
    kind: str = "quay"

    def canonical(self, settings: Any) -> str:  # noqa: ARG002 - the port's shape
        if self.kind == "buoy":
            raise NotSupported("/kind", "is not supported by this version")
        if self.kind != "quay":
            raise AddressError("/kind", "is no berth here")
        return self.pier


class Locked(Address):
    """Repeats its secret in whatever it says, as no consumer should."""

    code: SecretStr

    @field_validator("code")
    @classmethod
    def _is_long(cls, code: SecretStr) -> SecretStr:
        if len(code.get_secret_value()) < 10:
            raise ValueError(f"{code.get_secret_value()} is too short")
        return code

    def canonical(self, settings: Any) -> str:  # noqa: ARG002 - the port's shape
        raise AddressError("/code", f"{self.code.get_secret_value()} opens nothing")


class Lock(Consumer[TargetSettings, Locked]):
    """Only its models are used."""


class Harbour(Consumer[TargetSettings, Berth]):
    """Only its models are used."""


HARBOUR = Target("harbour", Harbour, TargetSettings(consumer="harbour"))


def test_an_address_is_read_with_its_canonical_spelling() -> None:
    """What the consumer's model takes is returned as that model."""
    assert read_address(HARBOUR, {"pier": "7"}) == (Berth(pier="7"), "7")


@pytest.mark.parametrize(
    ("raw", "slug", "pointer"),
    [
        ({}, "invalid", "/address/pier"),
        ({"pier": "7", "kind": "roof"}, "invalid", "/address/kind"),
        ({"pier": "7", "kind": "buoy"}, "not-supported", "/address/kind"),
    ],
)
def test_what_cannot_be_used_is_told_by_kind_and_field(raw: dict[str, Any], slug: str, pointer: str) -> None:
    """A mistake is `invalid`; what a later version may do is `not-supported`; both are 422 with the field."""
    with pytest.raises(Rejected) as caught:
        read_address(HARBOUR, raw)
    problem = caught.value.problem
    assert (problem.type, problem.status) == (f"/problems/{slug}", 422)
    assert [error.pointer for error in problem.errors or ()] == [pointer]


@pytest.mark.parametrize(("code", "detail"), [("hunter2", "*** is too short"), ("hunter2hunter2", "*** opens nothing")])
def test_a_refusal_repeats_no_secret(code: str, detail: str) -> None:
    """Also where the consumer's own words do."""
    with pytest.raises(Rejected) as caught:
        read_address(Target("lock", Lock, TargetSettings(consumer="lock")), {"code": code})
    (error,) = caught.value.problem.errors or ()
    assert (error.pointer, error.detail) == ("/address/code", detail)
