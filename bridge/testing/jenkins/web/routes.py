"""From the segments of a path to what stands there: the root, jobs, runs.

A job without Job/Read is not there (404), unless Job/Discover shows that it is (403).
"""

from aiohttp import web

from bridge.testing.jenkins.model.accounts import CANCEL, DISCOVER, READ
from bridge.testing.jenkins.model.builds import Build, ExecutionsLoadingError
from bridge.testing.jenkins.model.jobs import Job, Names, path_of
from bridge.testing.jenkins.web import beans, inputs, pages, queue_routes, triggers, wfapi
from bridge.testing.jenkins.web.export import BadTreeError
from bridge.testing.jenkins.web.visit import Visit

API = ["api", "json"]


async def route(visit: Visit) -> web.Response:
    """Answer a request that passed all filters; it waits for executions that are still loading, up to the block."""
    try:
        return _route(visit)
    except ExecutionsLoadingError as loading:
        build, seconds = loading.build, visit.world.switches.loading_block_s
        is_loaded = await visit.wait(lambda: build.executions != "loading", seconds)
        return _route(visit) if is_loaded else pages.oops(visit)


def _route(visit: Visit) -> web.Response:
    try:
        return _root(visit, visit.segments)
    except BadTreeError as unreadable:
        return pages.container_error(visit, 400, str(unreadable))


def _root(visit: Visit, rest: list[str]) -> web.Response:
    match rest:
        case ["job", _, *_]:
            return _item(visit, rest)
        case ["queue", *below]:
            return queue_routes.queue(visit, below)
        case ["crumbIssuer", "api", "json"]:
            return _crumb(visit)
        case [] | ["login"]:
            return pages.laid_out(visit, "Dashboard", "<p>Jenkins</p>")
        case [*place, "api", "json"]:
            return _about(visit, place)
    return pages.not_found(visit)


def _about(visit: Visit, place: list[str]) -> web.Response:
    """Answer for this Jenkins as a whole, and for who the caller is."""
    if place == []:
        return pages.api(visit, beans.root_bean(visit.world, visit.user, visit.root_url))
    if place == ["whoAmI"]:
        return pages.api(visit, beans.who_am_i_bean(visit.user))
    return pages.not_found(visit)


def _crumb(visit: Visit) -> web.Response:
    """Give out a crumb for this user and session; without a session one is opened, and its cookie set."""
    world = visit.world
    if not world.switches.csrf:
        return pages.not_found(visit)
    if visit.form.parameter("jsonp") is not None:
        return pages.container_error(visit, 403, "jsonp forbidden; implement jenkins.security.SecureRequester")
    session = visit.session
    if session is None:
        name = None if visit.user.is_anonymous else visit.user.name
        session = visit.opened = world.security.open_session(world.clock(), name)
    ip = visit.client_ip if world.switches.crumb_with_client_ip else ""
    crumb = world.security.crumb(visit.user.name, session, ip)
    return pages.api(visit, beans.crumb_bean(world.switches.crumb_field, crumb))


def _item(visit: Visit, rest: list[str]) -> web.Response:
    """Walk down folders to a job, asking for permission at each."""
    names: Names = ()
    while len(rest) > 1 and rest[0] == "job":
        names, rest = (*names, rest[1]), rest[2:]
        if names not in visit.world.jobs and not visit.world.is_folder(names):
            return pages.not_found(visit)
        full_name = "/".join(names)
        if not visit.user.may(READ, full_name):
            hidden = not visit.user.may(DISCOVER, full_name)
            return pages.not_found(visit) if hidden else pages.forbidden(visit, READ)
    job = visit.world.jobs.get(names)
    return _folder(visit, names, rest) if job is None else _job(visit, job, rest)


def _folder(visit: Visit, names: Names, rest: list[str]) -> web.Response:
    if rest == API:
        return pages.api(visit, beans.folder_bean(visit.world, names, visit.root_url))
    return pages.not_found(visit) if rest else pages.laid_out(visit, path_of(names), "<p>Folder</p>")


def _job(visit: Visit, job: Job, rest: list[str]) -> web.Response:
    match rest:
        case []:
            return pages.laid_out(visit, job.full_name, "<p>Pipeline</p>")
        case ["api", "json"]:
            return pages.api(visit, beans.job_bean(job, visit.root_url))
        case ["build"]:
            return triggers.build(visit, job)
        case ["buildWithParameters"]:
            return triggers.build_with_parameters(visit, job)
        case [name, *below]:
            build = _find_build(job, name)
            return pages.not_found(visit) if build is None else _run(visit, build, below)
    return pages.not_found(visit)


def _find_build(job: Job, name: str) -> Build | None:
    if name == "lastBuild":
        return job.builds[max(job.builds)] if job.builds else None
    return job.builds.get(int(name)) if name.isascii() and name.isdigit() else None


def _run(visit: Visit, build: Build, rest: list[str]) -> web.Response:
    match rest:
        case [] | ["console"]:
            return pages.laid_out(visit, f"{build.job} #{build.number}", "<p>Run</p>")
        case ["api", "json"]:
            return pages.api(visit, beans.run_bean(build, visit.root_url))
        case ["stop" | "term" | "kill" as verb]:
            return _stop(visit, build, verb)
        case ["input", *below]:
            return inputs.input_action(visit, build, below)
        case ["wfapi", *below] if visit.world.switches.pipeline_rest_api:
            return wfapi.wfapi(visit, build, below)
        case _:
            return pages.redirect_up()


def _stop(visit: Visit, build: Build, verb: str) -> web.Response:
    if not visit.is_post:
        return pages.post_required(visit)
    if not visit.user.may(CANCEL, build.job):
        return pages.forbidden(visit, CANCEL)
    if verb == "stop":
        build.stop()
    else:
        build.kill(visit.world.clock())
    return pages.redirect(visit, f"{visit.context}/{build.path}/")
