"""The filters in front of every route; their order decides which error is seen first.

Contract: sections 0 and 3 of the Jenkins page: semicolons, start-up, authentication, crumb, Overall/Read.
"""

import hmac
from base64 import b64decode
from binascii import Error as BadBase64

from aiohttp import web

from bridge.testing.jenkins.model.accounts import OVERALL_READ, Session
from bridge.testing.jenkins.model.world import Phase, World
from bridge.testing.jenkins.web import pages
from bridge.testing.jenkins.web.routes import route
from bridge.testing.jenkins.web.visit import Visit, Wait

NO_CRUMB = "No valid crumb was included in the request"


async def handle(request: web.Request, world: World, context: str, wait: Wait) -> web.Response:
    """Answer one request to this Jenkins."""
    visit = Visit(request, world, context, world.security.anonymous, wait)
    if visit.path != context and not visit.path.startswith(context + "/"):
        return pages.container_error(visit, 404, "Not Found")
    if ";" in visit.path:
        return pages.semicolon()
    phase = world.phase_for_request()
    if phase is not Phase.UP:
        return pages.unavailable(phase)
    world.advance()
    if not _authenticate(visit):
        return pages.unauthorized(visit)
    await visit.read()
    response = await _behind_authentication(visit)
    world.advance()
    response.headers["X-Content-Type-Options"] = "nosniff"
    if visit.opened is not None:
        path = context or "/"
        response.set_cookie(world.security.cookie_name, visit.opened.id, path=path, httponly=True)
    return response


async def _behind_authentication(visit: Visit) -> web.Response:
    if visit.is_post and not visit.by_token and not _has_crumb(visit):
        return pages.container_error(visit, 403, NO_CRUMB)
    if not visit.user.may(OVERALL_READ) and not _is_open(visit):
        return pages.forbidden(visit, OVERALL_READ)
    return await route(visit)


def _is_open(visit: Visit) -> bool:
    place = visit.segments[:1]
    return place == ["login"] or (place == ["whoAmI"] and visit.world.switches.who_am_i_open)


def _authenticate(visit: Visit) -> bool:
    """Find the user; False for Basic credentials that are wrong or malformed. Other schemes are none of Jenkins's."""
    world = visit.world
    cookie = visit.request.cookies.get(world.security.cookie_name)
    visit.session = world.security.session(cookie, world.clock(), world.switches.session_idle_s)
    if visit.session is not None and visit.session.user is not None:
        visit.user = world.security.user_of(visit.session.user)
    header = "" if world.switches.strips_authorization else visit.request.headers.get("Authorization", "")
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return True
    name, secret = _basic(encoded)
    if world.switches.session_beats_basic and _is_logged_in(visit.session, name):
        return True
    checked = world.security.check(name, secret)
    if checked is None:
        return False
    visit.user, visit.by_token = checked
    if visit.session is not None:
        visit.session.user = visit.user.name
    return True


def _is_logged_in(session: Session | None, name: str) -> bool:
    return session is not None and session.user == name


def _basic(encoded: str) -> tuple[str, str]:
    """Return name and secret; what is malformed gives a name that nobody has, or an empty secret."""
    try:
        name, _, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (BadBase64, UnicodeDecodeError):
        return "", ""
    return name, secret


def _has_crumb(visit: Visit) -> bool:
    """Say whether the crumb is in a header or a parameter; the parts of a multipart body are not seen here."""
    switches = visit.world.switches
    if not switches.csrf:
        return True
    given = visit.request.headers.get(switches.crumb_field) or visit.form.parameter(switches.crumb_field)
    if not given or visit.session is None:
        return False
    ip = visit.client_ip if switches.crumb_with_client_ip else ""
    wanted = visit.world.security.crumb(visit.user.name, visit.session, ip)
    return hmac.compare_digest(wanted.encode(), given.encode())
