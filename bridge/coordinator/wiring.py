"""From the config to a coordinator: names become classes, tokens become clients."""

from bridge.config import Config
from bridge.config.kinds import source_kind, whole_of
from bridge.coordinator.api.access import Client, Clients
from bridge.coordinator.registry import Target, Terms
from bridge.coordinator.service import Coordinator, CoordinatorConfig
from bridge.coordinator.timers import Retention
from bridge.core.consumer import load_consumer
from bridge.core.ports import Broker, Clock
from bridge.core.sealed import Seal
from bridge.core.wait import Rules


def make_coordinator(config: Config, broker: Broker, clock: Clock) -> Coordinator:
    """Return the coordinator of *config*, not running. No platform is called and no platform secret read for it."""
    waits = config.waits
    parts = CoordinatorConfig(
        store_url=config.store.url.get_secret_value(),
        targets={
            name: Target(name, load_consumer(settings.consumer), settings) for name, settings in config.targets.items()
        },
        sources={name: source_kind(settings.kind) for name, settings in config.sources.items()},
        wholes={name: found[0] for name, settings in config.sources.items() if (found := whole_of(settings))},
        keys=config.callback_keys,
        seal=_seal(config),
        clients=_clients(config),
        terms=Terms(str(config.public_url).rstrip("/"), waits.max_timeout, waits.keep_early),
        rules=Rules(delivery_window=waits.delivery_window),
        retention=Retention(config.store.keep, waits.keep_early, waits.max_early),
    )
    return Coordinator(parts, broker, clock=clock)


def _seal(config: Config) -> Seal | None:
    if not config.sealing_keys:
        return None
    from bridge.sealing import Sealing  # noqa: PLC0415 - only who keeps secrets needs it

    return Sealing(config.sealing_keys).seal


def _clients(config: Config) -> Clients:
    return Clients(
        {
            settings.token.get_secret_value(): Client(
                name,
                frozenset(role.value for role in settings.roles),
                frozenset(settings.targets),
                frozenset(settings.sources),
            )
            for name, settings in config.clients.items()
        }
    )
