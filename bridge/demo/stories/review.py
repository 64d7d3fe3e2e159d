"""A Jenkins build waits until a pull request is approved: the review's own webhook answers it.

    steps: POST /v1/waits {build_url, input_id} that expects review.approved of this repository and commit
           GitHub's webhook for `pull_request_review` goes to /hooks/github, signed with the secret of its settings

The keys name the commit, so an approval of an older one never counts.
"""

import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bridge.demo.promises import Promise
from bridge.demo.setting import JENKINS_USER
from bridge.demo.stage import Stage
from bridge.testing.jenkins import Input

ABOUT = (
    "A build of a pull request waits for the review of its commit. GitHub's signed webhook answers it; "
    "an approval of an older commit does not."
)
REPOSITORY = "acme/app"
PULL_REQUEST = 7


async def play(stage: Stage) -> Sequence[Promise]:
    older, newer = secrets.token_hex(20), secrets.token_hex(20)
    build = stage.jenkins.start_build("job/app/job/PR-7", inputs=[Input(id="review")])
    wait = await stage.open_wait(
        "jenkins",
        {"build_url": stage.jenkins.url_of(build), "input_id": "review"},
        timeout="3d",
        expects=[{"source": "github", "type": "review.approved", "keys": {"repository": REPOSITORY, "sha": newer}}],
    )
    stage.say("Jenkins", f"{build.path} opens a wait that expects review.approved of {REPOSITORY} at {newer[:7]}")

    await stage.pass_time()
    stage.say("GitHub", f"a reviewer approves {older[:7]}, an older commit")
    event = await _post(stage, _review(older))
    verdict = await stage.verdict_of(event)
    state = (await stage.wait_of(wait.id))["state"]
    stage.say("bridge", f"verdict on the event: {verdict}; no wait asks for this commit, and ours is {state}")

    await stage.pass_time()
    stage.say("GitHub", f"a reviewer approves {newer[:7]}")
    await _post(stage, _review(newer))
    await stage.until_over(wait)
    await stage.until(lambda: not build.building, "the end of the build")
    return [
        Promise(
            pipeline=f"Jenkins {build.path}",
            result="proceeded, by the review of its commit",
            wait=wait.id,
            outcome="succeeded",
            subjects=frozenset({f"{build.path}/input/Review"}),
            kind="input.proceeded",
            detail={"user": JENKINS_USER},
            end="SUCCESS",
            ended=lambda: str(build.result),
        )
    ]


async def _post(stage: Stage, review: dict[str, Any]) -> str:
    """Post *review* as GitHub does, signed over its exact bytes; return the event's id."""
    body = json.dumps(review).encode()
    (stage.setting.folder / "review.json").write_bytes(body)
    mac = hmac.new(stage.setting.github_secret.encode(), body, hashlib.sha256).hexdigest()
    answer = await stage.curl(
        "GitHub",
        *("-H", "Content-Type: application/json"),
        *("-H", "X-GitHub-Event: pull_request_review"),
        *("-H", f"X-GitHub-Delivery: {uuid.uuid4()}"),
        *("-H", f"X-Hub-Signature-256: sha256={mac}"),
        *("--data-binary", "@review.json"),
        f"{stage.setting.url}/hooks/github",
    )
    return str(json.loads(answer.body)["event"])


def _review(sha: str) -> dict[str, Any]:
    """Return a payload in the form of GitHub's `pull_request_review`, written for this demo."""
    page = f"https://github.com/{REPOSITORY}/pull/{PULL_REQUEST}"
    review_id = secrets.randbelow(10**9)
    reviewer = {"login": "ana", "id": 1701, "type": "User", "site_admin": False}
    return {
        "action": "submitted",
        "review": {
            "id": review_id,
            "user": reviewer,
            "body": "Looks good to me.",
            "commit_id": sha,
            "submitted_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "state": "approved",
            "html_url": f"{page}#pullrequestreview-{review_id}",
            "author_association": "MEMBER",
        },
        "pull_request": {
            "id": 87_811_438,
            "number": PULL_REQUEST,
            "state": "open",
            "title": "Faster checkout",
            "html_url": page,
            "head": {"ref": "faster-checkout", "sha": sha},
            "base": {"ref": "main", "sha": "0" * 40},
        },
        "repository": {"id": 35_129_377, "name": "app", "full_name": REPOSITORY, "private": True},
        "sender": reviewer,
    }
