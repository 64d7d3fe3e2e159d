"""The Jenkins emulator: triggers and the queue (section 4 of its contract page)."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bridge.testing import fixtures
from bridge.testing.jenkins import Input, JenkinsEmulator, Parameter
from tests.support.jenkins_client import RawClient, raw_client

jenkins = fixtures.jenkins

SECRET = "t"  # noqa: S105 - of an emulator

PARAMETERS = (
    Parameter(name="A", default="da"),
    Parameter(name="B", type="boolean", default=True),
    Parameter(name="C", type="choice", choices=("x", "y")),
)


@pytest_asyncio.fixture
async def client(jenkins: JenkinsEmulator) -> AsyncIterator[RawClient]:
    async with raw_client(jenkins) as opened:
        yield opened


def place(jenkins: JenkinsEmulator, location: str) -> str:
    """Return the path behind the Jenkins's URL."""
    assert location.startswith(jenkins.url + "/")
    return location.removeprefix(jenkins.url)


async def test_build_queues_and_runs_the_jobs_script(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """201 with the item's place and no body; the item leads to the build, whose queueId leads back."""
    jenkins.add_job("app", script=[Input(id="Go")])
    answer = await client.post("/job/app/build")
    assert (answer.status, answer.text) == (201, "")
    path = place(jenkins, answer.headers["Location"])
    item = (await client.get(f"{path}api/json")).json
    assert item["_class"] == "hudson.model.Queue$LeftItem"
    assert (item["cancelled"], item["executable"]["number"], item["why"]) == (False, 1, None)
    assert item["task"]["name"] == "app"
    assert item["executable"]["url"] == f"{jenkins.url}/job/app/1/"
    run = (await client.get("/job/app/1/api/json?tree=queueId,building")).json
    assert (run["queueId"], run["building"]) == (item["id"], True)
    assert path == f"/queue/item/{item['id']}/"


async def test_an_item_waits_is_blocked_buildable_and_leaves(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Each state has its class and its reason, and only an item that left has an executable."""
    jenkins.switches.executors_busy = True
    jenkins.add_job("app", blocked="Build #1 is already in progress")
    path = place(jenkins, (await client.post("/job/app/build?delay=60sec")).headers["Location"])

    async def shown() -> dict[str, Any]:
        item: dict[str, Any] = (await client.get(f"{path}api/json")).json
        return item

    waiting = await shown()
    assert waiting["_class"] == "hudson.model.Queue$WaitingItem"
    assert waiting["why"].startswith("In the quiet period. Expires in ")
    assert "executable" not in waiting
    assert "cancelled" not in waiting
    (item,) = jenkins.world.queue.items.values()
    item.until = 0
    blocked = await shown()
    assert (blocked["_class"], blocked["blocked"]) == ("hudson.model.Queue$BlockedItem", True)
    assert blocked["why"] == "Build #1 is already in progress"
    jenkins.add_job("app")
    buildable = await shown()
    assert (buildable["_class"], buildable["buildable"]) == ("hudson.model.Queue$BuildableItem", True)
    assert buildable["why"] == "Waiting for next available executor"
    jenkins.switches.executors_busy = False
    jenkins.switches.left_without_build_s = 60
    left = await shown()
    assert (left["_class"], left["executable"], left["cancelled"]) == ("hudson.model.Queue$LeftItem", None, False)
    jenkins.switches.left_without_build_s = 0
    assert (await shown())["executable"]["number"] == 1


async def test_quieting_down_keeps_items_in_the_queue(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The item says why it waits, and leaves after the cancellation."""
    jenkins.quiet_down()
    jenkins.add_job("app")
    path = place(jenkins, (await client.post("/job/app/build")).headers["Location"])
    assert (await client.get(f"{path}api/json")).json["why"] == "Jenkins is about to shut down"
    jenkins.cancel_quiet_down()
    assert (await client.get(f"{path}api/json")).json["executable"]["number"] == 1


async def test_parameters_take_defaults_and_undeclared_ones_are_ignored(
    jenkins: JenkinsEmulator, client: RawClient
) -> None:
    """Query and form both count; what is left out takes its default."""
    jenkins.add_job("app", parameters=PARAMETERS, script=[Input(id="Go")])
    answer = await client.post("/job/app/buildWithParameters?A=a%26%C3%A4&Z=1", form={"B": "false"})
    assert answer.status == 201
    build = jenkins.find_build("job/app/1")
    assert build is not None
    assert build.parameters == {"A": "a&ä", "B": False, "C": "x"}
    assert (await client.post("/job/app/buildWithParameters")).status == 201
    defaults = jenkins.find_build("job/app/2")
    assert defaults is not None
    assert defaults.parameters == {"A": "da", "B": True, "C": "x"}
    item = (await client.get(place(jenkins, answer.headers["Location"]) + "api/json")).json
    assert item["params"] == "\nA=a&ä\nB=False\nC=x"


async def test_identical_items_are_merged(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """303 with parameters, 201 without, 302 with a form: each time the item that was there."""
    jenkins.switches.quiet_period_s = 60
    jenkins.add_job("plain")
    jenkins.add_job("app", parameters=PARAMETERS)
    first = await client.post("/job/app/buildWithParameters?A=1")
    again = await client.post("/job/app/buildWithParameters?A=1")
    assert (again.status, again.headers["Location"]) == (303, first.headers["Location"])
    assert (await client.post("/job/app/buildWithParameters?A=2")).status == 201
    first = await client.post("/job/plain/build")
    again = await client.post("/job/plain/build")
    assert (again.status, again.headers["Location"]) == (201, first.headers["Location"])
    form = {"json": json.dumps({"parameter": [{"name": "A", "value": "3"}]})}
    assert (await client.post("/job/app/build", form=form)).status == 201
    merged = await client.post("/job/app/build", form=form)
    assert (merged.status, place(jenkins, merged.headers["Location"])) == (302, "/job/app/")
    assert [effect.kind for effect in jenkins.effects].count("queue.entered") == 4


async def test_a_decision_handler_redirects_to_the_job(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A refused trigger is 302 without any item."""
    jenkins.add_job("app", refuses=True)
    answer = await client.post("/job/app/build")
    assert (answer.status, place(jenkins, answer.headers["Location"])) == (302, "/job/app/")
    assert not jenkins.world.queue.items


async def test_refusals_of_a_trigger(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Disabled, not parameterised, without form, GET, repeated field, illegal choice, no permission."""
    jenkins.add_job("plain")
    jenkins.add_job("off", disabled=True)
    jenkins.add_job("app", parameters=PARAMETERS)
    jenkins.add_user("reader", token=SECRET, permissions={"Overall/Read", "Job/Read"})
    off = await client.post("/job/off/build")
    assert (off.status, "off is not buildable" in off.text) == (409, True)
    plain = await client.post("/job/plain/buildWithParameters")
    assert (plain.status, "plain is not parameterized" in plain.text) == (400, True)
    assert (await client.post("/job/app/build")).status == 400
    for path in ("/job/plain/build", "/job/app/buildWithParameters"):
        answer = await client.get(path)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    for query in ("A=1&A=2", "C=z", "delay=soon"):
        assert (await client.post(f"/job/app/buildWithParameters?{query}")).status == 500
    assert (await client.post("/job/plain/build", auth=("reader", SECRET))).status == 403
    assert (await client.post("/job/none/build")).status == 404
    assert not jenkins.world.queue.items


async def test_a_trigger_token_allows_a_build_and_nothing_else(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The right token replaces Job/Build, a wrong one is 403; the crumb is still asked for."""
    jenkins.add_job("app", trigger_token=SECRET, script=[Input(id="Go")])
    jenkins.add_user("reader", token=SECRET, permissions={"Overall/Read", "Job/Read"})
    wrong = await client.post("/job/app/build?token=x", auth=("reader", SECRET))
    assert (wrong.status, "Invalid token provided." in wrong.text) == (403, True)
    assert (await client.post("/job/app/build?token=t", auth=("reader", SECRET))).status == 201
    assert (await client.post("/job/app/1/input/Go/proceedEmpty?token=t", auth=("reader", SECRET))).status == 400
    anonymous = await client.post("/job/app/build?token=t", auth=None)
    assert (anonymous.status, "No valid crumb" in anonymous.text) == (403, True)


async def test_cancelling_items(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """204 for a waiting one, 404 unknown, 422 without permission, 500 when it already left, 405 for GET."""
    jenkins.switches.quiet_period_s = 60
    jenkins.add_job("app")
    jenkins.add_user("reader", token=SECRET, permissions={"Overall/Read", "Job/Read"})
    path = place(jenkins, (await client.post("/job/app/build")).headers["Location"])
    number = path.split("/")[3]
    cancel = f"/queue/cancelItem?id={number}"
    assert (await client.get(cancel)).status == 405
    assert (await client.post("/queue/cancelItem?id=999")).status == 404
    assert (await client.post(cancel, auth=("reader", SECRET))).status == 422
    assert (await client.post(cancel)).status == 204
    item = (await client.get(f"{path}api/json")).json
    assert (item["cancelled"], item["executable"]) == (True, None)
    assert (await client.post(cancel)).status == 500
    assert jenkins.find_build("job/app/1") is None
    assert jenkins.effects[-1].kind == "queue.cancelled"


async def test_items_are_forgotten_and_found_again_by_their_build(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """After its time, or a restart, an item that left is 404; its build keeps the id."""
    jenkins.add_job("app", script=[Input(id="Go")])
    path = place(jenkins, (await client.post("/job/app/build")).headers["Location"])
    assert (await client.get(f"{path}api/json")).status == 200
    jenkins.switches.queue_keep_s = -1
    jenkins.refresh()
    assert (await client.get(f"{path}api/json")).is_stapler_404
    jenkins.switches.queue_keep_s = 300
    builds = (await client.get("/job/app/api/json?tree=builds[number,queueId]")).json["builds"]
    assert [(each["number"], f"/queue/item/{each['queueId']}/") for each in builds] == [(1, path)]
    path = place(jenkins, (await client.post("/job/app/build")).headers["Location"])
    jenkins.restart()
    assert (await client.get(f"{path}api/json")).is_stapler_404


@pytest.mark.parametrize(("survives", "status"), [(True, 200), (False, 404)])
async def test_waiting_items_survive_a_restart(
    jenkins: JenkinsEmulator, client: RawClient, status: int, *, survives: bool
) -> None:
    """They keep their id; the switch turns the inferred survival off."""
    jenkins.switches.quiet_period_s = 60
    jenkins.switches.queue_survives_restart = survives
    jenkins.add_job("app")
    path = place(jenkins, (await client.post("/job/app/build")).headers["Location"])
    jenkins.restart()
    assert (await client.get(f"{path}api/json")).status == status


async def test_an_item_of_a_hidden_job_is_404(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Who may not read the job sees neither item nor queue entry."""
    jenkins.switches.quiet_period_s = 60
    jenkins.add_job("app")
    jenkins.add_user("apart", token=SECRET, jobs={"app": frozenset()})
    path = place(jenkins, (await client.post("/job/app/build")).headers["Location"])
    assert len((await client.get("/queue/api/json")).json["items"]) == 1
    assert (await client.get("/queue/api/json", auth=("apart", SECRET))).json["items"] == []
    assert (await client.get(f"{path}api/json", auth=("apart", SECRET))).status == 404


async def test_location_names_an_internal_host_unless_forwarded(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Only the number in it can be trusted; X-Forwarded-* mend it."""
    jenkins.switches.internal_url = "http://jenkins-internal:8080"
    jenkins.switches.quiet_period_s = 60
    jenkins.add_job("app")
    assert (await client.post("/job/app/build")).headers["Location"] == "http://jenkins-internal:8080/queue/item/1/"
    headers = {"X-Forwarded-Host": "ci.example.com", "X-Forwarded-Proto": "https"}
    again = await client.post("/job/app/build", headers=headers)
    assert again.headers["Location"] == "https://ci.example.com/queue/item/1/"
