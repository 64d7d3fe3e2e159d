"""/v1/third-party-clients: the tokens of platforms' third-party clients, write-only."""

import re
from http import HTTPStatus

from aiohttp import web

from bridge.coordinator.api.access import Clients, Role
from bridge.coordinator.api.wire import not_found, read_body, read_model
from bridge.coordinator.errors import Rejected
from bridge.coordinator.store import clients
from bridge.coordinator.store.engine import Database
from bridge.core.api import ThirdPartyClientRequest
from bridge.core.ports import Clock
from bridge.core.problem import FieldError, Problem, Slug
from bridge.core.sealed import Seal, of_client

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ThirdPartyCalls:
    """The handlers. seal: None: there are no `[secrets] keys`, so no token is taken."""

    def __init__(self, db: Database, clients: Clients, *, seal: Seal | None, clock: Clock) -> None:
        self._db = db
        self._clients = clients
        self._seal = seal
        self._clock = clock

    async def put(self, request: web.Request) -> web.Response:
        """Set a client's token; resolutions sent from now on carry this one."""
        self._clients.of(request, Role.ADMIN)
        client_id = _client_id(request)
        given = read_model(ThirdPartyClientRequest, await read_body(request))
        if self._seal is None:
            detail = "is a secret: this bridge takes none until it has [secrets] keys to seal them with"
            error = FieldError(pointer="/token", detail=detail)
            raise Rejected(Problem.of(Slug.NOT_SUPPORTED, "This bridge cannot keep a secret", errors=[error]))
        sealed = self._seal(given.token.get_secret_value(), of_client(client_id))
        async with self._db.write() as tx:
            await clients.put(self._db, tx, client_id, sealed, now=self._clock.now())
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def drop(self, request: web.Request) -> web.Response:
        """Forget a client's token; its waits are refused from now on."""
        self._clients.of(request, Role.ADMIN)
        async with self._db.write() as tx:
            was_there = await clients.drop(tx, _client_id(request))
        if not was_there:
            raise not_found()
        return web.Response(status=HTTPStatus.NO_CONTENT)


def _client_id(request: web.Request) -> str:
    """Return the client of the path.

    Raises:
        Rejected: it is no client's id.
    """
    client_id = request.match_info["client_id"]
    if not _UUID.fullmatch(client_id):
        error = FieldError(pointer="", detail="client_id: expected a UUID in lower case")
        raise Rejected(Problem.of(Slug.INVALID, "The request is not valid", errors=[error]))
    return client_id
