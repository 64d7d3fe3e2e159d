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
    """Where Acme is, and the token of its user `bridge`."""

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
        case HTTPStatus.OK:
            return Done()
        case HTTPStatus.CONFLICT:  # decided earlier: our own repeat, or a person
            return AlreadyDone()
        case HTTPStatus.NOT_FOUND:  # the pipeline has not reached the gate
            return NotYet()
        case HTTPStatus.GONE:
            return Gone("the gate is closed")
        case status:
            return Refused(f"gate answered {status}")


def standing(reply: Reply) -> Standing:
    """Say where the gate stands; what Acme does not know was not reached."""
    states = {"waiting": Standing.WAITING, "closed": Standing.GONE}
    if reply.status == HTTPStatus.NOT_FOUND:
        return Standing.NOT_THERE
    return states.get(reply.json()["state"], Standing.ANSWERED)
