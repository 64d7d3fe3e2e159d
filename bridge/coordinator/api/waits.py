"""/v1/waits: register, list, show, result, cancel."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web

from bridge.coordinator.api.access import Client, Clients, Role
from bridge.coordinator.api.wire import answer, not_found, read_body, read_model, read_number, read_page
from bridge.coordinator.errors import Rejected
from bridge.coordinator.ledger import Ledger
from bridge.coordinator.registry import Registered, Registry
from bridge.coordinator.store import events, views
from bridge.coordinator.store.engine import Database
from bridge.core.api import (
    Links,
    ProgressView,
    RegisterRequest,
    ResultData,
    ResultPending,
    ResultView,
    TimelineEntry,
    WaitCreated,
    WaitList,
    WaitView,
)
from bridge.core.event import Event, Outcome
from bridge.core.problem import Problem, Slug
from bridge.core.resolution import outcome_summary
from bridge.core.sealed import hidden
from bridge.core.wait import Cancelled, State, Wait

_MAX_KEY_CHARACTERS = 255
_LONGEST_POLL_S = 60
_POLL_FIRST_S = 0.1
_POLL_MOST_S = 1.0


class WaitCalls:
    """The handlers of /v1/waits."""

    def __init__(self, db: Database, ledger: Ledger, registry: Registry, clients: Clients) -> None:
        self._db = db
        self._ledger = ledger
        self._registry = registry
        self._clients = clients

    async def register(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.REGISTER)
        key = _idempotency_key(request)
        body = await read_body(request)
        asked = read_model(RegisterRequest, body)
        made = await self._registry.register(asked, client.asker, idempotency_key=key, body=body)
        if _wants_text(request):
            return web.Response(text=made.callback_url + "\n", status=HTTPStatus.CREATED)
        return web.Response(body=_created(made).serialise(), status=HTTPStatus.CREATED, content_type="application/json")

    async def list(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.READ)
        query = request.query
        label = _label(query.get("label"))
        async with self._db.read() as tx:
            found, cursor = await views.list_waits(
                tx, client.scope, read_page(request), state=query.get("state"), target=query.get("target"), label=label
            )
            lines = await views.timelines(self._db, tx, [wait.id for wait in found])
        return answer(WaitList(items=tuple(wait_view(wait, lines[wait.id]) for wait in found), next_cursor=cursor))

    async def show(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.READ)
        async with self._db.read() as tx:
            wait = await views.get_wait(tx, client.scope, request.match_info["id"])
            if wait is None:
                raise not_found()
            lines = await views.timelines(self._db, tx, [wait.id])
        return answer(wait_view(wait, lines[wait.id]))

    async def result(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.READ)
        patience_s = read_number(request, "wait", default=0, lowest=0, highest=_LONGEST_POLL_S)
        wait, cause = await self._decided(client, request.match_info["id"], patience_s)
        if wait.state is State.CANCELLED:
            raise Rejected(Problem.of(Slug.CANCELLED, "The wait was taken back"))
        if wait.outcome is None:
            return answer(ResultPending(state=wait.state), status=HTTPStatus.ACCEPTED)
        return answer(result_view(wait.outcome, cause))

    async def _decided(self, client: Client, wait_id: str, patience_s: float) -> tuple[Wait, Event | None]:
        """Return the wait once it is no longer open, or as it is when patience ends."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience_s
        pause_s = _POLL_FIRST_S
        while True:
            async with self._db.read() as tx:
                wait = await views.get_wait(tx, client.scope, wait_id)
                if wait is None:
                    raise not_found()
                if wait.state is not State.OPEN or loop.time() >= end:
                    causes = await events.documents(self._db, tx, [wait.event_id] if wait.event_id else [])
                    return wait, causes.get(wait.event_id or "")
            await asyncio.sleep(min(pause_s, max(end - loop.time(), 0)))
            pause_s = min(pause_s * 2, _POLL_MOST_S)

    async def cancel(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.REGISTER)
        wait_id = request.match_info["id"]
        async with self._db.read() as tx:
            wait = await views.get_wait(tx, client.scope, wait_id)
        if wait is None:
            raise not_found()
        if wait.state is State.CANCELLED:
            return web.Response(status=HTTPStatus.NO_CONTENT)
        applied = await self._ledger.apply([(wait_id, Cancelled(client.name))])
        if applied[0].is_refused:
            raise Rejected(Problem.of(Slug.DECIDED, "The wait is decided already"))
        return web.Response(status=HTTPStatus.NO_CONTENT)


def _idempotency_key(request: web.Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is None or (0 < len(key) <= _MAX_KEY_CHARACTERS and key.isascii() and key.isprintable()):
        return key
    title = f"The header Idempotency-Key takes 1 to {_MAX_KEY_CHARACTERS} printable ASCII characters"
    raise Rejected(Problem.of(Slug.INVALID, title))


def _wants_text(request: web.Request) -> bool:
    return request.headers.get("Accept", "").partition(";")[0].strip().lower() == "text/plain"


def _label(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, _, value = text.partition(":")
    return name, value


def _created(made: Registered) -> WaitCreated:
    wait = made.wait
    return WaitCreated(
        id=wait.id,
        state=wait.state,
        callback_url=made.callback_url,
        expires_at=wait.expires_at,
        links=_links(wait.id),
    )


def _links(wait_id: str) -> Links:
    return Links(self=f"/v1/waits/{wait_id}", result=f"/v1/waits/{wait_id}/result")


def wait_view(wait: Wait, lines: Sequence[Any]) -> WaitView:
    """Return *wait* as the API shows it. lines: its timeline rows, oldest first."""
    progress = wait.progress
    return WaitView(
        id=wait.id,
        state=wait.state,
        outcome=wait.outcome,
        target=wait.target,
        address=hidden(wait.address),
        created_at=wait.created_at,
        expires_at=wait.expires_at,
        decided_at=wait.decided_at,
        reason=wait.reason,
        progress=ProgressView(percent=progress.percent, message=progress.message, url=progress.url),
        labels=dict(wait.labels),
        timeline=tuple(
            TimelineEntry(
                at=row.at, kind=row.kind, event=row.event, attempt=row.attempt, ending=row.ending, note=row.note
            )
            for row in lines
        ),
        links=_links(wait.id),
    )


def result_view(outcome: Outcome, cause: Event | None) -> ResultView:
    """Return the map that a pipeline gets, whatever the platform."""
    data = ResultData(
        outcome=outcome,
        summary=outcome_summary(outcome, cause),
        url=cause.data.url if cause else "",
        data=cause.data.body if cause else None,
    )
    return ResultView(outcome=outcome, data=data)
