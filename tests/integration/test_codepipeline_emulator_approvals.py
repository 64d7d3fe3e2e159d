"""Manual approvals of the CodePipeline emulator, with boto3 as the client."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from bridge.testing.codepipeline import CodepipelineEmulator, PipelineExecution
from tests.support.codepipeline_boto3 import Boto, boto

MANUAL = "Approval/AWS/Manual/1"
UNKNOWN = "11111111-abcd-1111-abcd-111111abcdef"


@pytest_asyncio.fixture
async def emulator() -> AsyncIterator[CodepipelineEmulator]:
    served = CodepipelineEmulator()
    async with served.serve():
        yield served


@pytest_asyncio.fixture
async def aws(emulator: CodepipelineEmulator) -> AsyncIterator[Boto]:
    async with boto(emulator.base_url) as client:
        yield client


def start(emulator: CodepipelineEmulator, **more: Any) -> PipelineExecution:
    return emulator.start_execution(pipeline="release", stage="Gate", action="Approve", action_type=MANUAL, **more)


def answer(token: str | None, status: str = "Approved", summary: str = "ana [7f3]", **more: Any) -> dict[str, Any]:
    named = {"pipelineName": "release", "stageName": "Gate", "actionName": "Approve", "token": token}
    return named | {"result": {"status": status, "summary": summary}} | more


async def test_approved(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """The token stands in the state while the approval is open; the answer shows who gave it and goes on."""
    execution = start(emulator)
    token = (await aws.latest("release"))["token"]
    assert token == execution.action.token
    result = await aws("put_approval_result", **answer(token))
    assert abs((result["approvedAt"] - emulator.now).total_seconds()) < 10
    latest = await aws.latest("release")
    assert "token" not in latest
    assert (latest["status"], latest["summary"]) == ("Succeeded", "ana [7f3]")
    assert latest["lastUpdatedBy"] == "arn:aws:iam::111122223333:user/bridge"
    assert execution.status == "Succeeded"


async def test_the_effect_of_an_answer(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """An answer is one effect, with the token as subject."""
    execution = start(emulator)
    await aws("put_approval_result", **answer(execution.action.token))
    (effect,) = emulator.effects
    assert (effect.kind, effect.subject) == ("approval.put", execution.action.token)
    assert effect.detail["actionExecutionId"] == execution.action.id
    assert (effect.detail["status"], effect.detail["summary"]) == ("Approved", "ana [7f3]")


async def test_rejected(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A rejection fails stage and pipeline; its summary may be empty."""
    execution = start(emulator)
    await aws("put_approval_result", **answer(execution.action.token, "Rejected", ""))
    state = await aws("get_pipeline_state", name="release")
    assert state["stageStates"][0]["latestExecution"]["status"] == "Failed"
    assert execution.status == "Failed"


@pytest.mark.parametrize("code", ["ApprovalAlreadyCompletedException", "InvalidApprovalTokenException"])
async def test_a_second_answer(emulator: CodepipelineEmulator, aws: Boto, code: str) -> None:
    """Which error a second answer gets is a switch; it has no effect."""
    emulator.set_knobs(repeated_approval=code)
    execution = start(emulator)
    await aws("put_approval_result", **answer(execution.action.token))
    assert await aws.refusal("put_approval_result", **answer(execution.action.token, "Rejected")) == code
    assert len(emulator.effects) == 1
    assert (await aws.latest("release"))["status"] == "Succeeded"


async def test_a_newer_execution_takes_the_place(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A newer execution at the approval has a new token, and the old one is worthless."""
    old, new = start(emulator), start(emulator)
    assert (await aws.latest("release"))["token"] == new.action.token
    assert await aws.refusal("put_approval_result", **answer(old.action.token)) == "InvalidApprovalTokenException"
    assert (old.status, old.action.status) == ("Superseded", "Abandoned")
    await aws("put_approval_result", **answer(new.action.token))


async def test_an_answered_token_after_a_newer_execution(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """A token answered before a newer execution came is no longer the current one."""
    old = start(emulator)
    await aws("put_approval_result", **answer(old.action.token))
    start(emulator)
    assert await aws.refusal("put_approval_result", **answer(old.action.token)) == "InvalidApprovalTokenException"
    assert old.status == "Succeeded"


async def test_parallel_executions(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """In a PARALLEL pipeline the state has no token; each execution's is in the history, and both stay open."""
    one, two = start(emulator, mode="PARALLEL"), start(emulator, mode="PARALLEL")
    latest = await aws.latest("release")
    assert latest["status"] == "InProgress"
    assert "token" not in latest
    listed = await aws("list_action_executions", pipelineName="release", filter={"pipelineExecutionId": one.id})
    (entry,) = listed["actionExecutionDetails"]
    token = entry["output"]["executionResult"]["externalExecutionId"]
    assert token == one.action.token
    await aws("put_approval_result", **answer(token))
    assert (one.status, two.status) == ("Succeeded", "InProgress")
    await aws("put_approval_result", **answer(two.action.token))
    repeated = await aws.refusal("put_approval_result", **answer(token))
    assert repeated == "ApprovalAlreadyCompletedException"


async def test_outside_parallel_the_history_has_no_token(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """In other pipelines the token is in the state only."""
    start(emulator)
    listed = await aws("list_action_executions", pipelineName="release")
    assert "externalExecutionId" not in listed["actionExecutionDetails"][0]["output"]["executionResult"]


async def test_an_approval_expires(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """After 7 days the action has failed and the token is worthless; an action may have a limit of its own."""
    execution = start(emulator)
    emulator.advance(7 * 86_400 - 1)
    assert execution.status == "InProgress"
    emulator.advance(1)
    assert execution.status == "Failed"
    refused = await aws.refusal("put_approval_result", **answer(execution.action.token))
    assert refused == "InvalidApprovalTokenException"
    short = start(emulator, timeout_s=300)
    emulator.advance(300)
    assert short.status == "Failed"


async def test_an_abandoned_approval(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """An approval of a pipeline stopped and abandoned takes no answer."""
    execution = start(emulator)
    emulator.stop_execution(execution.id)
    refused = await aws.refusal("put_approval_result", **answer(execution.action.token))
    assert refused == "InvalidApprovalTokenException"
    assert "token" not in await aws.latest("release")


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"pipelineName": "none"}, "PipelineNotFoundException"),
        ({"stageName": "none"}, "StageNotFoundException"),
        ({"actionName": "none"}, "ActionNotFoundException"),
        ({"token": UNKNOWN}, "InvalidApprovalTokenException"),
        ({"token": UNKNOWN.upper()}, "ValidationException"),
        ({"result": {"status": "approved", "summary": ""}}, "ValidationException"),
        ({"result": {"status": "Approved", "summary": "x" * 513}}, "ValidationException"),
        ({"result": {"status": "Approved"}}, "ValidationException"),
    ],
)
async def test_what_is_refused(emulator: CodepipelineEmulator, aws: Boto, members: dict[str, Any], code: str) -> None:
    """Each thing that can be wrong in an answer has its error, and leaves the approval open."""
    execution = start(emulator)
    assert await aws.refusal("put_approval_result", **(answer(execution.action.token) | members)) == code
    assert execution.status == "InProgress"


async def test_an_action_that_is_no_approval(emulator: CodepipelineEmulator, aws: Boto) -> None:
    """An action of another type takes no answer."""
    emulator.start_execution(pipeline="release", stage="Gate", action="Approve")
    assert await aws.refusal("put_approval_result", **answer(UNKNOWN)) == "ActionNotFoundException"


async def test_the_notification_has_all_that_an_answer_needs() -> None:
    """The notification names pipeline, stage, action, token and end, and shows the action's own words."""
    emulator = CodepipelineEmulator(clock=lambda: datetime(2026, 7, 7, 12, tzinfo=UTC))
    execution = start(emulator, custom_data="Ship it?", external_entity_link="https://x.example/1")
    message = emulator.approval_message(execution.action)
    assert message["region"] == "eu-west-1"
    approval = message["approval"]
    assert approval["token"] == execution.action.token
    assert [approval[name] for name in ("pipelineName", "stageName", "actionName")] == ["release", "Gate", "Approve"]
    assert (approval["customData"], approval["externalEntityLink"]) == ("Ship it?", "https://x.example/1")
    assert approval["expires"] == "2026-07-14T12:00Z"


async def test_only_an_approval_has_a_notification(emulator: CodepipelineEmulator) -> None:
    """There is no notification for another action."""
    with pytest.raises(LookupError, match="no approval"):
        emulator.approval_message(emulator.start_execution().action)
