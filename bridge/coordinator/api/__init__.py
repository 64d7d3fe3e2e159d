"""The HTTP API under /v1, its description, and the status page."""

from dataclasses import dataclass

from aiohttp import web

from bridge.coordinator.api.events import EventCalls
from bridge.coordinator.api.openapi import openapi_document
from bridge.coordinator.api.operations import OperationCalls
from bridge.coordinator.api.status import StatusPage
from bridge.coordinator.api.third_party import ThirdPartyCalls
from bridge.coordinator.api.waits import WaitCalls
from bridge.coordinator.api.wire import Handler, guarded


@dataclass(frozen=True, slots=True)
class Api:
    """Every handler that a coordinator serves."""

    waits: WaitCalls
    events: EventCalls
    operations: OperationCalls
    third_party: ThirdPartyCalls
    status: StatusPage

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, each with refusals and outages answered as problems."""
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/v1/waits", self.waits.register),
            ("GET", "/v1/waits", self.waits.list),
            ("GET", "/v1/waits/{id}", self.waits.show),
            ("DELETE", "/v1/waits/{id}", self.waits.cancel),
            ("GET", "/v1/waits/{id}/result", self.waits.result),
            ("GET", "/v1/events", self.events.list),
            ("POST", "/v1/events", self.events.send),
            ("GET", "/v1/events/{id}", self.events.show),
            ("GET", "/v1/targets", self.operations.list_targets),
            ("POST", "/v1/targets/{name}/pause", self.operations.pause),
            ("POST", "/v1/targets/{name}/resume", self.operations.resume),
            ("GET", "/v1/queues", self.operations.list_queues),
            ("GET", "/v1/dead-letters", self.operations.list_dead),
            ("GET", "/v1/dead-letters/{id}", self.operations.show_dead),
            ("POST", "/v1/dead-letters/{id}/replay", self.operations.replay),
            ("DELETE", "/v1/dead-letters/{id}", self.operations.drop),
            ("PUT", "/v1/third-party-clients/{client_id}", self.third_party.put),
            ("DELETE", "/v1/third-party-clients/{client_id}", self.third_party.drop),
            ("GET", "/", self.status.show),
        ]
        described = web.get("/openapi.json", _openapi)
        return [*(web.route(method, path, guarded(handler)) for method, path, handler in table), described]


async def _openapi(_request: web.Request) -> web.Response:
    return web.Response(body=openapi_document(), content_type="application/json")
