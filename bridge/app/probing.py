"""probe(): whether what a config names is there, for `bridge config check --connect`."""

import asyncio

from bridge.app.parts import WorkerPart, make_broker
from bridge.config import Config, Role
from bridge.config.check import ProbeResult
from bridge.core.consumer import UtcClock
from bridge.core.errors import BrokerUnavailable, ConfigError
from bridge.core.outcome import Health
from bridge.core.ports import Clock

_PROBE_S = 5.0
_PROBE_PAUSE_S = 0.2


async def probe(config: Config) -> list[ProbeResult]:
    """Try broker, store and each target once, for `bridge config check --connect`; nothing is changed anywhere but migrated."""
    results = [await _probe_broker(config)]
    if config.runs(Role.COORDINATOR) or config.agent_targets or config.poller_targets:
        results.append(await _probe_store(config))
    clock = UtcClock()
    called = dict.fromkeys((*config.worker_targets, *config.agent_targets, *config.poller_targets))
    return results + [await _probe_target(target, config, clock) for target in called]


async def _probe_broker(config: Config) -> ProbeResult:
    broker = make_broker(config)
    try:
        await broker.start()
        async with asyncio.timeout(_PROBE_S):
            while not broker.is_connected:  # noqa: ASYNC110 - the port tells no event of a connection
                await asyncio.sleep(_PROBE_PAUSE_S)
    except (BrokerUnavailable, TimeoutError, ConfigError) as exc:
        return ProbeResult("broker", is_ok=False, detail=str(exc) or "no connection within 5 s")
    finally:
        await broker.close()
    return ProbeResult("broker", is_ok=True)


async def _probe_store(config: Config) -> ProbeResult:
    from bridge.coordinator.store.engine import Database  # noqa: PLC0415 - a worker has no database

    database = Database(config.store.url.get_secret_value())
    try:
        is_ok = await database.ping()
    finally:
        await database.close()
    return ProbeResult("store", is_ok=is_ok, detail="" if is_ok else "no connection")


async def _probe_target(target: str, config: Config, clock: Clock) -> ProbeResult:
    from bridge.worker.breaker import probe as probe_health  # noqa: PLC0415 - ingress calls nobody

    name = f"targets.{target}"
    part = await WorkerPart.make(target, config, make_broker(config), clock)
    try:
        health = await probe_health(part.consumer)
    finally:
        await part.close()
    details = {Health.CREDENTIAL: "is up and refuses our credential", Health.DOWN: "does not answer its health call"}
    return ProbeResult(name, is_ok=health is Health.UP, detail=details.get(health, ""))
