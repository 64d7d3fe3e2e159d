"""A Jenkins build waits for a remote that never calls: the deadline answers, so no pipeline waits for ever.

    steps: POST /v1/waits {build_url, input_id, on_failure: 'proceed'} with a timeout
           input id: 'scan', parameters: [string(name: 'OUTCOME')]       the build reads what became of it

Without `on_failure` the input would be aborted, and the build with it.
"""

from collections.abc import Sequence

from bridge.demo.promises import Promise
from bridge.demo.setting import JENKINS_USER
from bridge.demo.stage import Stage
from bridge.testing.jenkins import Input, Parameter

ABOUT = "A build waits for a scanner that never calls. No wait is without an end: the deadline decides it."
TIMEOUT = "3s"


async def play(stage: Stage) -> Sequence[Promise]:
    build = stage.jenkins.start_build("job/scan", inputs=[Input(id="scan", parameters=(Parameter(name="OUTCOME"),))])
    address = {"build_url": stage.jenkins.url_of(build), "input_id": "scan", "on_failure": "proceed"}
    wait = await stage.open_wait("jenkins", address, timeout=TIMEOUT)
    stage.say("Jenkins", f"{build.path} opens a wait with a timeout of {TIMEOUT}")
    await stage.until_over(wait)
    await stage.until(lambda: not build.building, "the end of the build")
    return [
        Promise(
            pipeline=f"Jenkins {build.path}",
            result="proceeded, with OUTCOME = timed_out",
            wait=wait.id,
            outcome="timed_out",
            subjects=frozenset({f"{build.path}/input/Scan"}),
            kind="input.proceeded",
            detail={"user": JENKINS_USER, "values": {"OUTCOME": "timed_out"}},
            end="SUCCESS",
            ended=lambda: str(build.result),
        )
    ]
