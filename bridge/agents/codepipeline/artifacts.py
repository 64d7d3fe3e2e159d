"""The artifacts of a work's job: links to its inputs for the remote, and its outputs from the files that the remote posted.

Law: what a link holds goes to the remote alone. A file is written before the result is put, for with that the pipeline reads it.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.agents.codepipeline.gateway import ClientToken, NoClient, NoJob, details_of
from bridge.agents.codepipeline.job import Job
from bridge.consumers.codepipeline.artifacts import UPLOAD_TIMEOUT, Artifact, ArtifactStore, JobArtifacts
from bridge.consumers.codepipeline.places import Ask
from bridge.consumers.codepipeline.settings import CodepipelineSettings
from bridge.coordinator.store.works import Work
from bridge.core.event import File
from bridge.core.outcome import Gone, Refused
from bridge.core.ports import Clock
from bridge.core.resolution import Resolution
from bridge.outbound import AiohttpHttp


class Artifacts:
    """One target's."""

    def __init__(self, settings: CodepipelineSettings, ask: Ask, client_token: ClientToken, *, clock: Clock) -> None:
        self._settings = settings
        self._ask = ask
        self._client_token = client_token
        self._clock = clock
        self._http = AiohttpHttp(settings.s3_url, concurrency=settings.concurrency, timeout=UPLOAD_TIMEOUT)

    async def close(self) -> None:
        await self._http.close()

    async def links(self, job: Job) -> list[dict[str, str]]:
        """Return name, revision and a presigned URL of each input artifact; without the URL where AWS gave no credentials.

        Raises:
            Later, CredentialRefused, Unreachable, Unanswered: the job's data had to be asked for again, and could not be.
        """
        inputs = JobArtifacts.read(job.data, now=self._clock.now()).inputs
        if not inputs:
            return []
        try:
            found = await self._store(job).links()
        except Refused:
            return [{"name": each.name, "revision": each.revision} for each in inputs]
        return [
            {
                "name": link.name,
                "revision": link.revision,
                "url": link.url.get_secret_value(),
                "expires_at": link.expires_at.isoformat(),
            }
            for link in found
        ]

    async def publish(self, work: Work, resolution: Resolution) -> bool:
        """Write the posted files to the job's output artifacts; True: there were some. Repeating it is harmless.

        Raises:
            Refused: S3 does not take them; Gone: there is no such job any more.
            Later, CredentialRefused, Unreachable, Unanswered: nothing was put; it may be repeated.
        """
        files = resolution.event.data.files if resolution.event else {}
        if not files or not resolution.succeeded:
            return False
        try:
            job = await details_of(self._ask, self._client_token, work.job_id or "", work.client_id)
        except NoJob:
            raise Gone("no such job any more") from None
        except NoClient:
            raise Refused("no good token is set for this third-party client") from None
        store = self._store(job)
        pairs = list(matched(files, JobArtifacts.read(job.data, now=self._clock.now()).outputs))
        for artifact, file in pairs:
            await store.upload(artifact, content_of(file))
        return bool(pairs)

    def _store(self, job: Job) -> ArtifactStore:
        async def again() -> Mapping[str, Any]:
            return (await details_of(self._ask, self._client_token, job.id, job.client_id)).data

        return ArtifactStore(self._settings, self._http, again, clock=self._clock, data=job.data)


def matched(files: Mapping[str, File], outputs: tuple[Artifact, ...]) -> Iterator[tuple[Artifact, File]]:
    """Yield each output with its file: the one posted under its name; a single file for a single output under any."""
    if len(files) == len(outputs) == 1:
        yield outputs[0], next(iter(files.values()))
        return
    for artifact in outputs:
        if artifact.name in files:
            yield artifact, files[artifact.name]


def content_of(file: File) -> bytes:
    """Return the bytes as they were posted."""
    return base64.b64decode(file.content) if file.encoding == "base64" else file.content.encode()
