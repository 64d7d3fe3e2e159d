"""Reader: lists and objects of API v2, every page of them, and what it means that one is not there."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Protocol

from bridge.consumers.circleci.listing import Job, P, PipelineState, Workflow, items_of, parse
from bridge.core.outcome import CredentialRefused, Health, Later, Refused
from bridge.core.request import Call, Reply, segment

MAX_PAGES = 100
JSON = {"Accept": "application/json"}

_ABSENT = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class Absent(Exception):
    """There is no such thing, or this token may not see it."""


class Sender(Protocol):
    """The consumer's Http."""

    async def send(self, call: Call) -> Reply: ...


class Reader:
    """Reads through *http*; *health* tells a token that sees nothing from what does not exist.

    Every call may raise:
        Absent: 404 and the like, with a good token.
        CredentialRefused: 403; or 404, and the token is bad.
        Later, HttpFault: whatever is not CircleCI's answer.
        Refused: a list without end.
    """

    def __init__(self, http: Sender, health: Callable[[], Awaitable[Health]]) -> None:
        self._http = http
        self._health = health

    async def jobs(self, workflow_id: str) -> list[Job]:
        return await self._list(Job, f"/workflow/{segment(workflow_id)}/job")

    async def workflow(self, workflow_id: str) -> Workflow:
        return parse(Workflow, await self._get(f"/workflow/{segment(workflow_id)}"))

    async def workflows(self, pipeline_id: str) -> list[Workflow]:
        return await self._list(Workflow, f"/pipeline/{segment(pipeline_id)}/workflow")

    async def pipeline(self, pipeline_id: str) -> PipelineState:
        return parse(PipelineState, await self._get(f"/pipeline/{segment(pipeline_id)}"))

    async def _list(self, kind: type[P], path: str) -> list[P]:
        """Return the items of all pages; a list that does not end is no reason to overlook something."""
        found: list[P] = []
        query: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = await self._get(path, query)
            found += [parse(kind, item) for item in items_of(page)]
            token = page.get("next_page_token")
            if not token:
                return found
            query = {"page-token": str(token)}
        raise Refused(f"the list of {kind.__name__.lower()}s has more than {MAX_PAGES} pages")

    async def _get(self, path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        """Return one JSON object."""
        reply = await self._http.send(Call.get(f"/api/v2{path}", query=query or {}, headers=JSON))
        if reply.status == HTTPStatus.FORBIDDEN:
            raise CredentialRefused(reply.status)
        if reply.status in _ABSENT and not query:
            await self._blame(reply.status)
        body = reply.json()
        if reply.status != HTTPStatus.OK or not isinstance(body, dict):
            raise Later(f"not CircleCI's answer ({reply.status})")
        return body

    async def _blame(self, status: int) -> None:
        """Tell what does not exist from a token that sees nothing: CircleCI answers 404 to both.

        Raises:
            Absent, CredentialRefused, Later: always one.
        """
        match await self._health():
            case Health.UP:
                raise Absent(f"CircleCI answered {status}, with a good token")
            case Health.CREDENTIAL:
                raise CredentialRefused(status)
            case Health.DOWN:
                raise Later(f"CircleCI answered {status}, and the health call failed")
