"""An Acme CI for tests, written from the contract in acme_ci.py: gates are opened by a test and decided over HTTP."""

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bridge.testing.emulator import Emulator, Handler, json_response

TOKEN = "acme-token"  # noqa: S105 - the emulator's own


@dataclass
class Gate:
    """One gate, and the decisions that were applied to it: more than one is a second effect."""

    state: str = "waiting"
    decisions: list[dict[str, Any]] = field(default_factory=list)


class AcmeEmulator(Emulator):
    """Acme CI: gates that wait for one decision."""

    name = "acme"

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[str, Gate] = {}
        self.token = TOKEN

    def open_gate(self, name: str) -> Gate:
        """Let a pipeline reach its gate."""
        return self.gates.setdefault(name, Gate())

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v2/me", self._signed(self._me)),
            web.get("/v2/gates/{gate}", self._signed(self._show)),
            web.post("/v2/gates/{gate}/decision", self._signed(self._decide)),
        ]

    def _signed(self, handler: Handler) -> Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") != f"Bearer {self.token}":
                return json_response({"error": "unauthorized"}, status=401)
            return await handler(request)

        return check

    async def _me(self, _request: web.Request) -> web.Response:
        return json_response({"name": "bridge"})

    async def _show(self, request: web.Request) -> web.Response:
        gate = self.gates.get(request.match_info["gate"])
        return json_response({"state": gate.state}) if gate else json_response({}, status=404)

    async def _decide(self, request: web.Request) -> web.Response:
        name = request.match_info["gate"]
        gate = self.gates.get(name)
        if gate is None:
            return json_response({}, status=404)
        if gate.state != "waiting":
            return json_response({}, status=410 if gate.state == "closed" else 409)
        decision = await request.json()
        gate.state = "approved" if decision["approved"] else "denied"
        gate.decisions.append(decision)
        self.effect("decided", name, **decision)
        return json_response({})
