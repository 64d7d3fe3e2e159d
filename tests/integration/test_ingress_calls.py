"""Callbacks and webhooks over HTTP: what is answered, what is published, what is told."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator

import pytest
import structlog

from bridge.core.errors import BrokerUnavailable, Unroutable
from bridge.core.event import Event
from bridge.ingress import Limits
from tests.support.fakes import eventually
from tests.support.ingress import PATH_SECRET, WAIT, Served, served, token, wire
from tests.support.senders import JSON, SECRET, circleci, github, mac, replaced, standard, without

REVIEW = {
    "action": "submitted",
    "review": {"state": "approved", "commit_id": "abc"},
    "pull_request": {"number": 1},
    "repository": {"full_name": "o/r"},
}
WORKFLOW = {"type": "workflow-completed", "id": "e-1", "workflow": {"id": "w-1", "name": "b", "status": "success"}}


@pytest.fixture
async def ingress() -> AsyncIterator[Served]:
    """An ingress with the usual limits."""
    async with served() as running:
        yield running


async def test_a_callback_is_202_with_its_event(ingress: Served) -> None:
    """The answer names the event that the broker has confirmed."""
    answer = await ingress.call(f"/cb/{token()}", b'{"outcome":"failed"}', JSON)
    (event,) = ingress.broker.events
    assert (answer.status, answer.json()) == (202, {"event": event.id})
    assert (event.data.outcome, event.data.keys) == ("failed", {"wait": WAIT})
    assert answer.headers["content-type"] == JSON


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("suffix", ["succeeded", "failed", "cancelled", "progress"])
async def test_every_suffix_and_both_methods_are_taken(ingress: Served, method: str, suffix: str) -> None:
    """A bare call with no type and no length says what its path says."""
    answer = await ingress.send(f"{method} /cb/{token()}/{suffix}?percent=5 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.status == 202
    assert [event.data.outcome for event in ingress.broker.events] == [suffix]
    assert ingress.broker.events[0].data.percent == (5 if suffix == "progress" else None)


async def test_a_signed_webhook_is_202_and_one_message(ingress: Served) -> None:
    """Route, correlation and trace are ours; nothing of the request is a property of the message."""
    answer = await ingress.deliver("/hooks/gh", replaced(github(REVIEW, "pull_request_review"), "cc", "other.queue"))
    (message,) = ingress.broker.published
    event = Event.parse(message.body)
    assert (answer.status, answer.json()) == (202, {"event": event.id})
    assert (message.route.exchange, message.route.key) == ("bridge.events", "gh.review.approved")
    assert message.correlation_id == event.id
    assert list(message.headers) == ["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", str(message.headers["traceparent"]))
    assert message.body == event.serialise()


async def test_every_kind_is_taken_at_its_own_path(ingress: Served) -> None:
    """Signed ones by their name, an unsigned one with its secret."""
    assert (await ingress.deliver("/hooks/circleci-b", circleci(WORKFLOW))).status == 202
    assert (
        await ingress.deliver("/hooks/plain/" + PATH_SECRET, without(circleci(WORKFLOW), "circleci-signature"))
    ).status == 202
    stamped = standard({"type": "x"})
    assert (await ingress.deliver("/hooks/farm", stamped)).status == 401  # signed in March
    assert [event.source for event in ingress.broker.events] == ["circleci-b", "plain"]


async def test_a_ping_is_2xx_without_a_message(ingress: Served) -> None:
    """It proves the secret and says nothing."""
    assert (await ingress.deliver("/hooks/gh", github({"zen": "x"}, "ping"))).status == 202
    assert ingress.broker.published == []


async def test_attack_9_the_same_request_twice_is_accepted_twice(ingress: Served) -> None:
    """Which one counts is the coordinator's business; both have the keys to tell."""
    request = github(REVIEW, "pull_request_review")
    assert [(await ingress.deliver("/hooks/gh", request)).status for _ in range(2)] == [202, 202]
    first, second = ingress.broker.events
    assert first.id != second.id
    assert first.data.dedupe == second.data.dedupe


async def test_attack_14_a_signature_for_another_endpoint_is_401(ingress: Served) -> None:
    """Each endpoint has its own secrets; no other's are tried."""
    request = github(REVIEW, "pull_request_review")
    assert (await ingress.deliver("/hooks/gh-b", request)).status == 401
    assert ingress.broker.published == []


@pytest.mark.parametrize(
    "path",
    [
        "/hooks/none",
        "/hooks/gh/" + SECRET.replace(" ", "%20"),
        "/hooks/plain",
        "/hooks/plain/",
        "/hooks/plain/wrong-secret",
        f"/hooks/plain/{PATH_SECRET}/",
        f"/hooks/plain/x/../{PATH_SECRET}",
        f"/hooks/plain/%2e%2e/plain/{PATH_SECRET}",
        f"/hooks/plain/{PATH_SECRET[:-1]}",
        "/hooks/callback",
        "/hooks/GH",
        "/hooks/",
        "/hooks/gh%00",
        "/cb/",
        "/cb/x",
        "/cb/%2e%2e/hooks/gh",
        "/nothing",
    ],
)
async def test_attack_15_and_38_and_39_what_is_not_ours_is_the_same_404(ingress: Served, path: str) -> None:
    """A wrong source, secret, token or spelling: one body for all."""
    answer = await ingress.deliver(path, circleci(WORKFLOW))
    assert (answer.status, answer.json()) == (
        404,
        {"type": "/problems/not-found", "title": "there is nothing here", "status": 404},
    )
    assert answer.headers["content-type"] == "application/problem+json"
    assert ingress.broker.published == []


async def test_an_expired_callback_is_410(ingress: Served) -> None:
    """Its holder once was trusted, and is told."""
    answer = await ingress.call(f"/cb/{token(hours=-1)}")
    assert (answer.status, answer.json()["type"]) == (410, "/problems/gone")
    assert ingress.broker.published == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE"])
async def test_attack_25_only_posting_does_anything(ingress: Served, method: str) -> None:
    """Any other method is 405 with what is allowed, on live and dead URLs alike, whatever it claims to override."""
    headers = [("X-HTTP-Method-Override", "POST"), ("X-HTTP-Method", "POST")]
    for path, allowed in ((f"/cb/{token()}", "POST, PUT"), ("/cb/x", "POST, PUT"), ("/hooks/gh", "POST")):
        answer = await ingress.call(path, method=method, headers=headers)
        assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert (await ingress.call("/hooks/gh", method="PUT")).status == 405
    assert ingress.broker.published == []


@pytest.mark.parametrize(
    ("body", "content_type", "status", "slug"),
    [
        (b'{"a":1,"a":2}', JSON, 400, "invalid"),
        (b"{", JSON, 400, "invalid"),
        (b"[" * 60_000, JSON, 400, "invalid"),
        (b"outcome=a&outcome=b", "application/x-www-form-urlencoded", 400, "invalid"),
        (b"{}", "application/json; charset=utf-16", 415, "unsupported-encoding"),
        (b"x" * 65_537, "text/plain", 413, "too-large"),
    ],
)
async def test_a_callback_that_cannot_be_read_is_a_problem_without_its_bytes(
    ingress: Served, body: bytes, content_type: str, status: int, slug: str
) -> None:
    """Status and slug tell the sender what is wrong."""
    answer = await ingress.call(f"/cb/{token()}", body, content_type)
    assert (answer.status, answer.json()["type"], answer.json()["status"]) == (status, f"/problems/{slug}", status)
    assert ingress.broker.published == []


async def test_attack_40_guesses_are_404_then_429_and_right_tokens_always_pass(ingress: Served) -> None:
    """A thousand guesses cost no message; whoever shares the guesser's address is served on."""
    requests = b"".join(wire(f"/cb/{'A' * 48}{number:04}") for number in range(1000))
    statuses = []
    async with ingress.connected() as (reader, writer):
        writer.write(requests)
        for _ in range(1000):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            statuses.append(int(head.split(b" ")[1]))
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length
            await reader.readexactly(int(length[1]))
            if statuses[-1] == 429:
                assert 0 < int(dict(line.split(b": ") for line in head.split(b"\r\n")[1:-2])[b"Retry-After"]) <= 60
    assert statuses == [404] * 60 + [429] * 940
    assert ingress.broker.published == []
    assert (await ingress.call(f"/cb/{token()}")).status == 202
    assert (await ingress.deliver("/hooks/gh", github(REVIEW, "pull_request_review"))).status == 202
    assert (
        await ingress.deliver("/hooks/gh", github(REVIEW, "pull_request_review", secret=SECRET[::-1]))
    ).status == 401


@pytest.mark.parametrize("fault", [BrokerUnavailable("no confirm"), Unroutable("returned")])
async def test_attack_56_without_a_confirm_there_is_no_2xx(ingress: Served, fault: Exception) -> None:
    """503 with Retry-After, and the same call is taken later."""
    ingress.broker.fault = fault
    request = github(REVIEW, "pull_request_review")
    answer = await ingress.deliver("/hooks/gh", request)
    assert (answer.status, answer.json()["type"], answer.headers["retry-after"]) == (503, "/problems/unavailable", "5")
    assert (await ingress.call(f"/cb/{token()}")).status == 503
    ingress.broker.fault = None
    assert (await ingress.deliver("/hooks/gh", request)).status == 202


async def test_the_answer_waits_for_the_confirm(ingress: Served) -> None:
    """Nothing is said before the broker has spoken."""
    ingress.broker.confirms.clear()
    async with ingress.connected() as (reader, writer):
        writer.write(wire(f"/cb/{token()}"))
        reading = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        await eventually(lambda: ingress.broker.waiting == 1)
        assert not reading.done()
        ingress.broker.confirms.set()
        assert (await asyncio.wait_for(reading, 10)).startswith(b"HTTP/1.1 202")


async def test_a_sender_that_leaves_does_not_lose_its_event(ingress: Served) -> None:
    """What was read is published to its end, though nobody waits for the answer."""
    ingress.broker.confirms.clear()
    async with ingress.connected() as (_, writer):
        writer.write(wire(f"/cb/{token()}"))
        await eventually(lambda: ingress.broker.waiting == 1)
    ingress.broker.confirms.set()
    await eventually(lambda: len(ingress.broker.published) == 1)


async def test_attack_57_500_requests_at_once_are_2xx_or_429() -> None:
    """Beyond the bytes that may be under way a sender is asked to come again; nothing fails."""
    async with served(limits=Limits(max_bytes_under_way=200 * (4096 + 100))) as ingress:
        ingress.broker.confirms.clear()
        calls = [asyncio.create_task(ingress.call(f"/cb/{token()}", b"x" * 100, "text/plain")) for _ in range(500)]
        await eventually(lambda: sum(call.done() for call in calls) == 300)
        assert {call.result().status for call in calls if call.done()} == {429}
        assert {call.result().headers["retry-after"] for call in calls if call.done()} == {"2"}
        ingress.broker.confirms.set()
        answers = await asyncio.gather(*calls)
        assert sorted(answer.status for answer in answers) == [202] * 200 + [429] * 300
        assert (await ingress.call(f"/cb/{token()}")).status == 202  # all room was given back


async def test_attack_57_a_body_that_comes_slowly_holds_what_has_come() -> None:
    """An announced length takes no room from others; the bytes that are here do, until their request ends."""
    body = b"x" * 15_000
    async with served(
        limits=Limits(max_bytes_under_way=1), max_body_bytes=16_384
    ) as ingress:  # four bodies, overhead included
        ingress.broker.confirms.clear()
        async with ingress.connected() as (_, slow):
            slow.write(wire(f"/cb/{token()}", body)[:-1])
            held = [asyncio.create_task(ingress.call(f"/cb/{token()}", body, "text/plain")) for _ in range(2)]
            await eventually(lambda: ingress.broker.waiting == 2)
            assert (await ingress.call(f"/cb/{token()}", body, "text/plain")).status == 429
        ingress.broker.confirms.set()
        assert {answer.status for answer in await asyncio.gather(*held)} == {202}
        assert (await ingress.call(f"/cb/{token()}", body, "text/plain")).status == 202


async def test_answers_are_observed_under_configured_names_only(ingress: Served) -> None:
    """A request cannot make a label."""
    await ingress.deliver("/hooks/gh", github(REVIEW, "pull_request_review"))
    await ingress.deliver("/hooks/gh", github(REVIEW, "pull_request_review", secret=SECRET[::-1]))
    await ingress.call("/hooks/some-name")
    await ingress.call(f"/cb/{token()}")
    assert ingress.observed == [("gh", 202), ("gh", 401), ("unknown", 404), ("callback", 202)]


async def test_attack_16_and_23_claims_about_where_a_request_came_from_change_nothing(ingress: Served) -> None:
    """Forwarding headers and the host are not read: guesses count for the address of the connection."""
    for number in range(61):
        headers = [("X-Forwarded-For", f"10.0.0.{number}"), ("X-Tenant", "b"), ("X-Original-URL", f"/cb/{token()}")]
        answer = await ingress.call("/cb/guess", headers=headers)
    assert answer.status == 429
    assert ingress.broker.published == []


async def test_attack_46_and_53_nothing_secret_is_logged_or_answered(ingress: Served) -> None:
    """Tokens, signatures, credentials, bodies and paths stay out of every log line and every refusal."""
    marks = ["S3CRET-BODY", "S3CRET-AUTH", "S3CRET-PATH", token(), PATH_SECRET, mac(b"{}", SECRET)]
    headers = [("Authorization", "Bearer S3CRET-AUTH"), ("Cookie", "a=S3CRET-AUTH"), ("X-GitHub-Event", "S3CRET-BODY")]
    with structlog.testing.capture_logs() as logs:
        answers = [
            await ingress.call(f"/cb/{token()}", b'{"S3CRET-BODY', JSON, headers=headers),
            await ingress.call("/hooks/gh", b'"S3CRET-BODY"', JSON, headers=headers),
            await ingress.call("/hooks/S3CRET-PATH", headers=headers),
            await ingress.call("/cb/S3CRET-PATH", headers=headers),
            await ingress.call(f"/cb/{token(hours=-1)}", b"S3CRET-BODY"),
            await ingress.call(f"/hooks/plain/{PATH_SECRET}", b"S3CRET-BODY", JSON),
            await ingress.call(f"/hooks/plain/{PATH_SECRET}x"),
            await ingress.deliver("/hooks/gh", replaced(github({}, "S3CRET-BODY"), "x", "y")),
            await ingress.call(f"/cb/{token()}", b"S3CRET-BODY\r\n\x1b[31mevent=forged", "text/plain"),
        ]
    assert [answer.status for answer in answers] == [400, 401, 404, 404, 410, 400, 404, 400, 202]
    told = repr(logs) + "".join(answer.body.decode() + repr(answer.headers) for answer in answers)
    assert not [mark for mark in marks if mark in told]
    assert {line["event"] for line in logs} == {"webhook_refused"}
    assert {line.get("reason") for line in logs} == {"Malformed", "BadSignature", "UnknownSource", "Expired"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [
        (["-X", "POST"], "succeeded"),
        (["-d", "OK"], "succeeded"),
        (["-d", '{"outcome":"failed"}'], "failed"),
        (["-F", "outcome=failed", "-F", "file0=@{file}"], "failed"),
        (["-T", "{file}"], "succeeded"),
        (["-T", "{file}", "-H", "Expect: 100-continue"], "succeeded"),
        (["-T", "-", "-H", "Transfer-Encoding: chunked"], "succeeded"),
    ],
)
async def test_curl_calls_back_in_its_own_ways(
    ingress: Served, tmp_path: object, arguments: list[str], outcome: str
) -> None:
    """The real client, with the lines that people write."""
    file = f"{tmp_path}/report.txt"
    with open(file, "w", encoding="utf-8") as report:  # noqa: ASYNC230, PTH123 - a few bytes before the call
        report.write("p95=80ms\n")
    given = [argument.replace("{file}", file) for argument in arguments]
    url = f"http://127.0.0.1:{ingress.port}/cb/{token()}"
    process = await asyncio.create_subprocess_exec(
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        *given,
        url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(process.communicate(b"p95=80ms\n"), 20)
    assert printed == b"202"
    (event,) = ingress.broker.events
    assert event.data.outcome == outcome
    if "-F" in given:
        assert (event.data.files["file0"].filename, event.data.files["file0"].content) == ("report.txt", "p95=80ms\n")
    if "-T" in given:
        assert event.data.body == "p95=80ms\n"
