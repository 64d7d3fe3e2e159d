"""The Jenkins emulator: wfapi and api/json (section 2 of its contract page)."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bridge.testing import fixtures
from bridge.testing.jenkins import Fail, Hold, Input, JenkinsEmulator, Parallel, Parameter, SetResult
from tests.support.jenkins_client import RawClient, raw_client

jenkins = fixtures.jenkins

RUN = "/job/app/1"
PORTABLE = (
    "building,result,actions[waitingForInput,executions[id,settled,displayName,"
    "input[id,message,ok,cancel,submitter,submitterParameter,parameters[name,type,choices]]]]"
)
PARAMETERS = (
    Parameter(name="C", type="choice", choices=("a", "b"), description="which"),
    Parameter(name="S", type="password", default="clear"),
)


@pytest_asyncio.fixture
async def client(jenkins: JenkinsEmulator) -> AsyncIterator[RawClient]:
    async with raw_client(jenkins) as opened:
        yield opened


def input_action(run: dict[str, Any]) -> dict[str, Any] | None:
    found = [each for each in run["actions"] if each.get("_class", "").endswith(".InputAction")]
    return found[0] if found else None


async def test_pending_input_actions_in_order_of_arrival(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Each pending input has its texts, parameters and three links relative to the server."""
    inputs = (Input(id="b", message="Ship?", parameters=PARAMETERS), Input(id="a", ok="Yes"))
    jenkins.start_build("job/app", script=[Parallel(branches=tuple((each,) for each in inputs))])
    answer = await client.get(f"{RUN}/wfapi/pendingInputActions")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert "X-Jenkins" not in answer.headers
    assert answer.json[0] == {
        "id": "B",
        "proceedText": "Proceed",
        "message": "Ship?",
        "inputs": [
            {"type": "ChoiceParameterDefinition", "name": "C", "description": "which", "definition": {"choices": ["a", "b"]}},
            {"type": "PasswordParameterDefinition", "name": "S", "definition": {"defaultVal": "clear"}},
        ],
        "proceedUrl": "/job/app/1/wfapi/inputSubmit?inputId=B",
        "abortUrl": "/job/app/1/input/B/abort",
        "redirectApprovalUrl": "/job/app/1/input/",
    }  # fmt: skip
    assert (answer.json[1]["id"], answer.json[1]["proceedText"]) == ("A", "Yes")
    assert (await client.get(f"{RUN}/wfapi/nextPendingInputAction")).json == answer.json[0]


async def test_nothing_pending_is_an_empty_list_and_null(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Before and after inputs the two listings are [] and null."""
    jenkins.start_build("job/app", script=[Hold(name="x")])
    assert (await client.get(f"{RUN}/wfapi/pendingInputActions")).text == "[]"
    assert (await client.get(f"{RUN}/wfapi/nextPendingInputAction")).text == "null"


async def test_without_the_plugin_wfapi_is_a_redirect_up(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """It looks like any action that a build lacks."""
    jenkins.switches.pipeline_rest_api = False
    jenkins.start_build("job/app", inputs=["Go"])
    for name in ("pendingInputActions", "nextPendingInputAction", "describe", "inputSubmit"):
        assert (await client.get(f"{RUN}/wfapi/{name}")).is_redirect_up


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([], "SUCCESS"),
        ([Hold(name="x")], "IN_PROGRESS"),
        ([Input(id="Go")], "PAUSED_PENDING_INPUT"),
        ([Fail()], "FAILED"),
        ([SetResult(result="UNSTABLE")], "UNSTABLE"),
        ([SetResult(result="NOT_BUILT")], "NOT_EXECUTED"),
        ([SetResult(result="ABORTED")], "ABORTED"),
    ],
)
async def test_describe_tells_the_status(
    jenkins: JenkinsEmulator, client: RawClient, script: list[Any], status: str
) -> None:
    """The status word, and a link to the pending inputs only while paused."""
    jenkins.start_build("job/app", script=script)
    described = (await client.get(f"{RUN}/wfapi/describe")).json
    assert described["status"] == status
    assert ("pendingInputActions" in described["_links"]) == (status == "PAUSED_PENDING_INPUT")


async def test_the_portable_listing_by_tree(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The tree query of the page shows everything that an answer needs, submitter and settled included."""
    message = "m" * 40
    spec = Input(id="go", message=message, submitter="alice", submitter_parameter="WHO", parameters=PARAMETERS)
    jenkins.start_build("job/app", inputs=[spec])
    answer = await client.get(f"{RUN}/api/json?tree={PORTABLE}")
    assert answer.headers["X-Jenkins"] == jenkins.switches.version
    assert answer.headers["X-Jenkins-Session"] == jenkins.world.session
    run = answer.json
    assert (run["building"], run["result"]) == (True, None)
    assert "number" not in run
    action = input_action(run)
    assert action is not None
    assert action["waitingForInput"] is True
    (execution,) = action["executions"]
    assert (execution["id"], execution["settled"], execution["displayName"]) == ("Go", False, "m" * 32 + "...")
    shown = execution["input"]
    assert (shown["id"], shown["message"], shown["ok"], shown["cancel"]) == ("Go", message, "Proceed", "Abort")
    assert (shown["submitter"], shown["submitterParameter"]) == ("alice", "WHO")
    assert [(each["name"], each["type"], each.get("choices")) for each in shown["parameters"]] == [
        ("C", "ChoiceParameterDefinition", ["a", "b"]),
        ("S", "PasswordParameterDefinition", None),
    ]


async def test_depth_shows_more_with_each_step(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Depth 0 shows only the action's class, 1 that it waits, 2 the details."""
    jenkins.start_build("job/app", inputs=["Go"])
    shown = [input_action((await client.get(f"{RUN}/api/json?depth={depth}")).json) for depth in range(3)]
    assert shown[0] == {"_class": "org.jenkinsci.plugins.workflow.support.steps.input.InputAction"}
    assert shown[1] is not None
    assert shown[1]["waitingForInput"] is True
    assert "id" not in shown[1]["executions"][0]
    assert shown[2] is not None
    assert (shown[2]["executions"][0]["id"], shown[2]["executions"][0]["input"]["ok"]) == ("Go", "Proceed")


async def test_the_input_action_stays_for_the_builds_life(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """It is absent before the first input; later it says that nothing waits now."""
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", held=True)])
    path = f"{RUN}/api/json?tree={PORTABLE}"
    assert input_action((await client.get(path)).json) is None
    jenkins.reach(build)
    await client.post(f"{RUN}/input/Go/proceedEmpty")
    action = input_action((await client.get(path)).json)
    assert action is not None
    assert (action["waitingForInput"], action["executions"]) == (False, [])


async def test_a_settled_input_is_marked_in_the_listing(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """During the settle window the execution is still shown, as settled."""
    jenkins.switches.settle_s = 60
    jenkins.start_build("job/app", inputs=["Go"])
    await client.post(f"{RUN}/input/Go/proceedEmpty")
    action = input_action((await client.get(f"{RUN}/api/json?tree={PORTABLE}")).json)
    assert action is not None
    assert action["executions"][0]["settled"] is True


async def test_an_old_plugin_lists_nothing(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Before 466 the executions are not exported."""
    jenkins.switches.input_listing = False
    jenkins.start_build("job/app", inputs=["Go"])
    assert "executions" not in (await client.get(f"{RUN}/api/json?tree={PORTABLE}")).text


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ("number,result", {"number": 3, "result": "SUCCESS"}),
        ("number,nothing", {"number": 3}),
        ("actions[causes]{0,1}", {"actions": [{"_class": "hudson.model.CauseAction", "causes": [{"_class": "hudson.model.Cause$UserIdCause"}]}]}),
        ("actions[*]{,1}", {"actions": [{"_class": "hudson.model.CauseAction", "causes": [{"_class": "hudson.model.Cause$UserIdCause"}]}]}),
        ("actions{1}", {"actions": [{}]}),
    ],
)  # fmt: skip
async def test_tree_takes_names_nesting_ranges_and_stars(
    jenkins: JenkinsEmulator, client: RawClient, tree: str, expected: dict[str, Any]
) -> None:
    """What is not named is not shown; unknown names are left out."""
    for _ in range(3):
        jenkins.start_build("job/app", script=[])
    shown = (await client.get(f"/job/app/lastBuild/api/json?tree={tree}")).json
    assert shown.pop("_class") == "org.jenkinsci.plugins.workflow.job.WorkflowRun"
    assert shown == expected


@pytest.mark.parametrize("tree", ["a[", "a]", "a[b", ",a", "a{x}", "a{1", "a[]"])
async def test_a_broken_tree_is_400(jenkins: JenkinsEmulator, client: RawClient, tree: str) -> None:
    """A query that cannot be read is refused."""
    jenkins.start_build("job/app", script=[])
    assert (await client.get(f"{RUN}/api/json?tree={tree}")).status == 400


async def test_jobs_and_builds_are_listed(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A root shows its items, a folder its own, a job its builds, newest first, with their queue ids."""
    first = jenkins.start_build("team/app", script=[])
    second = jenkins.start_build("team/app", script=[])
    root = (await client.get("/api/json")).json
    assert [(each["name"], each["url"]) for each in root["jobs"]] == [("team", f"{jenkins.url}/job/team/")]
    assert [each["name"] for each in (await client.get("/job/team/api/json")).json["jobs"]] == ["app"]
    builds = (await client.get("/job/team/job/app/api/json?tree=builds[number,queueId]{0,5}")).json["builds"]
    assert [(each["number"], each["queueId"]) for each in builds] == [(2, second.queue_id), (1, first.queue_id)]


async def test_an_early_result_does_not_end_a_build(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """UNSTABLE is shown while the build goes on, and SUCCESS later does not better it."""
    build = jenkins.start_build(
        "job/app", script=[SetResult(result="UNSTABLE"), Input(id="Go"), SetResult(result="SUCCESS")]
    )
    path = f"{RUN}/api/json?tree=number,building,inProgress,result,queueId,timestamp,duration,url"
    run = (await client.get(path)).json
    assert (run["result"], run["building"], run["inProgress"], run["duration"]) == ("UNSTABLE", True, True, 0)
    assert run["url"] == jenkins.url_of(build)
    await client.post(f"{RUN}/input/Go/proceedEmpty")
    run = (await client.get(path)).json
    assert (run["result"], run["building"], run["inProgress"]) == ("UNSTABLE", False, False)


async def test_a_context_path_is_in_every_link() -> None:
    """Under /jenkins the root of the server is 404, and links name the context."""
    jenkins = JenkinsEmulator(context="/jenkins")
    async with jenkins.serve() as url, raw_client(jenkins) as client:
        assert jenkins.url == f"{url}/jenkins"
        jenkins.start_build("job/app", inputs=["Go"])
        (action,) = (await client.get(f"{RUN}/wfapi/pendingInputActions")).json
        assert action["abortUrl"] == "/jenkins/job/app/1/input/Go/abort"
        assert (await client.get("/api/json")).json["url"] == f"{url}/jenkins/"
        answer = await client.post(action["abortUrl"].removeprefix("/jenkins"))
        assert answer.status == 200
        async with aiohttp.request("GET", f"{url}/api/json") as outside:
            assert outside.status == 404
