"""The CircleCI emulator's model: statuses, dependencies, approvals, cancels and reruns, under a turned clock."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.testing.circleci.engine import Fact, Refused
from bridge.testing.circleci.knobs import Knobs
from bridge.testing.circleci.model import Pipeline, Workflow, api_slug, webhook_slug
from bridge.testing.circleci.specs import JobSpec, PipelineSpec, WorkflowSpec
from bridge.testing.circleci.world import ContinueRefused, World

START = datetime(2026, 1, 1, tzinfo=UTC)
HOLD: dict[str, Any] = {"name": "hold", "type": "approval"}


class Clockwork:
    """A world with a clock in the hand of the test."""

    def __init__(self, **knobs: Any) -> None:
        self.facts: list[Fact] = []
        self.world = World(Knobs(**knobs), START, self.facts.append)

    def pipeline(self, *workflows: Any, **more: Any) -> Pipeline:
        spec = PipelineSpec.model_validate({"project": "gh/acme/app", "workflows": list(workflows), **more})
        pipeline = self.world.start_pipeline(spec)
        self.turn(0)
        return pipeline

    def workflow(self, *jobs: Any, **more: Any) -> Workflow:
        return self.pipeline({"name": "build", "jobs": list(jobs), **more}).workflow()

    def turn(self, seconds: float) -> None:
        self.world.advance(self.world.now + timedelta(seconds=seconds))

    def approve(self, workflow: Workflow, job: str = "hold", by: str = "ana") -> None:
        self.world.engine.approve(workflow, workflow.job(job), self.world.user(by))
        self.turn(0)

    def cancel(self, workflow: Workflow, job: str = "hold") -> None:
        self.world.engine.cancel_job(workflow, workflow.job(job), self.world.user("ana"))
        self.turn(0)

    def count(self, kind: str) -> int:
        return sum(fact.kind == kind for fact in self.facts)


def statuses(workflow: Workflow) -> dict[str, str]:
    return {job.name: job.status for job in workflow.jobs}


def test_a_workflow_without_approvals_runs_to_success() -> None:
    """Jobs run in order of their dependencies and the workflow ends with them."""
    clock = Clockwork()
    workflow = clock.workflow({"name": "a", "duration_s": 5}, {"name": "b", "requires": ["a"], "duration_s": 5})
    assert statuses(workflow) == {"a": "running", "b": "blocked"}
    clock.turn(5)
    assert statuses(workflow) == {"a": "success", "b": "running"}
    clock.turn(5)
    assert workflow.status == "success"
    assert workflow.stopped_at == START + timedelta(seconds=10)


def test_an_approval_goes_from_blocked_over_on_hold_to_success() -> None:
    """The approval is held once its dependencies are met, and its approver is known."""
    clock = Clockwork()
    workflow = clock.workflow(
        {"name": "test", "duration_s": 3}, {**HOLD, "requires": ["test"]}, {"name": "deploy", "requires": ["hold"]}
    )
    assert statuses(workflow)["hold"] == "blocked"
    clock.turn(3)
    assert statuses(workflow) == {"test": "success", "hold": "on_hold", "deploy": "blocked"}
    assert workflow.status == "on_hold"
    clock.approve(workflow)
    assert statuses(workflow) == {"test": "success", "hold": "success", "deploy": "success"}
    approver = workflow.job("hold").approved_by
    assert approver is not None
    assert approver.login == "ana"
    assert clock.count("approval.approved") == 1


def test_hold_delay_keeps_an_approval_blocked() -> None:
    """With `hold_delay_s` a ready approval stays blocked for that long, while the workflow runs."""
    clock = Clockwork(hold_delay_s=7)
    workflow = clock.workflow(HOLD)
    clock.turn(6.9)
    assert (workflow.job("hold").status, workflow.status) == ("blocked", "running")
    clock.turn(0.1)
    assert (workflow.job("hold").status, workflow.status) == ("on_hold", "on_hold")


def test_an_approval_is_approved_once() -> None:
    """A second approve of the same approval is refused and leaves no second effect."""
    clock = Clockwork()
    workflow = clock.workflow(HOLD)
    clock.approve(workflow)
    with pytest.raises(Refused):
        clock.approve(workflow)
    assert clock.count("approval.approved") == 1


@pytest.mark.parametrize(
    ("wanted", "result", "status"),
    [
        ("success", "success", "success"),
        ("success", "failed", "not_run"),
        ("success", "timedout", "not_run"),
        ("failed", "infrastructure_fail", "success"),
        (["failed", "canceled"], "canceled", "success"),
        ("not_run", "success", "not_run"),
        ("terminal", "failed", "success"),
        ("terminal", "unauthorized", "success"),
    ],
)
def test_a_job_runs_when_its_requirement_is_met(wanted: str | Sequence[str], result: str, status: str) -> None:
    """Flexible requires: a job runs when the upstream status is one it asks for, and becomes not_run when it cannot be."""
    workflow = Clockwork().workflow({"name": "a", "result": result}, {"name": "b", "requires": [{"a": wanted}]})
    assert workflow.job("b").status == status


def test_a_canceled_approval_runs_the_negative_branch_only() -> None:
    """What requires success of the approval becomes not_run, what requires canceled runs, and parallel jobs go on."""
    clock = Clockwork()
    workflow = clock.workflow(
        HOLD,
        {"name": "deploy", "requires": ["hold"]},
        {"name": "tell", "requires": {"hold": "canceled"}},
        {"name": "other", "duration_s": 9},
    )
    clock.cancel(workflow)
    assert statuses(workflow) == {"hold": "canceled", "deploy": "not_run", "tell": "success", "other": "running"}
    assert workflow.status == "running"
    clock.turn(9)
    assert workflow.status == "canceled"
    assert clock.count("approval.canceled") == 1


def test_a_workflow_is_failing_while_an_approval_waits() -> None:
    """One failed job and one on hold make a failing workflow, which can still be approved and then failed."""
    clock = Clockwork()
    workflow = clock.workflow({"name": "a", "result": "failed"}, HOLD)
    assert workflow.status == "failing"
    clock.approve(workflow)
    assert workflow.status == "failed"


@pytest.mark.parametrize("shown", ["running", "on_hold"])
def test_held_and_running_is_a_knob(shown: str) -> None:
    """The undocumented status of a workflow with one held and one running job follows the knob."""
    workflow = Clockwork(held_and_running=shown).workflow({"name": "a", "duration_s": None}, HOLD)
    assert workflow.status == shown


def test_canceling_a_workflow_takes_its_time() -> None:
    """Jobs are canceled after the delay, blocked ones are not_run at once, and the workflow is active until then."""
    clock = Clockwork(cancel_effect_delay_s=4)
    workflow = clock.workflow({"name": "a", "duration_s": None}, HOLD, {"name": "b", "requires": ["a"]})
    user = clock.world.user("ana")
    assert clock.world.engine.cancel_workflow(workflow, user)
    assert not clock.world.engine.cancel_workflow(workflow, user)
    assert statuses(workflow) == {"a": "running", "hold": "on_hold", "b": "not_run"}
    with pytest.raises(Refused):
        clock.approve(workflow)
    clock.turn(4)
    assert statuses(workflow) == {"a": "canceled", "hold": "canceled", "b": "not_run"}
    assert workflow.status == "canceled"
    assert (clock.count("workflow.canceled"), clock.count("workflow.finished")) == (1, 1)


def test_a_cancel_before_the_effect_of_an_approve_wins() -> None:
    """An accepted approve has no effect when the job is canceled first."""
    clock = Clockwork(approve_effect_delay_s=5)
    workflow = clock.workflow(HOLD)
    clock.approve(workflow)
    clock.cancel(workflow)
    clock.turn(5)
    assert workflow.job("hold").status == "canceled"
    assert workflow.job("hold").approved_by is None
    assert clock.count("approval.approved") == 0


def test_a_workflow_finishes_once() -> None:
    """An approve kept for a blocked job, which ends the workflow in the moment of the hold, ends it once."""
    clock = Clockwork()
    workflow = clock.workflow({"name": "a", "duration_s": 5}, {**HOLD, "requires": ["a"]})
    workflow.job("hold").kept_for = clock.world.user("ana")
    clock.turn(5)
    assert workflow.status == "success"
    assert clock.count("workflow.finished") == 1


def test_a_canceled_workflow_is_canceled_whatever_failed_before() -> None:
    """A failing workflow that is canceled ends canceled, not failed."""
    clock = Clockwork()
    workflow = clock.workflow({"name": "a", "result": "failed"}, HOLD)
    clock.world.engine.cancel_workflow(workflow, clock.world.user("ana"))
    assert workflow.status == "canceled"


def test_a_hold_ends_after_ninety_days() -> None:
    """The platform cancels a workflow that was on hold for 90 days."""
    clock = Clockwork()
    workflow = clock.workflow(HOLD)
    clock.turn(90 * 86_400 - 1)
    assert workflow.status == "on_hold"
    clock.turn(1)
    assert workflow.status == "canceled"


@pytest.mark.parametrize(("by", "status"), [("ana", "success"), ("bridge-bot", "unauthorized")])
def test_a_restricted_job_runs_with_the_approvers_rights(by: str, status: str) -> None:
    """An approver outside the group turns the next job and the workflow unauthorized."""
    clock = Clockwork()
    workflow = clock.workflow(HOLD, {"name": "deploy", "requires": ["hold"], "restricted_to": ["ana"]})
    clock.approve(workflow, by=by)
    assert (workflow.job("hold").status, workflow.job("deploy").status, workflow.status) == ("success", status, status)


def test_a_custom_webhook_never_passes_a_restricted_context() -> None:
    """A pipeline of a custom webhook is unauthorized even when a member of the group approves."""
    clock = Clockwork()
    jobs = [HOLD, {"name": "deploy", "requires": ["hold"], "restricted_to": ["ana"]}]
    pipeline = clock.pipeline({"name": "build", "jobs": jobs}, trigger_type="custom_webhook")
    clock.approve(pipeline.workflow(), by="ana")
    assert pipeline.workflow().status == "unauthorized"


def test_a_rerun_is_a_new_workflow_with_a_new_approval() -> None:
    """A rerun has the same name and pipeline, new ids, and holds again."""
    clock = Clockwork()
    workflow = clock.workflow(HOLD)
    clock.approve(workflow)
    again = clock.world.engine.rerun(workflow, clock.world.user("ana"))
    assert (again.name, again.pipeline) == (workflow.name, workflow.pipeline)
    assert again.id != workflow.id
    assert again.job("hold").id != workflow.job("hold").id
    assert again.job("hold").status == "on_hold"


def test_a_rerun_from_failed_keeps_what_succeeded() -> None:
    """Only what did not succeed runs again; the approval given before counts."""
    clock = Clockwork()
    workflow = clock.workflow(HOLD, {"name": "deploy", "requires": ["hold"], "result": "failed"})
    clock.approve(workflow)
    again = clock.world.engine.rerun(workflow, clock.world.user("ana"), from_failed=True)
    clock.turn(0)
    assert statuses(again) == {"hold": "success", "deploy": "failed"}
    assert clock.count("approval.approved") == 1


def test_a_rerun_of_jobs_repeats_them_and_what_follows() -> None:
    """Naming a job repeats it and everything downstream of it, and nothing else."""
    clock = Clockwork()
    workflow = clock.workflow("a", {"name": "b", "requires": ["a"]}, {"name": "c", "requires": ["b"]}, "d")
    again = clock.world.engine.rerun(workflow, clock.world.user("ana"), job_ids=[workflow.job("b").id])
    clock.turn(0)
    numbers = {job.name: job.number == workflow.job(job.name).number for job in again.jobs}
    assert numbers == {"a": True, "b": False, "c": False, "d": True}


def test_reruns_have_limits() -> None:
    """After the last allowed rerun, after 90 days, or from_failed of a success, a rerun is refused."""
    clock = Clockwork(max_reruns=1)
    workflow = clock.workflow("a")
    user = clock.world.user("ana")
    with pytest.raises(Refused, match="did not fail"):
        clock.world.engine.rerun(workflow, user, from_failed=True)
    clock.world.engine.rerun(workflow, user)
    with pytest.raises(Refused, match="too many"):
        clock.world.engine.rerun(workflow, user)
    old = clock.workflow("a")
    clock.turn(91 * 86_400)
    with pytest.raises(Refused, match="too old"):
        clock.world.engine.rerun(old, user)


def test_auto_reruns_happen_on_failed_only_and_end() -> None:
    """A failed workflow is run again as often as it says."""
    clock = Clockwork()
    failed = clock.workflow({"name": "a", "result": "failed"}, max_auto_reruns=2)
    assert [one.auto_rerun_number for one in failed.pipeline.workflows] == [0, 1, 2]
    fine = clock.workflow("a", max_auto_reruns=2)
    assert len(fine.pipeline.workflows) == 1


def test_workflows_appear_after_the_pipeline() -> None:
    """With `pipeline_appear_delay_s` a pipeline is pending and empty first."""
    clock = Clockwork(pipeline_appear_delay_s=2)
    pipeline = clock.pipeline({"name": "build", "jobs": ["a"]})
    assert (pipeline.state, pipeline.workflows) == ("pending", [])
    clock.turn(2)
    assert (pipeline.state, pipeline.workflow("build").status) == ("created", "success")


def test_an_errored_pipeline_runs_nothing() -> None:
    """A pipeline with a config error has no workflow, ever."""
    pipeline = Clockwork().pipeline({"name": "build", "jobs": ["a"]}, errors=[{"type": "config", "message": "bad"}])
    assert (pipeline.state, pipeline.workflows) == ("errored", [])


def test_a_setup_pipeline_is_continued_once() -> None:
    """The continued workflows appear beside the setup workflow; a second continuation is refused."""
    clock = Clockwork()
    pipeline = clock.pipeline(
        {"name": "setup", "tag": "setup", "jobs": ["a"]}, continuation=[{"name": "build", "jobs": [HOLD]}]
    )
    assert pipeline.state == "setup"
    clock.world.continue_pipeline(pipeline.continuation_key, None, {"result": "failed"})
    assert pipeline.state == "created"
    assert [one.name for one in pipeline.workflows] == ["setup", "build"]
    assert pipeline.parameters == {"result": "failed"}
    with pytest.raises(ContinueRefused, match="already"):
        clock.world.continue_pipeline(pipeline.continuation_key, None, {})


def test_a_continuation_key_lasts_six_hours() -> None:
    """One second before six hours the key is good, at six hours it has expired."""
    clock = Clockwork()
    late, early = (clock.pipeline({"name": "setup", "tag": "setup", "jobs": ["a"]}) for _ in range(2))
    clock.turn(6 * 3600 - 1)
    clock.world.continue_pipeline(early.continuation_key, None, {})
    clock.turn(1)
    with pytest.raises(ContinueRefused, match="expired"):
        clock.world.continue_pipeline(late.continuation_key, None, {})


@pytest.mark.parametrize(
    ("key", "knob"),
    [("plain", "on_continue_not_in_setup"), ("", "on_continue_unknown_key"), ("guess", "on_continue_unknown_key")],
)
def test_other_pipelines_are_not_continued(key: str, knob: str) -> None:
    """A pipeline that is not in setup, an empty key and a guessed one are refused, each by its own knob."""
    clock = Clockwork()
    plain = clock.pipeline({"name": "build", "jobs": ["a"]})
    with pytest.raises(ContinueRefused) as refused:
        clock.world.continue_pipeline(plain.continuation_key if key == "plain" else key, None, {})
    assert refused.value.knob == knob


def test_the_past_can_be_read() -> None:
    """A workflow is known as it was at any moment since it began, and not before."""
    clock = Clockwork()
    workflow = clock.workflow(HOLD)
    clock.turn(10)
    clock.approve(workflow)
    past = workflow.as_of(START + timedelta(seconds=9))
    assert past is not None
    assert (past.status, past.job("hold").status) == ("on_hold", "on_hold")
    assert workflow.as_of(START) is not None
    assert workflow.as_of(START - timedelta(seconds=1)) is None


@pytest.mark.parametrize(
    "jobs",
    [
        ["a", "a"],
        [{"name": "a", "requires": ["b"]}],
        [{"name": "a", "requires": ["b"]}, {"name": "b", "requires": ["a"]}],
        ["b", {"name": "a", "requires": {"b": "finished"}}],
        ["b", {"name": "a", "requires": {"b": []}}],
    ],
)
def test_a_wrong_config_is_refused(jobs: list[Any]) -> None:
    """Two jobs of one name, an unknown upstream, a cycle and unknown statuses are errors of the test that wrote them."""
    with pytest.raises(ValidationError):
        WorkflowSpec.model_validate({"name": "build", "jobs": jobs})


def test_requires_can_be_written_in_three_ways() -> None:
    """A name, a name with statuses, and a map mean the same thing as in a config."""
    jobs = [
        JobSpec.model_validate({"name": "a", "requires": requires})
        for requires in ("b", ["b"], [{"b": "success"}], {"b": ["success"]})
    ]
    assert {tuple(job.requires.items()) for job in jobs} == {(("b", frozenset({"success"})),)}


@pytest.mark.parametrize("change", [{"on_already_approved": 99}, {"no_such_knob": 1}, {"auth_mode": "none"}])
def test_a_wrong_knob_changes_nothing(change: dict[str, Any]) -> None:
    """Unknown names and values are refused, and the good ones beside them are not applied."""
    knobs = Knobs()
    with pytest.raises(ValidationError):
        knobs.change(hold_delay_s=5, **change)
    assert knobs.hold_delay_s == 0


def test_slugs_are_spelled_short_in_the_api_and_long_in_webhooks() -> None:
    """`gh/…` and `github/…` are one project; `circleci/…` is spelled alike in both."""
    assert api_slug("github/o/r") == api_slug("gh/o/r") == "gh/o/r"
    assert webhook_slug("gh/o/r") == webhook_slug("github/o/r") == "github/o/r"
    assert webhook_slug("bb/o/r") == "bitbucket/o/r"
    assert webhook_slug("circleci/o/r") == api_slug("circleci/o/r") == "circleci/o/r"
