"""The cases of the CodePipeline contract that the worker sees, by number, against the emulator over HTTP; boto3 looks afterwards."""

from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.brokers.memory import MemoryBroker
from bridge.brokers.sqlite import SqliteBroker
from bridge.core.errors import Unanswered
from bridge.core.event import Outcome
from bridge.core.ports import Broker
from bridge.testing.emulator import FaultKind
from tests.support.codepipeline_stage import (
    FAILURE,
    GET,
    KEYS,
    NEGATIVE,
    SUCCESS,
    files_with,
    line,
    page,
    puts,
    stage,
    told,
)
from tests.support.fakes import eventually
from tests.support.in_process import local

KEY, SESSION = "k3y-s3cret", "t0ken-s3cret"
NO_CHAIN = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
}
CASE_15: list[dict[str, Any]] = [
    {"kind": FaultKind.STATUS, "status": 500},
    {"kind": FaultKind.STATUS, "status": 503, "body": '{"__type":"ServiceUnavailableException"}'},
    {"kind": FaultKind.HTML, "status": 502},
    {"kind": FaultKind.HTML, "status": 200},
    {"kind": FaultKind.HTML, "status": 400},
    {"kind": FaultKind.STATUS, "status": 307, "headers": {"Location": "http://127.0.0.1:1/login"}},
    {"kind": FaultKind.RESET_BEFORE},
]


@pytest.fixture(params=["memory", "sqlite"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Broker:
    return MemoryBroker() if request.param == "memory" else SqliteBroker(tmp_path / "bridge.db")


# --- 3, 6, 9, 28: one result, whatever the answer


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": FaultKind.RESET_AFTER},
        {"kind": FaultKind.STATUS_AFTER, "status": 502, "body": "<html>Bad gateway</html>"},
        {"kind": FaultKind.SLOW, "delay_s": 3},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_codepipeline_case_03_a_lost_answer_is_no_failure(broker: Broker, fault: dict[str, Any]) -> None:
    """The Put was applied and its answer lost: the repeat looks, gets InvalidJobState, and counts as delivered."""
    async with stage({**KEYS, "timeout": 1}, broker=broker) as one:
        job = await one.hold()
        one.codepipeline.fault(path=f"{SUCCESS}$", **fault)
        await one.send(job)
        report = await one.rig.final()
        assert (report.result, report.ending) == ("resolved", "already-done")
        assert report.note.startswith("unconfirmed")
        assert one.calls == [SUCCESS, GET, SUCCESS]
        assert one.effects == [("job.succeeded", job)]
        assert one.rig.told() == ["later", "already-done"]
        assert one.rig.dead == []
        assert (await one.aws.latest())["status"] == "Succeeded"


async def test_codepipeline_case_03_a_lost_answer_to_a_failure_too() -> None:
    """The same for a failure result: it is not put twice, and no success follows it."""
    async with stage() as one:
        job = await one.hold()
        one.codepipeline.fault(FaultKind.RESET_AFTER, path=f"{FAILURE}$")
        await one.send(job, Outcome.FAILED)
        assert await one.ending() == "already-done"
        assert one.calls == [FAILURE, GET, FAILURE]
        assert one.effects == [("job.failed", job)]


async def test_codepipeline_case_03_a_put_that_never_arrived_is_put_again() -> None:
    """Reset before the effect: the repeat is in doubt, and puts what was not put."""
    async with stage() as one:
        job = await one.hold()
        one.codepipeline.fault(FaultKind.RESET_BEFORE, path=f"{SUCCESS}$")
        await one.send(job)
        assert await one.ending() == "done"
        assert one.effects == [("job.succeeded", job)]


async def test_codepipeline_case_06_a_resolution_twice_is_one_result(broker: Broker) -> None:
    """A copy of the same dispatch finds the job ended: nothing more happens to it, and both are resolved."""
    async with stage(broker=broker) as one:
        job = await one.hold()
        await one.send(job)
        assert await one.ending() == "done"
        await one.send(job, wait="copy", is_resent=True)
        assert await one.ending("copy") == "already-done"
        assert one.effects == [("job.succeeded", job)]
        assert one.rig.dead == []


async def test_codepipeline_case_06_two_copies_at_once() -> None:
    """Whichever comes second is told that it is done; the pipeline goes on once."""
    async with stage() as one:
        job = await one.hold()
        for wait in ("a", "b"):
            await one.send(job, wait=wait, is_resent=True)
        assert sorted([await one.ending("a"), await one.ending("b")]) == ["already-done", "done"]
        assert one.effects == [("job.succeeded", job)]


async def test_codepipeline_case_09_the_final_put_is_final(broker: Broker) -> None:
    """One request: 100 %, no continuationToken key; execution id and variables as the body says; boto3 sees it succeeded."""
    body = {"summary": "3 of 3\npassed", "external_execution_id": "demo/42", "output_variables": {"Approver": "ana"}}
    async with stage(broker=broker) as one:
        job = await one.hold()
        await one.send(job, body=body, summary="3 of 3 passed")
        assert await one.ending() == "done"
        assert one.calls == [SUCCESS]
        assert one.members(SUCCESS) == {
            "jobId": job,
            "executionDetails": {
                "summary": "3 of 3\npassed",
                "percentComplete": 100,
                "externalExecutionId": "demo/42",
            },
            "outputVariables": {"Approver": "ana"},
        }
        latest = await one.aws.latest()
        assert (latest["status"], latest["percentComplete"]) == ("Succeeded", 100)
        assert latest["externalExecutionId"] == "demo/42"
        assert one.rig.told() == ["done"]
        assert await one.aws.poll() == []


async def test_codepipeline_case_09_a_form_says_the_same() -> None:
    """Fields of a form are texts; its output variables are JSON."""
    body = {"summary": "ok", "output_variables": '{"Version": 7, "Signed": true, "None": null, "Tags": ["a", "b"]}'}
    async with stage() as one:
        await one.send(await one.hold(), body=body)
        assert await one.ending() == "done"
        assert one.members(SUCCESS)["outputVariables"] == {"Version": "7", "Signed": "true", "Tags": '["a","b"]'}
        assert "externalExecutionId" not in one.members(SUCCESS)["executionDetails"]


@pytest.mark.parametrize("body", ["", "{}"])
async def test_codepipeline_case_28_an_empty_answer_is_success(body: str) -> None:
    """200 without a body, as AWS answers, or with an empty object: done at once, without a second Put."""
    async with stage() as one:
        job = await one.hold()
        if body:
            one.codepipeline.fault(FaultKind.STATUS_AFTER, status=200, body=body, path=f"{SUCCESS}$")
        await one.send(job)
        assert await one.ending() == "done"
        assert one.calls == [SUCCESS]
        assert one.effects == [("job.succeeded", job)]


# --- 10: failures


@pytest.mark.parametrize("outcome", NEGATIVE)
async def test_codepipeline_case_10_every_other_outcome_fails_the_job(outcome: Outcome, broker: Broker) -> None:
    """Failed, cancelled and timed out: one failure result, its message never empty; boto3 sees the error."""
    async with stage(broker=broker) as one:
        job = await one.hold()
        await one.send(job, outcome)
        assert await one.ending() == "done"
        assert one.calls == [FAILURE]
        message = {Outcome.TIMED_OUT: "timed out"}.get(outcome, outcome.value)
        assert one.members(FAILURE) == {"jobId": job, "failureDetails": {"type": "JobFailed", "message": message}}
        assert one.effects == [("job.failed", job)]
        latest = await one.aws.latest()
        assert (latest["status"], latest["errorDetails"]) == ("Failed", {"code": "JobFailed", "message": message})


@pytest.mark.parametrize("given", ["RevisionUnavailable", "no-such-type", 7])
async def test_codepipeline_case_10_type_message_and_execution_id(given: Any) -> None:
    """A known type is kept, another becomes JobFailed; the message is cut to 5000; the execution id is there again."""
    body = {"summary": "x" * 6000, "failure_type": given, "external_execution_id": "demo/42"}
    async with stage() as one:
        await one.send(await one.hold(), Outcome.FAILED, body=body)
        assert await one.ending() == "done"
        details = one.members(FAILURE)["failureDetails"]
        assert details["type"] == (given if given == "RevisionUnavailable" else "JobFailed")
        assert details["message"] == "x" * 4999 + "…"
        assert details["externalExecutionId"] == "demo/42"
        assert (await one.aws.latest())["externalExecutionId"] == "demo/42"


# --- 14, 15: throttled and failing


async def test_codepipeline_case_14_throttling_is_waited_out(broker: Broker) -> None:
    """N refusals cost N Puts and no more; it opens no breaker, is no doubt, and loses nothing."""
    async with stage(broker=broker) as one:
        job = await one.hold()
        one.codepipeline.fail("ThrottlingException", operation=SUCCESS, times=8)
        await one.send(job)
        assert await one.ending() == "done"
        assert one.calls == [SUCCESS] * 9
        assert one.effects == [("job.succeeded", job)]
        assert one.rig.told() == ["later", "done"]
        assert not one.rig.worker.status.is_breaker_open


async def test_codepipeline_case_14_other_jobs_go_on() -> None:
    """While one Put is throttled without end, another job's result is put."""
    async with stage() as one:
        slow, quick = await one.hold("slow"), await one.hold("quick")
        one.codepipeline.fail("ThrottlingException", operation=SUCCESS, times=10_000)
        await one.send(slow, wait="slow")
        await eventually(lambda: one.calls.count(SUCCESS) >= 2)
        await one.send(quick, Outcome.FAILED, wait="quick")
        assert await one.ending("quick") == "done"
        assert one.rig.finals("slow") == []
        one.codepipeline.faults.clear()
        assert await one.ending("slow") == "done"
        assert one.effects == [("job.failed", quick), ("job.succeeded", slow)]


async def test_codepipeline_case_14_a_throttled_job_that_ended_is_gone() -> None:
    """Throttling is no doubt: a job that timed out meanwhile was not ended by us, and the report says so."""
    async with stage() as one:
        job = await one.hold()
        one.codepipeline.fail("ThrottlingException", operation=SUCCESS, times=10_000)
        await one.send(job)
        await eventually(lambda: one.rig.told() == ["later"])
        one.codepipeline.advance(25 * 3600)
        one.codepipeline.faults.clear()
        assert await one.ending() == "gone"
        assert GET not in one.calls


@pytest.mark.parametrize("fault", CASE_15, ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}")
async def test_codepipeline_case_15_a_failing_platform_is_retried(broker: Broker, fault: dict[str, Any]) -> None:
    """5xx, pages of a proxy whatever their status, redirects and resets: later, told in words, then put once."""
    async with stage(broker=broker) as one:
        job = await one.hold()
        one.codepipeline.fault(path=f"{SUCCESS}$", times=2, **fault)
        with structlog.testing.capture_logs() as logs:
            await one.send(job)
            assert await one.ending() == "done"
        assert one.calls == [SUCCESS, GET, SUCCESS, GET, SUCCESS]
        assert one.effects == [("job.succeeded", job)]
        assert one.rig.told() == ["later", "done"]
        assert "consumer_failed" not in [entry["event"] for entry in logs]
        assert "<html" not in f"{logs} {one.rig.reports}"


async def test_codepipeline_case_15_a_closed_port_is_no_doubt() -> None:
    """Nothing was sent where nobody listens: the repeat is a first attempt, and needs no look."""
    async with stage() as one:
        job = await one.hold()
        one.codepipeline.fault(FaultKind.REFUSE, path=f"{GET}$", delay_s=0.3)
        with pytest.raises(Unanswered):
            await one.rig.consumer.health()
        await one.send(job)
        assert await one.ending() == "done"
        assert one.rig.told() == ["later", "done"]
        assert [operation for operation, members, _ in one.traffic if members["jobId"] == job] == [SUCCESS]
        assert one.effects == [("job.succeeded", job)]


# --- 16, 29: the job has ended, and how that is spelt


@pytest.mark.parametrize("end", ["timed-out", "abandoned"])
async def test_codepipeline_case_16_a_late_webhook_is_gone(end: str, broker: Broker) -> None:
    """InvalidJobState on a clean first Put: one request, no retry, no failure Put; told, and kept as a dead letter."""
    async with stage(broker=broker) as one:
        job = await one.hold()
        if end == "timed-out":
            one.codepipeline.advance(25 * 3600)
        else:
            one.codepipeline.stop_execution(one.codepipeline.executions[0].id)
        await one.send(job)
        report = await one.rig.final()
        assert (report.result, report.reason) == ("undeliverable", "gone")
        assert "timed out" in report.note
        assert one.calls == [SUCCESS]
        assert one.effects == []
        await eventually(lambda: one.rig.dead == ["gone"])


@pytest.mark.parametrize("is_resent", [False, True])
async def test_codepipeline_case_16_an_unknown_job_is_gone(*, is_resent: bool) -> None:
    """Wrong id, account or Region: a dead letter with that reason; in doubt the look says so, and nothing is put."""
    async with stage() as one:
        await one.send("11111111-abcd-1111-abcd-111111abcdef", is_resent=is_resent)
        report = await one.rig.final()
        assert report.reason == "gone"
        assert "Region" in report.note
        assert one.calls == [GET if is_resent else SUCCESS]


@pytest.mark.parametrize("text_key", ["message", "Message"])
async def test_codepipeline_case_29_a_namespace_changes_nothing(text_key: str) -> None:
    """`com.amazonaws.codepipeline#Code` is judged as `Code`: ended clean, ended in doubt, unknown, throttled."""
    async with stage(error_namespace="com.amazonaws.codepipeline", error_text_key=text_key) as one:
        job = await one.hold()
        one.codepipeline.fail("ThrottlingException", operation=SUCCESS)
        await one.send(job, wait="throttled")
        assert await one.ending("throttled") == "done"
        assert not one.rig.worker.status.is_breaker_open
        await one.send(job, wait="clean")
        await one.send(job, wait="doubt", is_resent=True)
        await one.send("11111111-abcd-1111-abcd-111111abcdef", wait="unknown")
        endings = [await one.ending(wait) for wait in ("clean", "doubt", "unknown")]
        assert endings == ["gone", "already-done", "gone"]
        assert one.effects == [("job.succeeded", job)]


# --- 26, 27: nothing is sent that AWS would refuse


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, *NEGATIVE])
@pytest.mark.parametrize("summary", ["", "   ", "x" * 3000, "\U0001f600" * 3000, "é\x00\x1b" * 1500])
async def test_codepipeline_case_26_every_summary_fits(summary: str, outcome: Outcome) -> None:
    """Empty, long, of wide characters or with control characters: cut or replaced, and taken at the first Put."""
    async with stage() as one:
        await one.send(await one.hold(), outcome, body={"summary": summary, "external_execution_id": "i" * 2000})
        assert await one.ending() == "done"
        ((operation, members, status),) = one.traffic
        assert status == 200
        details = members["executionDetails" if operation == SUCCESS else "failureDetails"]
        text = details["summary" if operation == SUCCESS else "message"]
        limit = 2048 if operation == SUCCESS else 5000
        assert 0 < len(text.encode("utf-16-le")) // 2 <= limit
        assert len(details.get("externalExecutionId", "")) <= 1500


@pytest.mark.parametrize(
    "variables",
    [{"bad name": "v4lue"}, {"": "v4lue"}, {"é": "v4lue"}, "not JSON v4lue", ["v4lue"], '"v4lue"', 7],
    ids=str,
)
async def test_codepipeline_case_26_bad_variables_fail_the_job(variables: Any, broker: Broker) -> None:
    """They are not sent: the job fails with ConfigurationError at once, and the report says why, without what was given."""
    async with stage(broker=broker) as one:
        job = await one.hold()
        await one.send(job, body={"output_variables": variables})
        report = await one.rig.final()
        assert (report.result, report.reason) == ("undeliverable", "refused")
        assert "output_variables" in report.note
        assert "v4lue" not in report.note
        ((operation, members, status),) = one.traffic
        assert (operation, status) == (FAILURE, 200)
        assert members["failureDetails"]["type"] == "ConfigurationError"
        assert "v4lue" not in members["failureDetails"]["message"]
        assert one.effects == [("job.failed", job)]
        assert (await one.aws.latest())["status"] == "Failed"


async def test_codepipeline_case_26_bad_variables_whose_failure_was_lost() -> None:
    """The failure was put and its answer lost: the repeat ends the same way, with one effect."""
    async with stage() as one:
        job = await one.hold()
        one.codepipeline.fault(FaultKind.RESET_AFTER, path=f"{FAILURE}$")
        await one.send(job, body={"output_variables": 7})
        assert await one.ending() == "refused"
        assert one.effects == [("job.failed", job)]


async def test_codepipeline_case_26_variables_of_a_failure_are_no_matter() -> None:
    """Only a success has output variables: bad ones beside a failure change nothing."""
    async with stage() as one:
        await one.send(await one.hold(), Outcome.FAILED, body={"output_variables": 7})
        assert await one.ending() == "done"
        assert one.members(FAILURE)["failureDetails"]["type"] == "JobFailed"


@pytest.mark.parametrize(("length", "ending"), [(122_879, "done"), (122_880, "refused")])
async def test_codepipeline_case_27_too_many_variables_fail_the_job(length: int, ending: str) -> None:
    """122,880 bytes of names and values are taken; one more is a failure, and the pipeline does not hang."""
    async with stage() as one:
        await one.send(await one.hold(), body={"output_variables": {"V": "x" * length}})
        assert await one.ending() == ending
        assert (await one.aws.latest())["status"] == ("Succeeded" if ending == "done" else "Failed")
        assert [status for _, _, status in one.traffic] == [200]
        assert one.calls == [SUCCESS if ending == "done" else FAILURE]


@pytest.mark.parametrize("code", ["OutputVariablesSizeExceededException", "ValidationException"])
async def test_codepipeline_case_27_what_aws_refuses_becomes_a_failure(code: str) -> None:
    """A rule of AWS that we do not know: a reduced failure is put, so that the pipeline does not hang; a dead letter says it."""
    async with stage() as one:
        job = await one.hold()
        one.codepipeline.fail(code, operation=SUCCESS, text="Value 's3cret' at 'outputVariables'")
        await one.send(job, body={"output_variables": {"A": "s3cret"}})
        report = await one.rig.final()
        assert report.reason == "refused"
        assert code in report.note
        assert one.calls == [SUCCESS, FAILURE]
        assert one.members(FAILURE)["failureDetails"]["type"] == "ConfigurationError"
        assert one.effects == [("job.failed", job)]
        await eventually(lambda: one.rig.dead == ["refused"])
        assert "s3cret" not in f"{one.rig.reports} {one.members(FAILURE)}"


# --- 30, 35: credentials


async def test_codepipeline_case_30_an_expired_credential_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """ExpiredToken of the machine's credential: it is loaded anew once, and the same call repeated; no job fails."""
    for name, value in {**NO_CHAIN, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    async with stage({}) as one:
        first, second = await one.hold("first"), await one.hold("second")
        await one.send(first, wait="first")
        assert await one.ending("first") == "done"
        one.codepipeline.expire_credential("AKIDEXAMPLE")
        one.codepipeline.set_credential("AKIDNEW", secret=KEY, session_token=SESSION)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDNEW")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
        monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)
        await one.send(second, wait="second")
        assert await one.ending("second") == "done"
        assert [status for _, _, status in one.traffic] == [200, 400, 200]
        assert one.rig.told("second") == ["done"]


@pytest.mark.parametrize("status", [400, 403])
async def test_codepipeline_case_30_a_refused_credential_is_parked(status: int) -> None:
    """A configured key that is refused: told once, breaker open, no hot loop; delivered when the key is good again."""
    async with stage({**KEYS, "access_key_id": "AKIDROTATED"}, credential_error_status=status) as one:
        job = await one.hold()
        await one.send(job)
        await eventually(lambda: one.rig.worker.status.is_breaker_open)
        assert one.rig.worker.status.health == "credential"
        await eventually(lambda: one.calls.count(GET) >= 4)
        assert one.calls.count(SUCCESS) == 1
        one.codepipeline.set_credential("AKIDROTATED", secret=KEYS["secret_access_key"])
        assert await one.ending() == "done"
        assert one.rig.told() == ["later", "done"]
        assert one.effects == [("job.succeeded", job)]
        assert one.rig.dead == []


async def test_codepipeline_case_30_a_missing_permission_is_ours_to_mend() -> None:
    """A Put that our policy does not allow is no fault of the resolution: parked until that very operation is allowed."""
    async with stage(denied_operations=(SUCCESS,)) as one:
        job = await one.hold()
        await one.send(job)
        await eventually(lambda: one.rig.worker.status.is_breaker_open)
        await eventually(lambda: len(one.calls) >= 5)
        assert set(one.calls) == {SUCCESS}
        assert [members["jobId"] for _, members, _ in one.traffic].count(job) == 1
        one.codepipeline.set_knobs(denied_operations=())
        assert await one.ending() == "done"
        assert one.effects == [("job.succeeded", job)]
        assert one.rig.dead == []


async def test_codepipeline_case_30_no_credential_at_all_is_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without credentials sends nothing, and goes on when it has one."""
    for name, value in NO_CHAIN.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    async with stage({}) as one:
        await one.send(await one.hold())
        await eventually(lambda: one.rig.worker.status.is_breaker_open)
        assert one.calls == []
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        assert await one.ending() == "done"


async def test_codepipeline_case_35_secrets_stay_out_of_logs(caplog: pytest.LogCaptureFixture) -> None:
    """At debug level: neither our key nor session token, nor what a look returns of the action's configuration."""
    caplog.set_level("DEBUG")
    secrets = {"access_key_id": "AKIDTEMP", "secret_access_key": KEY, "session_token": SESSION}
    async with stage(secrets) as one:
        one.codepipeline.set_credential("AKIDTEMP", secret=KEY, session_token=SESSION)
        job = await one.hold(configuration={"Password": "c0nfig-s3cret"})
        caplog.clear()
        with structlog.testing.capture_logs() as logs:
            await one.send(job, is_resent=True, body={"note": "b0dy-s3cret"})
            assert await one.ending() == "done"
            one.codepipeline.expire_credential("AKIDTEMP")
            await one.send(job, wait="refused")
            await eventually(lambda: one.rig.worker.status.is_breaker_open)
        assert one.calls[:2] == [GET, SUCCESS]
        assert "s3cret" not in f"{logs} {caplog.text} {one.rig.reports}"


# --- the whole line: a wait, its callback URL, and what a client may name


async def test_codepipeline_case_06_the_same_webhook_twice_is_one_put(tmp_path: Path) -> None:
    """Progress is seen on the wait and sent nowhere; two successes are one Put; boto3 sees the pipeline succeeded."""
    async with line(tmp_path) as (made, codepipeline, aws):
        codepipeline.start_execution()
        job = await aws.take()
        wait = await made.api.register("aws", {"job_id": job["id"]})
        url = local(made, wait["callback_url"])
        assert await made.post(f"{url}/progress?percent=40&message=linking") == 202
        await told(made, f"/v1/waits/{wait['id']}", "'percent': 40, 'message': 'linking'")
        assert puts(codepipeline) == []
        said = {"outcome": "succeeded", "summary": "3 of 3", "external_execution_id": "demo/42"}
        assert [await made.post(url, json=said) for _ in range(2)] == [202, 202]
        await made.api.wait_until(wait["id"], "resolved")
        latest = await aws.latest()
        assert (latest["status"], latest["summary"], latest["externalExecutionId"]) == (
            "Succeeded",
            "3 of 3",
            "demo/42",
        )
        await told(made, "/v1/events", "'duplicate'")
        assert puts(codepipeline) == ["CodePipeline_20150709.PutJobSuccessResult"]
        assert [effect.kind for effect in codepipeline.effects] == ["job.succeeded"]


async def test_codepipeline_case_35_a_look_leaves_no_trace(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Through a whole bridge, with a look in doubt and a dead letter: not in logs, metrics, queue, store or dead letters."""
    caplog.set_level("DEBUG")
    secret = "c0nfig-s3cret"  # noqa: S105 - a dummy
    with structlog.testing.capture_logs() as logs:
        async with line(tmp_path, broker="sqlite") as (made, codepipeline, aws):
            codepipeline.start_execution(configuration={"Password": secret})
            job = await aws.take()
            caplog.clear()
            codepipeline.fault(FaultKind.RESET_AFTER, path=f"{SUCCESS}$")
            for client, state in (("first", "resolved"), ("second", "undeliverable")):
                wait = await made.api.register("aws", {"job_id": job["id"]}, labels={"try": client})
                assert await made.post(local(made, wait["callback_url"])) == 202
                await made.api.wait_until(wait["id"], state)
            paths = ("/metrics", "/v1/dead-letters", "/v1/waits", "/v1/events")
            shown = [await page(made, path) for path in paths]
    assert f"CodePipeline_20150709.{GET}" in [entry.headers.get("x-amz-target") for entry in codepipeline.log]
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("boto", "urllib3"))]
    told_anywhere = f"{shown} {logs} {ours}"
    for hidden in (secret, "artifact-secret", "artifact-session"):
        assert hidden not in told_anywhere
    assert files_with(tmp_path, secret) == []
    assert files_with(tmp_path, "artifact-secret") == []


# --- 38: stopped


async def test_codepipeline_case_38_a_stopped_and_abandoned_pipeline(broker: Broker) -> None:
    """Handled as 16: InvalidJobState at the first Put, one request, no failure Put; told, and kept as a dead letter."""
    async with stage(broker=broker) as one:
        job = await one.hold()
        one.codepipeline.stop_execution(one.codepipeline.executions[0].id, abandon=True)
        await one.send(job)
        report = await one.rig.final()
        assert (report.result, report.reason) == ("undeliverable", "gone")
        assert "stopped" in report.note
        assert one.calls == [SUCCESS]
        assert one.effects == []
        assert one.codepipeline.executions[0].status == "Stopped"
        await eventually(lambda: one.rig.dead == ["gone"])


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, *NEGATIVE])
async def test_codepipeline_case_38_abandoned_in_doubt(outcome: Outcome) -> None:
    """After a lost answer nothing tells our result from an abandoned job: already done, unconfirmed, whatever it was."""
    async with stage() as one:
        job = await one.hold()
        one.codepipeline.stop_execution(one.codepipeline.executions[0].id, abandon=True)
        await one.send(job, outcome, is_resent=True)
        report = await one.rig.final()
        assert (report.ending, report.note.startswith("unconfirmed")) == ("already-done", True)
        assert one.effects == []


async def test_codepipeline_case_38_stopped_but_not_abandoned() -> None:
    """A pipeline that waits for its actions to end takes the result, and stops then."""
    async with stage() as one:
        job = await one.hold()
        one.codepipeline.stop_execution(one.codepipeline.executions[0].id, abandon=False)
        await one.send(job)
        assert await one.ending() == "done"
        assert one.effects == [("job.succeeded", job)]
        assert one.codepipeline.executions[0].status == "Stopped"


# --- what no page of AWS settles, both ways (the page's section 13)


@pytest.mark.parametrize(("is_taken", "ending"), [(True, "done"), (False, "gone")])
async def test_a_put_before_the_acknowledgement(ending: str, *, is_taken: bool) -> None:
    """A job that nobody acknowledged takes a result or does not: put once, or told as gone, never asked for again."""
    async with stage(put_before_acknowledge=is_taken) as one:
        one.codepipeline.start_execution("demo")
        (job,) = await one.aws.poll()
        await one.send(job["id"])
        assert await one.ending() == ending
        assert one.calls == [SUCCESS]


@pytest.mark.parametrize(("known_s", "ending"), [(None, "already-done"), (0, "gone")])
async def test_an_ended_job_is_known_for_a_while(known_s: float | None, ending: str) -> None:
    """The id of an ended job may be forgotten before our repeat: an end with a word of it, one effect, no loop."""
    async with stage(finished_known_s=known_s) as one:
        job = await one.hold()
        one.codepipeline.fault(FaultKind.RESET_AFTER, path=f"{SUCCESS}$")
        await one.send(job)
        report = await one.rig.final()
        assert report.ending == ending
        assert ("ended" in report.note) is True
        assert one.effects == [("job.succeeded", job)]


@pytest.mark.parametrize("omitted", ["pipelineContext", "artifactCredentials", "actionConfiguration", "inputArtifacts"])
async def test_a_job_s_data_may_lack_anything(omitted: str) -> None:
    """Every member is optional: a look in doubt needs none of them."""
    async with stage(omit_data=(omitted,)) as one:
        job = await one.hold()
        await one.send(job, is_resent=True)
        assert await one.ending() == "done"
