"""What the agent does beside the numbered cases, against the emulator over HTTP."""

from pathlib import Path
from typing import Any

import pytest

from bridge.testing.emulator import FaultKind
from tests.support.bridge_process import BridgeProcess, Setup
from tests.support.codepipeline_agent import PUBLIC, REMOTE_TOKEN, SECRETS, Shifted, stage
from tests.support.processes import free_port

FAILURE, SUCCESS = "PutJobFailureResult", "PutJobSuccessResult"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "ConfigurationError"), (401, "PermissionError"), (403, "PermissionError"), (302, "ConfigurationError")],
)
async def test_a_remote_that_refuses_the_work_fails_the_job(tmp_path: Path, status: int, kind: str) -> None:
    """Told once, not again: the job fails at once, on the id that is open, and the wait shows why."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        one.remote.fault(FaultKind.STATUS, path="^/jobs$", status=status, body="why: s3cret", times=9)
        execution = one.begin()
        await one.until(lambda: execution.status == "Failed")
        assert execution.action.error_code == kind
        assert execution.action.error_message == f"the work could not be started: the remote answered {status}"
        assert one.names() == ["AcknowledgeJob", FAILURE]
        assert len(one.remote.log) == 1
        waits: list[Any] = []
        while not waits:
            waits = (await bridge.api.call("GET", "/v1/waits?state=resolved"))[1]["items"]
        assert (waits[0]["outcome"], waits[0]["labels"]["pipeline"]) == ("failed", "demo")


async def test_a_remote_that_is_busy_is_asked_again_with_the_same_key(tmp_path: Path) -> None:
    """503, a reset, a conflict: the same call until it is answered, and one run."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        for kind, more in (
            (FaultKind.STATUS, {"status": 503}),
            (FaultKind.RESET_AFTER, {}),
            (FaultKind.STATUS, {"status": 409}),
        ):
            one.remote.fault(kind, path="^/jobs$", **more)
        execution = one.begin()
        await one.held(execution)
        keys = [entry.headers["idempotency-key"] for entry in one.remote.log]
        assert keys == [execution.action.id] * 4
        assert {entry.headers["authorization"] for entry in one.remote.log} == {f"Bearer {REMOTE_TOKEN}"}
        assert one.remote.starts == 1
        await one.answer(bridge)
        await one.until(lambda: execution.status == "Succeeded")


async def test_a_remote_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """After start.give_up the job fails as SystemUnavailable instead of hanging for a day."""
    clock = Shifted()
    async with stage(tmp_path) as one, one.bridge(clock=clock):
        one.remote.fault(FaultKind.STATUS, path="^/jobs$", status=503, times=99)
        execution = one.begin()
        await one.until(lambda: len(one.remote.log) == 1)
        one.forward(clock, minutes=11)
        await one.until(lambda: execution.status == "Failed")
        assert execution.action.error_code == "SystemUnavailable"


async def test_a_result_that_is_there_at_once_needs_no_second_job(tmp_path: Path) -> None:
    """The remote calls back before it has answered the start: job A gets the result, no token is put."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        one.remote.fault(FaultKind.SLOW, path="^/jobs$", delay_s=1)
        execution = one.begin()
        await one.until(lambda: bool(one.remote.runs))
        await one.answer(bridge, summary="cached")
        await one.until(lambda: execution.status == "Succeeded")
        assert one.names() == ["AcknowledgeJob", SUCCESS]
        assert "continuationToken" not in one.operations()[-1][1]


async def test_a_wait_that_is_taken_back_fails_its_job(tmp_path: Path) -> None:
    """DELETE of the agent's wait sends nothing, so the agent ends the job: its pipeline does not hang."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin()
        job = await one.held(execution)
        (wait,) = (await bridge.api.call("GET", "/v1/waits?state=open"))[1]["items"]
        assert wait["labels"] == {"pipeline": "demo", "stage": "Build", "action": "Wait"}
        assert (await bridge.api.call("DELETE", f"/v1/waits/{wait['id']}"))[0] == 204
        await one.until(lambda: execution.status == "Failed")
        details = {"type": "JobFailed", "message": "the wait was taken back", "externalExecutionId": "run-1"}
        assert one.operations(FAILURE) == [(FAILURE, {"jobId": job, "failureDetails": details})]


async def test_a_stopped_pipeline_is_seen_at_the_webhook(tmp_path: Path) -> None:
    """The execution was stopped while the job was held: one Put, then the wait is undeliverable as gone, with a dead letter."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin()
        await one.held(execution)
        one.aws.stop_execution(execution.id)
        before = one.count(SUCCESS)
        await one.answer(bridge)
        dead: list[Any] = []
        while not dead:
            dead = (await bridge.api.call("GET", "/v1/dead-letters"))[1]["items"]
        assert dead[0]["reason"] == "gone"
        assert one.count(SUCCESS) == before + 1


async def test_a_job_with_a_token_of_others_is_left_alone(tmp_path: Path) -> None:
    """Another worker continued it: no Acknowledge, an alarm, and our own jobs go on."""
    async with stage(tmp_path) as one:
        stranger = one.begin("theirs")
        one.aws.service.jobs.acknowledge(stranger.job, one.aws.service.jobs.issue_nonce(stranger.job))
        one.aws.service.jobs.follow_up(stranger.action, "theirs-1", one.aws.now)
        async with one.bridge() as bridge:
            execution = one.begin("ours")
            await one.held(execution)
            async with one.session.get(f"{bridge.url}/metrics") as response:
                page = await response.text()
        assert 'bridge_agent_alarms_total{agent="loadtest",reason="unknown_token"}' in page
        assert one.remote.starts == 1
        assert {members["jobId"] for name, members in one.operations("AcknowledgeJob")} == {
            job.id for job in execution.action.jobs
        }


async def test_the_agent_in_a_process_of_its_own(tmp_path: Path, vhost_url: str, database_url: str) -> None:
    """RabbitMQ and PostgreSQL, ingress and coordinator here, the agent there; the worker's role has nothing to do with the target."""
    async with stage(tmp_path, broker=vhost_url, store=database_url) as one:
        setup = Setup(tmp_path, "", "", environ=dict(SECRETS))
        (tmp_path / "bridge.toml").write_text(one.config.replace(PUBLIC, setup.url))
        processes = [BridgeProcess(setup, roles=["ingress", "coordinator", "worker"])]
        processes.append(BridgeProcess(setup, roles=["agent"], port=free_port()))
        try:
            for process in processes:
                await process.start()
                await process.ready()
            execution = one.begin()
            await one.held(execution)
            (run,) = one.remote.runs.values()
            async with one.session.post(run["callback_url"], json={"outcome": "succeeded"}) as response:
                assert response.status == 202
            await one.until(lambda: execution.status == "Succeeded")
            assert one.names() == ["AcknowledgeJob", SUCCESS, "AcknowledgeJob", SUCCESS]
        finally:
            for process in processes:
                await process.stop()
