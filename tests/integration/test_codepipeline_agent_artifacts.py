"""Artifacts of the agent's jobs, against the emulator's S3 over HTTP: links for the remote, outputs from what it posts."""

from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from bridge.testing.codepipeline import Artifact
from bridge.testing.codepipeline.s3 import StoredObject
from bridge.testing.emulator import FaultKind
from tests.support.codepipeline_agent import PUBLIC, Running, Stage, stage, stored

SOURCE = Artifact(name="source", revision="abc", bucket="store", key="demo/a source.zip")
REPORT = Artifact(name="report", bucket="store", key="demo/report.zip")
LOGS = Artifact(name="logs", bucket="store", key="demo/logs.zip")
CONTENT = b"PK\x03\x04\xff\x00 a zip"


async def post_files(one: Stage, bridge: Running, **files: bytes) -> None:
    """Send the remote's success with *files*."""
    (run,) = one.remote.runs.values()
    form = aiohttp.FormData({"outcome": "succeeded"})
    for name, content in files.items():
        form.add_field(name, content, filename=f"{name}.zip", content_type="application/zip")
    async with one.session.post(run["callback_url"].replace(PUBLIC, bridge.url), data=form) as response:
        assert response.status == 202


async def test_the_remote_reads_the_inputs_by_a_link(tmp_path: Path) -> None:
    """A presigned URL of the job's own credentials; neither it nor they stay anywhere with us."""
    async with stage(tmp_path) as one, one.bridge():
        one.aws.objects["store", SOURCE.key] = StoredObject(b"the source")
        execution = one.begin(input_artifacts=[SOURCE])
        await one.held(execution)
        (run,) = one.remote.runs.values()
        (given,) = run["input_artifacts"]
        assert (given["name"], given["revision"]) == ("source", "abc")
        async with one.session.get(URL(given["url"], encoded=True)) as response:
            assert await response.read() == b"the source"
    kept = stored(tmp_path)
    assert execution.action.id.encode() in kept
    for secret in (b"artifact-secret-", b"artifact-session-", b"X-Amz-Signature"):
        assert secret not in kept


async def test_an_input_without_credentials_is_named_alone(tmp_path: Path) -> None:
    """AWS gave no credentials for the artifacts: the remote is told what there is, and the work starts."""
    async with stage(tmp_path, artifact_credentials="never") as one, one.bridge():
        await one.held(one.begin(input_artifacts=[SOURCE]))
        (run,) = one.remote.runs.values()
        assert run["input_artifacts"] == [{"name": "source", "revision": "abc"}]


async def test_posted_files_become_output_artifacts_before_the_result(tmp_path: Path) -> None:
    """Each under the name of its artifact, byte for byte; when the pipeline goes on they are there."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin(output_artifacts=[REPORT, LOGS])
        await one.held(execution)
        await post_files(one, bridge, report=CONTENT, logs=b"text", other=b"not wanted")
        await one.until(lambda: execution.status == "Succeeded")
        assert one.aws.objects["store", REPORT.key].body == CONTENT
        assert one.aws.objects["store", LOGS.key].body == b"text"
        kinds = [effect.kind for effect in one.aws.effects if effect.kind != "job.continued"]
        assert kinds == ["object.put", "object.put", "job.succeeded"]


async def test_a_single_file_is_the_single_artifact(tmp_path: Path) -> None:
    """One file and one output need no common name."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin(output_artifacts=[REPORT])
        await one.held(execution)
        await post_files(one, bridge, whatever=CONTENT)
        await one.until(lambda: execution.status == "Succeeded")
        assert one.aws.objects["store", REPORT.key].body == CONTENT


@pytest.mark.parametrize("status", [503, 500])
async def test_an_upload_that_fails_is_repeated(tmp_path: Path, status: int) -> None:
    """S3 is busy: nothing is put before the file is there, and then one result."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin(output_artifacts=[REPORT])
        await one.held(execution)
        one.aws.fault(FaultKind.STATUS, path="^/s3/", method="PUT", status=status, body="<Code>SlowDown</Code>")
        await post_files(one, bridge, report=CONTENT)
        await one.until(lambda: execution.status == "Succeeded")
        assert one.aws.objects["store", REPORT.key].body == CONTENT
        assert one.count("PutJobSuccessResult") == 2


async def test_an_upload_that_is_denied_fails_the_job(tmp_path: Path) -> None:
    """S3 refuses the file: the job fails as PermissionError instead of hanging, and the wait says so."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin(output_artifacts=[REPORT])
        await one.held(execution)
        denied = "<Error><Code>AccessDenied</Code></Error>"
        one.aws.fault(FaultKind.STATUS, path="^/s3/", method="PUT", status=403, body=denied)
        await post_files(one, bridge, report=CONTENT)
        await one.until(lambda: execution.status == "Failed")
        assert execution.action.error_code == "PermissionError"
        assert one.count("PutJobFailureResult") == 1
