"""The open door, byte by byte: framing, lengths, slowness, and pages that repeat nothing."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import pytest
import structlog
from aiohttp import web

from bridge.ingress import Limits
from tests.support.fakes import eventually
from tests.support.ingress import MAX_BODY, Answer, Served, read_answer, served, token, wire
from tests.support.senders import JSON, github

MIB = 1024 * 1024


async def _echo(request: web.Request) -> web.Response:
    return web.json_response({"bytes": len(await request.read())})


async def _fail(request: web.Request) -> web.Response:
    raise RuntimeError(await request.text())


async def _redirect(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/elsewhere")


ROUTES = [web.post("/v1/echo", _echo), web.post("/v1/fail", _fail), web.get("/v1/away", _redirect)]


@pytest.fixture
async def ingress() -> AsyncIterator[Served]:
    """An ingress with the usual limits, and an app beside it."""
    async with served(routes=ROUTES) as running:
        yield running


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize("path", ["/cb/{token}", "/hooks/gh", "/v1/echo"])
@pytest.mark.parametrize("expect", [[], ["Expect: 100-continue"]])
async def test_attack_17_an_announced_length_beyond_the_bound_is_413_at_once(
    ingress: Served, path: str, expect: list[str]
) -> None:
    """Nothing of it is asked for or waited for."""
    path = path.format(token=token())
    for length in (MAX_BODY + 1, 100 * MIB, 10**18):
        answer = await ingress.send(head(path, f"Content-Length: {length}", *expect), within_s=3)
        assert (answer.status, answer.interim, answer.is_closed) == (413, [], True)
        assert answer.json()["type"] == "/problems/too-large"


async def test_a_body_at_the_bound_is_taken(ingress: Served) -> None:
    """The bound itself is allowed."""
    assert (await ingress.call(f"/cb/{token()}", b"x" * MAX_BODY, "text/plain")).status == 202
    assert (await ingress.call("/v1/echo", b"x" * MAX_BODY)).json() == {"bytes": MAX_BODY}


@pytest.mark.parametrize("path", ["/cb/{token}", "/v1/echo"])
async def test_attack_18_a_chunked_flood_is_413_and_closed(ingress: Served, path: str) -> None:
    """It is counted while it is read, and the rest is not taken in."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0
    async with ingress.connected() as (reader, writer):
        writer.write(head(path.format(token=token()), "Transfer-Encoding: chunked"))
        answering = asyncio.create_task(read_answer(reader))
        while not answering.done() and sent < 64 * MIB:
            writer.write(chunk)
            sent += len(chunk)
            try:
                await writer.drain()
            except ConnectionError:
                break
        answer = await asyncio.wait_for(answering, 5)
    assert (answer.status, answer.is_closed) == (413, True)
    assert ingress.broker.published == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip", "x-own", "GZIP", "identity, gzip"])
@pytest.mark.parametrize("path", ["/cb/{token}", "/hooks/gh", "/v1/echo"])
async def test_attack_19_an_encoded_body_is_415_and_never_inflated(ingress: Served, path: str, encoding: str) -> None:
    """Neither by us nor, unasked, by the library."""
    bomb = gzip.compress(b"\0" * 10 * MIB)
    answer = await ingress.call(path.format(token=token()), bomb, JSON, headers=[("Content-Encoding", encoding)])
    assert (answer.status, answer.json()["type"]) == (415, "/problems/unsupported-encoding")
    assert ingress.broker.published == []


async def test_identity_is_no_encoding(ingress: Served) -> None:
    """The one word that says nothing."""
    assert (await ingress.call(f"/cb/{token()}", b"{}", JSON, headers=[("Content-Encoding", "identity")])).status == 202


TOO_MUCH = {
    "500 headers": head("/hooks/gh", *(f"X-{number}: 1" for number in range(500))),
    "header of 64 KiB": head("/hooks/gh", "X-Long: " + "S3CRET" * 11000),
    "header name of 64 KiB": head("/hooks/gh", "X" * 65536 + ": 1"),
    "signature of 16 KiB": head("/hooks/gh", "X-Hub-Signature-256: sha256=" + "S3CRET" * 2800),
    "path of 64 KiB": head("/cb/" + "S3CRET" * 11000),
    "query of 64 KiB": head("/cb/x?" + "S3CRET" * 11000),
}
BROKEN = {
    "two lengths": b"POST /cb/S3CRET HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"POST /cb/S3CRET HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "xchunked": b"POST /cb/S3CRET HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "folded header": b"POST /cb/S3CRET HTTP/1.1\r\nHost: x\r\nX-A: S3CRET\r\n folded\r\n\r\n",
    "nul in a header": b"POST /cb/x HTTP/1.1\r\nHost: x\r\nAuthorization: S3CRET\x00\r\n\r\n",
    "nul in the path": b"POST /cb/S3CRET\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "space before the colon": b"POST /cb/x HTTP/1.1\r\nHost: x\r\nX-S3CRET : 1\r\n\r\n",
    "negative length": b"POST /cb/x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "endless length": b"POST /cb/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "signed length": b"POST /cb/x HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
    "no host": b"POST /cb/x HTTP/1.1\r\nX: S3CRET\r\n\r\n",
    "no such version": b"POST /cb/S3CRET HTTP/9.9\r\nHost: x\r\n\r\n",
    "no http": b"\x16\x03\x01S3CRET\r\n\r\n",
}


async def _until_closed(ingress: Served, request: bytes) -> tuple[bytes, list[dict[str, object]]]:
    with structlog.testing.capture_logs() as logs:
        async with ingress.connected() as (reader, writer):
            writer.write(request)
            answer = await asyncio.wait_for(reader.read(), 5)
    return answer, list(map(dict, logs))


@pytest.mark.parametrize("request_", TOO_MUCH.values(), ids=TOO_MUCH)
async def test_attack_20_too_much_of_a_head_is_431_without_an_echo(ingress: Served, request_: bytes) -> None:
    """The library's own page would repeat the first hundred bytes."""
    answer, logs = await _until_closed(ingress, request_)
    assert answer.split(b" ")[1] == b"431"
    assert b'"type":"/problems/too-large"' in answer
    assert b"S3CRET" not in answer
    assert "S3CRET" not in repr(logs)


@pytest.mark.parametrize("request_", BROKEN.values(), ids=BROKEN)
async def test_attack_22_broken_framing_is_400_and_closed_without_an_echo(ingress: Served, request_: bytes) -> None:
    """What follows on that connection is never taken for a request."""
    smuggled = wire(f"/cb/{token()}")
    answer, logs = await _until_closed(ingress, request_ + smuggled)
    assert answer.split(b" ")[1] == b"400"
    assert answer.count(b"HTTP/1.") == 1
    assert b"S3CRET" not in answer
    assert "S3CRET" not in repr(logs)
    assert ingress.broker.published == []


@pytest.mark.parametrize("path", ["/cb/{token}", "/v1/echo"])
@pytest.mark.parametrize("chunk", [b"f" * 17 + b"\r\nab\r\n", b"zz\r\n", b"1\r\nab\r\n0\r\n\r\n", b"-1\r\n"])
async def test_attack_22_a_chunk_that_lies_about_its_size_is_400(ingress: Served, path: str, chunk: bytes) -> None:
    """With the head, and long after it, while the body is being read."""
    begin = head(path.format(token=token()), "Transfer-Encoding: chunked", "Expect: 100-continue")
    for is_late in (False, True):
        with structlog.testing.capture_logs() as logs:
            async with ingress.connected() as (reader, writer):
                writer.write(begin + b"1\r\na\r\n" + (b"" if is_late else chunk))
                if is_late:
                    await asyncio.wait_for(reader.readuntil(b"100 Continue\r\n\r\n"), 5)  # now it is being read
                    writer.write(chunk + wire(f"/cb/{token()}"))
                answer = (await asyncio.wait_for(reader.read(), 5)).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert answer.split(b" ")[1] == b"400"
        assert answer.count(b"HTTP/1.") == 1
        assert {line["log_level"] for line in logs} == {"info"}
    assert ingress.broker.published == []


@pytest.mark.parametrize(
    "target", ["http://evil.example/cb/{token}", "https://x/hooks/gh", "http://x/v1/echo", "*", "evil.example:443"]
)
async def test_attack_24_a_target_that_is_no_path_is_400(ingress: Served, target: str) -> None:
    """Nothing is forwarded, and no other spelling of a URL works."""
    answer = await ingress.send(head(target.format(token=token())))
    assert answer.status in (400, 404)
    assert ingress.broker.published == []


async def test_attack_24_connect_and_trace_are_refused(ingress: Served) -> None:
    """No tunnel, no mirror."""
    for line in (b"CONNECT evil.example:443 HTTP/1.1", b"TRACE /cb/x HTTP/1.1", b"TRACE /v1/echo HTTP/1.1"):
        answer = await ingress.send(line + b"\r\nHost: x\r\nX-Mark: S3CRET\r\n\r\n")
        assert answer.status in (400, 404, 405)
        assert b"S3CRET" not in answer.body


async def test_attack_21_a_slow_body_is_408_and_closed() -> None:
    """At the deadline for the whole body, however steadily it trickles, and its room is free again."""
    async with served(limits=Limits(body_timeout_s=0.3)) as ingress:
        async with ingress.connected() as (reader, writer):
            writer.write(head(f"/cb/{token()}", "Content-Length: 1000") + b"x")
            reading = asyncio.create_task(read_answer(reader))
            while not reading.done():
                writer.write(b"x")
                await asyncio.wait([reading], timeout=0.05)
            assert (reading.result().status, reading.result().is_closed) == (408, True)
        assert (await ingress.call(f"/cb/{token()}")).status == 202


async def test_attack_21_endless_chunks_are_408() -> None:
    """Chunks of one byte are no progress."""
    async with served(limits=Limits(body_timeout_s=0.3)) as ingress, ingress.connected() as (reader, writer):
        writer.write(head(f"/cb/{token()}", "Transfer-Encoding: chunked"))
        reading = asyncio.create_task(read_answer(reader))
        while not reading.done():
            writer.write(b"1\r\nx\r\n")
            await asyncio.wait([reading], timeout=0.05)
        assert reading.result().status == 408


async def test_attack_21_a_head_that_never_ends_is_closed() -> None:
    """It holds no handler, and its connection ends by the deadline of silence."""
    async with served(keepalive_s=0.3) as ingress, ingress.connected() as (reader, writer):
        writer.write(b"POST /cb/x HTTP/1.1\r\nHost: x\r\n")
        ended = asyncio.create_task(reader.read())
        number = 0
        while not ended.done():
            number += 1
            writer.write(f"X-{number}: 1\r\n".encode())
            await asyncio.wait([ended], timeout=0.05)
        assert number < 100


async def test_a_sender_that_leaves_in_its_body_harms_nobody(ingress: Served) -> None:
    """Nothing is published, and the next one is served."""
    for path in (f"/cb/{token()}", "/v1/echo"):
        with structlog.testing.capture_logs() as logs:
            async with ingress.connected() as (_, writer):
                writer.write(head(path, "Content-Length: 1000") + b"x")
                await writer.drain()
            await eventually(lambda logs=logs: bool(logs))  # type: ignore[misc]
        assert [(line["event"], line["log_level"]) for line in logs] == [("request_abandoned", "info")]
    assert ingress.broker.published == []
    assert (await ingress.call(f"/cb/{token()}")).status == 202


async def test_a_body_is_asked_for_where_the_sender_waits(ingress: Served) -> None:
    """100 Continue comes for what will be read, and for nothing else."""
    for path in (f"/cb/{token()}", "/v1/echo"):
        async with ingress.connected() as (reader, writer):
            writer.write(head(path, "Content-Length: 2", "Expect: 100-continue", "Content-Type: application/json"))
            assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"{}")
            assert (await asyncio.wait_for(read_answer(reader), 5)).status in (200, 202)
    for path in ("/cb/x", "/hooks/none"):
        answer = await ingress.send(head(path, "Content-Length: 2", "Expect: 100-continue"))
        assert (answer.status, answer.interim, answer.is_closed) == (404, [], True)


@pytest.mark.parametrize("path", ["/cb/{token}", "/v1/echo", "/nothing"])
async def test_another_expectation_is_refused_without_an_echo(ingress: Served, path: str) -> None:
    """The library's own page would repeat it."""
    answer = await ingress.call(path.format(token=token()), b"", headers=[("Expect", "S3CRET")])
    assert answer.status in (400, 417)
    assert b"S3CRET" not in answer.body


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("POST /S3CRET<script>", 404),
        ("GET /v1/echo?S3CRET", 405),
        ("POST /v1/S3CRET/%2e%2e/echo", 404),
        ("POST /v1/fail", 500),
    ],
)
async def test_attack_52_every_page_is_a_problem_without_an_echo(ingress: Served, line: str, status: int) -> None:
    """Unknown paths, wrong methods, and faults of our own, also for a browser."""
    with structlog.testing.capture_logs() as logs:
        answer = await ingress.send(
            f"{line} HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nContent-Length: 6\r\n\r\nS3CRET".encode()
        )
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert b"S3CRET" not in answer.body
    assert "S3CRET" not in repr(logs)
    if status == 405:
        assert answer.headers["allow"] == "POST"
    if status == 500:
        assert logs[-1]["event"] == "request_failed"
        assert (logs[-1]["error"], str(logs[-1]["at"]).split(":")[0]) == ("RuntimeError", "test_ingress_server.py")


async def test_a_redirect_of_the_app_stays_one(ingress: Served) -> None:
    """Only errors are ours to write."""
    answer = await ingress.call("/v1/away", method="GET")
    assert (answer.status, answer.headers["location"]) == (302, "/elsewhere")


async def test_one_connection_serves_many_requests(ingress: Served) -> None:
    """Refusals with a whole body do not end it, and pipelined requests are answered in order."""
    many = [
        wire("/hooks/gh", b"{}", JSON),
        wire(f"/cb/{token()}", b"{}", JSON),
        wire("/cb/x"),
        wire(f"/cb/{token()}/failed"),
    ]
    async with ingress.connected() as (reader, writer):
        writer.write(b"".join(many))
        answers: list[Answer] = [await asyncio.wait_for(read_answer(reader), 5) for _ in many]
    assert [answer.status for answer in answers] == [401, 202, 404, 202]


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [("1.1", None, True), ("1.1", "keep-alive", True), ("1.1", "close", False), ("1.0", None, False)],
)
async def test_an_accepted_call_is_answered_as_its_connection_asks(
    ingress: Served, version: str, connection: str | None, *, stays: bool
) -> None:
    """The whole answer, and then the end of the connection where the sender wants it, and nowhere else."""
    lines = [f"POST /cb/{token()} HTTP/{version}", "Host: x", "Content-Length: 2", "Content-Type: application/json"]
    lines += [f"Connection: {connection}"] if connection else []
    request = "\r\n".join([*lines, "", "{}"]).encode()
    async with ingress.connected() as (reader, writer), asyncio.timeout(5):
        writer.write(request)
        answer = await read_answer(reader)
        if stays:
            writer.write(request)
            assert (await read_answer(reader)).status == 202
        else:
            assert await reader.read() == b""
    assert answer.status == 202
    assert answer.headers["content-type"] == "application/json"
    assert parsedate_to_datetime(answer.headers["date"]).tzinfo is not None
    assert answer.json() == {"event": ingress.broker.events[0].id}


async def test_a_refused_body_that_was_not_read_ends_its_connection(ingress: Served) -> None:
    """What is left of it is not taken for the next request."""
    request = github({}, "push")
    async with ingress.connected() as (reader, writer):
        writer.write(head("/hooks/none", "Content-Length: 500"))
        await writer.drain()
        answer = await asyncio.wait_for(read_answer(reader), 5)
        writer.write(wire(f"/cb/{token()}") + b" " * 500)
        await asyncio.wait_for(reader.read(), 5)
    assert (answer.status, answer.is_closed) == (404, True)
    assert ingress.broker.published == []
    assert (await ingress.deliver("/hooks/gh", request)).status == 202


async def test_shutdown_lets_a_running_request_finish() -> None:
    """What was taken is answered, and new connections are not taken."""
    async with served() as ingress:
        ingress.broker.confirms.clear()
        async with ingress.connected() as (reader, writer):
            writer.write(wire(f"/cb/{token()}"))
            await eventually(lambda: ingress.broker.waiting == 1)
            reading = asyncio.create_task(read_answer(reader))
            ingress.broker.confirms.set()
            assert (await asyncio.wait_for(reading, 5)).status == 202
