"""The API as the command line calls it: standard library only, no redirect is followed, the token is never shown."""

import json
import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import typer

from bridge.cli.output import fail

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx. text: the body as it came; JSON where the API says so."""

    status: int
    text: str

    def json(self) -> Any:
        """Return the parsed body; a server that is not the bridge ends the command with 1."""
        try:
            return json.loads(self.text)
        except json.JSONDecodeError:
            fail("the answer is no JSON: is this the API of a bridge?")


@dataclass(frozen=True, slots=True)
class Api:
    """One server. Every failure is told on standard error and ends the command with 1."""

    url: str
    token: str = field(default_factory=lambda: os.environ.get("BRIDGE_TOKEN", ""), repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise typer.BadParameter("expected http://host:port or https://host", param_hint="--url")

    def get(self, path: str, **query: Any) -> Answer:
        """Send a GET; query values that are None or empty are left out, a list is repeated."""
        given = {name: value for name, value in query.items() if value not in (None, "", [])}
        return self.send("GET", f"{path}?{urlencode(given, doseq=True)}" if given else path)

    def send(self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Answer:
        """Send one call below the server's URL and return its 2xx."""
        data = None if body is None else json.dumps(body).encode()
        sent = self._headers(has_body=body is not None) | (headers or {})
        return _exchange(self.url.rstrip("/") + path, method, data, sent)

    def _headers(self, *, has_body: bool) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if has_body:
            headers["Content-Type"] = "application/json"
        return headers


def _exchange(url: str, method: str, data: bytes | None, headers: dict[str, str]) -> Answer:
    """Send one call and return its 2xx. The token goes to the named server and to no other: a redirect is a refusal."""
    from http.client import HTTPException  # noqa: PLC0415 - help and version do not load it
    from urllib.error import HTTPError, URLError  # noqa: PLC0415
    from urllib.request import HTTPRedirectHandler, Request, build_opener  # noqa: PLC0415

    class NoRedirect(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    request = Request(url, method=method, data=data, headers=headers)  # noqa: S310 - the scheme is checked before
    try:
        with build_opener(NoRedirect).open(request, timeout=TIMEOUT_S) as reply:
            return Answer(reply.status, reply.read().decode())
    except HTTPError as exc:
        with exc:
            fail(*_refusal(exc.code, exc.read()))
    except (URLError, HTTPException, OSError) as exc:
        fail(f"{_shown(url)} did not answer: {getattr(exc, 'reason', None) or exc}")
    except UnicodeDecodeError:
        fail("the answer is no text: is this the API of a bridge?")


def path(*parts: str) -> str:
    """Return `/v1/…` with every part as one segment."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _shown(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _refusal(status: int, body: bytes) -> list[str]:
    """Return what a refused call tells people: title, fields, the other wait."""
    try:
        problem = json.loads(body)
        slug = str(problem["type"]).rpartition("/")[2]
        lines = [f"refused: {problem['title']} ({status} {slug})"]
        lines += [f"  {error['pointer'] or '/'}: {error['detail']}" for error in problem.get("errors") or []]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"refused: the server answered {status}"]
    if problem.get("wait"):
        lines.append(f"  wait: {problem['wait']}")
    if status == 401:  # noqa: PLR2004 - the one status with an advice
        lines.append("  set BRIDGE_TOKEN to the token of one of the server's [clients]")
    return lines
