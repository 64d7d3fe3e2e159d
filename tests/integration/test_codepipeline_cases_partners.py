"""The cases of the CodePipeline contract about third-party jobs, by number, against the emulator over HTTP."""

from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.core.event import EventData, Outcome
from bridge.core.sealed import of_client
from bridge.testing.emulator import FaultKind
from tests.support.codepipeline_boto3 import PARTNER, Boto
from tests.support.codepipeline_stage import KEYS, NEGATIVE, SEALING, Stage, files_with, line, puts, stage
from tests.support.fakes import eventually
from tests.support.in_process import local, token

CLIENT = "0a1b2c3d-0000-4000-8000-000000000001"
OTHER = "0a1b2c3d-0000-4000-8000-000000000002"
TOKEN = "cl13nt-s3cret"  # noqa: S105 - a dummy
GET, SUCCESS, FAILURE = "GetThirdPartyJobDetails", "PutThirdPartyJobSuccessResult", "PutThirdPartyJobFailureResult"


async def take(
    emulator: Any, aws: Boto, pipeline: str = "demo", client: str = CLIENT, client_token: str = TOKEN
) -> str:
    """Start an execution of a partner's action, take its job as a partner's worker does, and return the job's id."""
    emulator.start_execution(
        pipeline, action_type="Build/ThirdParty/Bridge/1", client_id=client, client_token=client_token
    )
    (job,) = (await aws("poll_for_third_party_jobs", actionTypeId=PARTNER, maxBatchSize=10))["jobs"]
    assert job["clientId"] == client
    named = {"jobId": job["jobId"], "clientToken": client_token}
    details = await aws("get_third_party_job_details", **named)
    await aws("acknowledge_third_party_job", nonce=details["jobDetails"]["nonce"], **named)
    return str(job["jobId"])


async def hold(one: Stage, pipeline: str = "demo", **more: Any) -> str:
    return await take(one.codepipeline, one.aws, pipeline, **more)


async def send(
    one: Stage,
    job: str,
    outcome: Outcome = Outcome.SUCCEEDED,
    *,
    client: str = CLIENT,
    client_token: str | None = TOKEN,
    body: Any = None,
    **more: Any,
) -> None:
    """Send a resolution as the coordinator does: with the client's token sealed."""
    sealed = None if client_token is None else SEALING.seal(client_token, of_client(client))
    address = {"job_id": job, "client_id": client}
    await one.rig.send(address, outcome, data=EventData(body=body), client_token=sealed, **more)


# --- 19: the token in every call, and nowhere else


@pytest.mark.parametrize("form", ["base64", "uuid"])
async def test_codepipeline_case_19_a_success_with_its_client_token(form: str) -> None:
    """One Put of the third-party kind with the token, whatever the job's id looks like; no continuation, no variables."""
    async with stage(third_party_id=form) as one:
        job = await hold(one)
        body = {"summary": "3 of 3", "external_execution_id": "demo/42", "output_variables": {"A": "b"}}
        await send(one, job, body=body)
        assert await one.ending() == "done"
        assert one.calls == [SUCCESS]
        assert one.members(SUCCESS) == {
            "jobId": job,
            "clientToken": TOKEN,
            "executionDetails": {"summary": "3 of 3", "percentComplete": 100, "externalExecutionId": "demo/42"},
        }
        assert one.effects == [("job.succeeded", job)]
        assert (await one.aws.latest())["status"] == "Succeeded"


@pytest.mark.parametrize("outcome", NEGATIVE)
async def test_codepipeline_case_19_every_other_outcome_fails_it(outcome: Outcome) -> None:
    """One failure of the third-party kind, with the token."""
    async with stage() as one:
        job = await hold(one)
        await send(one, job, outcome)
        assert await one.ending() == "done"
        assert one.calls == [FAILURE]
        assert one.members(FAILURE)["clientToken"] == TOKEN
        assert one.effects == [("job.failed", job)]


@pytest.mark.parametrize(
    "variables", ["not JSON", {"bad name": "x"}, {"V": "x" * 200_000}], ids=["text", "name", "size"]
)
async def test_codepipeline_case_19_variables_that_nobody_takes_fail_nothing(variables: Any) -> None:
    """A third-party job has no output variables: bad ones are left out like good ones."""
    async with stage() as one:
        job = await hold(one)
        await send(one, job, body={"output_variables": variables})
        assert await one.ending() == "done"
        assert one.effects == [("job.succeeded", job)]


async def test_codepipeline_case_19_a_lost_answer_is_looked_for_with_the_token() -> None:
    """In doubt GetThirdPartyJobDetails, then the Put again: InvalidJobState is already done; the token in all three calls."""
    async with stage() as one:
        job = await hold(one)
        one.codepipeline.fault(FaultKind.RESET_AFTER, path=f"{SUCCESS}$")
        await send(one, job)
        assert await one.ending() == "already-done"
        assert one.calls == [SUCCESS, GET, SUCCESS]
        assert {members["clientToken"] for _, members, _ in one.traffic} == {TOKEN}
        assert one.effects == [("job.succeeded", job)]


async def test_codepipeline_case_19_a_refused_success_becomes_a_failure_with_the_token() -> None:
    """What AWS refuses ends the job as a failure, with the token, so that the partner's pipeline does not hang."""
    async with stage() as one:
        job = await hold(one)
        one.codepipeline.fail("ValidationException", operation=SUCCESS)
        await send(one, job)
        assert (await one.rig.final()).reason == "refused"
        assert one.calls == [SUCCESS, FAILURE]
        assert one.effects == [("job.failed", job)]


async def test_codepipeline_case_19_the_whole_line_and_no_trace_of_the_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Set once by client id, used for that client's job; in no log, no answer of the API and no file of ours."""
    caplog.set_level("DEBUG")
    for name, text in (("seal", "k" * 32), ("admin", "admin-token-of-the-tests")):
        (tmp_path / name).write_text(text)
    more = '[secrets]\nkeys = [{ id = "a", file = "seal" }]\n[clients.admin]\ntoken_file = "admin"\nroles = ["admin"]\n'
    async with line(tmp_path, more=more) as (made, codepipeline, aws):
        job = await take(codepipeline, aws)
        caplog.clear()
        with structlog.testing.capture_logs() as logs:
            path = f"/v1/third-party-clients/{CLIENT}"
            status, _ = await made.api.call("PUT", path, json={"token": TOKEN}, headers=token("admin"))
            assert status == 204
            wait = await made.api.register("aws", {"job_id": job, "client_id": CLIENT})
            assert await made.post(local(made, wait["callback_url"])) == 202
            await made.api.wait_until(wait["id"], "resolved")
        shown = [await made.api.call("GET", path) for path in (f"/v1/waits/{wait['id']}", "/v1/events", "/v1/targets")]
        assert puts(codepipeline) == [f"CodePipeline_20150709.{SUCCESS}"]
        assert f'"clientToken":"{TOKEN}"' in codepipeline.log[-1].body
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("boto", "urllib3"))]
    assert TOKEN not in f"{logs} {ours} {shown}"
    assert files_with(tmp_path, TOKEN) == []


# --- 20: a wrong token stops that job alone


async def test_codepipeline_case_20_a_wrong_token_parks_that_job_alone() -> None:
    """One Put, no failure Put, no loop: refused with words for the alarm; the others of the batch succeed, the breaker is closed."""
    async with stage() as one:
        jobs = [await hold(one, f"p{number}", client=CLIENT) for number in range(2)]
        wrong = await hold(one, "wrong", client=OTHER, client_token="n3w-s3cret")  # noqa: S106 - a dummy
        await send(one, jobs[0], wait="first")
        await send(one, wrong, client=OTHER, wait="wrong")
        await send(one, jobs[1], wait="second")
        assert [await one.ending(wait) for wait in ("first", "second")] == ["done", "done"]
        report = await one.rig.final("wrong")
        assert (report.result, report.reason) == ("undeliverable", "refused")
        assert "token of this third-party client" in report.note
        await eventually(lambda: one.rig.dead == ["refused"])
        assert [members["jobId"] for _, members, _ in one.traffic].count(wrong) == 1
        assert FAILURE not in one.calls
        assert not one.rig.worker.status.is_breaker_open
        assert TOKEN not in f"{one.rig.reports}"
        assert one.codepipeline.executions[-1].status == "InProgress"


async def test_codepipeline_case_20_a_wrong_token_in_doubt() -> None:
    """The look has the same answer: refused, and nothing is put."""
    async with stage() as one:
        job = await hold(one)
        await send(one, job, client_token="0ld-s3cret", is_resent=True)  # noqa: S106 - a dummy
        assert (await one.rig.final()).reason == "refused"
        assert one.calls == [GET]


async def test_codepipeline_case_20_a_client_without_a_token() -> None:
    """Nothing is sent: refused with what to do; the next client's job goes on."""
    async with stage() as one:
        job, other = await hold(one, "a"), await hold(one, "b", client=OTHER)
        await send(one, other, client=OTHER, client_token=None, wait="unknown")
        await send(one, job, wait="known")
        report = await one.rig.final("unknown")
        assert (report.reason, "client set" in report.note) == ("refused", True)
        assert await one.ending("known") == "done"
        assert [members["jobId"] for _, members, _ in one.traffic] == [job]


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "UnrecognizedClientException"])
async def test_codepipeline_case_20_our_own_credential_is_another_matter(code: str) -> None:
    """InvalidClientTokenId is about our key, not about the partner's token: parked, and put when it is over."""
    async with stage() as one:
        job = await hold(one)
        one.codepipeline.fail(code, times=3)
        await send(one, job)
        await eventually(lambda: one.rig.worker.status.is_breaker_open)
        assert await one.ending() == "done"
        assert one.rig.dead == []
        assert one.effects == [("job.succeeded", job)]


async def test_codepipeline_case_20_a_missing_permission_is_asked_for_with_that_operation() -> None:
    """A denied third-party Put opens the breaker until that very operation is allowed; the trial names no job."""
    async with stage(denied_operations=(SUCCESS,)) as one:
        job = await hold(one)
        await send(one, job)
        await eventually(lambda: len(one.calls) >= 5)
        assert set(one.calls) == {SUCCESS}
        assert [members["jobId"] for _, members, _ in one.traffic].count(job) == 1
        one.codepipeline.set_knobs(denied_operations=())
        assert await one.ending() == "done"
        assert KEYS["secret_access_key"] not in f"{one.rig.reports}"
