import asyncio
from datetime import timedelta

from bridge.core.errors import BrokerUnavailable
from bridge.core.ports import Delivery
from bridge.worker.in_flight import InFlight
from bridge.worker.pacing import Gate, Pace
from tests.support.fakes import START, FakeClock, FakeSubscription, let_run


class Flaky(FakeSubscription):
    """Its connection is lost at the first pause."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = 1

    async def pause(self) -> list[Delivery]:
        if self.faults:
            self.faults -= 1
            raise BrokerUnavailable("away")
        return await super().pause()


async def put_back(_delivery: Delivery) -> None:
    raise AssertionError


async def test_a_pause_that_fails_is_made_later() -> None:
    """A broker that is away while we want to pause is asked again; the wish is not forgotten."""
    clock, subscription = FakeClock(), Flaky()
    gate = Gate(clock=clock, sleep=clock.sleep)
    steering = asyncio.create_task(gate.steer(subscription, put_back))
    gate.close("a")
    await let_run()
    assert not subscription.is_paused
    await clock.advance(1)
    assert subscription.is_paused
    steering.cancel()


async def test_the_longest_hold_counts() -> None:
    """A shorter hold does not open what a longer one keeps closed."""
    clock = FakeClock()
    gate = Gate(clock=clock, sleep=clock.sleep)
    gate.hold("a", timedelta(seconds=10))
    gate.hold("a", timedelta(seconds=5))
    await clock.advance(6)
    assert not gate.is_open
    gate.hold("a", timedelta(seconds=10))
    await clock.advance(9)
    assert not gate.is_open
    await clock.advance(2)
    assert gate.is_open


async def test_a_clock_set_back_stops_no_pace() -> None:
    """When the system's clock jumps back, the next turn is at most one space away."""
    clock = FakeClock()
    pace = Pace(2.0, clock=clock, sleep=clock.sleep)
    await pace.turn()
    assert pace.due_in() == timedelta(seconds=0.5)
    clock._now = START - timedelta(hours=1)
    assert pace.due_in() == timedelta(seconds=0.5)


async def test_no_rate_never_waits() -> None:
    """Without a rate every turn is at once."""
    clock = FakeClock()
    pace = Pace(None, clock=clock, sleep=clock.sleep)
    for _ in range(100):
        await pace.turn()
    assert clock.slept == []


async def test_in_flight_tells_its_room() -> None:
    """room() waits while all places are taken and comes back when one is free."""
    in_flight, hold = InFlight(2), asyncio.Event()

    async def work() -> None:
        await hold.wait()

    assert await in_flight.room() == 2
    in_flight.start(work())
    assert await in_flight.room() == 1
    in_flight.start(work())
    waiting = asyncio.create_task(in_flight.room())
    await let_run()
    assert not waiting.done()
    hold.set()
    assert await waiting == 2
    await in_flight.finish(timedelta(seconds=1))
    assert len(in_flight) == 0
