"""/v1/targets, /v1/queues and /v1/dead-letters: what operators look at and do."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from bridge.coordinator.api.access import Clients, Role
from bridge.coordinator.api.wire import answer, not_found, read_page
from bridge.coordinator.dead import DeadLetters
from bridge.coordinator.figures import Figures
from bridge.coordinator.pausing import Pausing
from bridge.coordinator.registry import Target
from bridge.coordinator.store import views
from bridge.coordinator.store.engine import Database
from bridge.core.api import DeadLetterList, DeadLetterView, QueueList, TargetList, TargetView
from bridge.core.sealed import hidden
from bridge.core.topology import TARGET_PREFIX


class OperationCalls:
    """The handlers."""

    def __init__(
        self,
        db: Database,
        clients: Clients,
        *,
        targets: Mapping[str, Target],
        dead: DeadLetters,
        figures: Figures,
        pausing: Pausing,
    ) -> None:
        self._db = db
        self._clients = clients
        self._targets = targets
        self._dead = dead
        self._figures = figures
        self._pausing = pausing

    async def list_targets(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.READ)
        async with self._db.read() as tx:
            counts = await views.target_counts(tx)
            paused = await views.paused_targets(tx)
        items = tuple(
            TargetView(
                name=name,
                consumer=target.settings.consumer,
                base_url=_base_url(target),
                paused=name in paused,
                waits=counts.get(name, {}),
            )
            for name, target in sorted(self._targets.items())
            if client.sees_target(name)
        )
        return answer(TargetList(items=items, next_cursor=None))

    async def pause(self, request: web.Request) -> web.Response:
        return await self._set_paused(request, is_paused=True)

    async def resume(self, request: web.Request) -> web.Response:
        return await self._set_paused(request, is_paused=False)

    async def _set_paused(self, request: web.Request, *, is_paused: bool) -> web.Response:
        client = self._clients.of(request, Role.OPERATE)
        name = request.match_info["name"]
        if name not in self._targets or not client.sees_target(name):
            raise not_found()
        await self._pausing.set(name, is_paused=is_paused)
        return web.Response(status=HTTPStatus.ACCEPTED)

    async def list_queues(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.READ)
        shown = await self._figures.queues()
        return answer(QueueList(items=tuple(queue for queue in shown if _sees_queue(client.sees_target, queue.name))))

    async def list_dead(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.READ)
        async with self._db.read() as tx:
            found = await views.list_dead(tx, client.scope, read_page(request))
        items = tuple(dead_view(row, has_body=False) for row in found.rows)
        return answer(DeadLetterList(items=items, next_cursor=found.next_cursor))

    async def show_dead(self, request: web.Request) -> web.Response:
        return answer(dead_view(await self._letter(request, Role.READ), has_body=True))

    async def replay(self, request: web.Request) -> web.Response:
        row = await self._letter(request, Role.OPERATE)
        await self._dead.replay(row, by=self._clients.of(request, Role.OPERATE).name)
        return web.Response(status=HTTPStatus.ACCEPTED)

    async def drop(self, request: web.Request) -> web.Response:
        row = await self._letter(request, Role.OPERATE)
        await self._dead.drop(row["id"])
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _letter(self, request: web.Request, role: Role) -> Any:
        client = self._clients.of(request, role)
        async with self._db.read() as tx:
            row = await views.get_dead(tx, client.scope, request.match_info["id"])
        if row is None:
            raise not_found()
        return row


def _base_url(target: Target) -> str | None:
    value = getattr(target.settings, "base_url", None)
    return str(value) if value is not None else None


def _sees_queue(sees_target: Any, name: str) -> bool:
    return not name.startswith(TARGET_PREFIX) or sees_target(name.removeprefix(TARGET_PREFIX))


def dead_view(row: Any, *, has_body: bool) -> DeadLetterView:
    """Return a dead letter's row as the API shows it."""
    return DeadLetterView(
        id=row["id"],
        queue=row["queue"],
        reason=row["reason"],
        dead_at=row["at"],
        attempt=row["attempt"],
        message_id=row["id"],
        target=row["target"],
        wait=row["wait_id"],
        dispatch=row["dispatch"],
        body=_shown(row["body"]) if has_body else None,
    )


def _shown(body: bytes) -> Any:
    try:
        return hidden(orjson.loads(body))
    except orjson.JSONDecodeError:
        return hidden(body.decode("utf-8", "replace"))
