"""The plugin pipeline-rest-api: listing pending inputs, and a way to answer them whose every refusal is 500.

Contract: sections 1.5 and 2 of the Jenkins page; pipeline-stage-view-plugin @ 14b139ad0447 (RunAPI).
"""

from http import HTTPStatus
from typing import Any

from aiohttp import web

from bridge.testing.jenkins.model.builds import Build
from bridge.testing.jenkins.model.inputs import InputExecution
from bridge.testing.jenkins.model.parameters import BadParameterError
from bridge.testing.jenkins.model.script import Parameter
from bridge.testing.jenkins.web import pages
from bridge.testing.jenkins.web.beans import milliseconds, short_type
from bridge.testing.jenkins.web.inputs import NoFormError, RefusedError, proceed
from bridge.testing.jenkins.web.visit import Visit

_STATUS = {
    "SUCCESS": "SUCCESS",
    "UNSTABLE": "UNSTABLE",
    "FAILURE": "FAILED",
    "NOT_BUILT": "NOT_EXECUTED",
    "ABORTED": "ABORTED",
}


def wfapi(visit: Visit, build: Build, rest: list[str]) -> web.Response:
    """Answer a request below `{run}/wfapi`."""
    match rest:
        case [] | ["describe"]:
            return pages.served_json(_describe(visit, build))
        case ["pendingInputActions"]:
            return pages.served_json([_action(visit, build, each) for each in build.listing()])
        case ["nextPendingInputAction"]:
            pending = build.listing()
            return pages.served_json(_action(visit, build, pending[0]) if pending else None)
        case ["inputSubmit"]:
            return _input_submit(visit, build)
        case _:
            return pages.not_found(visit)


def _input_submit(visit: Visit, build: Build) -> web.Response:
    switches = visit.world.switches
    if not visit.is_post:
        is_oops = int(switches.wfapi_get_status) == HTTPStatus.INTERNAL_SERVER_ERROR
        return pages.oops(visit) if is_oops else pages.post_required(visit)
    execution = build.find(visit.form.parameter("inputId") or "")
    if execution is None:
        return pages.oops(visit)
    try:
        proceed(visit, build, execution, "inputSubmit")
    except (RefusedError, BadParameterError):
        return pages.oops(visit)
    except NoFormError:
        return pages.no_form(visit, switches.wfapi_missing_json_status)
    return pages.served_json(None)


def _describe(visit: Visit, build: Build) -> dict[str, Any]:
    path = f"{visit.context}/{build.path}"
    is_paused = build.in_progress and bool(build.listing())
    links = {"self": {"href": f"{path}/wfapi/describe"}}
    if is_paused:
        links["pendingInputActions"] = {"href": f"{path}/wfapi/pendingInputActions"}
    end = build.finished_at if build.finished_at is not None else visit.world.clock()
    return {
        "_links": links,
        "id": str(build.number),
        "name": f"#{build.number}",
        "status": _status(build, is_paused=is_paused),
        "startTimeMillis": milliseconds(build.started_at),
        "endTimeMillis": milliseconds(end),
        "durationMillis": milliseconds(end - build.started_at),
        "stages": [],
    }


def _status(build: Build, *, is_paused: bool) -> str:
    if build.in_progress:
        return "PAUSED_PENDING_INPUT" if is_paused else "IN_PROGRESS"
    return _STATUS[build.result or "NOT_BUILT"]


def _action(visit: Visit, build: Build, execution: InputExecution) -> dict[str, Any]:
    path = f"{visit.context}/{build.path}"
    return {
        "id": execution.id,
        "proceedText": execution.spec.ok,
        "message": execution.spec.message,
        "inputs": [_parameter(each) for each in execution.spec.parameters],
        "proceedUrl": f"{path}/wfapi/inputSubmit?inputId={execution.id}",
        "abortUrl": f"{path}/input/{execution.id}/abort",
        "redirectApprovalUrl": f"{path}/input/",
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    """Show one parameter; the default of a password is shown too."""
    definition: dict[str, Any] = {}
    if parameter.default is not None:
        definition["defaultVal"] = parameter.default
    if parameter.choices:
        definition["choices"] = list(parameter.choices)
    shown: dict[str, Any] = {"type": short_type(parameter), "name": parameter.name}
    if parameter.description:
        shown["description"] = parameter.description
    return {**shown, "definition": definition}
