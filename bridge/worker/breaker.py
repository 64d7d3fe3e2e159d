"""Breaker: when a platform fails again and again, or refuses our credential, leave it alone and ask for its health.

It is probed with a health call of the platform, never with a message; the time it is open costs no attempt.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any

import structlog

from bridge.core.consumer import Consumer
from bridge.core.outcome import CredentialRefused, Health
from bridge.core.retry import RetryPolicy
from bridge.worker.pacing import Sleep

PROBES = RetryPolicy(first=timedelta(seconds=1), ceiling=timedelta(seconds=30))
THRESHOLD = 5
PROBE_TIMEOUT_S = 60.0

_log = structlog.get_logger(__name__)


class Sign(StrEnum):
    """What an attempt says about the platform."""

    WELL = "well"
    FAILED = "failed"
    CREDENTIAL = "credential"
    NOTHING = "nothing"
    """It asked for less (429), was not asked at all, or the fault is our own."""


async def probe(consumer: Consumer[Any, Any]) -> Health:
    """Ask *consumer* for its platform's health; whatever goes wrong is an answer too."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            return await consumer.health()
    except CredentialRefused:
        return Health.CREDENTIAL
    except Exception as exc:  # noqa: BLE001 - a health call that fails in any way is not up
        _log.info("probe_failed", fault=type(exc).__name__)
        return Health.DOWN


class Breaker:
    """One target's. `on_change` is called with True when it opens and with False when it closes."""

    def __init__(
        self,
        consumer: Consumer[Any, Any],
        *,
        target: str,
        random: Callable[[], float],
        sleep: Sleep,
        on_change: Callable[[bool], None],
        policy: RetryPolicy = PROBES,
    ) -> None:
        self.health = Health.UP
        """As last seen."""
        self._consumer = consumer
        self._target = target
        self._random = random
        self._sleep = sleep
        self._on_change = on_change
        self._policy = policy
        self._failures = 0
        self._probes = 0
        self._opened = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()

    def note(self, sign: Sign) -> None:
        """Take in what one attempt said. While open, only a probe closes it."""
        if self.is_open:
            return
        match sign:
            case Sign.WELL:
                self._failures = self._probes = 0
                self.health = Health.UP
            case Sign.FAILED:
                self._failures += 1
                if self._failures >= THRESHOLD:
                    self._open(Health.DOWN)
            case Sign.CREDENTIAL:
                self._open(Health.CREDENTIAL)
            case Sign.NOTHING:
                pass

    async def run(self) -> None:
        """Probe while open, until cancelled. The wait grows until an attempt goes well, not only until a probe does."""
        while True:
            await self._opened.wait()
            self._probes += 1
            await self._sleep(self._policy.delay(self._probes, random=self._upper_half).total_seconds())
            self.health = await probe(self._consumer)
            if self.health is Health.UP:
                self._close()

    def _upper_half(self) -> float:
        """Jitter, but never close to nothing: a refused credential that is tried quickly locks the account."""
        return 0.5 + self._random() / 2

    def _open(self, health: Health) -> None:
        self.health = health
        self._opened.set()
        _log.error("breaker_opened", target=self._target, health=health.value)
        self._on_change(True)  # noqa: FBT003 - the callback's only argument

    def _close(self) -> None:
        self._failures = 0
        self._opened.clear()
        _log.info("breaker_closed", target=self._target, probes=self._probes)
        self._on_change(False)  # noqa: FBT003 - the callback's only argument
