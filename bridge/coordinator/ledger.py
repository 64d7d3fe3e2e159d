"""The only place that changes a wait: lock its row, decide(), write what follows, all in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.coordinator.store import waits
from bridge.coordinator.store.engine import Database
from bridge.core.ports import Clock
from bridge.core.wait import Entry, EventSeen, Input, Rules, State, Transition, Verdict, Wait, decide


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one input.

    wait: the wait after it; None when no wait has that id (any more).
    is_repeat: this very event was applied to the wait before; it changed nothing now.
    """

    given: Input
    wait: Wait | None
    transition: Transition | None = None
    is_repeat: bool = False

    @property
    def verdict(self) -> Verdict | None:
        return self.transition.verdict if self.transition else None

    @property
    def is_refused(self) -> bool:
        return self.transition is not None and self.transition.is_refused

    @property
    def sends(self) -> bool:
        """True when a copy of the resolution is to be published now."""
        return (self.transition is not None and self.transition.sends) or self.continues

    @property
    def continues(self) -> bool:
        """True when the event decided the wait before a crash, and the resolution is still not known to be sent."""
        return (
            self.is_repeat
            and self.wait is not None
            and isinstance(self.given, EventSeen)
            and self.wait.event_id == self.given.id
            and self.wait.state is State.RESOLVING
            and self.wait.sent_at is None
        )


class Ledger:
    """Applies inputs to waits. Inputs for one wait are applied in the order given."""

    def __init__(self, db: Database, *, clock: Clock, rules: Rules) -> None:
        self._db = db
        self._clock = clock
        self._rules = rules

    async def apply(self, inputs: Sequence[tuple[str, Input]]) -> list[Applied]:
        """Apply (wait id, input) pairs in one transaction of their own.

        Raises:
            StoreUnavailable: nothing was applied.
        """
        if not inputs:
            return []
        async with self._db.write() as tx:
            return await self.apply_in(tx, inputs)

    async def apply_in(self, tx: AsyncConnection, inputs: Sequence[tuple[str, Input]]) -> list[Applied]:
        """Apply *inputs* inside *tx*, which must hold no lock on any other wait."""
        before = await waits.lock(self._db, tx, (wait_id for wait_id, _ in inputs))
        seen = [given.id for _, given in inputs if isinstance(given, EventSeen)]
        known = set(await waits.known_verdicts(self._db, tx, seen))
        run = _Run(before, known, self._rules)
        now = self._clock.now()
        applied = [run.step(wait_id, given, now=now) for wait_id, given in inputs]
        changed = [wait for wait_id, wait in run.waits.items() if wait is not before[wait_id]]
        await waits.save(tx, changed, unsent=run.unsent, now=now)
        await waits.add_entries(tx, run.entries)
        await waits.add_verdicts(tx, run.verdicts)
        return applied


class _Run:
    """One batch in memory: each step sees what the steps before it made."""

    def __init__(self, found: dict[str, Wait], known: set[tuple[str, str]], rules: Rules) -> None:
        self.waits = dict(found)
        self.entries: list[tuple[str, Entry]] = []
        self.verdicts: list[tuple[str, str, Verdict]] = []
        self.unsent: set[str] = set()
        self._known = known
        self._rules = rules

    def step(self, wait_id: str, given: Input, *, now: datetime) -> Applied:
        wait = self.waits.get(wait_id)
        if wait is None:
            return Applied(given, None)
        if isinstance(given, EventSeen) and (wait_id, given.id) in self._known:
            return Applied(given, wait, is_repeat=True)
        transition = decide(wait, given, now=now, rules=self._rules)
        self.waits[wait_id] = transition.wait
        self.entries += [(wait_id, entry) for entry in transition.entries]
        if transition.sends:
            self.unsent.add(wait_id)
        if isinstance(given, EventSeen) and transition.verdict:
            self._known.add((wait_id, given.id))
            self.verdicts.append((wait_id, given.id, transition.verdict))
        return Applied(given, transition.wait, transition)
