import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from bridge import __version__
from bridge.core.errors import HttpFault, Unanswered, Unreachable
from bridge.core.request import Call, Part, Reply
from bridge.outbound import AiohttpHttp, Unsendable, _OneHost

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
SECRET = "hunter2"  # noqa: S105 - a test's own

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Wire:
    """A server that keeps the bytes of each request and answers as it is told."""

    def __init__(self, *answers: bytes | Answer) -> None:
        self.answers = list(answers) or [OK]
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await _read_request(reader):
                self.requests.append(request)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not isinstance(answer, bytes):
                    await answer(writer)
                    return
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head + await reader.readexactly(length)


@asynccontextmanager
async def wired(*answers: bytes | Answer, path: str = "", **more: Any) -> AsyncIterator[tuple[Wire, AiohttpHttp]]:
    wire = Wire(*answers)
    server = await asyncio.start_server(wire.handle, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    http = AiohttpHttp(f"http://127.0.0.1:{wire.port}{path}", {"Authorization": f"Bearer {SECRET}"}, **more)
    try:
        yield wire, http
    finally:
        await http.close()
        server.close()
        await server.wait_closed()


async def break_off(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def never(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def half_a_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi")
    await writer.drain()


@pytest.mark.parametrize("prefix", ["", "/", "/ci", "/ci/", "/ci%2Fx/"])
async def test_the_path_goes_out_byte_for_byte(prefix: str) -> None:
    """Percent-encoding of path and prefix reaches the server as the consumer wrote it."""
    async with wired(path=prefix) as (wire, http):
        path = "/job/mb/job/feature%252Fx/input/A~!$()*+,:@=/proceed"
        await http.send(Call.get(path, query={"tree": "a[b,c]{0,1}&x", "q": "ü +"}))
        line = wire.requests[0].split(b"\r\n")[0].decode()
        query = "tree=a%5Bb%2Cc%5D%7B0%2C1%7D%26x&q=%C3%BC%20%2B"
        assert line == f"GET {prefix.rstrip('/')}{path}?{query} HTTP/1.1"


async def test_each_call_says_who_we_are() -> None:
    """Auth and user agent go with every call; a call's own header wins; nothing expects a 100."""
    async with wired() as (wire, http):
        await http.send(Call.post("/a", headers={"Jenkins-Crumb": "c"}))
        await http.send(Call.get("/a", headers={"authorization": "Basic x"}))
        first, second = (request.lower() for request in wire.requests)
        assert f"user-agent: callback-bridge/{__version__}".encode() in first
        assert f"authorization: bearer {SECRET}".encode() in first
        assert b"jenkins-crumb: c" in first
        assert b"expect:" not in first
        assert b"authorization: basic x" in second
        assert SECRET.encode() not in second
        assert wire.connections == 1


async def test_a_call_with_a_credential_of_its_own_goes_without_ours() -> None:
    """Not even an empty header of that name."""
    async with wired() as (wire, http):
        await http.send(Call.post("/a", json={"key": "k"}, is_signed=False))
        assert b"authorization" not in wire.requests[0].lower()


@pytest.mark.parametrize(
    ("call", "kind", "body"),
    [
        (Call.post("/", json={"a": "ü"}), b"application/json", '{"a":"ü"}'.encode()),
        (
            Call.post("/", form={"json": '{"a": "1+1 & %\n"}'}),
            b"application/x-www-form-urlencoded",
            b"json=%7B%22a%22%3A+%221%2B1+%26+%25%0A%22%7D",
        ),
        (Call.post("/", content=b"\x00", headers={"Content-Type": "text/x"}), b"text/x", b"\x00"),
        (Call.post("/", multipart=[Part("f", b"x", filename="a")]), b"multipart/form-data; boundary=", b'name="f"'),
    ],
)
async def test_bodies_go_out_in_their_own_form(call: Call, kind: bytes, body: bytes) -> None:
    """JSON, forms, multipart and raw bytes carry their type and length."""
    async with wired() as (wire, http):
        await http.send(call)
        head, _, sent = wire.requests[0].partition(b"\r\n\r\n")
        assert b"Content-Type: " + kind in head
        assert body in sent
        assert f"Content-Length: {len(sent)}".encode() in head


async def test_what_has_no_body_has_no_type() -> None:
    """A POST without a body says nothing about a content type."""
    async with wired() as (wire, http):
        await http.send(Call.post("/approve"))
        assert b"content-type" not in wire.requests[0].lower()


async def test_a_reply_comes_back_whatever_its_status() -> None:
    """Statuses are the consumer's to judge; header names are lower case, of a repeated one the last."""
    answer = b"HTTP/1.1 503 No\r\nX-A: 1\r\nX-A: 2\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nhi"
    async with wired(answer) as (_, http):
        reply = await http.send(Call.get("/"))
        assert isinstance(reply, Reply)
        assert (reply.status, reply.body) == (503, b"hi")
        assert (reply.headers["x-a"], reply.headers["retry-after"]) == ("2", "7")


async def test_no_redirect_is_followed() -> None:
    """A Location is an answer, not an order: it could name another host."""
    async with wired(b"HTTP/1.1 302 F\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n") as (wire, http):
        assert (await http.send(Call.post("/a"))).status == 302
        assert len(wire.requests) == 1


@pytest.mark.parametrize("keeps", [True, False])
async def test_cookies_are_kept_only_when_asked(*, keeps: bool) -> None:
    """The jar is off by default and, when on, serves a host that is an address."""
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: S=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with wired(answer, keeps_cookies=keeps) as (wire, http):
        await http.send(Call.get("/"))
        await http.send(Call.get("/"))
        assert (b"Cookie: S=1" in wire.requests[1]) is keeps


async def test_a_compressed_reply_is_read() -> None:
    """A server may compress; the consumer sees the text."""
    body = gzip.compress(b"hello")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with wired(head + body) as (_, http):
        assert (await http.send(Call.get("/"))).body == b"hello"


async def _fault(http: AiohttpHttp, call: Call) -> HttpFault:
    with pytest.raises(HttpFault) as caught:
        await http.send(call)
    assert caught.value.__cause__ is None
    return caught.value


SPEAKING = Call.post(
    f"/p-{SECRET}", query={"q": SECRET}, headers={"x": SECRET}, json={"b": SECRET}, timeout=timedelta(seconds=0.3)
)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (break_off, "the connection broke before the answer"),
        (half_a_body, "the connection broke before the answer"),
        (never, "no answer within 0.3 s"),
        (b"nonsense\r\n\r\n", "no answer (ClientResponseError)"),
    ],
)
async def test_a_lost_answer_leaves_us_in_doubt(answer: bytes | Answer, text: str) -> None:
    """Whatever goes wrong after the request left is unanswered, is told without a word of the request, and not repeated."""
    async with wired(answer) as (wire, http):
        fault = await _fault(http, SPEAKING)
        assert isinstance(fault, Unanswered)
        assert str(fault) == f"127.0.0.1:{wire.port}: {text}"
        assert len(wire.requests) == 1


async def test_a_reply_over_the_limit_is_no_answer() -> None:
    """A body without end cannot fill our memory, compressed or not."""
    bomb = gzip.compress(b"0" * 5_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with wired(head + bomb) as (_, http):
        fault = await _fault(http, Call.get("/"))
        assert isinstance(fault, Unanswered)
        assert "larger than 1048576 bytes" in str(fault)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_a_write_is_sent_once(method: str) -> None:
    """A reset on a reused connection is a doubt: the client repeats no write by itself."""
    async with wired(OK, break_off, OK) as (wire, http):
        await http.send(Call.get("/"))
        assert isinstance(await _fault(http, Call(method, "/")), Unanswered)
        assert len(wire.requests) == 2


async def test_a_read_survives_a_stale_connection() -> None:
    """A GET on a connection that the server just closed is repeated on a new one."""
    async with wired(OK, break_off, OK) as (wire, http):
        await http.send(Call.get("/"))
        assert (await http.send(Call.get("/"))).status == 200
        assert len(wire.requests) == 3


async def test_nobody_listening_is_unreachable() -> None:
    """A refused connection delivered nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        http = AiohttpHttp(f"http://127.0.0.1:{port}")
        fault = await _fault(http, SPEAKING)
        await http.close()
    assert isinstance(fault, Unreachable)
    assert str(fault) == f"127.0.0.1:{port}: no connection"


async def test_a_connect_that_stalls_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that drops packets is given up after the connect time-out, before the call's own."""
    monkeypatch.setattr("bridge.outbound.CONNECT_TIMEOUT_S", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.settimeout(0)
            filler.connect_ex(("127.0.0.1", port))
        http = AiohttpHttp(f"http://127.0.0.1:{port}")
        fault = await _fault(http, Call.post("/", timeout=timedelta(seconds=20)))
        await http.close()
        for filler in fillers:
            filler.close()
    assert isinstance(fault, Unreachable)


async def test_an_unknown_name_and_a_plain_server_are_unreachable() -> None:
    """Neither a name without address nor a failed TLS handshake delivered anything."""
    unknown = AiohttpHttp("http://nosuch.invalid/")
    assert isinstance(await _fault(unknown, SPEAKING), Unreachable)
    await unknown.close()
    server = await asyncio.start_server(_speak_at_once, "127.0.0.1", 0)
    tls = AiohttpHttp(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    fault = await _fault(tls, SPEAKING)
    await tls.close()
    server.close()
    assert isinstance(fault, Unreachable)
    assert "the TLS handshake failed" in str(fault)


async def _speak_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Plain\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_only_the_configured_host_is_connected_to() -> None:
    """A request for another origin is stopped before a packet leaves, whoever made it."""
    async with wired() as (wire, http):
        session = http._open()
        assert isinstance(session.connector, _OneHost)
        with pytest.raises(Unsendable, match="not the configured host"):
            await session.get(f"http://localhost:{wire.port}/")
        assert wire.requests == []


async def test_concurrency_bounds_the_calls_under_way() -> None:
    """Further calls wait for a slot, and time spent waiting is not the call's own."""
    release = asyncio.Event()

    async def held(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(OK)
        await writer.drain()

    async with wired(held, concurrency=2) as (wire, http):
        calls = [asyncio.create_task(http.send(Call.get("/"))) for _ in range(5)]
        async with asyncio.timeout(5):
            while len(wire.requests) < 2:  # noqa: ASYNC110 - the server's state
                await asyncio.sleep(0.005)
        assert len(wire.requests) == 2
        release.set()
        assert all(reply.status == 200 for reply in await asyncio.gather(*calls))


async def test_the_target_names_the_time_out_unless_the_call_does() -> None:
    """`timeout` of the target holds for a call that says nothing."""
    async with wired(never, timeout=timedelta(seconds=0.1)) as (_, http):
        assert "within 0.1 s" in str(await _fault(http, Call.get("/")))
        assert "within 0.2 s" in str(await _fault(http, Call.get("/", timeout=timedelta(seconds=0.2))))
