"""The client tokens of third-party jobs: sealed in the store, opened for one call at a time, kept nowhere else."""

import structlog

from bridge.coordinator.store import clients
from bridge.coordinator.store.engine import Database
from bridge.core.errors import Unopened
from bridge.core.sealed import Unseal, of_client

_log = structlog.get_logger(__name__)


class StoredTokens:
    """Reads a token anew for each call, so that a rotation is seen at once."""

    def __init__(self, db: Database, unseal: Unseal) -> None:
        self._db = db
        self._unseal = unseal

    async def __call__(self, client_id: str) -> str | None:
        """Return the token of a client; None: there is none, or none that can be opened.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        async with self._db.read() as tx:
            sealed = (await clients.sealed_tokens(self._db, tx, [client_id])).get(client_id)
        if sealed is None:
            return None
        try:
            return self._unseal(sealed, of_client(client_id))
        except Unopened:
            _log.error("client_token_unopened", client_id=client_id)
            return None
