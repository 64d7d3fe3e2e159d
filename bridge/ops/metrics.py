"""The figures of /metrics, in one registry of this process.

Labels come from the configuration and from closed lists only: never from a request, so their number is bounded and nothing
leaks. Who counts what: ingress and coordinator events, the coordinator resolutions, the worker attempts and breakers.
"""

from datetime import timedelta
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from bridge.core.api import QueueView

REGISTRY = CollectorRegistry()
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_RESUME_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)

ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_attempts = Counter(
    "bridge_attempts", "Attempts to resume, by what became of them.", ["target", "ending"], registry=REGISTRY
)
_breaker = Gauge("bridge_breaker_open", "1 while a target's breaker is open.", ["target"], registry=REGISTRY)
_events = Counter("bridge_events", "Events, by their verdict.", ["source", "verdict"], registry=REGISTRY)
_resolutions = Counter("bridge_resolutions", "Resolutions, by how they ended.", ["target", "ending"], registry=REGISTRY)
_resume = Histogram(
    "bridge_resume_seconds",
    "From an event's receipt to the report that its pipeline was resumed.",
    buckets=_RESUME_BUCKETS_S,
    registry=REGISTRY,
)
_early_dropped = Counter(
    "bridge_early_dropped",
    "Events dropped before keep_early was over, because of max_early.",
    ["source"],
    registry=REGISTRY,
)

_looks = Counter(
    "bridge_looks",
    "Looks of a poller at what no sender tells: over, open, unknown, failed.",
    ["source", "ending"],
    registry=REGISTRY,
)
_agent_alarms = Counter(
    "bridge_agent_alarms",
    "What an agent cannot mend by itself: no_client, no_action_type, unknown_token, refused.",
    ["agent", "reason"],
    registry=REGISTRY,
)
_works = Gauge(
    "bridge_works", "Works of an agent: at the remote, or between two jobs.", ["agent", "state"], registry=REGISTRY
)
_unknown_clients = Counter(
    "bridge_unknown_clients",
    "Waits registered or resolved for a third-party client that has no token.",
    ["target"],
    registry=REGISTRY,
)

_queue_ready = Gauge("bridge_queue_ready", "Messages ready in a queue.", ["queue"], registry=REGISTRY)
_queue_unacked = Gauge("bridge_queue_unacked", "Messages handed out and not settled.", ["queue"], registry=REGISTRY)
_queue_age = Gauge(
    "bridge_queue_oldest_age_seconds",
    "Age of a target's oldest resolution without a report; of the events queue, of the last event consumed.",
    ["queue"],
    registry=REGISTRY,
)
_queue_consumers = Gauge("bridge_queue_consumers", "Consumers of a queue.", ["queue"], registry=REGISTRY)

_requests = Histogram(
    "bridge_request_seconds",
    "Webhooks and callbacks, from their head to their answer.",
    ["source", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 3, 10),
    registry=REGISTRY,
)


def observe_request(source: str, status: int, seconds: float) -> None:
    """Count one answer of ingress; *source*: a configured name, `callback` or `unknown`."""
    _request_child(source, status).observe(seconds)


@cache
def _request_child(source: str, status: int) -> Histogram:
    """Return the labelled figure: looking it up anew for each request would cost more than counting it."""
    return _requests.labels(source, str(status))


def show_queue(queue: QueueView) -> None:
    """Show one queue's figures; what the broker does not tell is left out."""
    figures = (
        (_queue_ready, queue.ready),
        (_queue_unacked, queue.unacked),
        (_queue_age, queue.oldest_age_s),
        (_queue_consumers, queue.consumers),
    )
    for gauge, figure in figures:
        if figure is not None:
            gauge.labels(queue.name).set(figure)


def count_attempt(target: str, ending: str) -> None:
    """Count one attempt; *ending*: its slug."""
    _attempts.labels(target, ending).inc()


def show_breaker(target: str, *, is_open: bool) -> None:
    _breaker.labels(target).set(1 if is_open else 0)


def count_event(source: str, verdict: str) -> None:
    """Count one event with the verdict that it shows."""
    _events.labels(source, verdict).inc()


def count_resolution(target: str, ending: str) -> None:
    """Count one resolution that has ended; *ending*: the report's ending or reason."""
    _resolutions.labels(target, ending).inc()


def observe_resume(duration: timedelta) -> None:
    _resume.observe(max(duration.total_seconds(), 0.0))


def count_look(source: str, ending: str) -> None:
    """Count one look of a poller; *ending*: `over` `open` `unknown` `failed`."""
    _looks.labels(source, ending).inc()


def count_agent_alarm(agent: str, reason: str) -> None:
    """Count what an agent cannot mend by itself; an alarm belongs on this one."""
    _agent_alarms.labels(agent, reason).inc()


def show_works(agent: str, *, at_remote: int, between: int) -> None:
    """Show an agent's works: those that the remote is at, and those whose next job is awaited."""
    _works.labels(agent, "at_remote").set(at_remote)
    _works.labels(agent, "between").set(between)


def count_early_dropped(source: str, number: int) -> None:
    """Count events that were dropped before their time; an alarm belongs on this one."""
    _early_dropped.labels(source).inc(number)


def count_unknown_client(target: str) -> None:
    """Count a wait whose third-party client has no token; an alarm belongs on this one."""
    _unknown_clients.labels(target).inc()


def render() -> bytes:
    """Return the page of /metrics, of media type CONTENT_TYPE."""
    return generate_latest(REGISTRY)
