"""Worker: takes one target's resolutions, has the consumer apply them, settles, reports.

Law: only _settle() settles what was attempted, once, and only after its report is confirmed. A crash between the two
repeats the delivery; the look that follows says it is already done.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import random as system_random
from typing import Any

import structlog

from bridge.core.consumer import Consumer, UtcClock
from bridge.core.errors import BrokerUnavailable, Undecodable, Unroutable
from bridge.core.outcome import Ack, DeadLetter, Ending, Health, Later, Retry, settle
from bridge.core.ports import Broker, Clock, Delivery, Subscription
from bridge.core.resolution import Resolution, read_resolution
from bridge.core.retry import LATER, NOT_YET, RetryPolicy
from bridge.core.sealed import Unseal, no_key
from bridge.core.settings import TargetSettings
from bridge.core.topology import target_queue
from bridge.ops import metrics
from bridge.ops.faults import places
from bridge.worker.attempt import Attempts, Result
from bridge.worker.breaker import PROBES, Breaker
from bridge.worker.in_flight import InFlight
from bridge.worker.insistence import SETTLE_WAITS_S, Insistence, Reporter
from bridge.worker.pacing import Gate, Pace, Sleep
from bridge.worker.reporting import report_of
from bridge.worker.trail import Trail, kept

DRAIN = timedelta(seconds=10)
PUT_BACK_AFTER = timedelta(seconds=1)
"""For a delivery that was not started: the consumer is cancelled by then, so the copy waits in its own queue."""
AFTER_A_BUG = timedelta(seconds=30)
MAX_HOLD = timedelta(seconds=60)
"""The longest that a Retry-After, or a slow rate, holds the whole target."""
ABSURD_RETRY_AFTER = timedelta(hours=1)
"""A longer one is obeyed for its own resolution only."""
UNDECODABLE = "undecodable"

_BREAKER, _OPERATOR, _THROTTLED, _RATE, _STOPPING = "breaker", "paused", "throttled", "rate", "stopping"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Policies:
    """The curves of a target."""

    not_yet: RetryPolicy = NOT_YET
    later: RetryPolicy = LATER
    probes: RetryPolicy = PROBES


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """For readiness and the status page."""

    target: str
    is_running: bool
    is_consuming: bool
    is_paused: bool
    is_breaker_open: bool
    health: Health
    in_flight: int


class Worker:
    """One target's worker. Any number of processes may run one for the same target."""

    def __init__(
        self,
        *,
        target: str,
        consumer: Consumer[Any, Any],
        broker: Broker,
        settings: TargetSettings | None = None,
        policies: Policies | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = system_random,
        sleep: Sleep = asyncio.sleep,
        unseal: Unseal = no_key,
    ) -> None:
        """Wire one worker.

        settings: concurrency and rate; the consumer's own where not given.
        unseal: opens the sealed fields of an address.
        """
        settings = settings or consumer.settings
        clock = clock or UtcClock()
        self._target = target
        self._consumer = consumer
        self._broker = broker
        self._policies = policies or Policies()
        self._clock = clock
        self._random = random
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._is_running = False
        self._rate = settings.rate
        self._concurrency = settings.concurrency
        self._insist = Insistence(sleep=sleep, stopping=self._stopping)
        self._reporter = Reporter(broker, self._insist, clock=clock)
        self._attempts = Attempts(consumer, announce=self._reporter.announce, unseal=unseal)
        self._pace = Pace(settings.rate, clock=clock, sleep=sleep)
        self._gate = Gate(clock=clock, sleep=sleep)
        self._in_flight = InFlight(settings.concurrency)
        self._breaker = Breaker(
            consumer,
            target=target,
            random=random,
            sleep=sleep,
            on_change=self._breaker_changed,
            policy=self._policies.probes,
        )
        metrics.show_breaker(target, is_open=False)

    @property
    def status(self) -> WorkerStatus:
        return WorkerStatus(
            target=self._target,
            is_running=self._is_running,
            is_consuming=self._is_running and self._gate.is_consuming,
            is_paused=_OPERATOR in self._gate.reasons,
            is_breaker_open=self._breaker.is_open,
            health=self._breaker.health,
            in_flight=len(self._in_flight),
        )

    def set_paused(self, is_paused: bool) -> None:  # noqa: FBT001 - the announced state itself
        """Pause or go on as an operator says; running calls end normally."""
        if is_paused:
            self._gate.close(_OPERATOR)
        else:
            self._gate.open(_OPERATOR)

    async def run(self) -> None:
        """Work until stop(), or until the broker is closed; then take nothing new and let running calls finish.

        It may be run again after it ended, one run at a time.

        Raises:
            Exception: a fault of the worker itself, after the same orderly end.
        """
        self._is_running = True
        self._ended.clear()
        self._gate.open(_STOPPING)
        try:
            async with self._broker.subscribe(target_queue(self._target), prefetch=self._prefetch) as subscription:
                await self._run(subscription)
        finally:
            self._is_running = False
            self._ended.set()

    async def stop(self) -> None:
        """End run(): what was not started is put back, running calls have DRAIN to end, the rest is released."""
        self._stopping.set()
        if self._is_running:
            await self._ended.wait()

    @property
    def _prefetch(self) -> int:
        """A minute's worth where the rate is low: a delivery must not lie unsettled for half an hour."""
        in_a_minute = int((self._rate or self._concurrency) * MAX_HOLD.total_seconds())
        return max(1, min(self._concurrency, in_a_minute))

    async def _run(self, subscription: Subscription) -> None:
        steering = asyncio.create_task(self._gate.steer(subscription, self._put_back))
        taking = asyncio.create_task(self._take(subscription))
        tasks = (steering, taking, asyncio.create_task(self._breaker.run()), asyncio.create_task(self._stopping.wait()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._drain(steering)
            for task in tasks:
                task.cancel()
            self._gate.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _drain(self, steering: asyncio.Task[None]) -> None:
        began = time.monotonic()
        self._gate.close(_STOPPING)
        idle = asyncio.create_task(self._gate.idle())
        await asyncio.wait((idle, steering), timeout=DRAIN.total_seconds() / 2, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        await self._in_flight.finish(DRAIN - timedelta(seconds=time.monotonic() - began))

    async def _take(self, subscription: Subscription) -> None:
        while True:
            room = await self._in_flight.room()
            if self._rate:
                room = 1
                await self._wait_for_turn()
            deliveries = await subscription.take(room)
            if not deliveries:
                return
            for delivery in deliveries:
                self._in_flight.start(self._work(delivery))

    async def _wait_for_turn(self) -> None:
        if self._pace.due_in() > MAX_HOLD:
            self._gate.hold(_RATE, self._pace.due_in())
        await self._pace.turn()

    async def _work(self, delivery: Delivery) -> None:
        """Attempt one delivery and settle it; whatever fails, it is stored somewhere."""
        if self._gate.reasons - {_RATE}:  # it closed after this one was taken; its turn by the rate it has had
            await self._put_back(delivery)
            return
        try:
            await self._attempt(delivery)
        except (BrokerUnavailable, Unroutable):
            # Nothing is settled: it comes again, redelivered, so the next holder is in doubt and looks first.
            _log.warning("delivery_unsettled", target=self._target, message_id=delivery.message_id)
            await self._release(delivery)
        except asyncio.CancelledError:
            await self._release(delivery)
            raise
        except Exception as exc:  # noqa: BLE001 - a bug of ours must not keep the delivery for ever
            _log.error("worker_failed", target=self._target, fault=type(exc).__name__, at=places(exc))
            await self._put_back(delivery, AFTER_A_BUG)

    async def _attempt(self, delivery: Delivery) -> None:
        began = time.monotonic()
        try:
            resolution = read_resolution(delivery.body)
        except Undecodable as exc:
            _log.error("delivery_undecodable", target=self._target, message_id=delivery.message_id, fault=str(exc))
            await delivery.dead_letter(UNDECODABLE)
            return
        trail = Trail.of(delivery, resolution)
        result = await self._attempts.make(resolution, trail)
        self._heed(result)
        await self._settle(delivery, resolution, trail, result)
        self._account(resolution, trail, result, time.monotonic() - began)

    async def _settle(self, delivery: Delivery, resolution: Resolution, trail: Trail, result: Result) -> None:
        ending, now = result.ending, self._clock.now()
        settlement = settle(ending, delay=self._delay(ending, trail), now=now, deadline=resolution.deliver_until)
        report = report_of(resolution, ending, settlement, trail=trail, note=result.note, now=now)
        if report is not None:
            await self._reporter.send(report, trail)
        match settlement:
            case Ack():
                verb: Callable[[], Awaitable[None]] = delivery.ack
            case Retry(after):
                headers = trail.after(ending, is_announced=result.is_announced)
                verb = partial(delivery.retry, after, headers=headers)
            case DeadLetter(reason):
                verb = partial(delivery.dead_letter, reason)
        await self._insist(verb, SETTLE_WAITS_S)

    def _delay(self, ending: Ending, trail: Trail) -> timedelta:
        if isinstance(ending, Later):
            return self._policies.later.delay(trail.failures + 1, random=self._random, at_least=ending.after)
        return self._policies.not_yet.delay(trail.attempt, random=self._random)

    def _heed(self, result: Result) -> None:
        """Let the whole target learn from one attempt."""
        ending = result.ending
        self._breaker.note(result.sign)
        if isinstance(ending, Later) and ending.is_throttled and ending.after and ending.after <= ABSURD_RETRY_AFTER:
            self._gate.hold(_THROTTLED, min(ending.after, MAX_HOLD))

    def _breaker_changed(self, is_open: bool) -> None:  # noqa: FBT001 - the breaker's only word
        metrics.show_breaker(self._target, is_open=is_open)
        if is_open:
            self._gate.close(_BREAKER)
        else:
            self._gate.open(_BREAKER)

    def _account(self, resolution: Resolution, trail: Trail, result: Result, seconds: float) -> None:
        metrics.count_attempt(self._target, result.ending.slug)
        _log.info(
            "delivery_settled",
            event_id=resolution.event.id if resolution.event else None,
            correlation_id=resolution.wait,
            target=self._target,
            attempt=trail.attempt,
            ending=result.ending.slug,
            duration_s=round(seconds, 4),
        )

    async def _put_back(self, delivery: Delivery, after: timedelta = PUT_BACK_AFTER) -> None:
        """Store a delivery again with its attempt unchanged; where that fails it goes back by itself."""
        try:
            await delivery.retry(after, counted=False, headers=kept(delivery))
        except BrokerUnavailable:
            await self._release(delivery)

    async def _release(self, delivery: Delivery) -> None:
        with suppress(
            BrokerUnavailable, RuntimeError
        ):  # its connection is gone, or it is settled: nothing to give back
            await delivery.release()
