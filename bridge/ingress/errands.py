"""Errands: the few calls that ingress makes for a source, to its sender's own host: a signing certificate, a confirmation.

Law: the host comes from the config. A fetch is asked for by whoever posts to us, before anything is proven, so its number is
bounded: requests that need the same document share one fetch, and over the bound nothing is fetched at all.
"""

import asyncio
from collections import deque
from datetime import timedelta
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from bridge.core.errors import BadSignature, ErrandFailed, HttpFault
from bridge.core.request import Reply
from bridge.core.source import Errand

if TYPE_CHECKING:  # most ingresses call nobody
    from bridge.outbound import AiohttpHttp

FETCHES_PER_MINUTE = 30
MAX_DOCUMENT_BYTES = 64 * 1024
TIMEOUT = timedelta(seconds=8)
"""Well below what a sender waits for us: SNS 15 s."""
_MINUTE_S = 60.0

log = structlog.get_logger(__name__)


class Errands:
    """Runs errands, with one connection pool for each host."""

    def __init__(self, *, fetches_per_minute: int = FETCHES_PER_MINUTE) -> None:
        self._fetches_per_minute = fetches_per_minute
        self._begun: deque[float] = deque()
        self._under_way: dict[tuple[str, str], asyncio.Task[Reply]] = {}
        self._clients: dict[str, AiohttpHttp] = {}

    async def fetch(self, errand: Errand) -> bytes:
        """Return the document that *errand* names.

        Raises:
            BadSignature: there is no such document.
            ErrandFailed: the host did not answer, or too much is asked for.
        """
        reply = await self._shared(errand)
        if HTTPStatus.BAD_REQUEST <= reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise BadSignature("what should prove it is not there")
        if reply.status != HTTPStatus.OK:
            raise ErrandFailed(f"a fetch was answered {reply.status}")
        return reply.body

    async def confirm(self, source: str, errand: Errand) -> None:
        """Make the call that a sender waits for. One that its host refuses for good is told, and not asked for again.

        Raises:
            ErrandFailed: the host did not answer.
        """
        reply = await self._send(errand)
        if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise ErrandFailed(f"a confirmation was answered {reply.status}")
        if reply.is_success:
            log.info("subscription_confirmed", source=source)
        else:
            log.warning("subscription_not_confirmed", source=source, status=reply.status)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()

    async def _shared(self, errand: Errand) -> Reply:
        """Return the reply to *errand*, which others may wait for too; who goes away does not end it for them."""
        key = (errand.base_url, errand.call.path)
        task = self._under_way.get(key)
        if task is None:
            self._count()
            task = self._under_way[key] = asyncio.create_task(self._send(errand))
            task.add_done_callback(lambda _: self._under_way.pop(key))
        return await asyncio.shield(task)

    def _count(self) -> None:
        now = monotonic()
        while self._begun and self._begun[0] <= now - _MINUTE_S:
            self._begun.popleft()
        if len(self._begun) >= self._fetches_per_minute:
            raise ErrandFailed("too many fetches are asked for")
        self._begun.append(now)

    async def _send(self, errand: Errand) -> Reply:
        try:
            return await self._client(errand.base_url).send(errand.call)
        except HttpFault as exc:
            raise ErrandFailed(str(exc)) from None

    def _client(self, base_url: str) -> "AiohttpHttp":
        from bridge.outbound import AiohttpHttp  # noqa: PLC0415 - most ingresses call nobody

        if base_url not in self._clients:
            self._clients[base_url] = AiohttpHttp(
                base_url, concurrency=4, timeout=TIMEOUT, max_reply_bytes=MAX_DOCUMENT_BYTES
            )
        return self._clients[base_url]
