"""Written fakes of the ports: a clock that tests turn, an Http that answers from a script, a broker that remembers."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from bridge.core.consumer import Address, Consumer
from bridge.core.errors import BrokerUnavailable
from bridge.core.event import Outcome
from bridge.core.outcome import Done, Ending, Health, Sight, Standing
from bridge.core.ports import Delivery, Outgoing, QueueStats, Subscription
from bridge.core.request import Call, Reply
from bridge.core.resolution import Report, Resolution, read_report, write_resolution
from bridge.core.settings import TargetSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
TURNS = 50
"""Loop turns after which everything that can go on without time has gone on."""


async def let_run() -> None:
    """Let every task go on as far as it can without time passing."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def eventually(claim: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait until *claim* holds; fail when it does not within the deadline."""
    async with asyncio.timeout(within_s):
        while not claim():  # noqa: ASYNC110 - the claim is about somebody else's state
            await asyncio.sleep(0.002)


class FakeClock:
    """Time that stands still until advance()."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._count = 0
        self.slept: list[float] = []
        """Every sleep that was asked for, in seconds."""

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._count += 1
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), self._count, waking))
        await waking

    async def advance(self, seconds: float) -> None:
        """Let *seconds* pass; whoever sleeps wakes in order, at its own time."""
        await let_run()
        end = self._now + timedelta(seconds=seconds)
        while self._sleepers and self._sleepers[0][0] <= end:
            self._now, _, waking = heapq.heappop(self._sleepers)
            if not waking.done():
                waking.set_result(None)
            await let_run()
        self._now = end
        await let_run()


class FakeHttp:
    """Answers calls in order from a script; an exception in it is raised. The last entry serves for all that follow."""

    def __init__(self, *script: Reply | Exception) -> None:
        self.calls: list[Call] = []
        self.is_closed = False
        self._script = list(script)

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(step, Exception):
            raise step
        return step

    async def close(self) -> None:
        self.is_closed = True


class FakeSettings(TargetSettings):
    consumer: str = "fake"


class FakeAddress(Address):
    place: str = "gate"
    repeats: bool = False

    @property
    def is_repeated(self) -> bool:
        return self.repeats


Step = Ending | Exception | Callable[[], Awaitable[Ending]]


class FakeConsumer(Consumer[FakeSettings, FakeAddress]):
    """Looks, resumes and is well as its lists say; the last entry of a list serves for all that follow."""

    def __init__(self, settings: FakeSettings | None = None, *, tells_answered: bool = True) -> None:
        super().__init__(settings or FakeSettings(), FakeHttp())
        self.__dict__["tells_answered"] = tells_answered
        self.standings: list[Standing | Sight | Exception] = [Standing.WAITING]
        self.endings: list[Step] = [Done()]
        self.healths: list[Health | Exception] = [Health.UP]
        self.did: list[str] = []
        self.seen: list[Sight | None] = []

    async def look_closely(self, address: FakeAddress) -> Sight:  # noqa: ARG002 - the script decides
        self.did.append("look")
        sight = _next(self.standings)
        return sight if isinstance(sight, Sight) else Sight(sight)

    async def look(self, address: FakeAddress) -> Standing:
        return (await self.look_closely(address)).standing

    async def resume_seen(self, address: FakeAddress, resolution: Resolution, sight: Sight | None) -> Ending:  # noqa: ARG002
        self.did.append("resume")
        self.seen.append(sight)
        step: Step = _next(self.endings)
        return await step() if callable(step) else cast("Ending", step)

    async def health(self) -> Health:
        self.did.append("health")
        health: Health | Exception = _next(self.healths)
        if isinstance(health, Exception):
            raise health
        return health


class PlainConsumer(Consumer[FakeSettings, FakeAddress]):
    """A consumer that says nothing yet."""


def _next(script: list[Any]) -> Any:
    step = script.pop(0) if len(script) > 1 else script[0]
    if isinstance(step, Exception) and not isinstance(step, Ending):
        raise step
    return step


def a_resolution(**more: Any) -> Resolution:
    """Return a resolution of wait `w1` at target `t`, deliverable for a day."""
    given: dict[str, Any] = {
        "wait": "w1",
        "target": "t",
        "dispatch": 1,
        "address": {},
        "outcome": Outcome.SUCCEEDED,
        "decided_at": START,
        "deliver_until": START + timedelta(hours=24),
    }
    return Resolution(**{**given, **more})


class FakeDelivery:
    """Remembers how it was settled: `("ack",)`, `("retry", after, counted, headers)`, `("dead_letter", reason)`, `("release",)`."""

    def __init__(
        self,
        resolution: Resolution | bytes | None = None,
        *,
        attempt: int = 1,
        is_redelivered: bool = False,
        headers: Mapping[str, str | int] | None = None,
    ) -> None:
        given = a_resolution() if resolution is None else resolution
        self.body = given if isinstance(given, bytes) else write_resolution(given, now=START)
        self.headers: Mapping[str, str | int] = dict(headers or {})
        self.message_id = "m1"
        self.attempt = attempt
        self.is_redelivered = is_redelivered
        self.published_at = START
        self.settled: tuple[Any, ...] | None = None
        self.on_settled: Callable[[], None] = lambda: None
        self.faults: list[Exception] = []
        """Raised by the next verbs, one each."""

    async def ack(self) -> None:
        self._settle("ack")

    async def retry(
        self, after: timedelta, *, counted: bool = True, headers: Mapping[str, str | int] | None = None
    ) -> None:
        self._settle("retry", after, counted, dict(headers or {}))

    async def dead_letter(self, reason: str) -> None:
        self._settle("dead_letter", reason)

    async def release(self) -> None:
        self._settle("release")

    def _settle(self, *what: Any) -> None:
        if self.faults:
            raise self.faults.pop(0)
        if self.settled is not None:
            raise RuntimeError("settled twice")
        self.settled = what
        self.on_settled()

    def next(self) -> "FakeDelivery":
        """Return the copy that a retry stored."""
        assert self.settled is not None
        verb, _, counted, headers = self.settled
        assert verb == "retry"
        return FakeDelivery(self.body, attempt=self.attempt + counted, headers={**self.headers, **headers})


class FakeBroker:
    """One queue, fed by give(); publishes are remembered, and fail while `is_away`."""

    def __init__(self) -> None:
        self.published: list[Outgoing] = []
        self.tried = 0
        self.is_away = False
        self.is_connected = True
        self.is_ready = True
        self.subscription = FakeSubscription()

    @property
    def reports(self) -> list[Report]:
        return [read_report(message.body) for message in self.published]

    def give(self, *deliveries: FakeDelivery) -> None:
        self.subscription.give(*deliveries)

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def declare(self, targets: Sequence[str]) -> None: ...

    async def publish(self, *messages: Outgoing) -> None:
        self.tried += 1
        if self.is_away:
            raise BrokerUnavailable("away")
        self.published.extend(messages)

    @asynccontextmanager
    async def subscribe(self, queue: str, *, prefetch: int) -> AsyncIterator[Subscription]:
        if self.subscription.is_closed:
            self.subscription = FakeSubscription()
        self.subscription.queue = queue
        self.subscription.prefetch = prefetch
        yield self.subscription

    async def announce(self, topic: str, body: bytes) -> None: ...

    async def follow(self) -> AsyncIterator[tuple[str, bytes]]:
        return
        yield

    async def queues(self, names: Sequence[str]) -> list[QueueStats]:
        return [QueueStats(name, None, None, None) for name in names]


class FakeSubscription:
    """Hands out what was given, while it is not paused and fewer than `prefetch` are unsettled."""

    def __init__(self) -> None:
        self.queue = ""
        self.prefetch = 1
        self.is_paused = False
        self.is_closed = False
        self._waiting: list[FakeDelivery] = []
        self._held: list[FakeDelivery] = []
        self._given = asyncio.Event()

    def give(self, *deliveries: FakeDelivery) -> None:
        self._waiting.extend(deliveries)
        self._given.set()

    @property
    def held(self) -> list[FakeDelivery]:
        self._held = [delivery for delivery in self._held if delivery.settled is None]
        return self._held

    def _prefetched(self) -> int:
        return 0 if self.is_paused else max(0, min(len(self._waiting), self.prefetch - len(self.held)))

    async def take(self, limit: int) -> list[Delivery]:
        while not (number := min(limit, self._prefetched())):
            if self.is_closed:
                return []
            self._given.clear()
            await self._given.wait()
        return self._hand(number)

    async def pause(self) -> list[Delivery]:
        prefetched = self._prefetched()
        self.is_paused = True
        return self._hand(prefetched)

    async def resume(self) -> None:
        self.is_paused = False
        self._given.set()

    def close(self) -> None:
        self.is_closed = True
        self._given.set()

    def _hand(self, number: int) -> list[Delivery]:
        taken, self._waiting = self._waiting[:number], self._waiting[number:]
        for delivery in taken:
            delivery.on_settled = self._given.set
        self._held = [*self.held, *taken]
        return list(taken)
