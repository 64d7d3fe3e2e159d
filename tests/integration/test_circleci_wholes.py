"""CircleCI contract cases 29 and 30, where the bridge may ask for B's pipelines: all of B's workflows count, through a whole bridge."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bridge.coordinator.store import wholes
from bridge.core.errors import StoreUnavailable
from bridge.polling import wholes as runner
from bridge.polling.wholes import LEASE, Wholes
from bridge.testing.circleci import TOKEN
from bridge.testing.circleci.model import Pipeline
from bridge.testing.emulator import FaultKind
from tests.support.circleci_bridge import RUNNING, Circleback, circleback
from tests.support.circleci_stage import hold
from tests.support.fakes import eventually

LAG_S = 6
"""After it a workflow's end is believed: more than the lists lag behind."""
TOLD = "pipeline.completed"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the poller ask its store often: what is due is a matter of the emulator's clock."""
    monkeypatch.setattr(runner, "TICK_S", 0.02)


def by_hand(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "jobs": [{"name": "run", "duration_s": None}], **more}


TWO = [by_hand("build"), by_hand("lint")]
SETUP: list[dict[str, Any]] = [{"name": "setup", "tag": "setup", "jobs": ["generate"]}]
DONE: list[dict[str, Any]] = [{"name": "build", "jobs": ["unit"]}]


def looks(one: Circleback, b: Pipeline) -> int:
    """Return how often B's workflows were listed."""
    return sum(entry.path == f"/api/v2/pipeline/{b.id}/workflow" for entry in one.circleci.log)


async def looked(one: Circleback, b: Pipeline, more: int = 1) -> None:
    """Wait until B was looked at *more* times from now on."""
    wanted = looks(one, b) + more
    await eventually(lambda: looks(one, b) >= wanted)


async def as_time_goes_by(one: Circleback, claim: Callable[[], bool]) -> None:
    """Let the clock run until *claim* holds."""

    def later() -> bool:
        one.circleci.turn_clock(2)
        return claim()

    await eventually(later)


async def show(one: Circleback, wait: str) -> Any:
    return (await one.bridge.api.call("GET", f"/v1/waits/{wait}"))[1]


async def is_open(one: Circleback, wait: str) -> bool:
    return bool((await show(one, wait))["state"] == "open")


async def recorded(one: Circleback) -> list[dict[str, Any]]:
    """Return the events of B, oldest first."""
    _, listed = await one.bridge.api.call("GET", "/v1/events?source=circleci-b&limit=500")
    return list(listed["items"][::-1])


async def told(one: Circleback) -> list[dict[str, Any]]:
    """Return the events of whole pipelines, oldest first."""
    return [event for event in await recorded(one) if event["type"] == TOLD]


# --- 29: all of them


@pytest.mark.parametrize("first", ["build", "lint"])
async def test_circleci_case_29_all_workflows_count_and_one_failure_fails(tmp_path: Path, first: str) -> None:
    """Nothing is decided while one runs, whichever ends first; then A's approval is canceled, once."""
    async with circleback(tmp_path, asks=True) as one:
        a, b = one.a().workflow(), one.b(TWO)
        wait = await one.wait_for(a, b, kind=None)
        second = "lint" if first == "build" else "build"
        one.circleci.finish(b.workflow(first).job("run"), "failed" if first == "lint" else "success")
        await one.told()
        one.circleci.turn_clock(LAG_S)
        await looked(one, b, 2)
        assert await is_open(one, wait)
        one.circleci.finish(b.workflow(second).job("run"), "failed" if second == "lint" else "success")
        one.circleci.turn_clock(LAG_S)
        assert (await one.ended(wait))["outcome"] == "failed"
        assert one.effects() == [("approval.canceled", hold(a))]
        _, result = await one.bridge.api.call("GET", f"/v1/waits/{wait}/result")
        assert result["data"]["summary"] == "build: success, lint: failed"
        assert result["data"]["data"] == {
            "pipeline": {"id": b.id, "number": b.number, "state": "created"},
            "workflows": [
                {"id": b.workflow("build").id, "name": "build", "status": "success"},
                {"id": b.workflow("lint").id, "name": "lint", "status": "failed"},
            ],
        }


async def test_circleci_case_29_a_setup_workflow_decides_nothing(tmp_path: Path) -> None:
    """Its success is a false end, for however long it is looked at; the continued one, which appears later, decides."""
    async with circleback(tmp_path, asks=True) as one:
        a, b = one.a().workflow(), one.b(SETUP, continuation=[by_hand("build")])
        wait = await one.wait_for(a, b, kind=None)
        await one.told()
        one.circleci.turn_clock(LAG_S)
        await looked(one, b, 2)
        one.circleci.world.continue_pipeline(b.continuation_key, None, {})
        one.circleci.turn_clock(60)
        await looked(one, b)
        assert (b.workflow("setup").status, await is_open(one, wait)) == ("success", True)
        one.circleci.finish(b.workflow("build").job("run"))
        one.circleci.turn_clock(LAG_S)
        assert (await one.ended(wait))["outcome"] == "succeeded"
        assert one.effects() == [("approval.approved", hold(a))]
        assert [event["data"]["summary"] for event in await details(one)] == ["build: success"]


async def test_circleci_case_29_a_setup_workflow_that_failed_is_the_end(tmp_path: Path) -> None:
    """Nothing is continued after it, and nothing else tells."""
    async with circleback(tmp_path, asks=True) as one:
        failing = [{"name": "setup", "tag": "setup", "jobs": [{"name": "generate", "result": "failed"}]}]
        a, b = one.a().workflow(), one.b(failing)
        wait = await one.wait_for(a, b, kind=None)
        await one.told()
        one.circleci.turn_clock(LAG_S)
        assert (await one.ended(wait))["outcome"] == "failed"


async def test_circleci_case_29_a_rerun_counts_while_another_workflow_runs(tmp_path: Path) -> None:
    """A workflow failed and was run again, well, before the pipeline's other one ended: all of it succeeded."""
    async with circleback(tmp_path, asks=True) as one:
        a, b = one.a().workflow(), one.b(TWO)
        wait = await one.wait_for(a, b, kind=None)
        lint = b.workflow("lint")
        one.circleci.finish(lint.job("run"), "failed")
        one.circleci.turn_clock(LAG_S)
        await looked(one, b, 2)
        one.circleci.finish(one.circleci.rerun(lint).job("run"))
        one.circleci.turn_clock(LAG_S)
        assert await is_open(one, wait)
        one.circleci.finish(b.workflow("build").job("run"))
        await one.told()
        one.circleci.turn_clock(LAG_S)
        assert (await one.ended(wait))["outcome"] == "succeeded"


async def test_circleci_case_29_lists_that_lag_are_asked_again(tmp_path: Path) -> None:
    """The webhook is ahead of the list, which still says running: soon it is asked again, without another webhook."""
    async with circleback(tmp_path, asks=True, read_lag_s=2) as one:
        a, b = one.a().workflow(), one.b(RUNNING)
        one.circleci.turn_clock(3)
        wait = await one.wait_for(a, b, kind=None)
        await eventually(lambda: looks(one, b) == 1)
        one.circleci.finish(b.workflow().job("e2e"))
        await one.told()
        await eventually(lambda: looks(one, b) >= 2)
        assert await is_open(one, wait)
        one.circleci.knobs.read_lag_s = 0
        one.circleci.turn_clock(LAG_S)
        assert (await one.ended(wait))["outcome"] == "succeeded"


@pytest.mark.parametrize("early", [True, False])
async def test_circleci_case_29_a_pipeline_that_is_over_before_the_wait(tmp_path: Path, *, early: bool) -> None:
    """B was faster than the registration, and nobody had asked for it: the first look finds it, whatever came before."""
    async with circleback(tmp_path, asks=True) as one:
        a, b = one.a().workflow(), one.b(DONE)
        await one.told()

        async with asyncio.timeout(20):  # a webhook that is read after the registration is a reason for another look
            while len(await recorded(one)) < len(one.circleci.webhooks.deliveries):  # noqa: ASYNC110 - asked over HTTP
                await asyncio.sleep(0.01)
        one.circleci.turn_clock(LAG_S)
        expected = {"source": "circleci-b", "keys": {"pipeline_id": b.id}, "early": early}
        place = {"workflow_id": a.id, "approval": "hold"}
        made = await one.bridge.api.register("circleci", place, expects=[expected])
        assert (await one.ended(made["id"]))["outcome"] == "succeeded"
        assert looks(one, b) == 1


async def test_circleci_case_29_two_waits_for_one_pipeline(tmp_path: Path) -> None:
    """Both are decided by one end, and a third that comes after it too."""
    async with circleback(tmp_path, asks=True) as one:
        first, second, third, b = one.a().workflow(), one.a().workflow(), one.a().workflow(), one.b(TWO)
        waits = [await one.wait_for(a, b, kind=None) for a in (first, second)]
        for name in ("build", "lint"):
            one.circleci.finish(b.workflow(name).job("run"))
        one.circleci.turn_clock(LAG_S)
        for wait in waits:
            assert (await one.ended(wait))["outcome"] == "succeeded"
        assert (await one.ended(await one.wait_for(third, b, kind=None)))["outcome"] == "succeeded"
        assert sorted(one.effects()) == sorted(("approval.approved", hold(a)) for a in (first, second, third))


async def test_circleci_case_29_who_names_a_workflow_is_decided_by_it(tmp_path: Path) -> None:
    """As without asking: the other workflow does not count, and CircleCI is not asked for the pipeline."""
    async with circleback(tmp_path, asks=True) as one:
        a, b = one.a().workflow(), one.b(TWO)
        wait = await one.wait_for(a, b, kind=None, keys={"workflow": "build"})
        one.circleci.finish(b.workflow("build").job("run"))
        assert (await one.ended(wait))["outcome"] == "succeeded"
        assert (b.workflow("lint").status, looks(one, b)) == ("running", 0)


async def test_circleci_case_29_who_names_the_type_means_one_workflow(tmp_path: Path) -> None:
    """An expectation of `workflow.completed` stays what it says: the first end decides."""
    async with circleback(tmp_path, asks=True) as one:
        a, b = one.a().workflow(), one.b(TWO)
        wait = await one.wait_for(a, b)
        one.circleci.finish(b.workflow("lint").job("run"))
        assert (await one.ended(wait))["outcome"] == "succeeded"
        assert looks(one, b) == 0


# --- 30: nobody tells


async def test_circleci_case_30_a_pipeline_that_errored_is_found_by_a_look(tmp_path: Path) -> None:
    """B's config does not compile, and no webhook tells: A is told that it failed, long before the deadline."""
    async with circleback(tmp_path, asks=True) as one:
        a, b = one.a().workflow(), one.b([], errors=[{"type": "config"}])
        wait = await one.wait_for(a, b, kind=None, within="8h")
        shown = await one.ended(wait)
        assert (shown["outcome"], shown["reason"]) == ("failed", None)
        assert one.circleci.webhooks.deliveries == []
        assert one.effects() == [("approval.canceled", hold(a))]
        _, result = await one.bridge.api.call("GET", f"/v1/waits/{wait}/result")
        assert result["data"]["summary"] == "the pipeline is errored"


async def test_circleci_case_30_a_webhook_that_is_lost_costs_time_only(tmp_path: Path) -> None:
    """B's end was never told: a look finds it within ten minutes, and before the deadline."""
    async with circleback(tmp_path, asks=True, webhook=False) as one:
        a, b = one.a().workflow(), one.b(RUNNING)
        wait = await one.wait_for(a, b, kind=None, within="30m")
        for _ in range(3):
            one.circleci.turn_clock(300)
            await looked(one, b)
        one.circleci.finish(b.workflow().job("e2e"), "failed")
        one.circleci.turn_clock(600)
        shown = await one.ended(wait)
        assert (shown["outcome"], shown["reason"]) == ("failed", None)


async def test_circleci_case_30_the_last_look_is_before_the_deadline(tmp_path: Path) -> None:
    """B is looked at every few minutes by then: in the last twenty seconds it is nevertheless."""
    async with circleback(tmp_path, asks=True, webhook=False) as one:
        a, b = one.a().workflow(), one.b(RUNNING)
        wait = await one.wait_for(a, b, kind=None, within="30m")
        await as_time_goes_by(one, lambda: looks(one, b) >= 12)
        left = datetime.fromisoformat((await show(one, wait))["expires_at"]) - one.circleci.now()
        one.circleci.turn_clock(left.total_seconds() - 25)
        await looked(one, b)
        one.circleci.finish(b.workflow().job("e2e"))
        one.circleci.turn_clock(LAG_S)
        shown = await one.ended(wait)
        assert (shown["outcome"], shown["reason"]) == ("succeeded", None)


async def test_circleci_case_30_with_circleci_away_the_deadline_decides(tmp_path: Path) -> None:
    """Nobody can say what B came to: A gets the deadline's answer, and nobody asks any more."""
    async with circleback(tmp_path, asks=True, webhook=False) as one:
        one.circleci.fault(FaultKind.STATUS, path="/pipeline/", times=1000)
        a, b = one.a().workflow(), one.b(RUNNING)
        wait = await one.wait_for(a, b, kind=None, within="2m")
        await looked(one, b, 2)
        one.circleci.turn_clock(121)
        shown = await one.ended(wait)
        assert (shown["outcome"], shown["reason"]) == ("timed_out", "deadline")
        assert one.effects() == [("approval.canceled", hold(a))]
        assert 'bridge_looks_total{ending="failed",source="circleci-b"}' in await metrics_of(one)


async def test_circleci_case_30_a_fault_passes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Failing, away, or with a token that is refused for a while: it is asked again, and no secret is told."""
    async with circleback(tmp_path, asks=True) as one:
        a, b = one.a().workflow(), one.b(DONE)
        one.circleci.fault(FaultKind.STATUS, path="/pipeline/", status=503, body=TOKEN)
        one.circleci.fault(FaultKind.RESET_BEFORE, path="/pipeline/", times=2)
        one.circleci.add_token(TOKEN, is_valid=False)
        wait = await one.wait_for(a, b, kind=None, within="7d")
        await as_time_goes_by(one, lambda: looks(one, b) >= 4)
        one.circleci.add_token(TOKEN)
        await as_time_goes_by(one, lambda: bool(one.effects()))
        assert (await one.ended(wait))["outcome"] == "succeeded"
        out = "".join(capfd.readouterr())
        assert "look_failed" in out
        assert TOKEN not in out


async def test_a_pipeline_that_the_token_may_not_see_is_told_to_the_operator(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a good token CircleCI says 404: it may appear, so it is asked for again, and the log says so."""
    async with circleback(tmp_path, asks=True) as one:
        a, b = one.a().workflow(), one.b(DONE)
        place = {"workflow_id": a.id, "approval": "hold"}
        expected = {"source": "circleci-b", "keys": {"pipeline_id": "0b35cb7d-6d0f-4c2e-a2ef-d5a1c7f1ba43"}}
        made = await one.bridge.api.register("circleci", place, timeout="1h", expects=[expected])
        found = "/api/v2/pipeline/0b35cb7d-6d0f-4c2e-a2ef-d5a1c7f1ba43/workflow"
        await eventually(lambda: sum(entry.path == found for entry in one.circleci.log) >= 2)
        assert await is_open(one, made["id"])
        assert "look_unknown" in "".join(capfd.readouterr())
        assert b.id


# --- deaths


@pytest.mark.parametrize("seam", ["before the publish", "before the row goes"])
async def test_a_death_between_two_steps_tells_the_same_event_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seam: str
) -> None:
    """The row outlives the death with its lease; whoever looks next tells one event, under one id, to one effect."""
    async with circleback(tmp_path, asks=True) as one:
        a, b = one.a().workflow(), one.b(DONE)
        await one.told()
        one.circleci.turn_clock(LAG_S)
        published: list[str] = []
        died: list[str] = []

        async def dies(*_: Any, **__: Any) -> None:
            died.append(seam)
            raise StoreUnavailable("died")

        whole, end = Wholes._told, wholes.end

        def tells(self: Wholes, *given: Any) -> Any:
            message = whole(self, *given)
            published.append(message.correlation_id)
            if seam == "before the publish" and not died:
                died.append(seam)
                raise StoreUnavailable("died")
            return message

        monkeypatch.setattr(Wholes, "_told", tells)
        if seam == "before the row goes":
            monkeypatch.setattr(wholes, "end", dies)
        wait = await one.wait_for(a, b, kind=None)
        await eventually(lambda: bool(died))
        monkeypatch.setattr(wholes, "end", end)
        one.circleci.turn_clock(LEASE.total_seconds() + 1)
        assert (await one.ended(wait))["outcome"] == "succeeded"
        await eventually(lambda: len(published) == 2)
        assert [event["id"] for event in await told(one)] == published[:1] == published[1:]
        assert one.effects() == [("approval.approved", hold(a))]


# --- registrations


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"type": TOLD, "keys": {"project": "gh/acme/b"}}, "/expects/0/keys"),
        ({"type": TOLD, "keys": {"pipeline_id": "b", "workflow": "build"}}, "/expects/0/keys"),
        ({"keys": {"pipeline_id": "b", "project_id": "p"}}, "/expects/0/keys"),
        ({"keys": {"pipeline_id": "b" * 201}}, "/expects/0/keys/pipeline_id"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused(tmp_path: Path, more: dict[str, Any], pointer: str) -> None:
    """A registration that could never be decided by the whole is 422, with the place; nothing is kept of it."""
    async with circleback(tmp_path, asks=True) as one:
        body = {
            "target": "circleci",
            "address": {"workflow_id": one.a().workflow().id, "approval": "hold"},
            "timeout": "1h",
            "expects": [{"source": "circleci-b", **more}],
        }
        status, problem = await one.bridge.api.call("POST", "/v1/waits", json=body)
        assert (status, [error["pointer"] for error in problem["errors"]]) == (422, [pointer])
        assert "project_id" not in str(problem)  # nothing of a request is told back


async def test_a_source_that_asks_nobody_tells_no_whole(tmp_path: Path) -> None:
    """Without `pipelines` the type is 422, with what to configure; without a type the first end decides, as ever."""
    async with circleback(tmp_path) as one:
        a, b = one.a().workflow(), one.b(TWO)
        body = {
            "target": "circleci",
            "address": {"workflow_id": a.id, "approval": "hold"},
            "timeout": "1h",
            "expects": [{"source": "circleci-b", "type": TOLD, "keys": {"pipeline_id": b.id}}],
        }
        status, problem = await one.bridge.api.call("POST", "/v1/waits", json=body)
        assert (status, [error["pointer"] for error in problem["errors"]]) == (422, ["/expects/0/type"])
        assert "pipelines" in problem["errors"][0]["detail"]
        wait = await one.wait_for(a, b, kind=None)
        one.circleci.finish(b.workflow("lint").job("run"))
        assert (await one.ended(wait))["outcome"] == "succeeded"
        assert (b.workflow("build").status, looks(one, b)) == ("running", 0)


async def test_readiness_names_the_poller(tmp_path: Path) -> None:
    """/readyz shows it beside the worker of the same target."""
    async with circleback(tmp_path, asks=True) as one, one.bridge.session.get(f"{one.bridge.url}/readyz") as response:
        checks = await response.json()
        assert {"poller circleci", "worker circleci"} <= set(str(checks).replace("'", '"').split('"'))


async def details(one: Circleback) -> list[dict[str, Any]]:
    """Return the whole pipelines' events with what they say."""
    return [(await one.bridge.api.call("GET", f"/v1/events/{event['id']}"))[1] for event in await told(one)]


async def metrics_of(one: Circleback) -> str:
    async with one.bridge.session.get(f"{one.bridge.url}/metrics") as response:
        return await response.text()
