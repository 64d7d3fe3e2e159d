"""The CircleCI orb source in docs/: packed and checked, and its steps and the example pipelines run against a real bridge."""

import json
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.testing.circleci import TOKEN as CIRCLECI_TOKEN
from bridge.testing.circleci import CircleciEmulator
from bridge.testing.circleci.model import Workflow
from bridge.testing.circleci.payloads import WORKFLOW_COMPLETED
from tests.support.bridge_process import SECRET, TOKEN
from tests.support.circleci_config import (
    Command,
    Config,
    Executor,
    Job,
    Orb,
    Ran,
    Run,
    fill,
    named,
    pack,
    run,
    runs_of,
    runs_of_job,
    tags,
)
from tests.support.in_process import Bridge, bridge, local

ORB = Path(__file__).parents[2] / "docs/circleci-orb"
BASH = ("bash", "-eo", "pipefail")
SH = ("sh",)
SECTIONS = """
[targets.circleci]
consumer = "circleci"
base_url = "{circleci}"
token_file = "{folder}/circleci-token"
[sources.circleci-b]
kind = "circleci"
secret_env = ["T_HUB"]
pipelines = "circleci"
"""
_CURL = """#!/bin/sh
printf '%s\\n' "$*" >>"$CURL_ARGUMENTS"
exec "$REAL_CURL" "$@"
"""
HOLD = [{"name": "main", "jobs": [{"name": "hold", "type": "approval"}, {"name": "deploy", "requires": ["hold"]}]}]
RESULT = {
    "outcome": "succeeded",
    "summary": 'p99 "flat" \\ 90 ms',
    "url": "https://farm.example.com/1",
    "rps": [412, {"a": "}"}],
}
BAD = {"outcome": "failed", "summary": "p99 rose"}


@pytest.fixture(scope="module")
def orb() -> Orb:
    return pack(ORB / "src")


def config_of(name: str) -> Config:
    return Config.model_validate(yaml.safe_load((ORB / f"examples/{name}.yml").read_text()))


# --- what is written


def test_every_parameter_is_declared_and_used(orb: Orb) -> None:
    """What a part asks for it declares, with a description, and what it declares it uses."""
    parts: list[Command | Job | Executor] = [*orb.commands.values(), *orb.jobs.values(), *orb.executors.values()]
    for part in parts:
        assert set(tags(part.model_dump(exclude={"parameters"}))) == set(part.parameters)


def test_parts_use_one_another_rightly(orb: Orb) -> None:
    """Each job of the orb runs its own commands with parameters that they take, and says where."""
    for job in orb.jobs.values():
        values = {name: one.default or "x" for name, one in job.parameters.items()}
        assert fill(job.executor, values) in orb.executors
        assert all("include(" not in step.command for step in runs_of(orb, fill(job.steps, values), ""))


def configs(orb: Orb) -> Iterator[Config]:
    yield from (config_of(file.stem) for file in (ORB / "examples").glob("*.yml"))
    yield from (example.usage for example in orb.examples.values())
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", (ORB.parents[1] / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    yield Config.model_validate(yaml.safe_load(shown))


def test_the_examples_use_the_orb_rightly(orb: Orb) -> None:
    """Jobs, commands and parameters that they name are there, and what a job requires is in its workflow; so in the README."""
    for config in configs(orb):
        for workflow in config.workflows.values():
            jobs = [named(one) for one in workflow.jobs]
            names = {name for name, _ in jobs}
            for name, given in jobs:
                assert set(given.get("requires", [])) <= names
                if given.get("type") != "approval":
                    assert runs_of_job(orb, config, {name: given})


def test_pipeline_b_has_no_key_and_no_orb() -> None:
    """It is an ordinary pipeline: nothing in it names the bridge."""
    assert config_of("pipeline-b").orbs == {}
    lines = (ORB / "examples/pipeline-b.yml").read_text().splitlines()
    assert not [line for line in lines if not line.startswith("#") and "bridge" in line.lower()]


# --- what is run


@dataclass
class Circle:
    """A CircleCI, a bridge, and a machine for jobs."""

    orb: Orb
    circleci: CircleciEmulator
    bridge: Bridge
    folder: Path
    curl: str
    shown: str = ""
    """All that every step has shown."""
    made: int = field(default=0)

    def start(self, workflows: list[dict[str, Any]] | None = None) -> Workflow:
        return self.circleci.start_pipeline("gh/acme/a", workflows or HOLD).workflow()

    def job(self, workflow: Workflow, **more: str) -> "Machine":
        """Return a machine for one job of *workflow*."""
        self.made += 1
        folder = self.folder / f"job-{self.made}"
        folder.mkdir()
        (folder / "bash-env").touch()
        environ = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "REAL_CURL": self.curl,
            "CURL_ARGUMENTS": str(self.folder / "arguments"),
            "BASH_ENV": str(folder / "bash-env"),
            "CIRCLE_WORKFLOW_ID": workflow.id,
            "BRIDGE_URL": self.bridge.url,
            "BRIDGE_TOKEN": TOKEN,
        }
        return Machine(self, folder, environ | more)

    async def call_back(self, machine: "Machine", result: Any) -> None:
        """Be the remote system."""
        url = local(self.bridge, machine.exported["BRIDGE_CALLBACK_URL"])
        assert await self.bridge.post(url, json=result) == 202

    async def settled(self, workflow: Workflow, name: str = "hold") -> str:
        """Return the status of the approval once it is no longer on hold."""
        job = workflow.job(name)
        await self.circleci.wait_until(lambda: job.status not in ("blocked", "on_hold"), 20)
        return job.status


@dataclass
class Machine:
    """Where the steps of one job run."""

    circle: Circle
    folder: Path
    environ: Mapping[str, str]

    async def run(self, step: Run, shell: tuple[str, ...] = BASH) -> Ran:
        command = step.command.replace("https://circleci.com", self.circle.circleci.base_url)
        ran = await run(step.model_copy(update={"command": command}), self.folder, self.environ, shell)
        self.circle.shown += ran.shown
        return ran

    async def run_all(self, steps: list[Run]) -> Ran:
        """Run steps until one fails."""
        ran = Ran(0, "")
        for step in steps:
            ran = await self.run(step)
            if ran.code:
                break
        return ran

    async def call(self, command: str, shell: tuple[str, ...] = SH, **given: Any) -> Ran:
        """Run one command of the orb, for the approval `hold` unless another is given."""
        values = {"approval": "hold", **({"timeout": "1h"} if command == "register" else {}), **given}
        (step,) = runs_of(self.circle.orb, [{f"bridge/{command}": values}], "bridge/")
        return await self.run(step, shell)

    @property
    def exported(self) -> dict[str, str]:
        lines = (self.folder / "bash-env").read_text().splitlines()
        pairs = [line.removeprefix("export ").partition("=")[::2] for line in lines]
        return {name: value.strip("'") for name, value in pairs}

    @property
    def result(self) -> Any:
        return json.loads((self.folder / "bridge-result.json").read_text())


@pytest.fixture
async def circle(orb: Orb, tmp_path: Path, curl: str) -> AsyncIterator[Circle]:
    async with circle_of(orb, tmp_path, curl) as made:
        yield made


@asynccontextmanager
async def circle_of(orb: Orb, folder: Path, curl: str) -> AsyncIterator[Circle]:
    """Yield a CircleCI and its bridge; at the end no step has shown a secret, and no process list has."""
    (folder / "circleci-token").write_text(CIRCLECI_TOKEN)
    (folder / "bin").mkdir()
    (folder / "bin/curl").write_text(_CURL)
    (folder / "bin/curl").chmod(0o755)
    (folder / "arguments").touch()
    circleci = CircleciEmulator()
    async with (
        circleci.serve() as url,
        bridge(folder, more=SECTIONS.format(circleci=url, folder=folder), clock=circleci) as running,
    ):
        made = Circle(orb, circleci, running, folder, curl)
        yield made
        for seen in (made.shown, (folder / "arguments").read_text()):
            assert TOKEN not in seen
            assert CIRCLECI_TOKEN not in seen
        assert "/cb/" not in made.shown


async def test_a_result_is_registered_for_and_fetched(circle: Circle) -> None:
    """`register`, a callback, the approval, `result`: the file holds the map of every platform, a variable the outcome."""
    workflow = circle.start()
    machine = circle.job(workflow)
    assert (await machine.call("register")).code == 0
    await circle.call_back(machine, RESULT)
    assert await circle.settled(workflow) == "success"
    later = circle.job(workflow)
    ran = await later.call("result")
    assert (ran.code, ran.shown) == (0, 'hold: succeeded: p99 \\"flat\\" \\\\ 90 ms\n')
    assert later.result == {"outcome": "succeeded", "summary": RESULT["summary"], "url": RESULT["url"], "data": RESULT}
    assert later.exported == {"BRIDGE_OUTCOME": "succeeded"}


async def test_a_failure_cancels_the_approval(circle: Circle) -> None:
    """Unless said otherwise what requires the approval does not run; who asks for the result all the same fails."""
    workflow = circle.start()
    machine = circle.job(workflow)
    await machine.call("register")
    await circle.call_back(machine, BAD)
    assert await circle.settled(workflow) == "canceled"
    assert workflow.job("deploy").status == "not_run"
    ran = await machine.call("result")
    assert (ran.code, ran.shown) == (1, "hold: failed: p99 rose\n")


@pytest.mark.parametrize(("fail", "code"), [(True, 1), (False, 0)])
async def test_the_steps_that_follow_may_look_themselves(circle: Circle, *, fail: bool, code: int) -> None:
    """With `fail: false` the step ends well, and the outcome says what happened; a wait that nobody answered times out."""
    workflow = circle.start()
    machine = circle.job(workflow)
    await machine.call("register", timeout="1s", on_failure="approve")
    assert await circle.settled(workflow) == "success"
    ran = await machine.call("result", fail=fail)
    assert (ran.code, ran.shown) == (code, "hold: timed_out: timed out\n")
    assert machine.result == {"outcome": "timed_out", "summary": "timed out", "url": "", "data": None}
    assert machine.exported["BRIDGE_OUTCOME"] == "timed_out"


async def test_much_data_is_fetched_whole(circle: Circle) -> None:
    """A result of half a megabyte, with what looks like the end of one in it, is written as it came."""
    workflow = circle.start()
    machine = circle.job(workflow)
    await machine.call("register")
    big = {"summary": "", "log": ['"},"data":{}}\\', "x" * 500_000]}
    await circle.call_back(machine, big)
    assert (await machine.call("result")).shown == "hold: succeeded\n"
    assert machine.result["data"] == big


async def test_a_repeated_step_registers_one_wait(circle: Circle) -> None:
    """An automatic rerun of the step gets the same callback URL."""
    machine = circle.job(circle.start())
    assert (await machine.call("register")).code == 0
    first = machine.exported["BRIDGE_CALLBACK_URL"]
    assert (await machine.call("register", url_variable="AGAIN")).code == 0
    assert machine.exported["AGAIN"] == first


async def test_expects_takes_variables(circle: Circle) -> None:
    """`${NAME}` in `expects` is filled in, over several lines; an event with those keys decides."""
    workflow = circle.start()
    machine = circle.job(workflow, REPOSITORY="acme/app & co")
    expects = (
        '[{"source": "hub", "type": "check.completed",\n'
        '  "keys": {"repository": "${REPOSITORY}",\n "sha": "${CIRCLE_WORKFLOW_ID}-$x"}}]'
    )
    assert (await machine.call("register", expects=expects)).code == 0
    keys = {"repository": "acme/app & co", "sha": f"{workflow.id}-$x"}
    event = {"source": "hub", "type": "check.completed", "data": {"outcome": "succeeded", "keys": keys}}
    assert (await circle.bridge.api.call("POST", "/v1/events", json=event))[0] == 202
    assert await circle.settled(workflow) == "success"


@pytest.mark.parametrize(
    ("command", "given", "environ", "words"),
    [
        ("register", {}, {"BRIDGE_TOKEN": "wrong"}, 'answered 401: {"type":"/problems/unauthenticated"'),
        ("register", {"timeout": "90d"}, {}, "/timeout"),
        ("register", {"timeout": 'quote " and \\'}, {}, "answered 422"),
        ("register", {"target": "jenkins"}, {}, "/problems/unknown-target"),
        ("register", {"expects": "[{"}, {}, "answered 400"),
        ("register", {"expects": '["${NOT_SET}"]'}, {}, "the variable NOT_SET is not set"),
        ("register", {"expects": '["${ODD}"]'}, {"ODD": 'x"], "target": "y'}, "holds a quote"),
        ("register", {"approval": "a\nb"}, {}, "approval holds a control character"),
        ("register", {}, {"BRIDGE_TOKEN": ""}, "the variable BRIDGE_TOKEN is empty"),
        ("register", {"token": "OTHER"}, {}, "the variable OTHER is empty"),
        ("register", {}, {"BRIDGE_URL": ""}, "bridge_url, or the variable BRIDGE_URL, is empty"),
        ("register", {}, {"BRIDGE_URL": "CIRCLECI/api"}, "answered 404, and not as the bridge does"),
        ("result", {}, {}, "no wait was registered for the approval hold of this workflow"),
        ("result", {}, {"BRIDGE_TOKEN": "wrong"}, "the wait could not be looked up: answered 401"),
    ],
)
async def test_a_refusal_fails_the_step_and_says_why(
    circle: Circle, command: str, given: dict[str, Any], environ: dict[str, str], words: str
) -> None:
    """Nothing is exported, no wait is open, and the reason is the bridge's own or names what is missing."""
    environ = {name: value.replace("CIRCLECI", circle.circleci.base_url) for name, value in environ.items()}
    machine = circle.job(circle.start(), **environ)
    ran = await machine.call(command, **given)
    assert ran.code == 1
    assert ran.shown.startswith("callback-bridge: ")
    assert words in ran.shown
    assert machine.exported == {}
    assert (await circle.bridge.api.call("GET", "/v1/waits"))[1]["items"] == []


@pytest.mark.parametrize(
    "text", ["http://x/cb/$(id)", "http://x/cb/a'b", "<html>http://x/cb/a", "http://x/other", "", "http://x/cb/a b"]
)
async def test_what_is_no_callback_url_is_not_exported(circle: Circle, text: str) -> None:
    """A proxy that answers 201 with something else cannot put words into the shell of the steps that follow."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=201, text=text)

    app = web.Application()
    app.router.add_post("/v1/waits", answer)
    async with TestServer(app) as server:
        machine = circle.job(circle.start(), BRIDGE_URL=str(server.make_url("/")))
        ran = await machine.call("register")
    assert (ran.code, machine.exported) == (1, {})
    assert "answered 201, and not as the bridge does" in ran.shown


async def test_an_approval_by_hand_is_no_result(circle: Circle) -> None:
    """A person approved before the remote system called: the job fails, and says so."""
    workflow = circle.start()
    machine = circle.job(workflow)
    await machine.call("register", on_failure="approve")
    circle.circleci.approve(workflow.job("hold"))
    ran = await machine.call("result", within_s=1)
    assert (ran.code, ran.shown) == (1, "callback-bridge: hold is not decided: was it approved by hand?\n")


async def test_odd_values_reach_the_bridge(circle: Circle) -> None:
    """Quotes, backslashes and shell syntax in names are data; so they are in a token."""
    odd = "a \" \\ $(id) `id` 'b' %s & =é"
    machine = circle.job(circle.start())
    assert (await machine.call("register", approval=odd)).code == 1  # 422: a key for repeats is ASCII
    assert (await machine.call("register", approval=odd.removesuffix("é"))).code == 0
    assert (await machine.call("result", approval=odd.removesuffix("é"), within_s=0)).shown.endswith(
        "approved by hand?\n"
    )
    _, listed = await circle.bridge.api.call("GET", "/v1/waits")
    assert [wait["address"]["approval"] for wait in listed["items"]] == [odd.removesuffix("é")]


# --- the examples


JOBS_OF_A: list[dict[str, Any]] = [
    {"name": "start-b", "duration_s": None},
    {"name": "b-is-done", "type": "approval", "requires": ["start-b"]},
    {"name": "bridge/wait-result", "duration_s": None, "requires": ["b-is-done"]},
    {"name": "deploy", "requires": ["bridge/wait-result"]},
]


@pytest.mark.parametrize("is_early", [True, False], ids=["B is over before A registers", "B is over later"])
@pytest.mark.parametrize(("result", "end"), [("success", "success"), ("failed", "failed")])
async def test_pipeline_a_goes_on_with_b(circle: Circle, *, result: str, end: str, is_early: bool) -> None:
    """A starts B and holds; B's own webhook resumes it, with no key in B; A is green when B is."""
    config = config_of("pipeline-a")
    assert [named(one)[0] for one in config.workflows["main"].jobs] == [job["name"] for job in JOBS_OF_A]
    circle.circleci.add_webhook(f"{circle.bridge.url}/hooks/circleci-b", secret=SECRET, project="gh/acme/b")
    build = {"name": "build", "duration_s": 0 if is_early else None, "result": result}
    circle.circleci.add_project("gh/acme/b", workflows=[{"name": "build", "jobs": [build]}])
    workflow = circle.start([{"name": "main", "jobs": JOBS_OF_A}])

    starting, approval, waiting, _ = config.workflows["main"].jobs
    assert approval["b-is-done"]["type"] == "approval"
    machine = circle.job(workflow, CIRCLE_TOKEN=CIRCLECI_TOKEN)
    start_b, register = runs_of_job(circle.orb, config, starting)
    assert (await machine.run(start_b)).code == 0
    if is_early:
        told = circle.circleci.webhooks.deliveries
        await circle.circleci.wait_until(
            lambda: any(one.event == WORKFLOW_COMPLETED and one.is_delivered for one in told), 20
        )
    assert (await machine.run(register)).code == 0
    circle.circleci.finish(workflow.job("start-b"))
    if not is_early:
        (b,) = (one for one in circle.circleci.world.pipelines.values() if one.project.slug == "gh/acme/b")
        circle.circleci.finish(b.workflow().job("build"), result)
    circle.circleci.turn_clock(6)  # a workflow's end is believed when the lists cannot be behind any more
    assert await circle.settled(workflow, "b-is-done") == "success"

    ran = await circle.job(workflow).run_all(runs_of_job(circle.orb, config, waiting))
    assert ran.shown.startswith(f"b-is-done: {'succeeded' if result == 'success' else 'failed'}: build: {result}")
    circle.circleci.finish(workflow.job("bridge/wait-result"), "failed" if ran.code else "success")
    assert workflow.status == end
    assert workflow.job("deploy").status == ("success" if end == "success" else "not_run")


async def test_the_orbs_example_runs(circle: Circle) -> None:
    """The remote system gets the callback URL; the job after the approval reads the result from the file."""
    config = circle.orb.examples["load-test"].usage
    starting, _, deploying = config.workflows["main"].jobs
    workflow = circle.start(
        [
            {
                "name": "main",
                "jobs": [
                    {"name": "load-test-done", "type": "approval"},
                    {"name": "deploy", "requires": ["load-test-done"]},
                ],
            }
        ]
    )
    machine = circle.job(workflow)
    assert (await machine.run_all(runs_of_job(circle.orb, config, starting)[:1])).code == 0
    await circle.call_back(machine, RESULT)
    assert await circle.settled(workflow, "load-test-done") == "success"
    ran = await circle.job(workflow).run_all(runs_of_job(circle.orb, config, deploying))
    assert json.loads(ran.shown)["data"] == RESULT
