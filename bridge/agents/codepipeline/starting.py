"""The one call that starts the remote's work.

Contract: POST or PUT start.url, Idempotency-Key: <action execution id>, JSON:
          {callback_url, expires_at, work, configuration: {only the listed keys}, pipeline: {pipeline stage action execution_id
          action_execution_id account_id, as far as known}, input_artifacts: [{name, revision, url?, expires_at?}]}
          2xx, and in its JSON the remote's id: started. 408, 409, 425, 429, 5xx, no answer: sent again with the same key.
          401, 403: PermissionError. Anything else: ConfigurationError. Both fail the job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import jmespath
from yarl import URL

from bridge.agents.codepipeline.job import Job
from bridge.agents.codepipeline.settings import CodepipelineAgentSettings
from bridge.consumers.codepipeline.results import MAX_EXECUTION_ID, FailureType, cut
from bridge.coordinator.registry import Registered
from bridge.coordinator.store.works import Work
from bridge.core.outcome import Later
from bridge.core.ports import Clock, Http
from bridge.core.request import Call, Reply
from bridge.outbound import AiohttpHttp

_AGAIN = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class Started:
    """remote_id: as the remote named its work; empty where it did not."""

    remote_id: str


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The remote will not work on it. message: without anything that the remote wrote."""

    type: FailureType
    message: str


class Starter:
    """One agent's."""

    def __init__(self, settings: CodepipelineAgentSettings, *, clock: Clock, http: Http | None = None) -> None:
        url = URL(str(settings.start.url), encoded=True)
        self._settings = settings.start
        self._clock = clock
        self._path = url.raw_path
        self._http = http or AiohttpHttp(str(url.origin()), _token_headers(settings))

    async def close(self) -> None:
        await self._http.close()

    async def start(
        self, work: Work, job: Job, made: Registered, inputs: Sequence[Mapping[str, str]]
    ) -> Started | NotStarted:
        """Start the work of *job*; doing it again with the same *work* is the remote's to recognise, by the key.

        Raises:
            Later, Unreachable, Unanswered: it is not known to have started.
        """
        key = job.context.get("action_execution_id") or work.id
        call = Call(
            self._settings.method,
            self._path,
            headers={**self._settings.headers, "Idempotency-Key": key},
            json={**body_of(work, job, made, self._settings.configuration), "input_artifacts": list(inputs)},
        )
        return judge(await self._http.send(call), self._settings.id, now=self._clock)


def body_of(work: Work, job: Job, made: Registered, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """Return what the remote is told: of the action's configuration nothing but *keys*."""
    return {
        "callback_url": made.callback_url,
        "expires_at": made.wait.expires_at.isoformat(),
        "work": work.id,
        "configuration": {name: job.configuration[name] for name in keys if name in job.configuration},
        "pipeline": dict(job.context),
    }


def judge(reply: Reply, path: str, *, now: Clock) -> Started | NotStarted:
    """Say what *reply* means.

    Raises:
        Later: it may be started, or will be.
    """
    if reply.is_success:
        return Started(remote_id(reply.json(), path))
    if reply.status in _AGAIN or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Later(f"the remote answered {reply.status}", reply.retry_after(now.now()))
    kind = FailureType.PERMISSION_ERROR if reply.status in _DENIED else FailureType.CONFIGURATION_ERROR
    return NotStarted(kind, f"the work could not be started: the remote answered {reply.status}")


def remote_id(document: Any, path: str) -> str:
    """Return the id that stands at *path*: a text or a number, else empty."""
    try:
        found = jmespath.search(path, document)
    except jmespath.exceptions.JMESPathError:
        return ""
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    return cut(str(found).strip(), MAX_EXECUTION_ID)


def _token_headers(settings: CodepipelineAgentSettings) -> dict[str, str]:
    token = settings.token.get_secret_value() if settings.token else ""
    if not token:
        return {}
    header = settings.start.token_header
    return {header: token} if header else {"Authorization": f"Bearer {token}"}
