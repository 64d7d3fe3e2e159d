"""CircleCI contract case 39: a setup pipeline is continued, once, by its key alone."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import structlog

from bridge.core.event import EventData, Outcome
from bridge.testing.circleci import TOKEN
from bridge.testing.circleci.model import Pipeline
from bridge.testing.emulator import FaultKind
from tests.support.circleci_stage import Stage, stage
from tests.support.fakes import eventually

SETUP: list[dict[str, Any]] = [{"name": "setup", "tag": "setup", "jobs": ["generate"]}]
CONFIGURATION = '{"workflows": [{"name": "build", "jobs": ["test"]}]}'
"""A configuration as the emulator reads one."""


def set_up(one: Stage, **more: Any) -> Pipeline:
    return one.circleci.start_pipeline("gh/acme/app", SETUP, **more)


async def resume(one: Stage, pipeline: Pipeline, outcome: Outcome = Outcome.SUCCEEDED, **more: Any) -> None:
    address = {"continuation_key": pipeline.continuation_key, "configuration": CONFIGURATION}
    wait, data = more.pop("wait", "w1"), more.pop("data", None)
    await one.rig.send({**address, **more}, outcome, wait=wait, data=data)


def continued(one: Stage) -> list[dict[str, Any]]:
    """Return the parameters of each continuation that was made."""
    return [effect.detail["parameters"] for effect in one.circleci.effects if effect.kind == "pipeline.continued"]


@pytest.fixture
async def one() -> AsyncIterator[Stage]:
    async with stage() as made:
        yield made


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT])
async def test_circleci_case_39_a_pipeline_is_continued_with_the_outcome(one: Stage, outcome: Outcome) -> None:
    """Every outcome continues it and is told as a parameter: one request, by the key, with no token of ours."""
    pipeline = set_up(one)
    parameters = {"result": "outcome", "detail_url": "url", "failures": "body.failed"}
    data = EventData(url="https://farm.example/7", body={"failed": 3})
    await resume(one, pipeline, outcome, parameters=parameters, data=data)
    assert await one.ending() == "done"
    (post,) = one.circleci.log
    assert (post.method, post.path, post.query) == ("POST", "/api/v2/pipeline/continue", "")
    assert not {"circle-token", "authorization", "cookie"} & set(post.headers)
    assert TOKEN not in f"{post.headers}{post.body}"
    assert orjson.loads(post.body)["continuation-key"] == pipeline.continuation_key
    sent = {"result": "timed_out", "detail_url": ""}
    told = {"result": outcome.value, "detail_url": "https://farm.example/7", "failures": 3}
    assert continued(one) == [sent if outcome is Outcome.TIMED_OUT else told]
    assert pipeline.workflow("build").status == "success"


async def test_circleci_case_39_without_parameters_the_outcome_is_told(one: Stage) -> None:
    """A pipeline that is not told would go on as if all were well."""
    await resume(one, set_up(one), Outcome.FAILED)
    assert await one.ending() == "done"
    assert continued(one) == [{"outcome": "failed"}]


@pytest.mark.parametrize("status", [400, 409])
async def test_circleci_case_39_a_second_continuation_is_for_good(status: int) -> None:
    """Somebody continued it before us: nothing of ours counts, and nothing is tried again."""
    async with stage(on_continue_twice=status) as one:
        pipeline = set_up(one)
        one.circleci.world.continue_pipeline(pipeline.continuation_key, None, {})
        await resume(one, pipeline)
        report = await one.rig.final()
        assert report.reason == ("gone" if status == 409 else "refused")
        assert len(one.circleci.log) == 1
        await eventually(lambda: one.rig.dead == [report.reason])


@pytest.mark.parametrize("status", [400, 409])
async def test_circleci_case_39_an_expired_key_is_for_good(status: int) -> None:
    """Six hours after the pipeline's start the key is over."""
    async with stage(on_continue_expired=status) as one:
        pipeline = set_up(one)
        one.circleci.turn_clock(6 * 3600)
        await resume(one, pipeline)
        report = await one.rig.final()
        assert report.reason == ("gone" if status == 409 else "refused")
        assert len(one.circleci.log) == 1
        assert continued(one) == []


@pytest.mark.parametrize("status", [400, 404, 409])
async def test_circleci_case_39_a_wrong_key_is_for_good(status: int) -> None:
    """Nobody knows it, whatever that is called."""
    async with stage(on_continue_unknown_key=status) as one:
        await one.rig.send({"continuation_key": "no-such-key", "configuration": CONFIGURATION})
        assert (await one.rig.final()).reason in ("refused", "gone")
        assert len(one.circleci.log) == 1


async def test_circleci_case_39_conflicting_parameters_are_refused(one: Stage) -> None:
    """One that was given at the trigger cannot be given again."""
    await resume(one, set_up(one, parameters={"outcome": "?"}))
    report = await one.rig.final()
    assert (report.reason, "400" in report.note) == ("refused", True)


@pytest.mark.parametrize("knows_pipeline", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": FaultKind.RESET_AFTER},
        {"kind": FaultKind.STATUS_AFTER, "status": 502},
        {"kind": FaultKind.RESET_BEFORE},
        {"kind": FaultKind.STATUS, "status": 503},
        {"kind": FaultKind.STATUS, "status": 429, "headers": {"Retry-After": "1"}},
        {"kind": FaultKind.HTML, "status": 200},
    ],
    ids=["reset after", "502 after", "reset before", "503", "429", "login page"],
)
async def test_circleci_case_39_a_lost_answer_is_made_good(fault: dict[str, Any], *, knows_pipeline: bool) -> None:
    """Applied or not: one continuation, and the end is done; with the pipeline's id the look says so before a second call."""
    async with stage() as one:
        pipeline = set_up(one)
        one.circleci.fault(**fault, path="/pipeline/continue")
        known: dict[str, Any] = {"pipeline_id": pipeline.id} if knows_pipeline else {}
        await resume(one, pipeline, **known)
        assert await one.ending() in ("done", "already-done")
        assert continued(one) == [{"outcome": "succeeded"}]
        assert one.rig.dead == []
        is_applied = fault["kind"] in (FaultKind.RESET_AFTER, FaultKind.STATUS_AFTER)
        assert len(one.posts) == (1 if is_applied and knows_pipeline else 2)


@pytest.mark.parametrize("status", [400, 409])
async def test_circleci_case_39_with_the_pipelines_id_every_refusal_is_survived(status: int) -> None:
    """What is said to one that has left its setup is undocumented: in doubt the pipeline's own state is asked, not the key."""
    async with stage(on_continue_twice=status) as one:
        pipeline = set_up(one)
        one.circleci.fault(FaultKind.RESET_AFTER, path="/pipeline/continue")
        await resume(one, pipeline, pipeline_id=pipeline.id)
        assert await one.ending() == "already-done"
        assert len(one.posts) == 1


async def test_circleci_case_39_513_characters_are_refused_before_they_are_sent(one: Stage) -> None:
    """The name and the length are told; nothing was sent, and the pipeline can still be continued."""
    pipeline = set_up(one)
    await resume(one, pipeline, parameters={"detail": "body"}, data=EventData(body="x" * 513), wait="long")
    report = await one.rig.final("long")
    assert (report.reason, report.note) == ("refused", "parameter detail: 513 characters; CircleCI takes 512")
    assert one.circleci.log == []
    await resume(one, pipeline, parameters={"detail": "body"}, data=EventData(body="x" * 512), wait="fits")
    assert await one.ending("fits") == "done"


async def test_circleci_case_39_the_target_may_have_a_token_that_is_refused() -> None:
    """The key alone authorises the call: it is made although our own token is not good."""
    async with stage({"token": "revoked"}) as one:
        await resume(one, set_up(one))
        assert await one.ending() == "done"


@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_circleci_case_41_a_continuation_key_is_told_to_nobody(status: int) -> None:
    """Not in a log, a report or a query, whatever is answered."""
    async with stage() as one:
        pipeline = set_up(one)
        one.circleci.fault(FaultKind.STATUS, status=status, body=pipeline.continuation_key, path="/pipeline/continue")
        with structlog.testing.capture_logs() as logs:
            await resume(one, pipeline)
            await one.ending()
        assert pipeline.continuation_key not in f"{logs} {one.rig.reports}"
        assert all(pipeline.continuation_key not in f"{entry.path}{entry.query}" for entry in one.circleci.log)
