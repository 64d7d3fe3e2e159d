"""What became of a whole pipeline, for those whose workflows count together, and for one that errored and tells nobody.

Contract: no webhook tells of a pipeline, nor of one that is `errored`; `GET /api/v2/pipeline/{id}` says the state, and
          `/workflow` lists the workflows, with each rerun as one more of the same name. A workflow tagged `setup` is over
          before those that it continues with exist.
Source:   OpenAPI 3.0.3 "CircleCI API v2" (2025-02); CircleCI documentation, "Dynamic configuration" (2026-08)
"""

from collections.abc import Sequence
from datetime import datetime

from bridge.consumers.circleci.listing import Workflow
from bridge.core.event import Outcome

_FAILED = frozenset({"failed", "error", "unauthorized"})


def outcome_of(state: str, listed: Sequence[Workflow], now: datetime) -> Outcome | None:
    """Return the outcome of a pipeline in *state* by the newest run of each of its workflows; None: it is not over.

    One failure fails it, else one cancellation cancels it: a workflow that never ran is as good as canceled.
    """
    if state == "errored":
        return Outcome.FAILED
    oldest_first = sorted((one for one in listed if one.tag != "setup"), key=lambda one: -one.age_key)
    newest = {one.name: one for one in oldest_first}.values()
    if not newest or not all(one.is_over(now) for one in newest):  # others may be about to appear
        return None
    statuses = {one.status for one in newest}
    if statuses & _FAILED:
        return Outcome.FAILED
    return Outcome.SUCCEEDED if statuses == {"success"} else Outcome.CANCELLED
