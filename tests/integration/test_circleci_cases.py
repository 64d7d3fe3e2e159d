"""The cases of the CircleCI contract that the worker sees, by number, against the emulator over HTTP."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import pytest
import structlog

from bridge.core.event import Outcome
from bridge.testing.circleci import BOT, HUMAN, READ_TOKEN, TOKEN
from bridge.testing.emulator import FaultKind
from tests.support import circleci_stage
from tests.support.circleci_client import GATED, HOLD
from tests.support.circleci_stage import BEHIND_A_JOB, RUNNING, hold, stage
from tests.support.fakes import eventually

NEGATIVE = (Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT)
BRANCHES: list[dict[str, Any]] = [
    {
        "name": "build",
        "jobs": [
            HOLD,
            {"name": "deploy", "requires": ["hold"]},
            {"name": "tell", "requires": [{"hold": ["canceled"]}]},
        ],
    }
]


quick_read_back = circleci_stage.quick_read_back


# --- 1 to 6: approve once, whatever the answer


async def test_circleci_case_01_an_approval_on_hold_is_approved() -> None:
    """Three requests: list, approve with an empty body and our token, read back; one effect, one report."""
    async with stage() as one:
        workflow = one.start()
        await one.send(workflow)
        assert await one.ending() == "done"
        jobs = f"/workflow/{workflow.id}/job"
        assert one.calls == [f"GET {jobs}", f"POST /workflow/{workflow.id}/approve/{hold(workflow)}", f"GET {jobs}"]
        (post,) = one.posts
        assert (post.body, post.status) == ("", 202)
        assert post.headers["circle-token"] == TOKEN
        assert "authorization" not in post.headers
        assert one.effects() == [hold(workflow)]
        approver = workflow.job("hold").approved_by
        assert approver is not None
        assert approver.login == BOT
        assert workflow.job("deploy").status == "success"
        assert one.rig.told() == ["done"]
        assert one.rig.dead == []


async def test_circleci_case_01_a_pipeline_costs_one_request_more() -> None:
    """Without a workflow id the pipeline's workflows are listed first: four requests."""
    async with stage() as one:
        pipeline = one.pipeline()
        await one.send(pipeline)
        assert await one.ending() == "done"
        assert len(one.calls) == 4
        assert one.calls[0] == f"GET /pipeline/{pipeline.id}/workflow"
        assert len(one.effects()) == 1


async def test_circleci_case_01_the_token_may_be_sent_as_bearer() -> None:
    """`auth = "bearer"` sends the recommended header, and no Circle-Token; a trailing slash of base_url is no matter."""
    async with stage({"auth": "bearer"}) as one:
        await one.send(one.start())
        assert await one.ending() == "done"
        assert {entry.headers["authorization"] for entry in one.circleci.log} == {f"Bearer {TOKEN}"}
        assert not any("circle-token" in entry.headers for entry in one.circleci.log)


async def test_circleci_case_02_a_blocked_approval_is_waited_for() -> None:
    """Nothing is sent before it is on hold, however often it is looked at; then one approve, and nothing is lost."""
    async with stage() as one:
        workflow = one.start(BEHIND_A_JOB)
        await one.send(workflow)
        await eventually(lambda: len(one.circleci.log) >= 6)
        assert one.posts == []
        one.circleci.finish(workflow.job("test"))
        assert await one.ending() == "done"
        assert len(one.posts) == 1
        assert one.effects() == [hold(workflow)]
        assert one.rig.told() == ["not-yet", "done"]
        assert one.rig.dead == []


async def test_circleci_case_02_the_hold_comes_by_itself() -> None:
    """`hold_delay_s`: the approval follows its dependencies after a moment, and is approved then."""
    async with stage(hold_delay_s=0.5) as one:
        workflow = one.start()
        await one.send(workflow)
        assert await one.ending() == "done"
        (post,) = one.posts
        held_at = workflow.job("hold").started_at
        assert held_at is not None
        assert post.at >= held_at


@pytest.mark.usefixtures("quick_read_back")
async def test_circleci_case_03_a_lost_approve_is_noticed() -> None:
    """The list said on hold too early, and 202 had no effect: the read-back sees it, and it is approved once on hold."""
    async with stage(on_not_on_hold_yet="202_lost") as one:
        workflow = one.start(BEHIND_A_JOB)
        one.circleci.show(workflow.job("hold"), "on_hold")
        await one.send(workflow)
        await eventually(lambda: bool(one.posts))
        one.circleci.show(workflow.job("hold"), "")
        await eventually(lambda: one.rig.told()[-1:] == ["not-yet"])
        early = len(one.posts)
        assert one.effects() == []
        one.circleci.finish(workflow.job("test"))
        assert await one.ending() == "done"
        assert len(one.posts) == early + 1
        assert one.effects() == [hold(workflow)]


async def test_circleci_case_04_an_approve_whose_answer_is_lost_is_done() -> None:
    """It had its effect before the reset: the look finds success, and nothing is sent again."""
    async with stage() as one:
        workflow = one.start()
        one.circleci.fault(FaultKind.RESET_AFTER, method="POST")
        await one.send(workflow)
        assert await one.ending() == "already-done"
        assert len(one.posts) == 1
        assert one.effects() == [hold(workflow)]


@pytest.mark.parametrize("status", [202, 400, 404, 409])
async def test_circleci_case_04_whatever_is_said_to_an_approved_one(status: int) -> None:
    """Lists lag, so an approved one is approved again: every answer ends in success, with one effect."""
    async with stage(on_already_approved=status, read_lag_s=0.4) as one:
        workflow = one.start()
        one.circleci.fault(FaultKind.RESET_AFTER, method="POST")
        await one.send(workflow)
        assert await one.ending() in ("done", "already-done")
        assert [post.status for post in one.posts] == [None, status]
        assert one.effects() == [hold(workflow)]
        assert one.rig.told().count("later") <= 1
        assert one.rig.dead == []


@pytest.mark.parametrize(
    ("kind", "ending", "posts"), [(FaultKind.STATUS_AFTER, "already-done", 1), (FaultKind.STATUS, "done", 2)]
)
async def test_circleci_case_05_a_proxys_502_is_looked_behind(kind: FaultKind, ending: str, posts: int) -> None:
    """Applied: done, and not sent again. Not applied: sent again."""
    async with stage() as one:
        workflow = one.start()
        one.circleci.fault(kind, method="POST", status=502)
        await one.send(workflow)
        assert await one.ending() == ending
        assert len(one.posts) == posts
        assert one.effects() == [hold(workflow)]


async def test_circleci_case_06_retry_after_is_obeyed() -> None:
    """Twice 429: nothing at all is sent before each wait is over, and no breaker opens."""
    async with stage() as one:
        workflow = one.start()
        one.circleci.fault(FaultKind.STATUS, status=429, headers={"Retry-After": "2"}, times=2)
        await one.send(workflow)
        assert await one.ending() == "done"
        log = one.circleci.log
        assert [entry.status for entry in log] == [429, 429, 200, 202, 200]
        assert all(log[place + 1].at - log[place].at >= timedelta(seconds=2) for place in (0, 1))
        assert "GET /me" not in one.calls


async def test_circleci_case_06_retry_after_may_be_a_date() -> None:
    """The other form of the header, on the approve itself: nothing is sent before that moment."""
    async with stage() as one:
        workflow = one.start()
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        dated = {"Retry-After": format_datetime(until, usegmt=True)}
        one.circleci.fault(FaultKind.STATUS, method="POST", status=429, headers=dated)
        await one.send(workflow)
        assert await one.ending() == "done"
        assert [entry.status for entry in one.circleci.log] == [200, 429, 200, 202, 200]
        assert one.circleci.log[2].at >= until
        assert one.effects() == [hold(workflow)]


async def test_circleci_case_06_without_retry_after_it_backs_off() -> None:
    """429 that names no time, to the approve too, is tried again by the worker's own curve."""
    async with stage() as one:
        workflow = one.start()
        one.circleci.fault(FaultKind.STATUS, status=429, times=2)
        one.circleci.fault(FaultKind.STATUS, status=429, method="POST", times=2)
        await one.send(workflow)
        assert await one.ending() == "done"
        assert one.effects() == [hold(workflow)]


async def test_circleci_case_06_an_absurd_retry_after_stops_nobody_else() -> None:
    """A day's wait is one resolution's own: others flow, and it is neither lost nor ended."""
    async with stage() as one:
        slow, other = one.start(), one.start()
        one.circleci.fault(FaultKind.STATUS, status=429, headers={"Retry-After": "86400"}, path=slow.id)
        await one.send(slow, wait="slow")
        await eventually(lambda: one.rig.told("slow") == ["later"])
        await one.send(other, wait="other")
        assert await one.ending("other") == "done"
        assert one.rig.finals("slow") == []
        assert one.effects() == [hold(other)]


# --- 7 to 9: a negative outcome


@pytest.mark.parametrize("outcome", NEGATIVE)
async def test_circleci_case_07_a_negative_outcome_cancels_the_job(outcome: Outcome) -> None:
    """The default: the approval is canceled, its branch for that runs, and nothing that needed success."""
    async with stage() as one:
        workflow = one.start(BRANCHES)
        await one.send(workflow, outcome)
        assert await one.ending() == "done"
        assert one.calls[1:2] == [f"POST /jobs/{hold(workflow)}/cancel"]
        assert (len(one.posts), one.posts[0].status) == (1, 200)
        assert one.effects("approval.canceled") == [hold(workflow)]
        assert one.effects() == []
        assert [workflow.job(name).status for name in ("hold", "tell", "deploy")] == ["canceled", "success", "not_run"]


@pytest.mark.parametrize("policy", ["cancel-job", "cancel-workflow"])
async def test_circleci_case_07_a_cancel_whose_answer_is_lost_is_done(policy: str) -> None:
    """A canceled approval is what a negative outcome asked for: already done, not gone, and not sent again."""
    async with stage() as one:
        workflow = one.start(BRANCHES)
        one.circleci.fault(FaultKind.RESET_AFTER, method="POST")
        await one.send(workflow, Outcome.FAILED, on_failure=policy)
        assert await one.ending() == "already-done"
        assert len(one.posts) == 1
        assert one.rig.dead == []


@pytest.mark.parametrize("outcome", NEGATIVE)
async def test_circleci_case_08_policy_approve_approves(outcome: Outcome) -> None:
    """The next job asks for the result itself, so every outcome approves."""
    async with stage() as one:
        workflow = one.start(BRANCHES)
        await one.send(workflow, outcome, on_failure="approve")
        assert await one.ending() == "done"
        assert one.effects() == [hold(workflow)]
        assert workflow.job("deploy").status == "success"


@pytest.mark.parametrize("outcome", NEGATIVE)
async def test_circleci_case_09_policy_cancel_workflow_waits_for_its_end(outcome: Outcome) -> None:
    """Jobs are canceled only once stopped: it is done when the workflow is, with one request to cancel."""
    async with stage(cancel_effect_delay_s=0.4) as one:
        workflow = one.start([{"name": "build", "jobs": [HOLD, RUNNING, {"name": "deploy", "requires": ["hold"]}]}])
        await one.send(workflow, outcome, on_failure="cancel-workflow")
        assert await one.ending() == "done"
        assert workflow.status == "canceled"
        assert [f"{post.method} {post.path}" for post in one.posts] == [f"POST /api/v2/workflow/{workflow.id}/cancel"]
        assert one.effects("workflow.canceled") == [workflow.id]


async def test_circleci_case_09_policies_do_not_touch_a_success() -> None:
    """`on_failure` says nothing about success."""
    async with stage() as one:
        workflow = one.start(BRANCHES)
        await one.send(workflow, on_failure="cancel-workflow")
        assert await one.ending() == "done"
        assert one.effects() == [hold(workflow)]


# --- 10 to 14: which approval


TWINS: list[dict[str, Any]] = [{**GATED[0], "name": "build"}, {**GATED[0], "name": "release"}]


async def test_circleci_case_10_a_workflow_is_named() -> None:
    """Two approvals of one name: only the named workflow's is approved, by its id or by its name."""
    async with stage() as one:
        first, second = one.pipeline(TWINS), one.pipeline(TWINS)
        await one.send(first.workflow("release"), wait="by-id")
        await one.send(second, workflow_name="build", wait="by-name")
        assert (await one.ending("by-id"), await one.ending("by-name")) == ("done", "done")
        assert set(one.effects()) == {hold(first.workflow("release")), hold(second.workflow("build"))}
        assert len(one.posts) == 2


async def test_circleci_case_10_an_ambiguous_address_is_refused() -> None:
    """Without a workflow nobody can say which of two on hold is meant: refused with both names, and no POST."""
    async with stage() as one:
        await one.send(one.pipeline(TWINS))
        report = await one.rig.final()
        assert (report.ending, report.reason) == ("refused", "refused")
        assert "ambiguous" in report.note
        assert "build, release" in report.note
        assert one.posts == []
        await eventually(lambda: one.rig.dead == ["refused"])


@pytest.mark.parametrize("duration_s", [0.0, None])
async def test_circleci_case_10_in_doubt_the_twin_gets_no_answer(duration_s: float | None) -> None:
    """The answer to the only one on hold was lost, and its twin is on hold by the time of the look: one approve in all."""
    first = {"name": "build", "jobs": [HOLD, {"name": "deploy", "requires": ["hold"], "duration_s": duration_s}]}
    async with stage() as one:
        pipeline = one.pipeline([first, {**BEHIND_A_JOB[0], "name": "release"}])
        one.circleci.fault(FaultKind.RESET_AFTER, method="POST")
        one.circleci.fault(FaultKind.STATUS, status=503, method="GET", path="/pipeline/", skip=1, times=3)
        await one.send(pipeline)
        await eventually(lambda: bool(one.posts))
        one.circleci.finish(pipeline.workflow("release").job("test"))
        assert await one.ending() == "already-done"
        assert one.effects() == [hold(pipeline.workflow("build"))]
        assert len(one.posts) == 1


async def test_circleci_case_11_a_pipelines_rerun_is_followed() -> None:
    """The old workflow is canceled and its rerun holds: the pipeline's wait means the new one."""
    async with stage() as one:
        pipeline = one.pipeline()
        old = pipeline.workflow()
        one.circleci.cancel(old)
        new = one.circleci.rerun(old)
        await one.send(pipeline, workflow_name="build")
        assert await one.ending() == "done"
        assert one.effects() == [hold(new)]


async def test_circleci_case_11_a_workflows_rerun_is_another() -> None:
    """An id means that run alone: it is gone, whatever runs now."""
    async with stage() as one:
        old = one.start()
        one.circleci.cancel(old)
        one.circleci.rerun(old)
        await one.send(old)
        assert await one.ending() == "gone"
        assert one.posts == []


@pytest.mark.parametrize("is_pinned", [True, False])
async def test_circleci_case_12_a_build_job_is_no_approval(*, is_pinned: bool) -> None:
    """A job of that name that is no approval is never touched; the approvals seen are told."""
    jobs = [{"name": "hold", "duration_s": None}, {"name": "go", "type": "approval"}]
    workflows: list[dict[str, Any]] = [{"name": "build", "jobs": jobs}]
    async with stage() as one:
        pipeline = one.pipeline(workflows)
        await one.send(pipeline.workflow() if is_pinned else pipeline)
        report = await one.rig.final()
        assert report.reason == "refused"
        assert "approvals seen: go" in report.note
        assert one.posts == []


async def test_circleci_case_12_a_matrix_approval_goes_by_its_expanded_name() -> None:
    """A matrix, or a second use, expands the name: the bare one is refused with those there are, the expanded one approved."""
    names = ["hold-macos-0.1", "hold-linux, x/64"]
    workflows: list[dict[str, Any]] = [{"name": "build", "jobs": [{**HOLD, "name": name} for name in names]}]
    async with stage() as one:
        workflow = one.start(workflows)
        await one.send(workflow, wait="bare")
        report = await one.rig.final("bare")
        assert (report.reason, "approvals seen: hold-linux, x/64, hold-macos-0.1" in report.note) == ("refused", True)
        await one.send(workflow, approval=names[1], wait="expanded")
        assert await one.ending("expanded") == "done"
        assert one.effects() == [workflow.job(names[1]).id]


async def test_circleci_case_12_an_unknown_name_is_refused_while_jobs_run() -> None:
    """Jobs are created with their workflow: what is not among them will not come."""
    async with stage() as one:
        await one.send(one.start(BEHIND_A_JOB), approval="hodl")
        report = await one.rig.final()
        assert report.reason == "refused"
        assert "approvals seen: hold" in report.note


async def test_circleci_case_12_an_approval_listed_only_once_held_is_waited_for() -> None:
    """Where a blocked approval is not listed, the job that depends on it tells that something will come."""
    async with stage(approval_listed="once-held") as one:
        workflow = one.start(BEHIND_A_JOB)
        await one.send(workflow)
        await eventually(lambda: len(one.circleci.log) >= 6)
        one.circleci.finish(workflow.job("test"))
        assert await one.ending() == "done"


@pytest.mark.parametrize("last", ["null", "missing", "empty"])
async def test_circleci_case_13_every_page_is_read(last: str) -> None:
    """The approval is on the fourth page and its workflow on the third; the token goes as `page-token`, encoded."""
    jobs = [f"job-{number}" for number in range(6)]
    workflows: list[dict[str, Any]] = [
        {"name": "build", "jobs": [*jobs, {**HOLD, "requires": jobs}]},
        {"name": "lint", "jobs": ["lint"]},
        {"name": "docs", "jobs": ["docs"]},
    ]
    async with stage(page_size_jobs=2, page_size_workflows=1, last_page_token=last) as one:
        pipeline = one.pipeline(workflows)
        await one.send(pipeline, workflow_name="build")
        assert await one.ending() == "done"
        assert one.effects() == [hold(pipeline.workflow("build"))]
        queries = [entry.query for entry in one.circleci.log if entry.query]
        assert queries
        assert all(query.startswith("page-token=%2B%2F%20") for query in queries)
        assert {entry.status for entry in one.circleci.log} == {200, 202}


async def test_circleci_case_14_a_pipeline_without_workflows_yet_is_waited_for() -> None:
    """`items: []` is not "not found": workflows are created a moment after their pipeline."""
    async with stage(pipeline_appear_delay_s=0.5) as one:
        pipeline = one.pipeline()
        await one.send(pipeline)
        assert await one.ending() == "done"
        assert one.rig.told() == ["not-yet", "done"]
        assert len(one.effects()) == 1


async def test_circleci_case_14_a_setup_workflow_is_not_meant() -> None:
    """Dynamic config: until it is continued the pipeline has the setup workflow alone, whose approval is another's."""
    setup = {"name": "setup", "tag": "setup", "jobs": [HOLD]}
    async with stage() as one:
        pipeline = one.circleci.start_pipeline("gh/acme/app", [setup], continuation=GATED)
        await one.send(pipeline)
        await eventually(lambda: one.rig.told() == ["not-yet"])
        one.circleci.world.continue_pipeline(pipeline.continuation_key, None, {})
        assert await one.ending() == "done"
        assert one.effects() == [hold(pipeline.workflow("build"))]


async def test_circleci_case_14_an_errored_pipeline_is_gone() -> None:
    """A config that does not compile never makes a workflow."""
    async with stage() as one:
        pipeline = one.circleci.start_pipeline("gh/acme/app", errors=[{"type": "config"}])
        await one.send(pipeline)
        assert await one.ending() == "gone"


# --- 15 to 17: tokens


@pytest.mark.parametrize("mode", ["by_design", "strict"])
async def test_circleci_case_15_a_wrong_token_loses_nothing(mode: str) -> None:
    """Everything is 404 and `/me` 401: told once, kept, and delivered when the token is good again."""
    async with stage({"token": "rotated", "concurrency": 1}, auth_mode=mode) as one:
        workflows = {f"w{number}": one.start() for number in range(3)}
        with structlog.testing.capture_logs() as logs:
            for wait, workflow in workflows.items():
                await one.send(workflow, wait=wait)
            await eventually(lambda: one.rig.worker.status.is_breaker_open)
            await eventually(lambda: one.calls.count("GET /me") >= 5)
            assert len([call for call in one.calls if call != "GET /me"]) == 1
            one.circleci.add_token("rotated")
            assert [await one.ending(wait) for wait in workflows] == ["done"] * 3
        opened = [entry for entry in logs if entry["event"] == "breaker_opened"]
        assert [entry["health"] for entry in opened] == ["credential"]
        assert len(one.effects()) == 3
        assert one.rig.dead == []


async def test_circleci_case_16_an_unknown_pipeline_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """404 with a good token is waited out for the lag of reads, and then ends with its reason."""
    monkeypatch.setattr("bridge.consumers.circleci.judging.LAG", timedelta(seconds=0.3))
    async with stage() as one:
        await one.rig.send({"pipeline_id": str(uuid4()), "approval": "hold"})
        report = await one.rig.final()
        assert (report.reason, report.note) == (
            "refused",
            "no such workflow or pipeline, or the token has no access to it",
        )
        assert report.attempt > 1
        assert one.rig.told() == ["not-yet", "refused"]
        await eventually(lambda: one.rig.dead == ["refused"])


@pytest.mark.usefixtures("quick_read_back")
@pytest.mark.parametrize("status", [403, 404])
async def test_circleci_case_17_a_token_that_may_only_read_is_refused(status: int) -> None:
    """The approve is refused for good: one dead letter, and the token is in no log and no report."""
    async with stage({"token": READ_TOKEN}, on_no_permission=status) as one:
        workflow = one.start()
        with structlog.testing.capture_logs() as logs:
            await one.send(workflow)
            report = await one.rig.final()
        assert report.reason == "refused"
        assert str(status) in report.note
        assert len(one.posts) == 1
        await eventually(lambda: one.rig.dead == ["refused"])
        assert READ_TOKEN not in f"{logs} {one.rig.reports}"


# --- 18 to 20: people, and time


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
async def test_circleci_case_18_a_person_was_first(outcome: Outcome) -> None:
    """The approval is a success by somebody else: it ends quietly, says who, and nothing is sent."""
    async with stage() as one:
        workflow = one.start()
        one.circleci.approve(workflow.job("hold"), by=HUMAN)
        await one.send(workflow, outcome)
        report = await one.rig.final()
        assert (report.ending, report.note) == ("already-done", f"approved by {one.circleci.world.user(HUMAN).id}")
        assert one.posts == []


@pytest.mark.parametrize("is_pinned", [True, False])
async def test_circleci_case_19_a_workflow_canceled_meanwhile_is_gone(*, is_pinned: bool) -> None:
    """A person cancels while the approval is awaited: the wait ends as gone, with no POST and no more requests."""
    async with stage() as one:
        pipeline = one.pipeline(BEHIND_A_JOB)
        await one.send(pipeline.workflow() if is_pinned else pipeline)
        await eventually(lambda: one.rig.told() == ["not-yet"])
        one.circleci.cancel(pipeline.workflow(), by=HUMAN)
        assert await one.ending() == "gone"
        assert one.posts == []
        await eventually(lambda: one.rig.dead == ["gone"])


async def test_circleci_case_19_a_canceled_approval_is_gone_for_success() -> None:
    """Success cannot be told to an approval that a person canceled; for a negative outcome that is already done."""
    async with stage() as one:
        good, bad = one.start(BRANCHES), one.start(BRANCHES)
        for workflow in (good, bad):
            one.circleci.cancel(workflow.job("hold"), by=HUMAN)
        await one.send(good, wait="good")
        await one.send(bad, Outcome.FAILED, wait="bad")
        assert (await one.ending("good"), await one.ending("bad")) == ("gone", "already-done")
        assert one.posts == []


async def test_circleci_case_20_a_slow_approve_is_not_repeated() -> None:
    """202, still on hold for 5 s, and lists that lag 2 s: it is read back with growing waits, and never sent again."""
    async with stage(approve_effect_delay_s=5, read_lag_s=2) as one:
        workflow = one.start()
        one.circleci.turn_clock(2)
        await one.send(workflow)
        assert await one.ending() == "done"
        assert len(one.posts) == 1
        assert one.effects() == [hold(workflow)]
        assert one.rig.told() == ["done"]
        assert len(one.circleci.log) <= 8


@pytest.mark.usefixtures("quick_read_back")
async def test_circleci_case_20_a_very_slow_approve_is_later() -> None:
    """The reading back is bounded, so that no slot is held for long: it is later, looked at again, and done in the end."""
    async with stage(approve_effect_delay_s=1, on_approve_in_progress=409) as one:
        workflow = one.start()
        await one.send(workflow)
        assert await one.ending() in ("done", "already-done")
        assert one.rig.told()[0] == "later"
        assert one.effects() == [hold(workflow)]
        assert one.rig.dead == []


async def test_circleci_case_21_a_restricted_context_is_not_ours_to_mend() -> None:
    """The next job runs with the approver's rights and ends unauthorized: the approve was taken, and is not repeated."""
    guarded = {"name": "deploy", "requires": ["hold"], "restricted_to": [HUMAN]}
    async with stage() as one:
        workflow = one.start([{"name": "build", "jobs": [HOLD, guarded]}])
        await one.send(workflow)
        assert await one.ending() == "done"
        assert (workflow.job("deploy").status, workflow.status) == ("unauthorized", "unauthorized")
        assert [post.status for post in one.posts] == [202]
        assert one.effects() == [hold(workflow)]
        assert one.rig.told() == ["done"]
        assert one.rig.dead == []


# --- 31 to 35: shapes that nobody promised


@pytest.mark.parametrize("shape", ["never", "once-held", "distinct"])
async def test_circleci_case_31_a_legacy_approval_is_approved(shape: str) -> None:
    """No number, no times, no approval_request_id: its own id serves; where there is another one, that is used."""
    async with stage(approval_shape="legacy", approval_request_id=shape) as one:
        workflow = one.start()
        await one.send(workflow)
        assert await one.ending() == "done"
        assert one.effects() == [hold(workflow)]


@pytest.mark.parametrize("status", ["queued", "frobnicated", "null"])
async def test_circleci_case_32_unknown_statuses_end_nothing(status: str) -> None:
    """A status that nobody knows has not ended: it is waited for."""
    async with stage() as one:
        pipeline = one.pipeline()
        workflow = pipeline.workflow()
        one.circleci.show(workflow, status)
        one.circleci.show(workflow.job("hold"), "frobnicated")
        await one.send(workflow, wait="by-id")
        await one.send(pipeline, wait="by-pipeline")
        await eventually(lambda: one.rig.told("by-id") == one.rig.told("by-pipeline") == ["not-yet"])
        one.circleci.show(workflow.job("hold"), "")
        await one.ending("by-id")
        await one.ending("by-pipeline")
        assert one.effects() == [hold(workflow)]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": FaultKind.HTML, "status": 200},
        {"kind": FaultKind.STATUS, "status": 200, "body": '{"items": [{"id": '},
        {"kind": FaultKind.STATUS, "status": 503, "body": "upstream"},
        {"kind": FaultKind.STATUS, "status": 302, "headers": {"Location": "https://login.example/"}},
    ],
    ids=["html", "truncated", "text", "redirect"],
)
async def test_circleci_case_33_what_is_not_circlecis_answer_is_retried(fault: dict[str, Any]) -> None:
    """Before, during and after the approve a proxy may answer instead: one effect all the same."""
    async with stage() as one:
        workflow = one.start()
        for skip in (0, 1):
            one.circleci.fault(**fault, method="GET", path=workflow.id, skip=skip)
        await one.send(workflow)
        assert await one.ending() in ("done", "already-done")
        assert one.rig.told()[0] == "later"
        assert one.effects() == [hold(workflow)]


@pytest.mark.parametrize("shape", ["message", "error", "empty", "text", "html", "truncated"])
async def test_circleci_case_33_an_error_is_read_by_its_status(monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    """Whatever its body is: an absent workflow is refused, an approval of another one approved after a 409, a 503 retried."""
    monkeypatch.setattr("bridge.consumers.circleci.judging.LAG", timedelta(seconds=0.2))
    async with stage(error_body=shape, on_approve_in_progress=409, approve_effect_delay_s=0.3) as one:
        await one.rig.send({"workflow_id": str(uuid4()), "approval": "hold"}, wait="absent")
        assert (await one.rig.final("absent")).reason == "refused"
        workflow = one.start()
        one.circleci.fault(FaultKind.RESET_AFTER, method="POST")
        await one.send(workflow)
        assert await one.ending() in ("done", "already-done")
        assert one.effects() == [hold(workflow)]


async def test_circleci_case_34_a_failing_workflow_is_still_approved() -> None:
    """One job failed, and the approval is on hold: the approval's own status counts."""
    workflows: list[dict[str, Any]] = [{"name": "build", "jobs": [HOLD, {"name": "test", "result": "failed"}]}]
    async with stage() as one:
        pipeline = one.pipeline(workflows)
        assert pipeline.workflow().status == "failing"
        await one.send(pipeline)
        assert await one.ending() == "done"


async def test_circleci_case_35_a_token_revoked_in_the_middle() -> None:
    """It was good at the first look and is revoked at the next: nothing ends, and it goes on once the token is good."""
    async with stage({"concurrency": 1}) as one:
        workflow = one.start(BEHIND_A_JOB)
        await one.send(workflow)
        await eventually(lambda: one.rig.told() == ["not-yet"])
        one.circleci.add_token(TOKEN, is_valid=False)
        await eventually(lambda: one.rig.worker.status.is_breaker_open)
        one.circleci.finish(workflow.job("test"))
        one.circleci.add_token(TOKEN)
        assert await one.ending() == "done"
        assert one.effects() == [hold(workflow)]
