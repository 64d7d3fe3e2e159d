"""A small bridge API over HTTP, by DESIGN 5.1: enough for the command line's calls, with bodies of the API's own models."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from bridge.core import api
from bridge.core.event import Outcome
from bridge.core.problem import Problem, Slug, field_errors
from bridge.core.wait import Kind, Reason, State, Verdict

TOKEN = "token-of-the-tests"  # noqa: S105 - no secret of anybody
STARTED_S = 10.0


def reply(model: BaseModel, status: int = 200) -> web.Response:
    return web.Response(text=model.model_dump_json(), status=status, content_type="application/json")


def refuse(problem: Problem) -> web.Response:
    return web.Response(body=problem.serialise(), status=problem.status, content_type="application/problem+json")


@dataclass
class FakeApi:
    """Its state, and what it was asked. url: where it listens."""

    url: str = ""
    waits: dict[str, api.WaitView] = field(default_factory=dict)
    events: dict[str, api.EventView] = field(default_factory=dict)
    letters: dict[str, api.DeadLetterView] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    tokens: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    """(method, path with query, headers, parsed body) of each call that was let in."""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._let_in])
        app.add_routes(
            [
                web.post("/v1/waits", self._register),
                web.get("/v1/waits", self._list_waits),
                web.get("/v1/waits/{id}", self._show_wait),
                web.delete("/v1/waits/{id}", self._cancel),
                web.get("/v1/events", self._list_events),
                web.get("/v1/events/{id}", self._show_event),
                web.post("/v1/events", self._send),
                web.get("/v1/targets", self._targets),
                web.post("/v1/targets/{name}/{verb:pause|resume}", self._switch),
                web.get("/v1/queues", self._queues),
                web.put("/v1/third-party-clients/{client}", self._set_token),
                web.delete("/v1/third-party-clients/{client}", self._drop_token),
                web.get("/v1/dead-letters", self._letters),
                web.get("/v1/dead-letters/{id}", self._letter),
                web.post("/v1/dead-letters/{id}/replay", self._replay),
                web.delete("/v1/dead-letters/{id}", self._drop),
                web.get("/moved/v1/waits", self._moved),
                web.get("/html/v1/waits", self._html),
            ]
        )
        return app

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return refuse(Problem.of(Slug.UNAUTHENTICATED, "A token is needed"))
        raw = await request.read()
        self.calls.append((request.method, request.path_qs, dict(request.headers), orjson.loads(raw) if raw else None))
        return await handler(request)  # type: ignore[no-any-return] # aiohttp's own shape

    async def _register(self, request: web.Request) -> web.Response:
        try:
            asked = api.RegisterRequest.model_validate_json(await request.read())
        except ValidationError as exc:
            return refuse(Problem.of(Slug.INVALID, "The request is not valid", errors=field_errors(exc)))
        taken = next((wait for wait in self.waits.values() if wait.address == asked.address), None)
        if taken:
            return refuse(Problem.of(Slug.ADDRESS_TAKEN, "Another wait holds the address", wait=taken.id))
        made = wait_view(f"w{len(self.waits) + 1}", asked)
        self.waits[made.id] = made
        url = f"https://bridge.example.com/cb/t-{made.id}"
        if request.headers.get("Accept") == "text/plain":
            return web.Response(text=url, status=201)
        created = api.WaitCreated(
            id=made.id, state=made.state, callback_url=url, expires_at=made.expires_at, links=made.links
        )
        return reply(created, 201)

    async def _list_waits(self, request: web.Request) -> web.Response:
        items = [wait for wait in self.waits.values() if request.query.get("state") in (None, wait.state)]
        limit = int(request.query.get("limit", "50"))
        return reply(api.WaitList(items=tuple(items[:limit]), next_cursor="next" if len(items) > limit else None))

    async def _show_wait(self, request: web.Request) -> web.Response:
        return _one(self.waits, request)

    async def _cancel(self, request: web.Request) -> web.Response:
        wait = self.waits.get(request.match_info["id"])
        if wait is None:
            return _absent()
        if wait.state is not State.OPEN:
            return refuse(Problem.of(Slug.DECIDED, "The wait is decided"))
        self.waits[wait.id] = wait.model_copy(update={"state": State.CANCELLED})
        return web.Response(status=204)

    async def _list_events(self, _request: web.Request) -> web.Response:
        return reply(api.EventList(items=tuple(self.events.values()), next_cursor=None))

    async def _show_event(self, request: web.Request) -> web.Response:
        return _one(self.events, request)

    async def _send(self, request: web.Request) -> web.Response:
        try:
            asked = api.EventSendRequest.model_validate_json(await request.read())
        except ValidationError as exc:
            return refuse(Problem.of(Slug.INVALID, "The request is not valid", errors=field_errors(exc)))
        return reply(api.Accepted(event=f"e-{asked.type}"), 202)

    async def _targets(self, _request: web.Request) -> web.Response:
        view = api.TargetView(
            name="jenkins-prod",
            consumer="jenkins",
            base_url="https://jenkins.example.com",
            paused="jenkins-prod" in self.paused,
            waits={State.OPEN: len(self.waits)},
        )
        return reply(api.TargetList(items=(view,), next_cursor=None))

    async def _switch(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name != "jenkins-prod":
            return _absent()
        (self.paused.add if request.match_info["verb"] == "pause" else self.paused.discard)(name)
        return web.Response(status=202)

    async def _queues(self, _request: web.Request) -> web.Response:
        views = (
            api.QueueView(name="bridge.events", ready=3, unacked=None, oldest_age_s=125.0, consumers=1),
            api.QueueView(name="bridge.dead", ready=0, unacked=0, oldest_age_s=None, consumers=1),
        )
        return reply(api.QueueList(items=views))

    async def _set_token(self, request: web.Request) -> web.Response:
        asked = api.ThirdPartyClientRequest.model_validate_json(await request.read())
        self.tokens[request.match_info["client"]] = asked.token.get_secret_value()
        return web.Response(status=204)

    async def _drop_token(self, request: web.Request) -> web.Response:
        was_there = self.tokens.pop(request.match_info["client"], None) is not None
        return web.Response(status=204) if was_there else _absent()

    async def _letters(self, _request: web.Request) -> web.Response:
        items = tuple(letter.model_copy(update={"body": None}) for letter in self.letters.values())
        return reply(api.DeadLetterList(items=items, next_cursor=None))

    async def _letter(self, request: web.Request) -> web.Response:
        return _one(self.letters, request)

    async def _replay(self, request: web.Request) -> web.Response:
        return web.Response(status=202) if request.match_info["id"] in self.letters else _absent()

    async def _drop(self, request: web.Request) -> web.Response:
        return _absent() if self.letters.pop(request.match_info["id"], None) is None else web.Response(status=204)

    async def _moved(self, _request: web.Request) -> web.Response:
        raise web.HTTPFound("/v1/waits")

    async def _html(self, _request: web.Request) -> web.Response:
        return web.Response(text="<p>hello", content_type="text/html")


def _one(held: dict[str, Any], request: web.Request) -> web.Response:
    found = held.get(request.match_info["id"])
    return reply(found) if found else _absent()


def _absent() -> web.Response:
    return refuse(Problem.of(Slug.NOT_FOUND, "There is no such thing"))


def wait_view(name: str, asked: api.RegisterRequest) -> api.WaitView:
    """Return the open wait that *asked* makes."""
    now = datetime.now(UTC)
    return api.WaitView(
        id=name,
        state=State.OPEN,
        outcome=None,
        target=asked.target,
        address=asked.address,
        created_at=now,
        expires_at=now + asked.timeout,
        decided_at=None,
        reason=None,
        progress=api.ProgressView(percent=40, message="building", url=""),
        labels=asked.labels,
        timeline=(api.TimelineEntry(at=now, kind=Kind.OPENED, note="by ci"),),
        links=api.Links(self=f"/v1/waits/{name}", result=f"/v1/waits/{name}/result"),
    )


def event_view(name: str, *, summary: str = "42 of 42 passed") -> api.EventView:
    """Return an event that decided wait `w1`."""
    return api.EventView(
        id=name,
        source="farm",
        type="run.finished",
        time=datetime.now(UTC) - timedelta(minutes=3, seconds=5),
        data=api.EventDataView(
            outcome=Outcome.SUCCEEDED, keys={"run": "17"}, summary=summary, url="", percent=None, body={"passed": 42}
        ),
        verdict=Verdict.RESUMED,
        verdicts=(api.EventVerdict(wait="w1", verdict=Verdict.RESUMED),),
    )


def letter_view(name: str) -> api.DeadLetterView:
    """Return a resolution that its target refused."""
    return api.DeadLetterView(
        id=name,
        queue="bridge.target.jenkins-prod",
        reason=Reason.REFUSED,
        dead_at=datetime.now(UTC) - timedelta(hours=2, minutes=1),
        attempt=1,
        message_id=name,
        target="jenkins-prod",
        wait="w1",
        dispatch=1,
        body={"type": "bridge.resolution"},
    )


@contextmanager
def running(fake: FakeApi) -> Iterator[FakeApi]:
    """Serve *fake* on a free loopback port, in a thread of its own: the command line blocks the caller's."""
    loop = asyncio.new_event_loop()
    is_up = threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(fake.app())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        is_up.set()
        return runner

    def serve() -> None:
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, name="fake-api", daemon=True)
    thread.start()
    try:
        if not is_up.wait(STARTED_S):
            raise TimeoutError("the fake API did not start")
        yield fake
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STARTED_S)
