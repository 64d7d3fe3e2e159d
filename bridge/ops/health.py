"""/healthz, /readyz and /metrics: open to all, and telling nothing that a label or a state does not."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import orjson
from aiohttp import web

from bridge.ops import metrics

Checks = Callable[[], Awaitable[dict[str, bool]]]
Refresh = Callable[[], Awaitable[None]]


class HealthCalls:
    """The handlers that every role serves.

    checks: this process's own connections and consumers, by name.
    refresh: brings figures up to date that are read only when asked for.
    """

    def __init__(self, checks: Checks, refresh: Refresh) -> None:
        self._checks = checks
        self._refresh = refresh

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self.alive),
            web.get("/readyz", self.ready),
            web.get("/metrics", self.metrics),
        ]

    async def alive(self, _request: web.Request) -> web.Response:
        return _json({"status": "alive"}, HTTPStatus.OK)

    async def ready(self, _request: web.Request) -> web.Response:
        checks = await self._checks()
        is_ready = all(checks.values())
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json({"status": "ready" if is_ready else "not ready", "checks": checks}, status)

    async def metrics(self, _request: web.Request) -> web.Response:
        await self._refresh()
        return web.Response(body=metrics.render(), headers={"Content-Type": metrics.CONTENT_TYPE})


def _json(document: object, status: HTTPStatus) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")
