"""The cases of the CodePipeline contract about manual approvals, by number, against the emulator over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.core.event import EventData, Outcome
from bridge.testing.codepipeline import PipelineExecution
from bridge.testing.emulator import FaultKind
from tests.support.codepipeline_boto3 import Boto, boto
from tests.support.codepipeline_stage import KEYS, NEGATIVE, Stage, files_with, line, puts, stage
from tests.support.fakes import eventually
from tests.support.in_process import local

STATE, HISTORY, PUT = "GetPipelineState", "ListActionExecutions", "PutApprovalResult"
BOTH = ["ApprovalAlreadyCompletedException", "InvalidApprovalTokenException"]
PLACE = {"pipeline": "release", "stage": "Gate", "action": "Approve"}
BRIDGE_ARN = "arn:aws:iam::111122223333:user/bridge"
OTHER_TOKEN = "11111111-abcd-1111-abcd-111111abcdef"  # noqa: S105 - of no approval


def begin(one: Stage, *, mode: str = "SUPERSEDED", **more: Any) -> PipelineExecution:
    """Start an execution that waits at the approval."""
    return one.codepipeline.start_execution(
        pipeline="release", stage="Gate", action="Approve", action_type="Approval/AWS/Manual/1", mode=mode, **more
    )


async def answer(one: Stage, outcome: Outcome = Outcome.SUCCEEDED, *, token: str | None = None, **more: Any) -> None:
    given = {"token": token} if token else {}
    data = EventData(summary=more.pop("summary", ""), body=more.pop("body", None))
    await one.rig.send({"approval": {**PLACE, **given}}, outcome, data=data, **more)


@asynccontextmanager
async def person(one: Stage) -> AsyncIterator[Boto]:
    """Make a client of somebody else of the same account."""
    one.codepipeline.set_credential("AKIDANA", secret="hers", principal="user/ana")  # noqa: S106 - a dummy
    async with boto(one.codepipeline.base_url, access_key="AKIDANA", signing_key="hers") as ana:
        yield ana


async def put(aws: Boto, token: str | None, status: str = "Approved", summary: str = "looks good") -> None:
    named = {"pipelineName": "release", "stageName": "Gate", "actionName": "Approve", "token": token}
    await aws("put_approval_result", **named, result={"status": status, "summary": summary})


def answered(one: Stage) -> list[tuple[str, str]]:
    """Return token and status of each answer that was taken, oldest first."""
    return [
        (effect.subject, effect.detail["status"])
        for effect in one.codepipeline.effects
        if effect.kind == "approval.put"
    ]


# --- 23: one answer, with everything that AWS asks for


async def test_codepipeline_case_23_an_approval_is_answered_with_all_five_members() -> None:
    """With its token one request; the status is capitalised; the summary holds the wait's id; the pipeline goes on."""
    async with stage() as one:
        token = begin(one).action.token
        await answer(one, token=token, summary="12 of 12 passed", wait="w1")
        assert await one.ending() == "done"
        assert one.calls == [PUT]
        assert one.members(PUT) == {
            "pipelineName": "release",
            "stageName": "Gate",
            "actionName": "Approve",
            "token": token,
            "result": {"status": "Approved", "summary": "12 of 12 passed [bridge w1]"},
        }
        latest = await one.aws.latest("release")
        assert (latest["status"], latest["summary"]) == ("Succeeded", "12 of 12 passed [bridge w1]")


@pytest.mark.parametrize("outcome", NEGATIVE)
async def test_codepipeline_case_23_every_other_outcome_rejects(outcome: Outcome) -> None:
    """Failed, cancelled and timed out are Rejected, with a summary that says which; the pipeline fails."""
    async with stage() as one:
        execution = begin(one)
        await answer(one, outcome, token=execution.action.token)
        assert await one.ending() == "done"
        result = one.members(PUT)["result"]
        said = {Outcome.TIMED_OUT: "timed out"}.get(outcome, outcome.value)
        assert result == {"status": "Rejected", "summary": f"{said} [bridge w1]"}
        assert execution.status == "Failed"


@pytest.mark.parametrize("summary", ["", "x" * 3000, "\U0001f600" * 3000])
async def test_codepipeline_case_23_the_summary_fits_and_keeps_its_mark(summary: str) -> None:
    """At most 512 characters, however long the remote's own is; the wait's id is never what is cut."""
    async with stage() as one:
        await answer(one, token=begin(one).action.token, body={"summary": summary}, wait="f" * 32)
        assert await one.ending("f" * 32) == "done"
        text = one.members(PUT)["result"]["summary"]
        assert len(text.encode("utf-16-le")) // 2 <= 512
        assert text.endswith(f" [bridge {'f' * 32}]")


async def test_codepipeline_case_23_without_a_token_the_state_has_it() -> None:
    """Two requests: the state, and the answer with its token."""
    async with stage() as one:
        execution = begin(one)
        await answer(one)
        assert await one.ending() == "done"
        assert one.calls == [STATE, PUT]
        assert answered(one) == [(execution.action.token, "Approved")]


async def test_codepipeline_case_23_an_approval_not_reached_is_waited_for() -> None:
    """While nothing waits there, before the first execution and after one that was answered: not yet, without an answer."""
    async with stage() as one:
        first = begin(one)
        await put(one.aws, first.action.token)
        await answer(one)
        await eventually(lambda: one.calls.count(STATE) >= 3)
        assert one.rig.told() == ["not-yet"]
        second = begin(one)
        assert await one.ending() == "done"
        assert answered(one)[1:] == [(second.action.token, "Approved")]
        assert not one.rig.worker.status.is_breaker_open


@pytest.mark.parametrize(
    "place", [{"pipeline": "nosuch"}, {"stage": "nosuch"}, {"action": "nosuch"}], ids=lambda place: next(iter(place))
)
@pytest.mark.parametrize("token", [None, OTHER_TOKEN])
async def test_codepipeline_case_23_an_unknown_place_is_refused(place: dict[str, str], token: str | None) -> None:
    """No such pipeline, stage or action: a dead letter at once, with and without a token."""
    async with stage() as one:
        begin(one)
        given = {"token": token} if token else {}
        await one.rig.send({"approval": {**PLACE, **place, **given}})
        assert (await one.rig.final()).reason == "refused"
        assert answered(one) == []
        assert len(one.calls) == 1


async def test_codepipeline_case_23_a_permission_of_one_pipeline_stops_no_other() -> None:
    """Approvals are allowed pipeline by pipeline: a denial refuses this wait, and the breaker stays closed."""
    async with stage(denied_operations=(PUT,)) as one:
        job = await one.hold()
        await answer(one, token=begin(one).action.token)
        report = await one.rig.final()
        assert (report.reason, PUT in report.note) == ("refused", True)
        assert await one.rig.consumer.health() == "up"
        await one.send(job, wait="job")
        assert await one.ending("job") == "done"
        assert not one.rig.worker.status.is_breaker_open


async def test_codepipeline_case_23_one_that_may_only_approve_is_healthy() -> None:
    """A principal without any permission for jobs is up as long as nothing that it needs is denied."""
    async with stage(denied_operations=("GetJobDetails",)) as one:
        assert await one.rig.consumer.health() == "up"
        await one.rig.send({"job_id": OTHER_TOKEN}, is_resent=True)
        await eventually(lambda: one.rig.worker.status.is_breaker_open)
        assert await one.rig.consumer.health() == "credential"


@pytest.mark.parametrize("fault", [FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE])
@pytest.mark.parametrize("is_given", [True, False])
async def test_codepipeline_case_23_a_lost_answer_is_looked_for(fault: FaultKind, *, is_given: bool) -> None:
    """In doubt the runs are read: with our answer there it is done, without it it is given; one answer in both."""
    async with stage() as one:
        token = begin(one).action.token
        one.codepipeline.fault(fault, path=f"{PUT}$")
        await answer(one, token=token if is_given else None)
        assert await one.ending() == ("already-done" if fault is FaultKind.RESET_AFTER else "done")
        assert answered(one) == [(token, "Approved")]
        assert one.calls.count(PUT) == (1 if fault is FaultKind.RESET_AFTER else 2)


async def test_codepipeline_case_23_a_repeat_never_answers_the_next_execution() -> None:
    """Our answer was applied and its report lost; a newer execution waits there: it is not answered by the repeat."""
    async with stage() as one:
        first = begin(one)
        await answer(one)
        assert await one.ending() == "done"
        second = begin(one)
        one.rig.reports.clear()
        await answer(one, is_resent=True)
        assert await one.ending() == "already-done"
        assert answered(one) == [(first.action.token, "Approved")]
        assert second.action.is_open


@pytest.mark.parametrize(("summary", "status"), [("[bridge w2]", "Approved"), ("[bridge w1]", "Rejected")])
async def test_codepipeline_case_23_only_our_own_answer_counts_as_ours(summary: str, status: str) -> None:
    """Another wait's mark, or ours under the other status, is not our answer."""
    async with stage() as one:
        token = begin(one).action.token
        await put(one.aws, token, status, summary)
        await answer(one, token=token, is_resent=True)
        assert (await one.rig.final()).reason == "gone"


async def test_codepipeline_case_23_a_newer_execution_has_a_new_token() -> None:
    """The old token is gone and answers nothing; without a token the newer execution is answered."""
    async with stage() as one:
        old, new = begin(one), begin(one)
        await answer(one, token=old.action.token, wait="old")
        report = await one.rig.final("old")
        assert (report.reason, "newer execution" in report.note) == ("gone", True)
        assert answered(one) == []
        await answer(one, wait="new")
        assert await one.ending("new") == "done"
        assert answered(one) == [(new.action.token, "Approved")]


async def test_codepipeline_case_23_a_token_that_changes_between_the_two_calls() -> None:
    """Found in the state and superseded before the answer: not yet, and the newer execution is answered."""
    async with stage() as one:
        begin(one)
        one.codepipeline.fail("InvalidApprovalTokenException", operation=PUT)
        await answer(one)
        assert await one.ending() == "done"
        assert one.rig.told() == ["not-yet", "done"]


async def test_codepipeline_case_23_the_whole_line(tmp_path: Path) -> None:
    """A wait for an approval with its token, and its callback: approved; the token stands nowhere on the way."""
    (tmp_path / "seal").write_text("k" * 32)
    more = '[secrets]\nkeys = [{ id = "a", file = "seal" }]\n'
    with structlog.testing.capture_logs() as logs:
        async with line(tmp_path, more=more) as (made, codepipeline, aws):
            token = str(
                codepipeline.start_execution(
                    pipeline="release", stage="Gate", action="Approve", action_type="Approval/AWS/Manual/1"
                ).action.token
            )
            wait = await made.api.register("aws", {"approval": {**PLACE, "token": token}})
            assert await made.post(local(made, wait["callback_url"]), json={"summary": "signed"}) == 202
            await made.api.wait_until(wait["id"], "resolved")
            latest = await aws.latest("release")
            assert (latest["status"], latest["summary"]) == ("Succeeded", f"signed [bridge {wait['id']}]")
            assert puts(codepipeline) == ["CodePipeline_20150709.PutApprovalResult"]
            shown = [await made.api.call("GET", path) for path in (f"/v1/waits/{wait['id']}", "/v1/events")]
    assert token not in f"{shown} {logs}"
    assert files_with(tmp_path, token) == []


# --- 24: answered, expired


@pytest.mark.parametrize("code", BOTH)
@pytest.mark.parametrize("is_given", [True, False])
async def test_codepipeline_case_24_answered_by_a_person(code: str, *, is_given: bool) -> None:
    """Either error: the state is read once, says who it was, and the wait ends; our answer is not told as applied."""
    async with stage(repeated_approval=code) as one, person(one) as ana:
        token = begin(one).action.token
        if is_given:
            await put(ana, token)
        else:  # between our two calls
            one.codepipeline.fault(FaultKind.SLOW, path=f"{STATE}$", delay_s=0.3)
        await answer(one, token=token if is_given else None)
        if not is_given:
            await eventually(lambda: STATE in one.calls)
            await put(ana, token)
        report = await one.rig.final()
        assert (report.result, report.reason) == ("undeliverable", "gone")
        assert "user/ana" in report.note
        assert one.calls == [*([] if is_given else [STATE]), PUT, STATE, HISTORY]
        assert answered(one) == [(token, "Approved")]


@pytest.mark.parametrize("code", BOTH)
async def test_codepipeline_case_24_answered_by_us(code: str) -> None:
    """Status, author and summary are ours: applied. A copy of the resolution that is in no doubt finds it so."""
    async with stage(repeated_approval=code) as one:
        token = begin(one).action.token
        await put(one.aws, token, summary="12 of 12 [bridge w1]")
        await answer(one, token=token)
        assert await one.ending() == "already-done"
        assert answered(one) == [(token, "Approved")]


@pytest.mark.parametrize("code", BOTH)
async def test_codepipeline_case_24_our_words_by_another_are_not_ours(code: str) -> None:
    """The same status and summary under another name: not ours, whoever copied it."""
    async with stage(repeated_approval=code) as one, person(one) as ana:
        token = begin(one).action.token
        await put(ana, token, summary="12 of 12 [bridge w1]")
        await answer(one, token=token)
        report = await one.rig.final()
        assert (report.reason, "user/ana" in report.note) == ("gone", True)


async def test_codepipeline_case_24_expired() -> None:
    """An approval that timed out takes no answer: gone, without a loop."""
    async with stage() as one:
        token = begin(one).action.token
        one.codepipeline.advance(8 * 24 * 3600)
        await answer(one, token=token)
        report = await one.rig.final()
        assert (report.reason, "expired" in report.note) == ("gone", True)
        assert one.calls == [PUT, STATE, HISTORY]


# --- 25: PARALLEL


@pytest.mark.parametrize("state", ["without-token", "hidden"])
async def test_codepipeline_case_25_a_parallel_pipeline_has_its_token_in_the_list(state: str) -> None:
    """No token in the state: it is taken from ListActionExecutions."""
    async with stage(parallel_state=state) as one:
        execution = begin(one, mode="PARALLEL")
        await answer(one)
        assert await one.ending() == "done"
        assert one.calls == [STATE, HISTORY, PUT]
        assert answered(one) == [(execution.action.token, "Approved")]


@pytest.mark.parametrize("state", ["without-token", "hidden"])
async def test_codepipeline_case_25_several_wait_and_the_address_says_which(state: str) -> None:
    """With a token that very execution is answered; without one it is refused, and none is answered."""
    async with stage(parallel_state=state) as one:
        first, second = begin(one, mode="PARALLEL"), begin(one, mode="PARALLEL")
        await answer(one, wait="unclear")
        assert (await one.rig.final("unclear")).reason == "refused"
        assert answered(one) == []
        await answer(one, Outcome.FAILED, token=first.action.token, wait="first")
        assert await one.ending("first") == "done"
        assert (first.status, second.action.is_open) == ("Failed", True)


@pytest.mark.parametrize("state", ["without-token", "hidden"])
async def test_codepipeline_case_25_not_reached_in_parallel(state: str) -> None:
    """Nothing waits: not yet, until an execution does."""
    async with stage(parallel_state=state) as one:
        await put(one.aws, begin(one, mode="PARALLEL").action.token)
        await answer(one)
        await eventually(lambda: one.calls.count(HISTORY) >= 2)
        assert one.rig.told() == ["not-yet"]
        begin(one, mode="PARALLEL")
        assert await one.ending() == "done"


@pytest.mark.parametrize("state", ["without-token", "hidden"])
async def test_codepipeline_case_25_a_lost_answer_in_parallel(state: str) -> None:
    """The list shows our answer although the state shows another execution, or none."""
    async with stage(parallel_state=state) as one:
        first = begin(one, mode="PARALLEL")
        one.codepipeline.fault(FaultKind.RESET_AFTER, path=f"{PUT}$")
        await answer(one, token=first.action.token)
        assert await one.ending() == "already-done"
        assert answered(one) == [(first.action.token, "Approved")]


async def test_codepipeline_case_25_the_list_is_read_page_by_page() -> None:
    """An approval that waits behind a hundred newer actions is found."""
    async with stage() as one:
        execution = begin(one, mode="PARALLEL")
        for _ in range(120):
            await put(one.aws, begin(one, mode="PARALLEL").action.token)
        await answer(one)
        assert await one.ending() == "done"
        assert one.calls == [STATE, HISTORY, HISTORY, PUT]
        assert execution.status == "Succeeded"
        assert one.rig.dead == []
        assert KEYS["access_key_id"] not in str(one.rig.reports)
