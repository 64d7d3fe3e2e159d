"""The status page: what waits, what is stuck, and the queues. Everything shown is escaped; no script is served."""

from collections.abc import Iterable
from datetime import datetime
from html import escape
from http import HTTPStatus

from aiohttp import web

from bridge.coordinator.api.access import Client, Clients, Role
from bridge.coordinator.api.wire import answer_problem
from bridge.coordinator.errors import Rejected
from bridge.coordinator.figures import Figures
from bridge.coordinator.store import views
from bridge.coordinator.store.engine import Database
from bridge.core.api import QueueView
from bridge.core.ports import Clock
from bridge.core.sealed import hidden
from bridge.core.topology import TARGET_PREFIX
from bridge.core.wait import State, Wait

_SHOWN = 50
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="10"><title>callback-bridge</title><style>
body{{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2733}}
h1{{font-size:1.3rem}}h2{{font-size:1.05rem;margin-top:2rem}}
table{{border-collapse:collapse;width:100%}}th,td{{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #dde3ea;vertical-align:top}}
th{{font-weight:600;color:#5a6b7b}}td.n{{font-variant-numeric:tabular-nums}}code{{font-size:.85em}}
.undeliverable{{color:#b3261e;font-weight:600}}.resolving{{color:#8a5a00}}.none{{color:#5a6b7b}}
</style></head><body><h1>callback-bridge</h1>{sections}</body></html>"""


class StatusPage:
    """The handler of `/`."""

    def __init__(self, db: Database, clients: Clients, figures: Figures, *, clock: Clock) -> None:
        self._db = db
        self._clients = clients
        self._figures = figures
        self._clock = clock

    async def show(self, request: web.Request) -> web.Response:
        try:
            client = self._clients.of(request, Role.READ)
        except Rejected as exc:
            return _ask_for_token(exc)
        sections = [
            await self._waits(client, "Stuck: nobody could resume these", State.UNDELIVERABLE),
            await self._waits(client, "On their way to the pipeline", State.RESOLVING),
            await self._waits(client, "Waiting for their remote", State.OPEN),
            await self._queues(client),
        ]
        page = _PAGE.format(sections="".join(sections))
        return web.Response(text=page, content_type="text/html", headers=_HEADERS)

    async def _waits(self, client: Client, title: str, state: State) -> str:
        async with self._db.read() as tx:
            found, cursor = await views.list_waits(
                tx, client.scope, views.Page(_SHOWN, None), state=state.value, target=None, label=None
            )
        count = f"{len(found)}{'+' if cursor else ''}"
        rows = (self._row(wait) for wait in found)
        head = ("wait", "target", "waits at", "progress", "since", "ends")
        return _section(f"{title} ({count})", head, rows)

    def _row(self, wait: Wait) -> str:
        now = self._clock.now()
        progress = " ".join(
            part
            for part in (
                f"{wait.progress.percent} %" if wait.progress.percent is not None else "",
                wait.progress.message,
            )
            if part
        )
        place = ", ".join(f"{name}: {value}" for name, value in hidden(wait.address).items() if isinstance(value, str))
        state = wait.state.value + (f": {wait.reason.value}" if wait.reason else "")
        cells = [
            f'<code>{escape(wait.id)}</code><br><span class="{wait.state.value}">{escape(state)}</span>',
            escape(wait.target),
            escape(place),
            escape(progress) or '<span class="none">none</span>',
            _ago(now, wait.created_at),
            _ago(now, wait.deliver_until or wait.expires_at),
        ]
        return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"

    async def _queues(self, client: Client) -> str:
        rows = [
            _queue_row(queue)
            for queue in await self._figures.queues()
            if not queue.name.startswith(TARGET_PREFIX) or client.sees_target(queue.name.removeprefix(TARGET_PREFIX))
        ]
        return _section("Queues", ("queue", "ready", "unacked", "oldest, s", "consumers"), rows)


def _ask_for_token(refused: Rejected) -> web.Response:
    response = answer_problem(refused.problem)
    if response.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Basic realm="bridge: any name, an API token as password"'
    return response


def _section(title: str, head: Iterable[str], rows: Iterable[str]) -> str:
    body = "".join(rows) or '<tr><td class="none" colspan="9">none</td></tr>'
    heads = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<h2>{escape(title)}</h2><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _queue_row(queue: QueueView) -> str:
    figures = (queue.ready, queue.unacked, queue.oldest_age_s, queue.consumers)
    cells = "".join(f'<td class="n">{"?" if figure is None else figure}</td>' for figure in figures)
    return f"<tr><td>{escape(queue.name)}</td>{cells}</tr>"


def _ago(now: datetime, moment: datetime) -> str:
    seconds = int((now - moment).total_seconds())
    amount = abs(seconds)
    unit, size = next(
        ((name, size) for name, size in (("d", 86400), ("h", 3600), ("min", 60)) if amount >= size), ("s", 1)
    )
    text = f"{round(amount / size)} {unit}"
    return f"{text} ago" if seconds >= 0 else f"in {text}"
