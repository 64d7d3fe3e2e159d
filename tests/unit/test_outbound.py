import pytest

from bridge.core.request import Call, NoAuth, Part
from bridge.core.settings import TargetSettings
from bridge.outbound import AiohttpHttp, Unsendable, multipart, open_target
from tests.support.fakes import FakeClock, FakeConsumer, FakeSettings


def test_multipart_is_written_as_browsers_write_it() -> None:
    """Names are escaped, text parts carry no type, file parts have a filename and a type."""
    parts = [
        Part("json", b'{"a": 1}'),
        Part('fi"le\r\n0', b"\x00\xff", filename='ü".bin'),
        Part("note", b"hi", filename="n.txt", content_type="text/plain"),
    ]
    assert multipart(parts, "B") == (
        b'--B\r\nContent-Disposition: form-data; name="json"\r\n\r\n{"a": 1}\r\n'
        b'--B\r\nContent-Disposition: form-data; name="fi%22le%0D%0A0"; filename="\xc3\xbc%22.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\x00\xff\r\n"
        b'--B\r\nContent-Disposition: form-data; name="note"; filename="n.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nhi\r\n"
        b"--B--\r\n"
    )


@pytest.mark.parametrize(
    "path",
    [
        "",
        "gates/1",
        "//../x",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/a/%2e%2e/b",
        "/a/.%2E",
        "/a?b=1",
        "/a#b",
        "/a b",
        "/a\nb",
        "/ä",
        "/a\\b",
        "http://evil.example/",
    ],
)
async def test_an_unsafe_path_is_not_sent(path: str) -> None:
    """A path that another server could read as a different one never leaves; nothing of it is shown."""
    http = AiohttpHttp("http://127.0.0.1:1")
    with pytest.raises(Unsendable, match=r"^127\.0\.0\.1: the path is not safe to send$"):
        await http.send(Call.get(path))


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\0b"])
async def test_a_line_break_in_a_header_is_not_sent(value: str) -> None:
    """No header can smuggle in another one."""
    http = AiohttpHttp("http://127.0.0.1:1")
    with pytest.raises(Unsendable, match="line break"):
        await http.send(Call.get("/", headers={"x-note": value}))


@pytest.mark.parametrize(
    "base_url", ["ftp://h/", "h", "http://", "http://user:pw@h/", "https://h/?a=1", "file:///etc/passwd"]
)
def test_a_base_url_is_scheme_host_and_prefix(base_url: str) -> None:
    """What is no plain http(s) address of a host is refused at the start."""
    with pytest.raises(ValueError, match="base_url"):
        AiohttpHttp(base_url)


def test_open_target_names_the_section_that_is_wrong() -> None:
    """A consumer that does not exist is reported with its key."""
    with pytest.raises(ValueError, match=r"targets\.prod: no consumer 'nosuch'"):
        open_target("prod", FakeSettings(consumer="nosuch"), clock=FakeClock())


async def test_a_consumer_without_base_url_gets_no_http() -> None:
    """A platform that is reached through its own library has no Http, and says so when one is asked for."""
    clock = FakeClock()
    settings: TargetSettings = FakeSettings(consumer="tests.support.fakes:PlainConsumer")
    consumer = open_target("prod", settings, clock=clock)
    assert consumer.settings is settings
    assert consumer.clock is clock
    with pytest.raises(Unsendable, match="no base_url"):
        await consumer.http.send(Call.get("/"))


def test_no_consumer_keeps_cookies_unless_it_asks() -> None:
    """A cookie jar is a platform's own choice."""
    assert FakeConsumer.keeps_cookies(FakeSettings()) is False
    assert NoAuth().headers(FakeSettings()) == {}
