"""The pages and error shapes of Jenkins and its container.

Contract: section 0 of the Jenkins page, the table of error shapes. Only laid-out pages and `api/*` carry `X-Jenkins`.
"""

from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import orjson
from aiohttp import web

from bridge.testing.jenkins.model.world import Phase, World
from bridge.testing.jenkins.web.export import BadTreeError, Bean, export
from bridge.testing.jenkins.web.visit import Visit

_LOADING = {
    Phase.STARTING: "Please wait while Jenkins is getting ready to work ...",
    Phase.RESTARTING: "Please wait while Jenkins is restarting ...",
}


def html(text: str, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(text=text, status=status, headers=headers, content_type="text/html", charset="utf-8")


def identity(world: World) -> dict[str, str]:
    return {"X-Jenkins": world.switches.version, "X-Jenkins-Session": world.session}


def laid_out(
    visit: Visit, title: str, body: str, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return a page in Jenkins's layout."""
    text = f"<!DOCTYPE html><html><head><title>{escape(title)} - Jenkins</title></head><body>{body}</body></html>"
    return html(text, status=status, headers={**identity(visit.world), **(headers or {})})


def empty(status: int = 200) -> web.Response:
    """Return an answer without body and without content type."""
    return web.Response(status=status)


def redirect(visit: Visit, location: str, *, status: int = 302) -> web.Response:
    """Return a redirect; *location* is absolute, or a path that begins with the context path."""
    target = visit.base + location if location.startswith("/") else location
    response = empty(status)
    response.headers["Location"] = target
    return response


def failure(visit: Visit, message: str) -> web.Response:
    """A `hudson.model.Failure`: 400 with X-Error."""
    headers = {"X-Error": message}
    return laid_out(visit, "Error", f"<h1>Error</h1><p>{escape(message)}</p>", status=400, headers=headers)


def container_error(visit: Visit, status: int, message: str) -> web.Response:
    """The container's own page for sendError."""
    path = visit.path
    if visit.world.switches.json_error_pages and "application/json" in visit.request.headers.get("Accept", ""):
        shown = {"url": path, "status": str(status), "message": message, "servlet": "Stapler"}
        return web.Response(body=orjson.dumps(shown), status=status, content_type="application/json")
    rows = {"URI": path, "STATUS": str(status), "MESSAGE": message, "SERVLET": "Stapler"}
    table = "".join(f"<tr><th>{name}:</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    title = f"HTTP ERROR {status} {escape(message)}"
    return html(
        f"<html><head><title>Error {status} {escape(message)}</title></head><body><h2>{title}</h2><table>{table}</table></body></html>",
        status=status,
    )


def oops(visit: Visit) -> web.Response:
    """Nobody caught it: 500; what went wrong stays hidden."""
    body = f"<h1>Oops!</h1><p>A problem occurred while processing the request</p><p>Logging ID={uuid4()}</p>"
    return laid_out(visit, "Jenkins", body, status=500)


def no_form(visit: Visit, status: int) -> web.Response:
    """There is no `json` field: a container page, or the Oops page where the exception wins."""
    is_oops = status == HTTPStatus.INTERNAL_SERVER_ERROR
    return oops(visit) if is_oops else container_error(visit, status, visit.form.refusal)


def redirect_up() -> web.Response:
    """The build lacks that action."""
    page = (
        "<html><head><meta http-equiv='refresh' content='1;url=..'/></head>"
        "<body style='background-color:white; color:white;'>\nNot found\n</body></html>"
    )
    return html(page, status=404)


def not_found(visit: Visit) -> web.Response:
    """Stapler found nothing."""
    return laid_out(visit, "Not found", "<h1>Oops!</h1><p>Not Found</p>", status=404)


def post_required(visit: Visit) -> web.Response:
    body = "<p>This URL requires POST</p><form method='POST'><input type='submit' value='Try POSTing'/></form>"
    return laid_out(visit, "Method Not Allowed", body, status=405, headers={"Allow": "POST"})


def semicolon() -> web.Response:
    message = "Semicolons are not allowed in the request URI"
    return html(f"<html><body><h2>HTTP ERROR 400 {message}</h2></body></html>", status=400)


def unavailable(phase: Phase) -> web.Response:
    headers = {"Cache-Control": "no-cache,no-store,must-revalidate"}
    page = f"<!DOCTYPE html><html><head><title>Starting Jenkins</title></head><body><h1>{_LOADING[phase]}</h1></body></html>"
    return html(page, status=503, headers=headers)


def unauthorized(visit: Visit) -> web.Response:
    response = container_error(visit, HTTPStatus.UNAUTHORIZED, "Invalid password/token for user")
    response.headers["WWW-Authenticate"] = 'Basic realm="Jenkins"'
    return response


def forbidden(visit: Visit, permission: str) -> web.Response:
    """The user lacks *permission*: a page that asks an anonymous one to log in, never a redirect."""
    headers = {
        "X-You-Are-Authenticated-As": visit.user.name,
        "X-Required-Permission": f"hudson.model.{permission.replace('/', '.')}",
        "X-Permission-Implied-By": "hudson.model.Hudson.Administer",
    }
    if not visit.user.is_anonymous:
        message = f"{visit.user.name} is missing the {permission} permission"
        return html(
            f"<html><body><h1>Access Denied</h1><p>{escape(message)}</p></body></html>", status=403, headers=headers
        )
    if visit.request.headers.get("X-Requested-With") == "XMLHttpRequest":
        return empty(403)
    login = f"{visit.context}/login?from={quote(visit.path, safe='')}"
    page = (
        f"<html><head><meta http-equiv='refresh' content='1;url={login}'/></head>"
        "<body style='background-color:white; color:white;'>Authentication required</body></html>"
    )
    return html(page, status=403, headers={**identity(visit.world), **headers})


def api(visit: Visit, bean: Bean) -> web.Response:
    """Return *bean* as `api/json` shows it. Raises export.BadTreeError for a tree or depth that cannot be read."""
    depth = visit.form.parameter("depth") or "0"
    if not (depth.isascii() and depth.isdigit()):
        raise BadTreeError("depth is a number")
    shown = export(bean, tree=visit.form.parameter("tree"), depth=int(depth))
    return web.Response(body=orjson.dumps(shown), headers=identity(visit.world), content_type="application/json")


def served_json(value: Any, *, status: int = 200) -> web.Response:
    """Return JSON as `wfapi` does, without X-Jenkins."""
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json", charset="utf-8")
