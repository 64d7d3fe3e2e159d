"""From a resolution to the one result that is put. Nothing leaves here that AWS would refuse: texts are cut, the rest is checked.

Limits: AWS service model 2015-07-09; User Guide, "Quotas" (122,880 bytes of output variables).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from bridge.core.event import Outcome
from bridge.core.resolution import Resolution

GET_DETAILS = "GetJobDetails"
PUT_SUCCESS = "PutJobSuccessResult"
PUT_FAILURE = "PutJobFailureResult"

NO_JOB = "00000000-0000-0000-0000-000000000000"
"""Has the form of a job's id, and is none."""

MAX_SUMMARY = 2048
MAX_EXECUTION_ID = 1500
MAX_MESSAGE = 5000
MAX_VARIABLES_BYTES = 122_880

_NAME = re.compile(r"[A-Za-z0-9@\-_]+")


class FailureType(StrEnum):
    """What CodePipeline shows as the error's code."""

    JOB_FAILED = "JobFailed"
    CONFIGURATION_ERROR = "ConfigurationError"
    PERMISSION_ERROR = "PermissionError"
    REVISION_OUT_OF_SYNC = "RevisionOutOfSync"
    REVISION_UNAVAILABLE = "RevisionUnavailable"
    SYSTEM_UNAVAILABLE = "SystemUnavailable"


@dataclass(frozen=True, slots=True)
class Put:
    """One call that ends a job.

    unfit: why a failure is put in place of the success that was asked for; empty: it is what was asked for.
    """

    operation: str
    members: Mapping[str, Any]
    unfit: str = ""


class Unfit(ValueError):
    """Output variables that CodePipeline would refuse; the text names no value and no name of the sender's."""


def plan(job_id: str, resolution: Resolution, *, has_variables: bool = True) -> Put:
    """Return the one call that applies *resolution*; a success that cannot be put becomes a failure, so that nothing hangs.

    has_variables: False where the kind of job takes no output variables; what the remote sent of them is then left out.
    """
    fields = resolution.body if isinstance(resolution.body, dict) else {}
    if not resolution.succeeded:
        return _failure(job_id, resolution, fields)
    try:
        variables = output_variables(fields.get("output_variables")) if has_variables else {}
    except Unfit as fault:
        return substitute(job_id, str(fault))
    details = {
        "summary": cut(shown_summary(resolution, fields), MAX_SUMMARY),
        "percentComplete": 100,
        **_execution_id(fields),
    }
    more = {"outputVariables": variables} if variables else {}
    return Put(PUT_SUCCESS, {"jobId": job_id, "executionDetails": details, **more})


def substitute(job_id: str, reason: str) -> Put:
    """Return the failure that is put when the result itself cannot be."""
    message = cut(f"the result cannot be reported: {reason}", MAX_MESSAGE)
    details = {"type": FailureType.CONFIGURATION_ERROR.value, "message": message}
    return Put(PUT_FAILURE, {"jobId": job_id, "failureDetails": details}, unfit=reason)


def trial(operation: str) -> Mapping[str, Any]:
    """Return the members for an *operation* on no job: it can have no effect, and its answer tells who we are."""
    members: dict[str, Any] = {"jobId": NO_JOB}
    if operation.endswith("FailureResult"):
        message = "is this credential good?"
        members["failureDetails"] = {"type": FailureType.JOB_FAILED.value, "message": message}
    if "ThirdParty" in operation:
        members["clientToken"] = NO_JOB
    return members


def output_variables(value: Any) -> dict[str, str]:
    """Return *value* as names and texts; a form has it as JSON.

    Numbers, booleans, lists and objects become compact JSON; what is null is left out.

    Raises:
        Unfit: CodePipeline would refuse them.
    """
    if isinstance(value, str):
        value = _parsed(value)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unfit("output_variables: expected a JSON object")
    found = {name: _as_text(given) for name, given in value.items() if given is not None}
    if not all(_NAME.fullmatch(name) for name in found):
        raise Unfit('output_variables: a name may hold letters, digits, "@", "-" and "_" only')
    size = sum(len(name) + len(text.encode()) for name, text in found.items())
    if size > MAX_VARIABLES_BYTES:
        raise Unfit(f"output_variables: {size} bytes, of at most {MAX_VARIABLES_BYTES}")
    return found


def cut(text: str, most: int) -> str:
    """Return *text* in at most *most* UTF-16 units, so that it fits however its characters are counted."""
    units = text.encode("utf-16-le", "replace")
    if len(units) <= 2 * most:
        return units.decode("utf-16-le")
    return units[: 2 * (most - 1)].decode("utf-16-le", "ignore") + "…"


def _failure(job_id: str, resolution: Resolution, fields: Mapping[str, Any]) -> Put:
    given = fields.get("failure_type")
    kind = given if given in list(FailureType) else FailureType.JOB_FAILED.value
    details = {"type": kind, "message": cut(shown_summary(resolution, fields), MAX_MESSAGE), **_execution_id(fields)}
    return Put(PUT_FAILURE, {"jobId": job_id, "failureDetails": details})


def shown_summary(resolution: Resolution, fields: Mapping[str, Any]) -> str:
    """Return what is shown to people, never empty: the body has it whole, the event in one line."""
    said = _text(fields.get("summary")) or resolution.summary.strip()
    return said or ("timed out" if resolution.outcome is Outcome.TIMED_OUT else resolution.outcome.value)


def _execution_id(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the member that fills the action's link, or nothing: what an earlier result said then stays."""
    given = _text(fields.get("external_execution_id"))
    return {"externalExecutionId": cut(given, MAX_EXECUTION_ID)} if given else {}


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else ""


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _parsed(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Unfit("output_variables: expected a JSON object") from None
