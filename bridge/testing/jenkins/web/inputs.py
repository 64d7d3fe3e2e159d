"""Answering an input: proceed, proceedEmpty, submit, abort.

Contract: sections 1.1 to 1.4 of the Jenkins page; pipeline-input-step-plugin @ d2b888dfb50d (InputAction, InputStepExecution).
"""

from aiohttp import web

from bridge.testing.jenkins.model.builds import Build
from bridge.testing.jenkins.model.inputs import (
    Answer,
    InputExecution,
    abort_refusal,
    returned_by,
    returned_by_empty,
    submit_refusal,
)
from bridge.testing.jenkins.model.parameters import BadParameterError, Surroundings, parse_form
from bridge.testing.jenkins.web import pages
from bridge.testing.jenkins.web.visit import Visit

VERBS = frozenset({"proceed", "proceedEmpty", "submit", "abort"})


class RefusedError(Exception):
    """A `Failure`: 400 with this text as X-Error."""


class NoFormError(Exception):
    """There is no `json` field."""


def input_action(visit: Visit, build: Build, rest: list[str]) -> web.Response:
    """Answer a request below `{run}/input`: 404 both ways, 405, or the verb."""
    if not build.had_input:
        return pages.redirect_up()
    if not rest:
        return pages.laid_out(visit, "Paused for Input", "<p>Input</p>")
    execution = build.find(rest[0])
    if execution is None or len(rest) != 2 or rest[1] not in VERBS:  # noqa: PLR2004 - id and verb
        return pages.not_found(visit)
    if not visit.is_post:
        return pages.post_required(visit)
    return _try(visit, build, execution, rest[1])


def _try(visit: Visit, build: Build, execution: InputExecution, verb: str) -> web.Response:
    try:
        return _do(visit, build, execution, verb)
    except RefusedError as refused:
        return pages.failure(visit, str(refused))
    except BadParameterError:
        return pages.oops(visit)
    except NoFormError:
        return pages.no_form(visit, visit.world.switches.missing_json_status)


def _do(visit: Visit, build: Build, execution: InputExecution, verb: str) -> web.Response:
    match verb:
        case "proceedEmpty":
            proceed_empty(visit, build, execution)
        case "proceed":
            proceed(visit, build, execution, verb)
        case "abort":
            abort(visit, build, execution, verb)
        case _:
            return _submit(visit, build, execution)
    return pages.empty(200)


def _submit(visit: Visit, build: Build, execution: InputExecution) -> web.Response:
    """Proceed when a request parameter of that name was sent, else abort: a forgotten field ends the build."""
    if visit.form.parameter("proceed") is None:
        abort(visit, build, execution, "submit")
    else:
        proceed(visit, build, execution, "submit")
    if visit.world.switches.console_redirect == "relative":
        return pages.redirect(visit, "../../console")
    return pages.redirect(visit, f"{visit.context}/{build.path}/console")


def proceed(visit: Visit, build: Build, execution: InputExecution, verb: str) -> None:
    """Answer with the values in the form. Raises RefusedError, then NoFormError, then BadParameterError."""
    _check_submit(visit, build, execution)
    if visit.form.submitted is None:
        raise NoFormError
    values = parse_form(visit.form.submitted, execution.spec.parameters, _surroundings(visit, build))
    user = visit.user.name
    returned = returned_by(values, execution.spec, user)
    visit.world.answer(build, execution, Answer(verb, user, values=values, returned=returned))


def proceed_empty(visit: Visit, build: Build, execution: InputExecution) -> None:
    """Answer without values. Raises RefusedError."""
    _check_submit(visit, build, execution)
    user = visit.user.name
    shows_user = visit.world.switches.submitter_on_empty
    returned = returned_by_empty(execution.spec, user, submitter_on_empty=shows_user)
    visit.world.answer(build, execution, Answer("proceedEmpty", user, returned=returned))


def abort(visit: Visit, build: Build, execution: InputExecution, verb: str) -> None:
    """Reject the input. Raises RefusedError."""
    case_sensitive = visit.world.switches.submitter_case_sensitive
    refusal = abort_refusal(execution, visit.user, build.job, case_sensitive=case_sensitive)
    if refusal is not None:
        raise RefusedError(refusal)
    visit.world.answer(build, execution, Answer(verb, visit.user.name, is_abort=True))


def _check_submit(visit: Visit, build: Build, execution: InputExecution) -> None:
    case_sensitive = visit.world.switches.submitter_case_sensitive
    refusal = submit_refusal(execution, visit.user, build.job, case_sensitive=case_sensitive)
    if refusal is not None:
        raise RefusedError(refusal)


def _surroundings(visit: Visit, build: Build) -> Surroundings:
    world = visit.world
    return Surroundings(
        uploads=visit.form.uploads,
        run_exists=world.run_exists,
        unknown_boolean=world.switches.unknown_boolean,
        file_folder=f"/var/jenkins_home/{build.path}",
    )
