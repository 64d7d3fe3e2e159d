"""Manual approvals by SNS, through a whole bridge: subscribed, told of an approval, answered; and what ingress fetches on the way."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.core.errors import ErrandFailed
from bridge.core.request import Call
from bridge.core.source import Errand
from bridge.ingress.errands import Errands
from bridge.testing.codepipeline import CodepipelineEmulator
from tests.support.codepipeline_boto3 import Boto
from tests.support.codepipeline_sns import CERTIFICATE_URL, PATH, TOPIC, SnsHost, message
from tests.support.codepipeline_stage import files_with, line, puts, told
from tests.support.in_process import Bridge, local


@dataclass
class Hall:
    """A bridge with a CodePipeline as its target and an SNS as its source."""

    made: Bridge
    codepipeline: CodepipelineEmulator
    aws: Boto
    sns: SnsHost

    async def send(self, body: dict[str, Any]) -> int:
        """Post as SNS does; return the status."""
        headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": body["Type"]}
        return await self.made.post(f"{self.made.url}/hooks/aws-sns", data=json.dumps(body), headers=headers)

    async def events(self) -> list[dict[str, Any]]:
        _, listed = await self.made.api.call("GET", "/v1/events?source=aws-sns")
        items: list[dict[str, Any]] = listed["items"]
        return items


@asynccontextmanager
async def hall(folder: Path) -> AsyncIterator[Hall]:
    sns = SnsHost()
    async with sns.serve() as url:
        more = f'[sources.aws-sns]\nkind = "sns"\ntopics = ["{TOPIC}"]\nendpoint_url = "{url}"\n'
        async with line(folder, more=more) as (made, codepipeline, aws):
            yield Hall(made, codepipeline, aws, sns)


async def test_codepipeline_case_23_an_approval_told_by_sns_is_answered(tmp_path: Path) -> None:
    """SNS tells of the approval, a callback decides: all five members; the token came from the state and stands nowhere of ours."""
    with structlog.testing.capture_logs() as logs:
        async with hall(tmp_path) as one:
            action = one.codepipeline.start_execution(
                pipeline="release", stage="Gate", action="Approve", action_type="Approval/AWS/Manual/1"
            ).action
            token = str(action.token)
            place = {"pipeline": "release", "stage": "Gate", "action": "Approve"}
            expects = [{"source": "aws-sns", "type": "approval.needed", "keys": place}]
            wait = await one.made.api.register("aws", {"approval": place}, expects=expects)
            assert await one.send(message(one.codepipeline.approval_message(action))) == 202
            await told(one.made, f"/v1/waits/{wait['id']}", "'kind': 'event'")
            assert puts(one.codepipeline) == []
            assert await one.made.post(local(one.made, wait["callback_url"]), json={"outcome": "failed"}) == 202
            await one.made.api.wait_until(wait["id"], "resolved")
            sent = json.loads(one.codepipeline.log[-1].body)
            assert sent == {
                "pipelineName": "release",
                "stageName": "Gate",
                "actionName": "Approve",
                "token": token,
                "result": {"status": "Rejected", "summary": f"failed [bridge {wait['id']}]"},
            }
            (event,) = await one.events()
            shown = [event, await one.made.api.call("GET", f"/v1/events/{event['id']}")]
    assert token not in f"{shown} {logs}"
    assert files_with(tmp_path, token) == []


async def test_codepipeline_case_23_a_subscription_is_confirmed(tmp_path: Path) -> None:
    """Once proven, at SNS's own host with the signed token; no event; a forged one and a foreign topic's ask for nothing."""
    async with hall(tmp_path) as one:
        forged = message(kind="SubscriptionConfirmation", by="mallory")
        foreign = message(kind="SubscriptionConfirmation", TopicArn=TOPIC + "-2")
        assert [await one.send(body) for body in (forged, foreign)] == [401, 401]
        assert one.sns.confirmed == []
        assert await one.send(message(kind="SubscriptionConfirmation")) == 202
        assert one.sns.confirmed == [{"Action": "ConfirmSubscription", "TopicArn": TOPIC, "Token": "c0nfirm"}]
        assert await one.send(message(kind="UnsubscribeConfirmation")) == 202
        assert len(one.sns.confirmed) == 1
        assert await one.events() == []


async def test_codepipeline_case_23_sns_repeats_a_notification(tmp_path: Path) -> None:
    """The same MessageId again is a duplicate; its certificate was fetched once for all."""
    async with hall(tmp_path) as one:
        assert [await one.send(message("hello")) for _ in range(3)] == [202] * 3
        await told(one.made, "/v1/events?source=aws-sns&verdict=duplicate", "'duplicate'")
        assert one.sns.fetched == [PATH]


async def test_a_burst_shares_one_fetch(tmp_path: Path) -> None:
    """Twenty messages before the certificate is known: one fetch, and all are taken."""
    async with hall(tmp_path) as one:
        bodies = [message("hello", MessageId=f"m-{number}") for number in range(20)]
        assert await asyncio.gather(*map(one.send, bodies)) == [202] * 20
        assert one.sns.fetched == [PATH]


@pytest.mark.parametrize("url", ["https://169.254.169.254/x.pem", "http://127.0.0.1/x.pem"])
async def test_a_strange_certificate_is_never_fetched(tmp_path: Path, url: str) -> None:
    """Refused by its URL alone."""
    async with hall(tmp_path) as one:
        assert await one.send(message("hello", SigningCertURL=url)) == 401
        assert one.sns.fetched == []


async def test_a_certificate_that_is_not_there_proves_nothing(tmp_path: Path) -> None:
    """SNS has no such certificate: refused, not asked for by the sender again."""
    async with hall(tmp_path) as one:
        url = CERTIFICATE_URL.replace("0123", "4567")
        assert await one.send(message("hello", SigningCertURL=url)) == 401
        assert await one.send(message("hello")) == 202


async def test_while_sns_is_away_the_sender_tries_again(tmp_path: Path) -> None:
    """A certificate or a confirmation that cannot be had now is 503: SNS comes again, and then it is done."""
    async with hall(tmp_path) as one:
        one.sns.status = 503
        assert await one.send(message("hello")) == 503
        one.sns.status = 200
        assert await one.send(message("hello")) == 202
        one.sns.status = 500
        assert await one.send(message(kind="SubscriptionConfirmation")) == 503
        one.sns.status = 200
        assert await one.send(message(kind="SubscriptionConfirmation")) == 202
        assert len(one.sns.confirmed) == 2


async def test_a_confirmation_that_sns_refuses_is_told(tmp_path: Path) -> None:
    """A token that is too old: taken, told in the log, not asked for for ever."""
    async with hall(tmp_path) as one:
        assert await one.send(message("hello")) == 202
        one.sns.status = 400
        with structlog.testing.capture_logs() as logs:
            assert await one.send(message(kind="SubscriptionConfirmation")) == 202
        assert [entry["status"] for entry in logs if entry["event"] == "subscription_not_confirmed"] == [400]


async def test_fetches_are_bounded() -> None:
    """Whoever posts certificates' URLs by the thousand has a few fetched, and the rest is told to come later."""
    sns = SnsHost()
    errands = Errands(fetches_per_minute=3)
    async with sns.serve() as url:
        try:
            for _ in range(3):
                assert await errands.fetch(Errand(url, Call.get(PATH))) == sns.pem
            with pytest.raises(ErrandFailed, match="too many"):
                await errands.fetch(Errand(url, Call.get(PATH)))
        finally:
            await errands.close()
    assert len(sns.fetched) == 3
