"""The cases of the CodePipeline contract that the agent sees, by number, against the emulator over HTTP."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.coordinator.store import works
from bridge.core.errors import StoreUnavailable
from bridge.testing.codepipeline import PipelineExecution
from bridge.testing.emulator import FaultKind
from tests.support.bridge_process import BridgeProcess, Setup
from tests.support.codepipeline_agent import LOAD_TEST, SECRETS, Running, Shifted, Stage, agent_section, stage, stored
from tests.support.codepipeline_boto3 import boto

ACK, SUCCESS, FAILURE, DETAILS = "AcknowledgeJob", "PutJobSuccessResult", "PutJobFailureResult", "GetJobDetails"
POLL, PARTNERS_POLL = "PollForJobs", "PollForThirdPartyJobs"
LAMBDA, PARTNER = "Invoke/AWS/Lambda/1", "Build/ThirdParty/Bridge/1"
CLIENT = "00000000-abcd-4000-abcd-000000000000"
CLIENT_TOKEN = "cl13nt-t0ken-of-a-customer"  # noqa: S105 - a dummy


def final(one: Stage) -> list[tuple[str, str]]:
    """Return what ended a job for good."""
    return [effect for effect in one.effects if effect[0] != "job.continued"]


async def succeeds(one: Stage, bridge: Running, execution: PipelineExecution, **body: Any) -> None:
    """Send the webhook; its pipeline goes on, by one result."""
    before = len(final(one))
    await one.answer(bridge, execution.action.id, **body)
    await one.until(lambda: execution.status == "Succeeded")
    assert final(one)[before:] == [("job.succeeded", execution.job.id)]


# --- 1, 2, 7, 8: the way of one job


async def test_codepipeline_case_01_a_held_job_gets_its_result_once(tmp_path: Path) -> None:
    """Job A starts the remote's work and links it, job B is held; the webhook puts one final result on B, by one request."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin(configuration={"Project": "demo", "Secret": "s3cret"})
        job = await one.held(execution)
        assert one.names() == [ACK, SUCCESS, ACK]
        (run,) = one.remote.runs.values()
        assert run["configuration"] == {"Project": "demo"}
        assert run["pipeline"]["action_execution_id"] == execution.action.id
        assert execution.action.external_execution_id == "run-1"
        await succeeds(one, bridge, execution, summary="3 of 3 passed", output_variables={"Runs": "3"})
        assert one.names()[3:] == [SUCCESS]
        details = {"summary": "3 of 3 passed", "percentComplete": 100, "externalExecutionId": "run-1"}
        assert one.operations()[-1][1] == {
            "jobId": job,
            "executionDetails": details,
            "outputVariables": {"Runs": "3"},
        }


async def test_codepipeline_case_01_a_failure_keeps_the_link(tmp_path: Path) -> None:
    """The remote failed: one failure, of the type that it names, with the id of its run."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin()
        job = await one.held(execution)
        await one.answer(bridge, outcome="failed", summary="2 of 3 failed", failure_type="RevisionUnavailable")
        await one.until(lambda: execution.status == "Failed")
        details = {"type": "RevisionUnavailable", "message": "2 of 3 failed", "externalExecutionId": "run-1"}
        assert one.operations()[-1] == (FAILURE, {"jobId": job, "failureDetails": details})


async def test_codepipeline_case_02_a_webhook_before_job_b(tmp_path: Path) -> None:
    """The result is kept until the next job comes, and put on that as soon as it is acknowledged; nothing more goes to A."""
    async with stage(tmp_path, follow_up_delay_s=2.0) as one, one.bridge() as bridge:
        execution = one.begin()
        await one.until(lambda: one.count(SUCCESS) == 1)
        await succeeds(one, bridge, execution)
        first, second = execution.action.jobs
        assert [(name, members["jobId"]) for name, members in one.operations()] == [
            (ACK, first.id),
            (SUCCESS, first.id),
            (ACK, second.id),
            (SUCCESS, second.id),
        ]
        acknowledged, put = [entry for entry in one.aws.log if "Poll" not in entry.headers["x-amz-target"]][-2:]
        assert put.at - acknowledged.at < timedelta(seconds=1)


async def test_codepipeline_case_07_a_job_with_a_token_starts_nothing(tmp_path: Path) -> None:
    """However many jobs a work has, the remote is called once."""
    async with stage(tmp_path, more='progress = "1s"\n') as one, one.bridge() as bridge:
        execution = one.begin()
        for generation in (1, 2, 3):
            await one.held(execution, generation=generation)
            if generation < 3:
                await one.answer(bridge, outcome="progress", percent=20 * generation, message=f"step {generation}")
        assert [entry.path for entry in one.remote.log] == ["/jobs"]
        await succeeds(one, bridge, execution)


async def test_codepipeline_case_08_progress_is_put_with_the_token(tmp_path: Path) -> None:
    """Every result but the last has a token and the link, less than 100 %, and no variables."""
    async with stage(tmp_path, more='progress = "1s"\n') as one, one.bridge() as bridge:
        execution = one.begin()
        await one.held(execution)
        await one.answer(bridge, outcome="progress", percent=100, message="all but done")
        await one.held(execution, generation=2)
        puts = [members for _, members in one.operations(SUCCESS)]
        assert [put["executionDetails"] for put in puts] == [
            {"summary": "waiting for the result", "percentComplete": 1, "externalExecutionId": "run-1"},
            {"summary": "all but done", "percentComplete": 99, "externalExecutionId": "run-1"},
        ]
        assert all(0 < len(put["continuationToken"]) <= 2048 and "outputVariables" not in put for put in puts)
        await succeeds(one, bridge, execution)


# --- 4, 5, 18: it dies, it is stopped


@asynccontextmanager
async def killed_at(one: Stage, folder: Path, path: str) -> AsyncIterator[BridgeProcess]:
    """Run a bridge as a process, kill it when the remote was asked for *path*, and start it again."""
    setup = Setup(folder, "", "", environ=dict(SECRETS))
    setup.write()
    (folder / "bridge.toml").write_text(one.config.replace("https://bridge.example.com", setup.url))
    process = BridgeProcess(setup)
    await process.start()
    try:
        await process.ready()
        one.begin()
        await one.until(lambda: any(entry.path == path for entry in one.remote.log))
        await process.kill9()
        await process.start()
        await process.ready()
        yield process
    finally:
        await process.stop()


@pytest.mark.parametrize(
    ("kind", "asked"), [(FaultKind.SLOW_BEFORE, "4"), (FaultKind.SLOW, "5")], ids=["case_04", "case_05"]
)
async def test_codepipeline_case_04_05_killed_around_the_start(tmp_path: Path, kind: FaultKind, asked: str) -> None:
    """Killed by -9 before (4) or after (5) the remote began: the next process asks for the job's data, and starts nothing twice."""
    async with stage(tmp_path) as one:
        one.remote.fault(kind, path="^/jobs$", delay_s=4)
        async with killed_at(one, tmp_path, "/jobs") as process:
            (execution,) = one.aws.executions
            await one.held(execution)
            assert one.names() == [ACK, DETAILS, SUCCESS, ACK], asked
            keys = [entry.headers["idempotency-key"] for entry in one.remote.log]
            assert keys == [execution.action.id] * 2
            assert one.remote.starts == 1
            run = one.remote.runs[execution.action.id]
            async with one.session.post(run["callback_url"], json={"outcome": "succeeded"}) as response:
                assert response.status == 202
            await one.until(lambda: execution.status == "Succeeded")
            assert final(one) == [("job.succeeded", execution.job.id)]
            assert process.pid


async def test_codepipeline_case_18_a_redeploy_holds_every_job(tmp_path: Path) -> None:
    """Stopped with two held jobs: no poll, no Acknowledge, no failure; the next process puts both results."""
    async with stage(tmp_path) as one:
        async with one.bridge():
            first, second = one.begin("one"), one.begin("two")
            await one.held(first)
            await one.held(second)
        before = len(one.aws.log)
        third = one.begin("three")
        assert not final(one)
        assert len(one.aws.log) == before
        async with one.bridge() as bridge:
            await succeeds(one, bridge, first)
            await succeeds(one, bridge, second)
            await one.held(third)
            assert one.remote.starts == 3
            assert one.count(FAILURE) == 0


async def test_codepipeline_case_18_a_stop_lets_the_call_under_way_end(tmp_path: Path) -> None:
    """Stopped while an Acknowledge is under way: its answer is kept, nothing new is begun, and the next process goes on."""
    async with stage(tmp_path) as one:
        one.aws.fault(FaultKind.SLOW, path=f"{ACK}$", delay_s=1)
        async with one.bridge():
            execution = one.begin()
            await one.until(lambda: one.count(ACK) == 1)
        assert one.names() == [ACK]
        assert one.remote.log == []
        async with one.bridge() as bridge:
            await one.held(execution)
            assert one.names() == [ACK, DETAILS, SUCCESS, ACK]
            await succeeds(one, bridge, execution)


# --- 11, 12, 13: acknowledging


async def test_codepipeline_case_11_another_worker_was_faster(tmp_path: Path) -> None:
    """A foreign worker acknowledges first: the agent does no work, sends no result, and forgets the job."""
    async with (
        stage(tmp_path, same_job_to_two_polls=True) as one,
        boto(one.aws.base_url) as rival,
        one.bridge(),
    ):
        one.aws.fault(FaultKind.SLOW_BEFORE, path=f"{ACK}$", delay_s=1)
        execution = one.begin()
        await one.until(lambda: one.count(ACK) == 1)
        words = dict(zip(("category", "owner", "provider", "version"), LOAD_TEST.split("/"), strict=True))
        (job,) = (await rival("poll_for_jobs", actionTypeId=words))["jobs"]
        await rival("acknowledge_job", jobId=job["id"], nonce=job["nonce"])
        await one.until(lambda: len([entry for entry in one.aws.log if entry.status == 400]) == 1)
        polls = one.count(POLL)
        await one.until(lambda: one.count(POLL) >= polls + 2)
        assert one.remote.log == []
        assert one.count(SUCCESS) + one.count(FAILURE) == 0
        await rival("put_job_success_result", jobId=job["id"])
        assert execution.status == "Succeeded"


async def test_codepipeline_case_11_two_agents_on_one_type(tmp_path: Path) -> None:
    """Two processes poll the same jobs all the time: each work is started once and ended once."""
    async with stage(tmp_path, broker="memory:", same_job_to_two_polls=True) as one:
        (tmp_path / "other").mkdir()
        async with one.bridge() as bridge, one.bridge():
            executions = [one.begin(f"p{number}") for number in range(8)]
            for execution in executions:
                await one.held(execution)
            assert one.remote.starts == 8
            assert len(one.remote.log) == 8
            for execution in executions:
                await one.answer(bridge, execution.action.id)
            await one.until(lambda: all(execution.status == "Succeeded" for execution in executions))
            assert sorted(final(one)) == sorted(("job.succeeded", execution.job.id) for execution in executions)


async def test_codepipeline_case_11_copies_of_a_job_that_is_being_taken_are_passed_over(tmp_path: Path) -> None:
    """Every poll hands the job out again until its slow Acknowledge is done: its details are asked for once."""
    async with partner_stage(tmp_path, same_job_to_two_polls=True) as one, one.bridge() as bridge:
        await connect(bridge, CLIENT, CLIENT_TOKEN)
        one.aws.fault(FaultKind.SLOW_BEFORE, path="AcknowledgeThirdPartyJob$", delay_s=4)
        execution = one.begin(action_type=PARTNER, client_id=CLIENT, client_token=CLIENT_TOKEN)
        await one.held(execution)
        await one.answer(bridge)
        await one.until(lambda: execution.status == "Succeeded")
        first = execution.action.jobs[0].id
        asked = [members["jobId"] for _, members in one.operations("GetThirdPartyJobDetails")]
        assert asked.count(first) == 1


async def test_codepipeline_case_12_a_job_that_is_over_is_not_worked_on(tmp_path: Path) -> None:
    """The Acknowledge answers with another status than InProgress: no work, no result."""
    async with stage(tmp_path) as one, one.bridge():
        one.aws.fault(FaultKind.SLOW_BEFORE, path=f"{ACK}$", delay_s=1)
        execution = one.begin()
        await one.until(lambda: one.count(ACK) == 1)
        one.aws.advance(25 * 3600)
        await one.until(lambda: execution.status == "Failed" and one.aws.log[-1].status is not None)
        polls = one.count(POLL)
        await one.until(lambda: one.count(POLL) >= polls + 3)
        assert execution.job.state == "TimedOut"
        assert one.names() == [ACK]
        assert one.remote.log == []


@pytest.mark.parametrize("repeat", ["invalid-nonce", "status"])
async def test_codepipeline_case_13_an_acknowledge_whose_answer_was_lost(tmp_path: Path, repeat: str) -> None:
    """Our own record says that we sent it: the job is ours and goes on, whatever the repeat is answered."""
    async with stage(tmp_path, repeat_acknowledge=repeat) as one, one.bridge() as bridge:
        one.aws.fault(FaultKind.RESET_AFTER, path=f"{ACK}$")
        execution = one.begin()
        await one.held(execution)
        assert one.names() == [ACK, ACK, DETAILS, SUCCESS, ACK]
        assert one.remote.starts == 1
        await succeeds(one, bridge, execution)


# --- 17, 37: time


async def test_codepipeline_case_17_a_lambda_job_is_renewed_in_time(tmp_path: Path) -> None:
    """Every reply restarts 20 minutes: over an hour the job is renewed before each end, and the remote is called once."""
    clock = Shifted()
    async with lambda_stage(tmp_path) as one, one.bridge(clock=clock) as bridge:
        execution = one.begin(action_type=LAMBDA, configuration={"FunctionName": "f", "UserParameters": "demo"})
        assert (await one.hand_over(bridge))[0] == 202
        for number in range(1, 6):
            await one.until(lambda n=number: len(one.aws.invocations) == n + 1)
            assert (await one.hand_over(bridge))[0] == 202
            one.forward(clock, minutes=15, seconds=30)
        assert execution.status == "InProgress"
        await one.until(lambda: len(one.aws.invocations) == 7)
        assert (await one.hand_over(bridge))[0] == 202
        assert len(one.remote.log) == 1
        await succeeds(one, bridge, execution)


async def test_codepipeline_case_37_a_wait_ends_once_by_its_deadline(tmp_path: Path) -> None:
    """23 hours pass: the stored deadline fails the job, once, with its link; a webhook afterwards changes nothing."""
    clock = Shifted()
    async with stage(tmp_path) as one, one.bridge(clock=clock) as bridge:
        execution = one.begin()
        await one.held(execution)
        clock.ahead = timedelta(hours=22, minutes=55)
        await one.held(execution, generation=2)
        assert not final(one)
        clock.ahead = timedelta(hours=23, minutes=1)
        await one.until(lambda: execution.status == "Failed")
        details = {"type": "JobFailed", "message": "timed out", "externalExecutionId": "run-1"}
        assert one.operations(FAILURE) == [(FAILURE, {"jobId": execution.job.id, "failureDetails": details})]
        run = next(iter(one.remote.runs.values()))
        async with one.session.post(run["callback_url"].replace("https://bridge.example.com", bridge.url)) as response:
            assert response.status == 410
        assert final(one) == [("job.failed", execution.job.id)]


# --- 19, 20: third party


def partner_stage(folder: Path, **knobs: Any) -> Any:
    return stage(folder, agents=agent_section("{remote}", action_type=PARTNER), **knobs)


async def connect(bridge: Running, client_id: str, token: str) -> None:
    """Set a client's token as an operator does."""
    status, _ = await bridge.api.call("PUT", f"/v1/third-party-clients/{client_id}", json={"token": token})
    assert status == 204


async def test_codepipeline_case_19_a_partners_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The token is found by the client's id and goes into every call; it stands in no log, no queue and no row."""
    async with partner_stage(tmp_path) as one, one.bridge() as bridge:
        await connect(bridge, CLIENT, CLIENT_TOKEN)
        execution = one.begin(action_type=PARTNER, client_id=CLIENT, client_token=CLIENT_TOKEN)
        await one.held(execution)
        await one.answer(bridge, output_variables={"Not": "taken"})
        await one.until(lambda: execution.status == "Succeeded")
        assert final(one) == [("job.succeeded", execution.job.id)]
        calls = one.operations()
        assert [name.replace("ThirdParty", "") for name, _ in calls] == [DETAILS, ACK, SUCCESS, DETAILS, ACK, SUCCESS]
        assert all(members["clientToken"] == CLIENT_TOKEN for _, members in calls)
        assert "outputVariables" not in calls[-1][1]
        assert calls[-1][1]["executionDetails"]["externalExecutionId"] == "run-1"
        kept = stored(tmp_path)
        assert CLIENT.encode() in kept
        assert CLIENT_TOKEN.encode() not in kept
    assert CLIENT_TOKEN not in "".join(capsys.readouterr())


async def test_codepipeline_case_20_an_unknown_client_blocks_nobody(tmp_path: Path) -> None:
    """A client without a token and one with a wrong token are alarms; the third is served, and they are, once it is mended."""
    others = {CLIENT.replace("0", "1"): None, CLIENT.replace("0", "2"): "wrong"}
    with structlog.testing.capture_logs() as logs:
        async with partner_stage(tmp_path, visibility_s=0.5) as one, one.bridge() as bridge:
            parked = [
                one.begin(f"parked-{number}", action_type=PARTNER, client_id=client, client_token="right")  # noqa: S106
                for number, client in enumerate(others)
            ]
            for client, token in {**others, CLIENT: CLIENT_TOKEN}.items():
                if token:
                    await connect(bridge, client, token)
            execution = one.begin(action_type=PARTNER, client_id=CLIENT, client_token=CLIENT_TOKEN)
            await one.held(execution)
            await succeeds(one, bridge, execution)
            alarms = {entry["client_id"] for entry in logs if entry["event"] == "agent_alarm"}
            assert alarms == set(others)
            for client in others:
                await connect(bridge, client, "right")
            for waiting in parked:
                await one.held(waiting)
                await succeeds(one, bridge, waiting)


async def test_codepipeline_case_20_a_token_that_was_taken_back(tmp_path: Path) -> None:
    """The token of a held job's client is dropped before the webhook: the result waits as a dead letter, and is put by a replay."""
    async with partner_stage(tmp_path) as one, one.bridge() as bridge:
        await connect(bridge, CLIENT, CLIENT_TOKEN)
        execution = one.begin(action_type=PARTNER, client_id=CLIENT, client_token=CLIENT_TOKEN)
        await one.held(execution)
        assert (await bridge.api.call("DELETE", f"/v1/third-party-clients/{CLIENT}"))[0] == 204
        await one.answer(bridge)
        dead: list[Any] = []
        while not dead:
            dead = (await bridge.api.call("GET", "/v1/dead-letters"))[1]["items"]
        assert dead[0]["reason"] == "refused"
        await connect(bridge, CLIENT, CLIENT_TOKEN)
        assert (await bridge.api.call("POST", f"/v1/dead-letters/{dead[0]['id']}/replay"))[0] == 202
        await one.until(lambda: execution.status == "Succeeded")
        assert final(one) == [("job.succeeded", execution.job.id)]


# --- 21, 22: Lambda


def generations(folder: Path) -> list[int]:
    """Return how many jobs of each work have ended, as the agent has it on record."""
    with closing(sqlite3.connect(folder / "bridge.db")) as store:
        return [row[0] for row in store.execute("SELECT generation FROM works")]


def lambda_stage(folder: Path, **knobs: Any) -> Any:
    return stage(folder, agents=agent_section("{remote}", name="lambda", action_type=LAMBDA), **knobs)


async def test_codepipeline_case_21_an_event_that_comes_twice(tmp_path: Path) -> None:
    """The function's event is delivered again and again: one start, one result, the same work told each time."""
    async with lambda_stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin(action_type=LAMBDA, configuration={"FunctionName": "f", "UserParameters": "demo"})
        at_once = await asyncio.gather(one.hand_over(bridge), one.hand_over(bridge))
        told = [*at_once, await one.hand_over(bridge)]
        works_told = {answer["work"] for status, answer in told if status == 202}
        assert len(works_told) == 1
        await one.until(lambda: generations(tmp_path) == [1])
        late = await one.hand_over(bridge, 0)
        assert late == (202, {"work": next(iter(works_told))})
        for _ in range(2):
            assert (await one.hand_over(bridge, 1))[0] == 202
        (run,) = one.remote.runs.values()
        assert run["configuration"] == {"UserParameters": "demo"}
        assert run["pipeline"]["action_execution_id"] == execution.action.id
        await succeeds(one, bridge, execution)
        assert one.remote.starts == len(one.remote.log) == 1
        assert one.count(POLL) == one.count(ACK) == 0
        assert one.count(SUCCESS) == 2


async def test_codepipeline_case_22_the_next_event_replaces_the_id(tmp_path: Path) -> None:
    """After the token the function runs again with another id: the result goes to that one."""
    async with lambda_stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin(action_type=LAMBDA)
        _, first = await one.hand_over(bridge)
        await one.until(lambda: len(one.aws.invocations) == 2)
        assert await one.hand_over(bridge) == (202, first)
        await succeeds(one, bridge, execution)
        before, after = one.aws.invocations
        assert [members["jobId"] for _, members in one.operations(SUCCESS)] == [before.id, after.id]


async def test_codepipeline_case_22_a_webhook_between_two_events(tmp_path: Path) -> None:
    """The result is there before the function ran again: it is put as soon as the new id is handed over."""
    async with lambda_stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin(action_type=LAMBDA)
        await one.hand_over(bridge)
        await one.until(lambda: len(one.aws.invocations) == 2)
        await one.answer(bridge)
        await one.hand_over(bridge)
        await one.until(lambda: execution.status == "Succeeded")
        assert final(one) == [("job.succeeded", execution.job.id)]


async def test_hand_overs_that_are_refused(tmp_path: Path) -> None:
    """Another Region, a token that is none of ours, an agent that is not there, no token of the API."""
    job = "11111111-abcd-1111-abcd-111111abcdef"
    async with lambda_stage(tmp_path) as one, one.bridge() as bridge:
        for name, body, status in (
            ("lambda", {"job_id": job, "region": "us-east-1"}, 422),
            ("lambda", {"job_id": job, "continuation_token": "bridge:" + "0" * 32 + ":1"}, 422),
            ("lambda", {"job_id": job, "continuation_token": "theirs"}, 422),
            ("lambda", {"job_id": job.upper()}, 422),
            ("lambda", {"job_id": job, "artifactCredentials": {}}, 422),
            ("other", {"job_id": job}, 404),
        ):
            assert (await bridge.api.call("POST", f"/v1/agents/{name}/jobs", json=body))[0] == status
        async with one.session.post(f"{bridge.url}/v1/agents/lambda/jobs", json={"job_id": job}) as response:
            assert response.status == 401
        assert one.aws.log == []


# --- 33, 34, 36: when to poll


async def test_codepipeline_case_33_no_more_than_there_is_room_for(tmp_path: Path) -> None:
    """A poll asks for the free slots; without one there is none, while another agent polls on, until a work ends."""
    agents = agent_section("{remote}", more="slots = 3\n") + agent_section("{remote}", name="beat", action_type=PARTNER)
    async with stage(tmp_path, agents=agents, visibility_s=1.0) as one, one.bridge() as bridge:
        await one.until(lambda: one.count(POLL) == 1)
        assert one.operations(POLL)[0][1]["maxBatchSize"] == 3
        executions = [one.begin(f"p{number}") for number in range(4)]
        held = executions[:3]
        for execution in held:
            await one.held(execution)
        polls, beats = one.count(POLL), one.count(PARTNERS_POLL)
        await one.until(lambda: one.count(PARTNERS_POLL) >= beats + 3)
        assert one.count(POLL) == polls
        assert one.remote.starts == 3
        await succeeds(one, bridge, held[0])
        await one.held(executions[3])
        assert one.remote.starts == 4


async def test_codepipeline_case_34_an_action_type_that_is_not_there(tmp_path: Path) -> None:
    """It is told once for minutes, with its name; another agent of the target works on."""
    with structlog.testing.capture_logs() as logs:
        agents = agent_section("{remote}") + agent_section("{remote}", name="lost", action_type="Test/Custom/Lost/1")
        async with stage(tmp_path, agents=agents) as one, one.bridge() as bridge:
            execution = one.begin()
            await one.held(execution)
            polls = one.count(POLL)
            await one.until(lambda: one.count(POLL) >= polls + 3)
            asked = [members["actionTypeId"]["provider"] for _, members in one.operations(POLL)]
            assert asked.count("Lost") == 1
            await succeeds(one, bridge, execution)
    (alarm,) = [entry for entry in logs if entry["event"] == "agent_alarm"]
    assert (alarm["agent"], alarm["reason"]) == ("lost", "no_action_type")
    assert alarm["action_type"] == "Test/Custom/Lost/1"


async def test_codepipeline_case_36_what_cannot_be_recorded_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is away when a job comes: no Acknowledge; the job comes again, and is taken then."""
    record, failures = works.record, [StoreUnavailable("away"), StoreUnavailable("away")]

    async def failing(*arguments: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop()
        return await record(*arguments, **named)

    monkeypatch.setattr(works, "record", failing)
    async with stage(tmp_path, visibility_s=0.5) as one, one.bridge() as bridge:
        execution = one.begin()
        await one.held(execution)
        assert not failures
        assert one.names() == [ACK, SUCCESS, ACK]
        await succeeds(one, bridge, execution)


async def test_codepipeline_case_36_no_job_is_taken_without_the_broker(tmp_path: Path) -> None:
    """RabbitMQ cannot be reached: nothing is polled, and so nothing is acknowledged that could not be finished."""
    with structlog.testing.capture_logs() as logs:
        async with stage(tmp_path, broker="amqp://guest:guest@127.0.0.1:1/") as one, one.bridge(is_ready=False):
            execution = one.begin()
            await one.until(lambda: [log["event"] for log in logs].count("broker_unreachable") >= 6)
            assert one.aws.log == []
            assert execution.job.state == "Queued"
