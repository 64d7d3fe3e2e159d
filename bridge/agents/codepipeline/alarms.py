"""Alarms: what the agent cannot mend by itself, once in the log for each time, and as a figure."""

import structlog

from bridge.ops import metrics

UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - a reason's name
NO_CLIENT = "no_client"
NO_ACTION_TYPE = "no_action_type"
REFUSED = "refused"

_log = structlog.get_logger(__name__)


def raise_alarm(agent: str, reason: str, **fields: str | None) -> None:
    """Tell people. fields: ids only."""
    metrics.count_agent_alarm(agent, reason)
    _log.error("agent_alarm", agent=agent, reason=reason, **fields)
