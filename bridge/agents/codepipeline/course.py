"""Course: one run of care for one work. It ends when the claim is let go of."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from bridge.agents.codepipeline.claims import Claims
from bridge.agents.codepipeline.gateway import NoClient
from bridge.agents.codepipeline.job import Job
from bridge.coordinator.errors import Rejected
from bridge.coordinator.store.works import Claim, Work
from bridge.core.errors import BrokerUnavailable, HttpFault, Unroutable
from bridge.core.outcome import CredentialRefused, Later
from bridge.core.ports import Clock

GONE, DONE, REFUSED = "gone", "done", "refused"
"""How a work ended."""
FAULTS = (Later, HttpFault, CredentialRefused, BrokerUnavailable, Unroutable, NoClient, Rejected)
"""What a step may raise: it is made again later."""
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Course:
    """A claimed work and what is known of it in this run. Every way to change the row raises ClaimLost and StoreUnavailable.

    job: as just handed out, or asked for; None: not known yet.
    is_fresh: nobody can have acknowledged the job for us before this run.
    """

    claims: Claims
    clock: Clock
    claim: Claim
    job: Job | None
    is_fresh: bool

    @property
    def work(self) -> Work:
        return self.claim.work

    async def save(self, **changes: Any) -> None:
        """Write *changes* and go on."""
        await self.claims.save(self.claim, **changes)

    async def rest(self, due_at: datetime | None, **changes: Any) -> bool:
        """Write *changes* and let go until *due_at*, None: until a job or a resolution comes. Returns False: no next step."""
        await self.claims.let_go(self.claim, due_at=due_at, **{"tries": 0, **changes})
        return False

    async def end(self, ending: str, **changes: Any) -> bool:
        """Write that the work is over; returns False."""
        _log.info("work_ended", work=self.work.id, ending=ending)
        return await self.rest(None, ended_at=self.clock.now(), ending=ending, **changes)
