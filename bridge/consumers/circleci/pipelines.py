"""What became of a whole pipeline, for those whose workflows count together, and for one that errored and tells nobody.

Contract: no webhook tells of a pipeline, nor of one that is `errored`; `GET /api/v2/pipeline/{id}` says the state, and
          `/workflow` lists the workflows, with each rerun as one more of the same name. A workflow tagged `setup` is over
          before those that it continues with exist; the pipeline's state is `setup` until it is continued.
Source:   OpenAPI 3.0.3 "CircleCI API v2" (2025-02); CircleCI documentation, "Dynamic configuration" (2026-08)
"""

from collections.abc import Sequence
from datetime import datetime

from bridge.consumers.circleci.listing import PipelineState, Workflow
from bridge.core.event import EventData, Outcome
from bridge.core.inbound import keys_of, line

_FAILED = frozenset({"failed", "error", "unauthorized"})


def outcome_of(state: str | None, listed: Sequence[Workflow], now: datetime) -> Outcome | None:
    """Return the outcome of a pipeline in *state* by the newest run of each of its workflows; None: it is not over.

    One failure fails it, else one cancellation cancels it: a workflow that never ran is as good as canceled. A setup workflow
    counts only where it ended badly and was not continued: nothing will follow.
    """
    if state == "errored":
        return Outcome.FAILED
    counted = newest([one for one in listed if one.tag != "setup"])
    if not counted and state == "setup":
        counted = [one for one in newest(listed) if one.status != "success"]
    if not counted or not all(one.is_over(now) for one in counted):  # others may be about to appear
        return None
    statuses = {one.status for one in counted}
    if statuses & _FAILED:
        return Outcome.FAILED
    return Outcome.SUCCEEDED if statuses == {"success"} else Outcome.CANCELLED


def newest(listed: Sequence[Workflow]) -> list[Workflow]:
    """Return the newest run of each workflow in *listed*, in the order of their names."""
    oldest_first = sorted(listed, key=lambda one: -one.age_key)
    return [run for _, run in sorted({one.name: one for one in oldest_first}.items())]


def told(pipeline_id: str, pipeline: PipelineState, listed: Sequence[Workflow], outcome: Outcome) -> EventData:
    """Return what is told of a pipeline that is over. The names are for people; nothing of what its jobs said is in it."""
    counted = newest([one for one in listed if one.tag != "setup"]) or newest(listed)
    ends = ", ".join(f"{one.name}: {one.status}" for one in counted)
    return EventData(
        outcome=outcome,
        keys=keys_of({"pipeline_id": pipeline_id, "project": pipeline.project_slug}),
        summary=line(ends or f"the pipeline is {pipeline.state}"),
        body={
            "pipeline": {"id": pipeline_id, "number": pipeline.number, "state": pipeline.state},
            "workflows": [{"id": one.id, "name": one.name, "status": one.status} for one in counted],
        },
    )
