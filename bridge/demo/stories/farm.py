"""A Jenkins build will wait at `input`. A test farm posts a results file with plain curl, before the build is there.

    steps: wait = POST /v1/waits {build_url, input_id}     then the farm is called with wait.callback_url
           input id: 'results', parameters: [text(name: 'RESULTS')]

The form is the one that `input`'s own `submit` takes (`file0`, `json`, `proceed`): who posts to Jenkins today changes the
URL, and needs no credential any more.
"""

from collections.abc import Sequence

from bridge.demo.promises import Promise
from bridge.demo.setting import JENKINS_USER
from bridge.demo.stage import Stage
from bridge.testing.jenkins import Input, Parameter

ABOUT = (
    "A build starts a load test, and will wait at an input step. The farm posts its results file "
    "before the build is there. It has a URL, and no credential of Jenkins."
)

RESULTS = """\
<testsuite name="load" tests="3" failures="0">
  <testcase name="login" time="0.182"/>
  <testcase name="search" time="0.297"/>
  <testcase name="checkout" time="0.411"/>
</testsuite>
"""
FORM = '{"parameter": [{"name": "RESULTS", "file": "file0"}]}'


async def play(stage: Stage) -> Sequence[Promise]:
    (stage.setting.folder / "results.xml").write_text(RESULTS)
    waiting = Input(id="results", parameters=(Parameter(name="RESULTS", type="text"),), held=True)
    build = stage.jenkins.start_build("job/load-test", inputs=[waiting])
    stage.say("Jenkins", f"{build.path} starts; later it will wait at input results")

    address = {"build_url": stage.jenkins.url_of(build), "input_id": "results"}
    wait = await stage.open_wait("jenkins", address, timeout="8h")
    stage.say("Jenkins", f"{build.path} opens a wait, for 8 h at most, and gives its callback URL to the farm")

    await stage.pass_time()
    await stage.curl(
        "test farm", "-F", "file0=@results.xml", "-F", f"json={FORM}", "-F", "proceed=Proceed", wait.callback_url
    )
    await stage.until(lambda: wait.has_tried("not-yet"), "an attempt before the build waits")

    stage.jenkins.reach(build, "results")
    await stage.until_over(wait)
    await stage.until(lambda: not build.building, "the end of the build")
    return [
        Promise(
            pipeline=f"Jenkins {build.path}",
            result="proceeded, with the farm's file in RESULTS",
            wait=wait.id,
            outcome="succeeded",
            subjects=frozenset({f"{build.path}/input/Results"}),
            kind="input.proceeded",
            detail={"user": JENKINS_USER, "values": {"RESULTS": RESULTS}},
            end="SUCCESS",
            ended=lambda: str(build.result),
        )
    ]
