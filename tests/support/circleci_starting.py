"""Starter: sends what bridge/consumers/circleci/triggering.py plans, and goes on as it says. The clock is the test's."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from bridge.consumers.circleci.triggering import Start, Started, conclude, judge_start, listing, plan_start, seen_in
from bridge.core.errors import HttpFault
from bridge.core.outcome import Ending, Later, NotYet
from bridge.core.ports import Http

LOOK_EVERY = timedelta(seconds=10)


class Starter:
    """Starts pipelines over *http* as the user *login*. tick: lets LOOK_EVERY pass at the platform before the next look."""

    def __init__(self, http: Http, *, login: str, tick: Callable[[], None]) -> None:
        self._http = http
        self._login = login
        self._tick = tick

    async def start(self, start: Start, *, known: Collection[str] = ()) -> Started | Ending:
        """Start one pipeline; after a lost answer look, and start again only when that is said to be safe."""
        since = datetime.now(UTC)
        try:
            answer = judge_start(await self._http.send(plan_start(start)))
        except HttpFault:
            answer = Later(is_doubtful=True)
        return await self._made(start, since, known) if isinstance(answer, Later) else answer

    async def _made(self, start: Start, since: datetime, known: Collection[str]) -> Started | Ending:
        now = since
        while isinstance(said := conclude(await self._found(start, since, known), since=since, now=now), NotYet):
            now += LOOK_EVERY
            self._tick()
        return await self.start(start, known=known) if said is None else said

    async def _found(self, start: Start, since: datetime, known: Collection[str]) -> list[Started]:
        found: list[Started] = []
        page_token = ""
        while True:
            page = (await self._http.send(listing(start, page_token))).json()
            more, page_token = seen_in(page, start, since=since, login=self._login, known=known)
            found += more
            if not page_token:
                return found
