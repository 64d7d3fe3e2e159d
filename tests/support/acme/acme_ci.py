"""Acme CI: decide a job that waits at a gate.

Contract: GET  /v2/gates/{gate}           {"state": "waiting" | "approved" | "denied" | "closed"}
          POST /v2/gates/{gate}/decision  {"approved": bool, "comment": str}
          GET  /v2/me                     {"name": str}
          200 applied, 404 no such gate yet, 409 decided earlier, 410 closed
Source:   https://docs.acme.example/api/gates (v2, read 2025-01-31)
"""

from http import HTTPStatus
from typing import Annotated

from pydantic import Field, HttpUrl, SecretStr

from bridge import (
    Address,
    AlreadyDone,
    Bearer,
    Call,
    Consumer,
    Done,
    Ending,
    Gone,
    Health,
    Later,
    NotYet,
    Refused,
    Reply,
    Resolution,
    Standing,
    TargetSettings,
    healthy,
    segment,
)


class AcmeSettings(TargetSettings):
    base_url: HttpUrl
    token: SecretStr


class AcmeAddress(Address):
    """One gate. The pipeline names it when it opens its wait."""

    gate: Annotated[str, Field(min_length=1, max_length=64)]


class Acme(Consumer[AcmeSettings, AcmeAddress]):
    """Decides the gate that a wait names."""

    auth = Bearer("token")  # the settings field that Http signs each call with

    async def look(self, address: AcmeAddress) -> Standing:
        """Say where the gate stands; the worker asks this before it repeats anything."""
        return standing(await self.http.send(Call.get(f"/v2/gates/{segment(address.gate)}")))

    async def health(self) -> Health:
        """Say whether Acme is up and takes our token; the breaker asks this, with no wait involved."""
        return healthy(await self.http.send(Call.get("/v2/me")))

    async def resume(self, address: AcmeAddress, resolution: Resolution) -> Ending:
        return judge(await self.http.send(plan(address, resolution)))


def plan(address: AcmeAddress, resolution: Resolution) -> Call:
    """Return the one call that applies *resolution*."""
    return Call.post(
        f"/v2/gates/{segment(address.gate)}/decision",
        json={"approved": resolution.succeeded, "comment": resolution.summary},
    )


def judge(reply: Reply) -> Ending:
    """Say what *reply* means; 429, 5xx and a refused credential are judged by the base class before."""
    match reply.status:
        case HTTPStatus.OK:  # a proxy's login page is 200 too
            return Done() if isinstance(reply.json(), dict) else Later("not Acme's answer", is_doubtful=True)
        case HTTPStatus.CONFLICT:  # decided earlier: our own repeat, or a person
            return AlreadyDone()
        case HTTPStatus.NOT_FOUND:  # the pipeline has not reached the gate
            return NotYet()
        case HTTPStatus.GONE:
            return Gone("the gate is closed")
        case status:
            return Refused(f"gate answered {status}")


def standing(reply: Reply) -> Standing:
    """Say where the gate stands; what is not Acme's answer says nothing."""
    match reply.status, reply.json():
        case HTTPStatus.NOT_FOUND, _:
            return Standing.NOT_THERE
        case HTTPStatus.OK, {"state": "waiting"}:
            return Standing.WAITING
        case HTTPStatus.OK, {"state": "approved" | "denied"}:
            return Standing.ANSWERED
        case HTTPStatus.OK, {"state": "closed"}:
            return Standing.GONE
        case status, _:
            raise Later(f"not Acme's answer ({status})")
