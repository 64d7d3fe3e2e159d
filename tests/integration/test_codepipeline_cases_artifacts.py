"""The case of the CodePipeline contract about artifacts, against the emulator's S3 over HTTP; aiohttp is the remote that reads."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import structlog
from yarl import URL

from bridge.consumers.codepipeline import CodepipelineSettings
from bridge.consumers.codepipeline.artifacts import Artifact, ArtifactStore, JobArtifacts
from bridge.core.errors import Unanswered
from bridge.core.outcome import Later, Refused
from bridge.outbound import AiohttpHttp
from bridge.testing.codepipeline import Artifact as Specified
from bridge.testing.codepipeline import CodepipelineEmulator
from bridge.testing.codepipeline.s3 import StoredObject
from bridge.testing.emulator import FaultKind
from tests.support.codepipeline_boto3 import Boto, boto
from tests.support.codepipeline_stage import endpoints

SOURCE = Specified(name="source", revision="abc", bucket="store", key="demo/a source+1/é~(1).zip")
RESULT = Specified(name="result", bucket="store", key="demo/result/x y.zip")
KMS = "arn:aws:kms:eu-west-1:111122223333:key/1234"
OUTPUT = Artifact("result", "store", "demo/result/x y.zip")


@dataclass
class RealClock:
    """Our clock, which goes with the emulator's: signatures are made with the system's own."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Shop:
    """A job with artifacts that was taken, and its store."""

    codepipeline: CodepipelineEmulator
    aws: Boto
    job_id: str
    clock: RealClock
    remote: aiohttp.ClientSession
    fetched: int = 0
    store: ArtifactStore = field(init=False)

    async def refetch(self) -> Mapping[str, Any]:
        self.fetched += 1
        data: Mapping[str, Any] = (await self.aws("get_job_details", jobId=self.job_id))["jobDetails"]["data"]
        return data

    def wait(self, minutes: float) -> None:
        """Let time go by, for AWS and for us."""
        self.codepipeline.advance(minutes * 60)
        self.clock.ahead += timedelta(minutes=minutes)

    async def read(self, url: str) -> tuple[int, bytes]:
        async with self.remote.get(URL(url, encoded=True)) as response:
            return response.status, await response.read()

    @property
    def written(self) -> list[str]:
        return [effect.subject for effect in self.codepipeline.effects if effect.kind == "object.put"]


@asynccontextmanager
async def shop(*, encryption_key: str | None = None, **knobs: Any) -> AsyncIterator[Shop]:
    codepipeline = CodepipelineEmulator(**knobs)
    async with codepipeline.serve() as url, boto(url) as aws, aiohttp.ClientSession() as remote:
        codepipeline.objects["store", SOURCE.key] = StoredObject(b"the source")
        codepipeline.start_execution(
            input_artifacts=[SOURCE], output_artifacts=[RESULT], encryption_key=encryption_key, name="Wait"
        )
        job = await aws.take()
        settings = CodepipelineSettings.model_validate({"consumer": "codepipeline", **endpoints(url)})
        http = AiohttpHttp(settings.s3_url, timeout=timedelta(seconds=5))
        made = Shop(codepipeline, aws, job["id"], RealClock(), remote)
        made.store = ArtifactStore(settings, http, made.refetch, clock=made.clock, data=job["data"])
        try:
            yield made
        finally:
            await http.close()


# --- 32: uploads


@pytest.mark.parametrize("key", [None, KMS])
async def test_codepipeline_case_32_an_upload_is_encrypted_as_the_pipeline_wants(key: str | None) -> None:
    """SSE-KMS with the pipeline's key, or with the default one where it has none; the bytes as given; no call but the PUT."""
    async with shop(encryption_key=key) as one:
        await one.store.upload(OUTPUT, b"\x00result\xff")
        stored = one.codepipeline.objects["store", OUTPUT.key]
        assert (stored.body, stored.encryption, stored.kms_key) == (b"\x00result\xff", "aws:kms", key or "")
        assert one.fetched == 0
        assert await one.store.outputs() == (OUTPUT,)


@pytest.mark.parametrize(("minutes", "fetched"), [(13.9, 0), (14.1, 1), (16, 1), (600, 1)])
async def test_codepipeline_case_32_old_credentials_are_refetched_first(minutes: float, fetched: int) -> None:
    """Older than 14 minutes: asked for again before the upload, which then is the one request to S3; the final Put comes after."""
    async with shop() as one:
        one.wait(minutes)
        await one.store.upload(OUTPUT, b"result")
        await one.aws("put_job_success_result", jobId=one.job_id)
        assert one.fetched == fetched
        assert [entry.method for entry in one.codepipeline.log if entry.path.startswith("/s3/")] == ["PUT"]
        assert [effect.kind for effect in one.codepipeline.effects] == ["object.put", "job.succeeded"]


async def test_codepipeline_case_32_credentials_that_end_early_are_refetched() -> None:
    """ExpiredToken although they looked young: one refetch, the same upload once more."""
    async with shop() as one:
        one.codepipeline.advance(16 * 60)  # AWS's time, not ours
        await one.store.upload(OUTPUT, b"result")
        assert (one.fetched, one.written) == (1, ["store/demo/result/x y.zip"])


async def test_codepipeline_case_32_what_stays_expired_is_no_loop() -> None:
    """ExpiredToken twice: refused with S3's word for it."""
    async with shop() as one:
        body = "<Error><Code>ExpiredToken</Code></Error>"
        one.codepipeline.fault(FaultKind.STATUS, path="/s3/", status=400, body=body, times=9)
        with pytest.raises(Refused, match="ExpiredToken"):
            await one.store.upload(OUTPUT, b"result")
        assert one.fetched == 1
        assert len([entry for entry in one.codepipeline.log if entry.path.startswith("/s3/")]) == 2


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": FaultKind.STATUS, "status": 503, "body": "<Error><Code>SlowDown</Code></Error>"}, Later),
        ({"kind": FaultKind.STATUS, "status": 500}, Later),
        ({"kind": FaultKind.HTML, "status": 200}, Later),
        ({"kind": FaultKind.HTML, "status": 403}, Later),
        ({"kind": FaultKind.STATUS, "status": 307, "headers": {"Location": "http://127.0.0.1:1/"}}, Later),
        ({"kind": FaultKind.RESET_AFTER}, Unanswered),
        ({"kind": FaultKind.STATUS, "status": 403, "body": "<Error><Code>AccessDenied</Code></Error>"}, Refused),
    ],
    ids=lambda value: f"{value['kind']}-{value.get('status', '')}" if isinstance(value, dict) else value.__name__,
)
async def test_codepipeline_case_32_a_failing_store(fault: dict[str, Any], expected: type[Exception]) -> None:
    """Faults of S3 are later, what it refuses is refused; the repeat of a lost upload writes the same."""
    async with shop() as one:
        one.codepipeline.fault(path="/s3/", **fault)
        with pytest.raises(expected):
            await one.store.upload(OUTPUT, b"result")
        await one.store.upload(OUTPUT, b"result")
        assert one.codepipeline.objects["store", OUTPUT.key].body == b"result"


async def test_codepipeline_case_32_the_key_of_a_job_opens_its_own_buckets() -> None:
    """Another bucket is denied by S3, and the upload says so."""
    async with shop() as one:
        with pytest.raises(Refused, match="AccessDenied"):
            await one.store.upload(Artifact("x", "another-bucket", "x"), b"result")
        assert one.written == []


# --- 32: links for the remote


async def test_codepipeline_case_32_an_input_is_a_link_for_a_quarter_of_an_hour() -> None:
    """A plain GET reads it, whatever its key is spelt like; after 15 minutes and when changed it opens nothing."""
    async with shop() as one:
        (link,) = await one.store.links()
        assert (link.name, link.revision) == ("source", "abc")
        url = link.url.get_secret_value()
        assert await one.read(url) == (200, b"the source")
        assert (await one.read(url.replace("source%2B1", "source%2B2")))[0] == 403
        assert (await one.read(url.replace("X-Amz-Expires=89", "X-Amz-Expires=99")))[0] == 403
        assert 890 <= (link.expires_at - one.clock.now()).total_seconds() <= 900
        one.wait(15.1)
        assert (await one.read(url))[0] == 400
        (fresh,) = await one.store.links()
        assert one.fetched == 1
        assert await one.read(fresh.url.get_secret_value()) == (200, b"the source")


async def test_codepipeline_case_32_a_link_says_how_long_it_lasts() -> None:
    """It ends with the credentials that signed it, not 15 minutes after it was made."""
    async with shop() as one:
        one.wait(10)
        (link,) = await one.store.links()
        expires = int(link.url.get_secret_value().partition("X-Amz-Expires=")[2].partition("&")[0])
        assert 295 <= expires <= 300
        assert one.fetched == 0


async def test_codepipeline_case_32_no_credentials_are_told() -> None:
    """A job without artifactCredentials has no links, and says why."""
    async with shop(artifact_credentials="never") as one:
        with pytest.raises(Refused, match="no credentials"):
            await one.store.links()


async def test_codepipeline_case_32_no_credential_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Neither in a log at debug level, nor in the repr of anything that holds one; a link hides its URL."""
    caplog.set_level("DEBUG")
    async with shop() as one:
        caplog.clear()
        with structlog.testing.capture_logs() as logs:
            (link,) = await one.store.links()
            await one.store.upload(OUTPUT, b"result")
        known = JobArtifacts.read(await one.refetch(), now=one.clock.now())
        assert known.keys is not None
        shown = f"{logs} {[record.getMessage() for record in caplog.records if record.name != 'aiohttp.access']} "
        shown += f"{link!r} {known!r} {known.keys!r} {vars(one.store)}"
        assert "artifact-secret" not in shown
        assert "artifact-session" not in shown
