"""Starting a job: build, buildWithParameters.

Contract: section 4 of the Jenkins page; jenkins core @ ff9430ee1dc6 (ParameterizedJobMixIn, ParametersDefinitionProperty).
"""

import re
from http import HTTPStatus

from aiohttp import web

from bridge.testing.jenkins.model.accounts import BUILD
from bridge.testing.jenkins.model.jobs import Job
from bridge.testing.jenkins.model.parameters import BadParameterError, Surroundings, parse_form, trigger_values
from bridge.testing.jenkins.model.world import Triggered
from bridge.testing.jenkins.web import pages
from bridge.testing.jenkins.web.visit import Visit

_DELAY = re.compile(r"(\d+)(?:secs?)?")


def build(visit: Visit, job: Job) -> web.Response:
    """Start a job; one with parameters takes them from the form field `json` only."""
    refusal = _refusal(visit, job)
    if refusal is not None:
        return refusal
    try:
        if not job.spec.parameters:
            return _answer(visit, job, visit.world.trigger(job, {}, _delay(visit)), merged_status=HTTPStatus.CREATED)
        if visit.form.submitted is None:
            return pages.container_error(visit, 400, visit.form.refusal)
        values = parse_form(visit.form.submitted, job.spec.parameters, _surroundings(visit))
        return _answer(visit, job, visit.world.trigger(job, values, _delay(visit)), merged_status=HTTPStatus.FOUND)
    except BadParameterError:
        return pages.oops(visit)


def build_with_parameters(visit: Visit, job: Job) -> web.Response:
    """Start a job with the request's parameters, defaults for those left out."""
    refusal = _refusal(visit, job)
    if refusal is not None:
        return refusal
    if not job.spec.parameters:
        return pages.container_error(visit, 400, f"{job.full_name} is not parameterized")
    given = {**visit.form.parameters, **{name: (value,) for name, value in visit.form.fields.items()}}
    try:
        values = trigger_values(job.spec.parameters, given)
        return _answer(visit, job, visit.world.trigger(job, values, _delay(visit)), merged_status=HTTPStatus.SEE_OTHER)
    except BadParameterError:
        return pages.oops(visit)


def _refusal(visit: Visit, job: Job) -> web.Response | None:
    if not visit.is_post:
        return pages.post_required(visit)
    if job.spec.disabled:
        return pages.container_error(visit, 409, f"{job.full_name} is not buildable")
    token = visit.form.parameter("token")
    if job.spec.trigger_token is not None and token is not None:
        is_right = token == job.spec.trigger_token
        return None if is_right else pages.container_error(visit, 403, "Invalid token provided.")
    return None if visit.user.may(BUILD, job.full_name) else pages.forbidden(visit, BUILD)


def _answer(visit: Visit, job: Job, triggered: Triggered, *, merged_status: int) -> web.Response:
    """Answer with the item's place; with the job's page when there is no item to name."""
    item = triggered.item
    if item is None or (triggered.is_merged and merged_status == HTTPStatus.FOUND):
        return pages.redirect(visit, f"{visit.context}/{job.path}/")
    status = merged_status if triggered.is_merged else HTTPStatus.CREATED
    return pages.redirect(visit, f"{visit.context}/queue/item/{item.id}/", status=status)


def _delay(visit: Visit) -> float | None:
    """Return the asked quiet period in seconds. Raises BadParameterError."""
    given = visit.form.parameter("delay")
    if given is None:
        return None
    found = _DELAY.fullmatch(given)
    if found is None:
        raise BadParameterError("not a delay")
    return float(found[1])


def _surroundings(visit: Visit) -> Surroundings:
    world = visit.world
    return Surroundings(visit.form.uploads, world.run_exists, world.switches.unknown_boolean, "/var/jenkins_home")
