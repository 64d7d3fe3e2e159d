"""Third-party clients of platforms: a token that is not set is told loudly, and holds nobody else up."""

from collections.abc import Sequence

import structlog

from bridge.coordinator.store import clients
from bridge.coordinator.store.engine import Database
from bridge.core.wait import Wait
from bridge.ops import metrics

_log = structlog.get_logger(__name__)


async def tokens_for(db: Database, chosen: Sequence[Wait]) -> dict[str, str]:
    """Return the sealed tokens that resolutions of *chosen* carry, by client; waits that need none cost no query."""
    wanted = {wait.third_party_client for wait in chosen if wait.third_party_client is not None}
    if not wanted:
        return {}
    async with db.read() as tx:
        return await clients.sealed_tokens(db, tx, sorted(wanted))


def lacks_token(wait: Wait, tokens: dict[str, str]) -> bool:
    return wait.third_party_client is not None and wait.third_party_client not in tokens


def alarm(wait: Wait) -> None:
    """Tell that *wait* names a client without a token: its resolution will be refused until one is set."""
    _log.error("third_party_client_unknown", correlation_id=wait.id, target=wait.target, client=wait.third_party_client)
    metrics.count_unknown_client(wait.target)
