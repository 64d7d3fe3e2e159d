"""/v1/events: list, show, send."""

from http import HTTPStatus
from typing import Any

from aiohttp import web

from bridge.coordinator.api.access import Client, Clients, Role
from bridge.coordinator.api.wire import answer, not_found, read_body, read_model, read_page
from bridge.coordinator.errors import Rejected
from bridge.coordinator.store import views
from bridge.coordinator.store.engine import Database
from bridge.core.api import Accepted, EventDataView, EventList, EventSendRequest, EventVerdict, EventView
from bridge.core.event import Event, EventData
from bridge.core.ports import Broker, Clock, Outgoing
from bridge.core.problem import FieldError, Problem, Slug
from bridge.core.topology import to_events


class EventCalls:
    """The handlers of /v1/events."""

    def __init__(
        self, db: Database, broker: Broker, clients: Clients, *, sources: frozenset[str], clock: Clock
    ) -> None:
        self._db = db
        self._broker = broker
        self._clients = clients
        self._sources = sources
        self._clock = clock

    async def list(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.READ)
        query = request.query
        async with self._db.read() as tx:
            found = await views.list_events(
                tx, client.scope, read_page(request), source=query.get("source"), verdict=query.get("verdict")
            )
        items = tuple(event_view(row, has_body=False) for row in found.rows)
        return answer(EventList(items=items, next_cursor=found.next_cursor))

    async def show(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.READ)
        async with self._db.read() as tx:
            row = await views.get_event(tx, client.scope, request.match_info["id"])
            if row is None:
                raise not_found()
            given = await views.verdicts_of(tx, client.scope, row["id"])
        verdicts = tuple(EventVerdict(wait=wait, verdict=verdict) for wait, verdict in given)
        return answer(event_view(row, has_body=True).model_copy(update={"verdicts": verdicts}))

    async def send(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.OPERATE)
        asked = read_model(EventSendRequest, await read_body(request))
        self._check_source(asked.source, client)
        data = asked.data
        event = Event.new(
            source=asked.source,
            type=asked.type,
            time=self._clock.now(),
            subject=asked.subject,
            data=EventData(
                outcome=data.outcome,
                keys=data.keys,
                summary=data.summary,
                url=data.url,
                percent=data.percent,
                body=data.body,
                dedupe=(asked.id,) if asked.id else (),
            ),
        )
        await self._broker.publish(Outgoing(to_events(event), event.serialise(), correlation_id=event.id))
        return answer(Accepted(event=event.id), status=HTTPStatus.ACCEPTED)

    def _check_source(self, source: str, client: Client) -> None:
        visible = client.scope.sources
        if source in self._sources and (visible is None or source in visible):
            return
        wrong = FieldError(pointer="/source", detail="expected a configured source that this client may use")
        raise Rejected(Problem.of(Slug.INVALID, "The request is not valid", errors=[wrong]))


def event_view(row: Any, *, has_body: bool) -> EventView:
    """Return an event's row as the API shows it."""
    event = Event.parse(row["document"])
    data = event.data
    return EventView(
        id=event.id,
        source=event.source,
        type=event.type,
        time=event.time,
        subject=event.subject,
        data=EventDataView(
            outcome=data.outcome,
            keys=data.keys,
            summary=data.summary,
            url=data.url,
            percent=data.percent,
            body=data.body if has_body else None,
            files=data.files if has_body else None,
        ),
        verdict=row["verdict"],
    )
