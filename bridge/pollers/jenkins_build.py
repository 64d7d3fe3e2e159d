"""Jenkins build: starts a build of a job, or takes one that runs, and follows it to its result.

Contract: POST {job}/build                  201 Location: …/queue/item/{q}/ (also of an identical item already there)
          POST {job}/buildWithParameters    201; 303 merged into an identical item, with that item's Location
               302 nothing was queued; 409 disabled; 400 parameters expected or not; 500 an illegal value; 503 not up yet
          GET  /queue/item/{q}/api/json     200 {cancelled, executable{number} | null, why}; 404 five minutes after it left
          GET  {job}/api/json?tree=builds…  200 {builds[number, queueId]}: where an item that is forgotten is found again
          GET  {job}/{number}/api/json      200 {building, result}; a step may set the result while the build still runs
Source:   jenkinsci/jenkins @ ff9430ee1dc6 (2026-08; ParameterizedJobMixIn, Queue), workflow-job-plugin @ cef6baeff0cc, read
          in the code.

Of a Location only the number counts: its host may be an internal one. A 404 is surely Jenkins's own when it carries X-Jenkins;
any other leads to a search too, but ends nothing.
"""

import re
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from bridge.core.event import Frozen, Outcome
from bridge.core.paths import SEGMENT, check_segments
from bridge.core.poller import Again, Finished
from bridge.core.request import Call, Reply

RUN_TREE = "number,building,result,queueId,duration,url"
JOB_TREE = "builds[number,queueId]{0,100}"

_JOB = re.compile(f"job/{SEGMENT}(?:/job/{SEGMENT})*")
_ITEM = re.compile(r"/queue/item/([1-9][0-9]{0,17})/?$")
_STARTING = "Please wait while Jenkins"
_OUTCOMES = {"SUCCESS": Outcome.SUCCEEDED, "ABORTED": Outcome.CANCELLED, "NOT_BUILT": Outcome.CANCELLED}
_NOT_STARTED = {
    HTTPStatus.FOUND: "Jenkins put nothing into the queue",
    HTTPStatus.BAD_REQUEST: "the job takes parameters and none were given, or the other way round",
    HTTPStatus.NOT_FOUND: "there is no such job, or our user has no Job/Read on it",
    HTTPStatus.CONFLICT: "the job is disabled",
    HTTPStatus.INTERNAL_SERVER_ERROR: "the job does not take these parameters, or Jenkins failed",
}


def _job_path(path: str) -> str:
    path = path.strip("/")
    if not _JOB.fullmatch(path):
        raise ValueError("expected a job's path: job/<folder>/job/<name>, percent-encoded as in its URL")
    check_segments(path)
    return path


class BuildState(Frozen):
    """How far the build is. With `number` one that runs is followed, with `item` one that is queued."""

    job: Annotated[str, AfterValidator(_job_path)] = Field(
        max_length=2000, description="the job's path below the Jenkins: `job/loadtests/job/nightly`"
    )
    parameters: dict[str, str] | None = Field(
        default=None, description="of a job with parameters: may be empty, what is left out takes its default"
    )
    item: int | None = Field(default=None, ge=1, description="the queue item")
    number: int | None = Field(default=None, ge=1, description="the build")
    is_lost: bool = Field(
        default=False, description="it was not where it should be: the job's builds are looked through"
    )
    is_told: bool = Field(default=False, description="Jenkins itself said so, no proxy")


class JenkinsBuild:
    """Follows one build."""

    state_type = BuildState

    def plan(self, state: BuildState) -> Call:
        job = f"/{state.job}"
        match state:
            case BuildState(is_lost=True):
                return Call.get(f"{job}/api/json", query={"tree": JOB_TREE})
            case BuildState(number=int()):
                return Call.get(f"{job}/{state.number}/api/json", query={"tree": RUN_TREE})
            case BuildState(item=int()):
                return Call.get(f"/queue/item/{state.item}/api/json")
            case BuildState(parameters=None):
                return Call.post(f"{job}/build")
            case _:
                return Call.post(f"{job}/buildWithParameters", form=state.parameters)

    def read(self, reply: Reply, state: BuildState) -> Again[BuildState] | Finished:
        if state.item is None and state.number is None:
            return _triggered(reply, state)
        if reply.status == HTTPStatus.NOT_FOUND:
            return _missing(state, is_told="x-jenkins" in reply.headers)
        found = reply.json() if reply.is_success else None
        if not isinstance(found, dict):
            return Again(state, f"Jenkins answered {reply.status}", is_fault=True)
        if state.is_lost:
            return _sought(found, state)
        return _queued(found, state) if state.number is None else _built(found, state)


def _missing(state: BuildState, *, is_told: bool) -> Again[BuildState] | Finished:
    if not state.is_lost:
        return Again(state.model_copy(update={"is_lost": True, "is_told": is_told}))
    if is_told:
        return Finished(Outcome.FAILED, _NOT_STARTED[HTTPStatus.NOT_FOUND])
    return Again(state, "not Jenkins's answer (404)", is_fault=True)


def _triggered(reply: Reply, state: BuildState) -> Again[BuildState] | Finished:
    status = reply.status
    if status in (HTTPStatus.CREATED, HTTPStatus.SEE_OTHER):
        if item := _ITEM.search(reply.headers.get("location", "")):
            note = "merged into an item that was queued before" if status == HTTPStatus.SEE_OTHER else ""
            return Again(state.model_copy(update={"item": int(item[1])}), note)
        return Finished(Outcome.FAILED, "started, but Jenkins did not tell as what")
    is_starting = status == HTTPStatus.SERVICE_UNAVAILABLE and _STARTING in reply.text
    if is_starting or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
        return Again(state, f"Jenkins answered {status}", is_fault=True)  # before anything had an effect
    told = next((words for known, words in _NOT_STARTED.items() if known == status), None)
    return Finished(Outcome.FAILED, told or f"answered {status}: whether a build was started is not known")


def _queued(item: dict[str, Any], state: BuildState) -> Again[BuildState] | Finished:
    match item:
        case {"cancelled": True}:
            return Finished(Outcome.CANCELLED, "cancelled in the queue")
        case {"executable": {"number": int(number)}}:
            return Again(state.model_copy(update={"number": number}))
        case _:  # it waits, or it left a moment ago
            return Again(state, str(item.get("why") or ""))


def _sought(job: dict[str, Any], state: BuildState) -> Again[BuildState] | Finished:
    back = state.model_copy(update={"is_lost": False, "is_told": False})
    for build in job.get("builds") or ():
        match build:
            case {"number": int(number), "queueId": int(item)} if number == state.number or item == state.item:
                return Again(back.model_copy(update={"number": number}))
    if not state.is_told:
        return Again(back, "not Jenkins's answer (404)", is_fault=True)
    if state.number is not None:
        return Finished(Outcome.FAILED, f"build {state.number} was deleted")
    return Finished(Outcome.CANCELLED, "it left the queue and no build came of it")


def _built(run: dict[str, Any], state: BuildState) -> Again[BuildState] | Finished:
    match run:
        case {"building": False, "result": str(result)}:
            body = {"number": state.number, "result": result, "duration_ms": run.get("duration")}
            url = run.get("url")
            outcome = _OUTCOMES.get(result, Outcome.FAILED)
            return Finished(outcome, f"build {state.number}: {result}", url if isinstance(url, str) else "", body)
        case _:
            return Again(state, "building")
