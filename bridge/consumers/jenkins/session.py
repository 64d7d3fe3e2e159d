"""Session: how this Jenkins is spoken to: reads as they are, POSTs with a crumb where the user has a password.

Contract: GET  /crumbIssuer/api/json  200 {crumb, crumbRequestField}, and the cookie of a session where there was none;
                                      404 the protection is off
          POST anything               403 "No valid crumb was included in the request": none, or one of another session
Source:   jenkinsci/jenkins @ ff9430ee1dc6 (2026-08; CrumbFilter, DefaultCrumbIssuer, ApiCrumbExclusion), read in the code.

An API token needs neither crumb nor cookie, and with a cookie would need a crumb; so only a password's Http keeps cookies.
A crumb is stale after a restart, at the end of its session, on another node. It is refused before anything is applied, so one
new crumb and one more POST are safe.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Protocol

from bridge.consumers.jenkins.listing import stranger
from bridge.core.consumer import later
from bridge.core.errors import HttpFault
from bridge.core.outcome import CredentialRefused, Later
from bridge.core.ports import Clock
from bridge.core.request import Call, Reply

JUDGED = frozenset({HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.FORBIDDEN})
"""What Session reads by itself: 500 means a bad parameter, among others; 403 may be about the crumb."""

_NO_CRUMB = "No valid crumb was included in the request"
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[!-~]{1,1000}")


class Sender(Protocol):
    """The consumer's view of Http."""

    async def send(self, call: Call) -> Reply: ...


@dataclass(frozen=True, slots=True, eq=False)
class Crumb:
    """The header that a POST needs; none where the protection is off."""

    headers: Mapping[str, str]


class Session:
    """The calls of one target. is_password: the user has no API token."""

    def __init__(self, http: Sender, clock: Clock, *, is_password: bool) -> None:
        self._http = http
        self._clock = clock
        self._is_password = is_password
        self._crumb: Crumb | None = None
        self._fetching = asyncio.Lock()

    async def get(self, path: str, tree: str = "") -> Reply:
        """Read *path*; tree: what of it is wanted.

        Raises:
            Later, CredentialRefused, HttpFault: as `http.send`; a 500 is Later too.
        """
        reply = await self._http.send(Call.get(path, query={"tree": tree} if tree else {}))
        if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise later(reply, now=self._clock.now(), is_write=False)
        return _unless_forbidden(reply)

    async def post(self, call: Call) -> Reply:
        """Send *call*.

        Raises:
            Later: Jenkins does not take our crumb, or gave none; nothing was applied, and no other wait is at fault.
            Later, CredentialRefused, HttpFault: as `http.send`.
        """
        if not self._is_password:
            reply = await self._http.send(call)
            if _wants_crumb(reply):
                raise Later("Jenkins asks for a crumb, so it takes `token` for a password: expected an API token")
            return _unless_forbidden(reply)
        crumb = await self._crumb_other_than(None)
        reply = await self._http.send(_with(call, crumb))
        if _wants_crumb(reply):
            reply = await self._http.send(_with(call, await self._crumb_other_than(crumb)))
        if _wants_crumb(reply):
            raise Later("Jenkins refuses the crumb that it has just given: does its session stick?")
        return _unless_forbidden(reply)

    async def _crumb_other_than(self, stale: Crumb | None) -> Crumb:
        """Return the crumb that all calls share; a new one when it is *stale*, fetched by the first who says so."""
        async with self._fetching:
            if self._crumb is None or self._crumb is stale:
                self._crumb = None
                self._crumb = await self._fetched()
            return self._crumb

    async def _fetched(self) -> Crumb:
        try:
            reply = await self._http.send(Call.get("/crumbIssuer/api/json"))
        except HttpFault as fault:
            raise Later(f"no crumb: {fault}") from None  # the answer itself was not sent: no doubt
        return read_crumb(reply)


def read_crumb(reply: Reply) -> Crumb:
    """Read `crumbIssuer`.

    Raises:
        Later: it is no answer of Jenkins.
    """
    if reply.status == HTTPStatus.NOT_FOUND:
        return Crumb({})
    match reply.json() if reply.is_success else None:
        case {"crumb": str(value), "crumbRequestField": str(name)} if _NAME.fullmatch(name) and _VALUE.fullmatch(value):
            return Crumb({name: value})
        case _:
            raise stranger(reply)


def _with(call: Call, crumb: Crumb) -> Call:
    """Return *call* with the crumb as a header: among the parts of a multipart form it would not be seen."""
    return replace(call, headers={**call.headers, **crumb.headers})


def _wants_crumb(reply: Reply) -> bool:
    return reply.status == HTTPStatus.FORBIDDEN and _NO_CRUMB in reply.text


def _unless_forbidden(reply: Reply) -> Reply:
    if reply.status == HTTPStatus.FORBIDDEN:
        raise CredentialRefused(reply.status)
    return reply
