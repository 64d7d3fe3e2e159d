"""A CircleCI pipeline A waits at an approval job for pipeline B. B's own webhook approves it; a failed B cancels it.

    A: build ─▶ wait-for-b (approval) ─▶ deploy           steps: start B, POST /v1/waits {workflow_id, approval} that
    B: load-test, project webhook `workflow-completed`    expects the event of B's pipeline id

B knows nothing of A and holds no key of it: its project has a webhook, signed with a secret that it shares with the bridge.
"""

from collections.abc import Sequence

from bridge.demo.promises import Promise
from bridge.demo.stage import Stage
from bridge.testing.circleci import BOT

ABOUT = (
    "A workflow of A holds at an approval job until B is done. B's workflow-completed webhook, "
    "signed, approves it; B has no key of A."
)
ABOUT_FAILURE = "The same, with a B that fails: the approval is canceled, and nothing is deployed."

APP = "gh/acme/app"
LOAD_TESTS = "gh/acme/load-tests"
RELEASE = {
    "name": "release",
    "jobs": [
        {"name": "build"},
        {"name": "wait-for-b", "type": "approval", "requires": ["build"]},
        {"name": "deploy", "requires": ["wait-for-b"]},
    ],
}
LOAD = {"name": "load", "jobs": [{"name": "load-test", "duration_s": None}]}


async def play_success(stage: Stage) -> Sequence[Promise]:
    return [await _play(stage, "success")]


async def play_failure(stage: Stage) -> Sequence[Promise]:
    return [await _play(stage, "failed")]


async def _play(stage: Stage, result: str) -> Promise:
    """Play with a B that ends with *result*."""
    circleci = stage.circleci
    if not circleci.webhooks.hooks:  # set up once, in B's project settings
        url = f"{stage.setting.url}/hooks/circleci-b"
        circleci.add_webhook(
            url, secret=stage.setting.circleci_secret, events=["workflow-completed"], project=LOAD_TESTS
        )

    release = circleci.start_pipeline(APP, [RELEASE]).workflow("release")
    approval = release.job("wait-for-b")
    stage.say("CircleCI", f"A: workflow release holds at {approval.name}")
    load = circleci.start_pipeline(LOAD_TESTS, [LOAD])
    test = load.workflow("load").job("load-test")
    stage.say("CircleCI", "B: workflow load runs load-test")

    wait = await stage.open_wait(
        "circleci",
        {"workflow_id": release.id, "approval": approval.name},
        timeout="2h",
        expects=[{"source": "circleci-b", "type": "workflow.completed", "keys": {"pipeline_id": load.id}}],
    )
    stage.say("CircleCI", "A: opens a wait that expects the end of B's pipeline")

    await stage.pass_time()
    stage.say(
        "CircleCI", f"B: load-test ends: {result}. CircleCI posts workflow-completed to /hooks/circleci-b, signed"
    )
    circleci.finish(test, result)
    await stage.until_over(wait)
    await stage.until(lambda: release.has_ended, "the end of A")
    return Promise(
        pipeline=f"CircleCI {APP} #{release.pipeline.number}",
        result="approved" if result == "success" else "canceled",
        wait=wait.id,
        outcome="succeeded" if result == "success" else "failed",
        subjects=frozenset({approval.id, release.id}),
        kind="approval.approved" if result == "success" else "approval.canceled",
        detail={"by": BOT},
        end="success" if result == "success" else "canceled",
        ended=lambda: release.status,
    )
