"""A job as CodePipeline hands it out, and our continuation tokens: plain values.

Source: AWS service model 2015-07-09 (JobData, ThirdPartyJobData: every member is optional).

A token names the work and how many of its jobs ended before: `bridge:<32 hex>:<n>`. So a job that is told of twice, or too
late, is known as such by itself, and nothing needs to remember the ids of jobs that are over.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

_TOKEN = re.compile(r"bridge:([0-9a-f]{32}):([0-9]{1,9})")


def token_of(work: str, generation: int) -> str:
    """Return the token that ends one job of *work* and is handed out with the next."""
    return f"bridge:{work}:{generation}"


def read_token(token: str) -> tuple[str, int] | None:
    """Return the work and the generation that *token* names; None: it is not ours."""
    match = _TOKEN.fullmatch(token)
    return (match[1], int(match[2])) if match else None


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    context: names for people and for the remote: `pipeline stage action execution_id action_execution_id account_id`.
    configuration: the action's; its secrets are in clear, so it is shown nowhere and stored nowhere.
    data: all that was handed out, credentials of the artifacts among it; the same holds for it.
    """

    id: str
    nonce: str | None = None
    client_id: str | None = None
    token: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, str] = field(default_factory=dict, repr=False)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, given: Mapping[str, Any], *, job_id: str = "", client_id: str | None = None) -> Self:
        """Read an entry of a poll, or jobDetails. job_id: where the entry names it otherwise."""
        data = _table(given.get("data"))
        return cls(
            id=job_id or _text(given.get("id")),
            nonce=_text(given.get("nonce")) or None,
            client_id=client_id,
            token=_text(data.get("continuationToken")) or None,
            context=_context(data, _text(given.get("accountId"))),
            configuration={
                name: value
                for name, value in _table(_table(data.get("actionConfiguration")).get("configuration")).items()
                if isinstance(value, str)
            },
            data=data,
        )

    @property
    def key(self) -> str:
        """What stays the same when the job is handed out again: the action's execution, else the job itself."""
        return self.context.get("action_execution_id") or f"job:{self.id}"


def _context(data: Mapping[str, Any], account_id: str) -> dict[str, str]:
    pipeline = _table(data.get("pipelineContext"))
    action = _table(pipeline.get("action"))
    found = {
        "pipeline": _text(pipeline.get("pipelineName")),
        "stage": _text(_table(pipeline.get("stage")).get("name")),
        "action": _text(action.get("name")),
        "execution_id": _text(pipeline.get("pipelineExecutionId")),
        "action_execution_id": _text(action.get("actionExecutionId")),
        "account_id": account_id,
    }
    return {name: value for name, value in found.items() if value}


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
