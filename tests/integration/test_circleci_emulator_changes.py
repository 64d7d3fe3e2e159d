"""The CircleCI emulator over HTTP: approve, cancel, rerun, trigger, run and continue."""

from typing import Any
from uuid import uuid4

import pytest

from bridge.testing.circleci import BOT, TOKEN, CircleciEmulator
from bridge.testing.circleci.model import Workflow
from tests.support.circleci_client import GATED, HOLD, Answer, RawClient, served

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
SETUP: list[dict[str, Any]] = [{"name": "setup", "tag": "setup", "jobs": ["generate"]}]


def gated(circleci: CircleciEmulator, **more: Any) -> Workflow:
    return circleci.start_pipeline("gh/acme/app", GATED, **more).workflow()


def count(circleci: CircleciEmulator, kind: str) -> int:
    return sum(effect.kind == kind for effect in circleci.effects)


async def approve(client: RawClient, workflow: Workflow, name: str = "hold") -> Answer:
    return await client.post(f"/workflow/{workflow.id}/approve/{workflow.job(name).approval_request_id}")


async def test_approve() -> None:
    """202 with a message; the bot is the approver, what follows runs, and the effect is there once."""
    circleci = CircleciEmulator()
    workflow = gated(circleci)
    async with served(circleci) as client:
        answer = await approve(client, workflow)
        assert (answer.status, answer.json) == (202, {"message": "Accepted."})
        jobs = await client.jobs(workflow.id)
        assert (jobs["hold"]["status"], jobs["deploy"]["status"]) == ("success", "success")
        assert (await client.get(f"/user/{jobs['hold']['approved_by']}")).json["login"] == BOT
        [effect] = [one for one in circleci.effects if one.kind == "approval.approved"]
        assert effect.subject == workflow.job("hold").id
        assert (effect.detail["name"], effect.detail["by"], effect.detail["workflow_id"]) == ("hold", BOT, workflow.id)


async def test_the_effect_of_an_approve_takes_its_time() -> None:
    """`approve_effect_delay_s`: 202, still on hold, a second approve by the knob, and one effect at the end."""
    circleci = CircleciEmulator(approve_effect_delay_s=5, on_approve_in_progress=409)
    workflow = gated(circleci)
    async with served(circleci) as client:
        assert (await approve(client, workflow)).status == 202
        assert (await client.jobs(workflow.id))["hold"]["status"] == "on_hold"
        assert (await approve(client, workflow)).status == 409
        circleci.turn_clock(5)
        assert (await client.jobs(workflow.id))["hold"]["status"] == "success"
        assert count(circleci, "approval.approved") == 1


@pytest.mark.parametrize("status", [200, 202, 400, 404, 409])
async def test_already_approved(status: int) -> None:
    """A second approve answers what the knob says and has no second effect."""
    circleci = CircleciEmulator(on_already_approved=status)
    workflow = gated(circleci)
    async with served(circleci) as client:
        await approve(client, workflow)
        assert (await approve(client, workflow)).status == status
        assert count(circleci, "approval.approved") == 1


@pytest.mark.parametrize("status", [400, 404, 409, 403, 422])
async def test_approved_while_blocked(status: int) -> None:
    """An approve of a blocked job is refused by the knob and leaves nothing behind."""
    circleci = CircleciEmulator(on_not_on_hold_yet=status, hold_delay_s=5)
    workflow = gated(circleci)
    async with served(circleci) as client:
        assert (await approve(client, workflow)).status == status
        circleci.turn_clock(5)
        assert workflow.job("hold").status == "on_hold"


@pytest.mark.parametrize(("knob", "status"), [("202_lost", "on_hold"), ("202_kept", "success")])
async def test_accepted_while_blocked(knob: str, status: str) -> None:
    """A 202 for a blocked job is forgotten, or comes into effect once it is on hold."""
    circleci = CircleciEmulator(on_not_on_hold_yet=knob, hold_delay_s=5)
    workflow = gated(circleci)
    async with served(circleci) as client:
        assert (await approve(client, workflow)).status == 202
        assert workflow.job("hold").status == "blocked"
        circleci.turn_clock(5)
        assert workflow.job("hold").status == status


@pytest.mark.parametrize("status", [202, 400, 409])
async def test_approved_too_late(status: int) -> None:
    """An approve in a canceled workflow, or of a canceled job, answers by the knob and changes nothing."""
    circleci = CircleciEmulator(on_approve_over=status)
    workflow, other = gated(circleci), gated(circleci)
    async with served(circleci) as client:
        circleci.cancel(workflow)
        circleci.cancel(other.job("hold"))
        assert [(await approve(client, one)).status for one in (workflow, other)] == [status, status]
        assert count(circleci, "approval.approved") == 0


async def test_approvals_of_elsewhere() -> None:
    """An unknown id, a build job, and an approval of another workflow are 404."""
    circleci = CircleciEmulator()
    workflow, other = gated(circleci), gated(circleci)
    async with served(circleci) as client:
        for approval in (str(uuid4()), workflow.job("deploy").id, other.job("hold").id):
            assert (await client.post(f"/workflow/{workflow.id}/approve/{approval}")).status == 404
        assert (await client.post(f"/workflow/{uuid4()}/approve/{workflow.job('hold').id}")).status == 404
        assert count(circleci, "approval.approved") == 0


async def test_a_distinct_request_id_is_the_only_one() -> None:
    """With `approval_request_id=distinct` the job's own id is no approval."""
    circleci = CircleciEmulator(approval_request_id="distinct")
    workflow = gated(circleci)
    async with served(circleci) as client:
        assert (await client.post(f"/workflow/{workflow.id}/approve/{workflow.job('hold').id}")).status == 404
        assert (await approve(client, workflow)).status == 202


async def test_a_bot_outside_the_group() -> None:
    """The approve is 202, the next job and the workflow end unauthorized."""
    circleci = CircleciEmulator()
    jobs = [HOLD, {"name": "deploy", "requires": ["hold"], "restricted_to": ["ana"]}]
    workflow = circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": jobs}]).workflow()
    async with served(circleci) as client:
        assert (await approve(client, workflow)).status == 202
        assert (await client.jobs(workflow.id))["deploy"]["status"] == "unauthorized"
        assert (await client.get(f"/workflow/{workflow.id}")).json["status"] == "unauthorized"


async def test_cancel_an_approval() -> None:
    """200, not 202: the job is canceled by the bot, the branch for canceled runs, the one for success does not."""
    circleci = CircleciEmulator()
    workflow = circleci.start_pipeline("gh/acme/app", BRANCHES).workflow()
    async with served(circleci) as client:
        assert (await client.post(f"/jobs/{workflow.job('hold').id}/cancel")).status == 200
        jobs = await client.jobs(workflow.id)
        assert {name: job["status"] for name, job in jobs.items()} == {
            "hold": "canceled",
            "deploy": "not_run",
            "tell": "success",
        }
        assert jobs["hold"]["canceled_by"] == circleci.world.user(BOT).id
        assert count(circleci, "approval.canceled") == 1


@pytest.mark.parametrize("status", ["canceled", "failed", "success"])
async def test_how_a_canceled_approval_ends_the_workflow(status: str) -> None:
    """The workflow's status after it is a knob."""
    circleci = CircleciEmulator(canceled_job_ends_workflow=status)
    workflow = circleci.start_pipeline("gh/acme/app", BRANCHES).workflow()
    async with served(circleci) as client:
        await client.post(f"/jobs/{workflow.job('hold').id}/cancel")
        assert (await client.get(f"/workflow/{workflow.id}")).json["status"] == status


async def test_cancel_jobs_in_other_states() -> None:
    """Unknown is 404, ended and blocked are knobs, a running job is canceled by its number too."""
    circleci = CircleciEmulator(on_cancel_finished_job=409)
    jobs = ["done", {"name": "a", "duration_s": None}, {**HOLD, "requires": ["a"]}, {"name": "b", "requires": ["hold"]}]
    workflow = circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": jobs}]).workflow()
    async with served(circleci) as client:
        assert (await client.post(f"/jobs/{uuid4()}/cancel")).json == {"message": "Job not found"}
        assert (await client.post(f"/jobs/{workflow.job('done').id}/cancel")).status == 409
        blocked = f"/jobs/{workflow.job('hold').id}/cancel"
        assert (await client.post(blocked)).status == 400
        circleci.knobs.on_cancel_blocked_job = "200_lost"
        assert (await client.post(blocked)).status == 200
        assert workflow.job("hold").status == "blocked"
        circleci.knobs.on_cancel_blocked_job = "200_canceled"
        assert (await client.post(blocked)).status == 200
        assert (workflow.job("hold").status, workflow.job("b").status) == ("canceled", "not_run")
        number = workflow.job("a").number
        assert (await client.post(f"/project/gh/acme/app/job/{number}/cancel")).status == 200
        assert workflow.status == "canceled"


async def test_cancel_a_workflow() -> None:
    """202; it stays active until its jobs have stopped, and a second cancel has no second effect."""
    circleci = CircleciEmulator(cancel_effect_delay_s=5)
    workflow = gated(circleci)
    async with served(circleci) as client:
        path = f"/workflow/{workflow.id}/cancel"
        answer = await client.post(path)
        assert (answer.status, answer.json) == (202, {"message": "Accepted."})
        assert (await client.get(f"/workflow/{workflow.id}")).json["status"] == "on_hold"
        assert (await client.post(path)).status == 202
        circleci.turn_clock(5)
        body = (await client.get(f"/workflow/{workflow.id}")).json
        assert (body["status"], body["canceled_by"]) == ("canceled", circleci.world.user(BOT).id)
        jobs = await client.jobs(workflow.id)
        assert (jobs["hold"]["status"], jobs["deploy"]["status"]) == ("canceled", "not_run")
        assert count(circleci, "workflow.canceled") == 1


@pytest.mark.parametrize("status", [200, 202, 400, 404, 409])
async def test_cancel_a_finished_workflow(status: int) -> None:
    """What a finished workflow answers is a knob; nothing changes."""
    circleci = CircleciEmulator(on_cancel_finished_workflow=status)
    workflow = circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": ["a"]}]).workflow()
    async with served(circleci) as client:
        assert (await client.post(f"/workflow/{workflow.id}/cancel")).status == status
        assert workflow.status == "success"
        assert count(circleci, "workflow.canceled") == 0


async def test_rerun() -> None:
    """202 with the id of a new workflow of the same pipeline and name, which holds under a new id."""
    circleci = CircleciEmulator()
    workflow = gated(circleci)
    async with served(circleci) as client:
        await approve(client, workflow)
        answer = await client.post(f"/workflow/{workflow.id}/rerun")
        assert answer.status == 202
        again = (await client.get(f"/workflow/{answer.json['workflow_id']}")).json
        assert (again["name"], again["pipeline_id"], again["status"]) == ("build", workflow.pipeline.id, "on_hold")
        assert (await client.jobs(again["id"]))["hold"]["id"] != workflow.job("hold").id


async def test_rerun_from_failed() -> None:
    """It excludes the other options, and keeps what succeeded."""
    circleci = CircleciEmulator()
    jobs = ["a", {"name": "b", "requires": ["a"], "result": "failed"}]
    workflow = circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": jobs}]).workflow()
    async with served(circleci) as client:
        path = f"/workflow/{workflow.id}/rerun"
        for excluded in ({"jobs": [workflow.job("b").id]}, {"enable_ssh": True}, {"sparse_tree": True}):
            assert (await client.post(path, json={"from_failed": True, **excluded})).status == 400
        again = (await client.post(path, json={"from_failed": True})).json["workflow_id"]
        assert (await client.jobs(again))["a"]["job_number"] == workflow.job("a").number


@pytest.mark.parametrize(
    "body",
    ["[]", "{", '{"jobs": "x"}', '{"from_failed": 1}', '{"from_failed": true, "jobs": []}', '{"from_failed": true}'],
)
async def test_reruns_that_are_refused(body: str) -> None:
    """A wrong body, excluded options together, and from_failed of a success are 400 and start nothing."""
    circleci = CircleciEmulator()
    workflow = circleci.start_pipeline("gh/acme/app", [{"name": "build", "jobs": ["a"]}]).workflow()
    async with served(circleci) as client:
        assert (await client.post(f"/workflow/{workflow.id}/rerun", data=body)).status == 400
        assert len(workflow.pipeline.workflows) == 1


async def test_trigger() -> None:
    """201 with id, state, number and creation time; the project's own config runs; %2F in the slug is fine."""
    circleci = CircleciEmulator(pipeline_appear_delay_s=5)
    circleci.add_project("gh/acme/b", workflows=GATED, parameters={"who": "string", "really": "boolean"})
    circleci.start_pipeline("gh/acme/b", branch="main")
    circleci.effects.clear()
    async with served(circleci) as client:
        answer = await client.post(
            "/project/gh%2Facme%2Fb/pipeline", json={"branch": "dev", "parameters": {"who": "a", "really": True}}
        )
        assert answer.status == 201
        assert answer.json.keys() == {"id", "state", "number", "created_at"}
        assert answer.json["state"] == "pending"
        circleci.turn_clock(5)
        [workflow] = (await client.get(f"/pipeline/{answer.json['id']}/workflow")).json["items"]
        assert workflow["name"] == "build"
        body = (await client.get(f"/pipeline/{answer.json['id']}")).json
        assert (body["trigger"]["type"], body["trigger"]["actor"]["login"], body["vcs"]["branch"]) == (
            "api",
            BOT,
            "dev",
        )
        listed = (await client.get("/project/gh/acme/b/pipeline?branch=dev")).json["items"]
        assert [one["id"] for one in listed] == [answer.json["id"]]
        assert count(circleci, "pipeline.created") == 1


@pytest.mark.parametrize(
    "parameters",
    [
        {"who": "x" * 513},
        {"x" * 129: "a"},
        {f"key-{number}": "a" for number in range(101)},
        {"who": ["a"]},
        {"who": 1.5},
        {"who": 7},
        "who",
    ],
)
async def test_parameters_have_limits(parameters: Any) -> None:
    """Long values, long keys, too many entries and wrong types are 400, and no pipeline is made."""
    circleci = CircleciEmulator(on_undeclared_parameter="errored")
    circleci.add_project("gh/acme/b", parameters={"who": "string"})
    async with served(circleci) as client:
        assert (await client.post("/project/gh/acme/b/pipeline", json={"parameters": parameters})).status == 400
        assert circleci.effects == []


async def test_a_value_of_512_characters_is_taken() -> None:
    """The longest value allowed is taken."""
    circleci = CircleciEmulator()
    circleci.add_project("gh/acme/b", parameters={"who": "string"})
    async with served(circleci) as client:
        body = {"parameters": {"who": "x" * 512}}
        assert (await client.post("/project/gh/acme/b/pipeline", json=body)).status == 201


async def test_undeclared_parameters() -> None:
    """They look like a missing project, or make an errored pipeline, by the knob."""
    circleci = CircleciEmulator()
    circleci.add_project("gh/acme/b", workflows=GATED)
    async with served(circleci) as client:
        body = {"parameters": {"who": "a"}}
        answer = await client.post("/project/gh/acme/b/pipeline", json=body)
        assert (answer.status, answer.json) == (404, {"message": "Project not found"})
        circleci.knobs.on_undeclared_parameter = "errored"
        answer = await client.post("/project/gh/acme/b/pipeline", json=body)
        assert (answer.status, answer.json["state"]) == (201, "errored")
        pipeline = (await client.get(f"/pipeline/{answer.json['id']}")).json
        assert pipeline["errors"] == [{"type": "config", "message": "Unexpected argument(s): who"}]
        assert (await client.get(f"/pipeline/{answer.json['id']}/workflow")).json["items"] == []


async def test_triggers_that_are_refused() -> None:
    """Unknown projects and those of a GitHub App are 404; branch and tag together, and no JSON, are 400."""
    circleci = CircleciEmulator()
    circleci.add_project("gh/acme/b")
    circleci.add_project("circleci/org-id/project-id")
    async with served(circleci) as client:
        assert (await client.post("/project/gh/acme/none/pipeline")).json == {"message": "Project not found"}
        assert (await client.post("/project/circleci/org-id/project-id/pipeline")).status == 404
        assert (await client.post("/project/gh/acme/b/pipeline", json={"branch": "a", "tag": "b"})).status == 400
        assert (await client.post("/project/gh/acme/b/pipeline", data="{")).status == 400
        assert circleci.effects == []


async def test_run() -> None:
    """`pipeline/run` makes a pipeline of a known definition, also for a GitHub App project."""
    circleci = CircleciEmulator()
    definition = str(uuid4())
    circleci.add_project("circleci/org/app", provider="github_app", definition_id=definition, workflows=GATED)
    async with served(circleci) as client:
        body = {"definition_id": definition, "config": {"branch": "main"}, "checkout": {"tag": "v1"}}
        answer = await client.post("/project/circleci/org/app/pipeline/run", json=body)
        assert answer.status == 201
        assert circleci.world.pipeline(answer.json["id"]).tag == "v1"
        other = await client.post("/project/circleci/org/app/pipeline/run", json={"definition_id": str(uuid4())})
        assert other.status == 404
        assert count(circleci, "pipeline.created") == 1


@pytest.mark.parametrize(
    "body",
    [{"extra": 1}, {"config": {"revision": "x"}}, {"checkout": {"branch": "a", "tag": "b"}}, {"config": "main"}, []],
)
async def test_run_with_an_unexpected_body(body: Any) -> None:
    """Additional properties are not taken: 400 with the documented text."""
    circleci = CircleciEmulator()
    circleci.add_project("gh/acme/b")
    async with served(circleci) as client:
        answer = await client.post("/project/gh/acme/b/pipeline/run", json=body)
        assert (answer.status, answer.json) == (400, {"message": "Unexpected request body provided."})


async def test_run_that_does_not_trigger() -> None:
    """200 with a message creates nothing; %2F is not routed; servers and GitLab projects have no such call."""
    circleci = CircleciEmulator(on_run="200_not_triggered")
    circleci.add_project("gh/acme/b")
    circleci.add_project("circleci/org/lab", provider="gitlab")
    async with served(circleci) as client:
        answer = await client.post("/project/gh/acme/b/pipeline/run", json={})
        assert (answer.status, list(answer.json)) == (200, ["message"])
        assert (await client.post("/project/gh%2Facme%2Fb/pipeline/run", json={})).status == 404
        assert (await client.post("/project/circleci/org/lab/pipeline/run", json={})).status == 404
        missing = await client.post("/project/gh/acme/none/pipeline/run", json={})
        assert (missing.status, missing.json) == (404, {"message": "Project does not exist."})
        circleci.knobs.is_server = True
        assert (await client.post("/project/gh/acme/b/pipeline/run", json={})).status == 404
        assert circleci.effects == []


async def test_run_has_three_texts_for_401() -> None:
    """Bad token, old token and a token in the query are 401, whatever the mode."""
    circleci = CircleciEmulator()
    circleci.add_project("gh/acme/b")
    circleci.add_token("old", has_new_format=False)
    async with served(circleci) as client:
        path = "/project/gh/acme/b/pipeline/run"
        bad = await client.post(path, json={}, headers={"Circle-Token": "wrong"})
        old = await client.post(path, json={}, headers={"Circle-Token": "old"})
        query = await client.post(f"{path}?circle-token={TOKEN}", json={}, headers={})
        assert [answer.status for answer in (bad, old, query)] == [401, 401, 401]
        assert bad.json["message"] == "Invalid token provided."
        assert "New format tokens" in old.json["message"]
        assert "query parameter" in query.json["message"]


async def test_continue() -> None:
    """The key alone authorises; the configuration's own workflows appear; the second time is 409."""
    circleci = CircleciEmulator()
    pipeline = circleci.start_pipeline("gh/acme/app", SETUP)
    async with served(circleci) as client:
        body = {
            "continuation-key": pipeline.continuation_key,
            "configuration": '{"workflows": [{"name": "rest", "jobs": [{"name": "hold", "type": "approval"}]}]}',
            "parameters": {"result": "failed"},
        }
        answer = await client.post("/pipeline/continue", json=body, headers={})
        assert (answer.status, list(answer.json)) == (200, ["message"])
        items = (await client.get(f"/pipeline/{pipeline.id}/workflow")).json["items"]
        assert {item["name"]: item["tag"] for item in items} == {"setup": "setup", "rest": None}
        assert (await client.post("/pipeline/continue", json=body, headers={})).status == 409
        [effect] = [one for one in circleci.effects if one.kind == "pipeline.continued"]
        assert (effect.subject, effect.detail["parameters"]) == (pipeline.id, {"result": "failed"})


async def test_continuations_that_are_refused() -> None:
    """Expired, not in setup, unknown key, conflicting parameters and a wrong body, each with its knob's status."""
    circleci = CircleciEmulator(on_continue_unknown_key=401, on_continue_not_in_setup=400)
    plain = circleci.start_pipeline("gh/acme/app", GATED)
    setup = circleci.start_pipeline("gh/acme/app", SETUP, parameters={"who": "a"})

    async with served(circleci) as client:

        async def resume(key: str, **more: Any) -> tuple[int, str]:
            body = {"continuation-key": key, "configuration": "version: 2.1", **more}
            answer = await client.post("/pipeline/continue", json=body, headers={})
            return answer.status, answer.json["message"]

        assert await resume(plain.continuation_key) == (400, "Pipeline is not in setup state.")
        assert (await resume("guess"))[0] == 401
        conflict = await resume(setup.continuation_key, parameters={"who": "b"})
        assert conflict == (400, "Conflicting pipeline parameters.")
        assert (await resume(setup.continuation_key, parameters={"x": "y" * 513}))[0] == 400
        assert (await resume(setup.continuation_key, configuration=1))[0] == 400
        circleci.turn_clock(6 * 3600)
        expired = await resume(setup.continuation_key)
        assert expired == (409, "Continuation key has expired. Please run a new pipeline.")
        assert count(circleci, "pipeline.continued") == 0
