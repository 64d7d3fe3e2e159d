"""CircleCI contract cases of the wire: another host, a slow one, a limited one."""

from datetime import timedelta
from typing import Any

import pytest
import structlog

from bridge.consumers.circleci import CircleciSettings
from bridge.core.event import Outcome
from bridge.testing.circleci import TOKEN, CircleciEmulator
from bridge.testing.emulator import FaultKind
from tests.support import circleci_stage
from tests.support.circleci_client import HOLD
from tests.support.circleci_stage import Stage, hold, stage
from tests.support.fakes import eventually
from tests.support.worker_rig import worker_rig

quick_read_back = circleci_stage.quick_read_back

HELD: list[dict[str, Any]] = [{"name": "build", "jobs": [HOLD]}]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("auth", ["circle-token", "bearer"])
async def test_circleci_case_36_a_servers_host_alone_is_asked(auth: str, slash: str) -> None:
    """A CircleCI server by its host, with and without a slash: everything goes to /api/v2 on it, by either header."""
    circleci = CircleciEmulator(is_server=True)
    async with circleci.serve() as url:
        async with worker_rig("circleci", {"base_url": url + slash, "token": TOKEN, "auth": auth}) as rig:
            one = Stage(circleci, rig)
            pipeline = one.pipeline()
            await one.send(pipeline)
            assert await one.ending() == "done"
        assert one.calls[0] == f"GET /pipeline/{pipeline.id}/workflow"
        assert all(entry.path.startswith("/api/v2/") for entry in circleci.log)
        named = {name for entry in circleci.log for name in entry.headers if name in ("circle-token", "authorization")}
        assert named == {"circle-token" if auth == "circle-token" else "authorization"}


async def test_circleci_case_36_an_old_server_knows_circle_token_alone() -> None:
    """The default works where Bearer is not known yet; Bearer is a refused credential there, and nothing is lost."""
    async with stage(accepts_bearer=False) as one:
        await one.send(one.start())
        assert await one.ending() == "done"
    async with stage({"auth": "bearer"}, accepts_bearer=False) as one:
        await one.send(one.start())
        await eventually(lambda: one.rig.worker.status.health.value == "credential")
        assert one.rig.finals() == []
        one.circleci.knobs.accepts_bearer = True
        assert await one.ending() == "done"


@pytest.mark.usefixtures("quick_read_back")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_circleci_case_36_no_redirect_is_followed(status: int, method: str) -> None:
    """Another host never sees a request, let alone the token; the resolution is kept, and done once the host answers."""
    elsewhere = CircleciEmulator()
    async with elsewhere.serve() as other, stage() as one:
        workflow = one.start()
        moved = {"Location": f"{other}/api/v2/workflow/{workflow.id}/job"}
        one.circleci.fault(FaultKind.STATUS, method=method, status=status, headers=moved)
        await one.send(workflow)
        assert await one.ending() == "done"
        assert elsewhere.log == []
        assert one.effects() == [hold(workflow)]
        assert one.rig.dead == []


async def test_circleci_case_37_a_slow_host_is_given_up_and_stops_nobody() -> None:
    """A call ends after its time-out, here 1 s; other resolutions and other targets flow meanwhile, and it is done later."""
    assert CircleciSettings.model_fields["timeout"].default <= timedelta(seconds=30)
    async with stage({"timeout": 1}) as slow, stage() as quick:
        stuck, other, elsewhere = slow.start(), slow.start(), quick.start()
        for kind, method in ((FaultKind.SLOW_BEFORE, "GET"), (FaultKind.SLOW, "POST")):
            slow.circleci.fault(kind, method=method, path=stuck.id, delay_s=3)
        await slow.send(stuck, wait="stuck")
        await eventually(lambda: len(slow.circleci.log) == 1)
        await slow.send(other, wait="other")
        await quick.send(elsewhere)
        assert await slow.ending("other") == "done"
        assert await quick.ending() == "done"
        assert slow.rig.finals("stuck") == []
        assert await slow.ending("stuck") == "already-done"
        assert slow.effects().count(hold(stuck)) == 1
        assert slow.rig.told("stuck")[0] == "later"


# --- 40: the limit is kept, not run into


@pytest.mark.parametrize("family", ["both", "standard", "legacy"])
async def test_circleci_case_40_a_limit_is_kept_before_it_refuses(family: str) -> None:
    """120 requests at 40 a second, with eight under way at once: all approved, and hardly one was refused."""
    async with stage(rate_limit={"limit": 40, "window_s": 1}, rate_limit_headers=family) as one:
        workflows = [one.start(HELD) for _ in range(40)]
        for workflow in workflows:
            await one.send(workflow, wait=workflow.id)
        await eventually(lambda: len(one.effects()) == 40, 30)
        assert [await one.ending(workflow.id) for workflow in workflows] == ["done"] * 40
        refused = [entry for entry in one.circleci.log if entry.status == 429]
        assert len(refused) <= 3
        assert sorted(one.effects()) == sorted(hold(workflow) for workflow in workflows)
        assert one.rig.dead == []


async def test_circleci_case_40_the_lower_of_two_limits_counts() -> None:
    """One family tells a generous limit, the other a tight one: the tight one is kept."""
    limits = {"rate_limit": {"limit": 1000, "window_s": 60}, "rate_limit_legacy": {"limit": 20, "window_s": 1}}
    async with stage(**limits) as one:
        workflows = [one.start(HELD) for _ in range(20)]
        for workflow in workflows:
            await one.send(workflow, wait=workflow.id)
        await eventually(lambda: len(one.effects()) == 20, 30)
        assert len([entry for entry in one.circleci.log if entry.status == 429]) <= 3


async def test_circleci_case_40_a_used_up_hour_holds_the_target() -> None:
    """Nothing is left for long: the next resolution is put off without a request, the target is held, and no breaker opens."""
    async with stage(rate_limit={"limit": 3, "window_s": 3600}) as one:
        first, second = one.start(HELD), one.start(HELD)
        await one.send(first, wait="first")
        assert await one.ending("first") == "done"
        with structlog.testing.capture_logs() as logs:
            await one.send(second, wait="second")
            await eventually(lambda: one.rig.told("second") == ["later"])
            await eventually(lambda: not one.rig.worker.status.is_consuming)
        assert len(one.circleci.log) == 3
        assert {entry.status for entry in one.circleci.log} == {200, 202}
        assert not one.rig.worker.status.is_breaker_open
        assert not [entry for entry in logs if entry["log_level"] == "error"]
        assert one.rig.finals("second") == []


async def test_circleci_case_40_without_headers_the_429_is_obeyed() -> None:
    """Nothing tells of the limit before it refuses: Retry-After holds the target, and all are approved."""
    async with stage(rate_limit={"limit": 20, "window_s": 1}, rate_limit_headers="none") as one:
        workflows = [one.start(HELD) for _ in range(15)]
        for workflow in workflows:
            await one.send(workflow, wait=workflow.id)
        await eventually(lambda: len(one.effects()) == 15, 30)
        for workflow in workflows:
            assert await one.ending(workflow.id) in ("done", "already-done")
        assert sorted(one.effects()) == sorted(hold(workflow) for workflow in workflows)


async def test_circleci_case_40_a_limit_in_the_middle_of_an_attempt_is_no_failure() -> None:
    """The third request, which reads back, has to wait: the first two had the effect, and the end is done."""
    async with stage(rate_limit={"limit": 2, "window_s": 2}) as one:
        workflow = one.start(HELD)
        await one.send(workflow, Outcome.SUCCEEDED)
        assert await one.ending() == "done"
        assert [entry.status for entry in one.circleci.log] == [200, 202, 200]
        assert one.circleci.log[2].at - one.circleci.log[0].at >= timedelta(seconds=2)
        assert one.rig.told() == ["done"]
