"""What the demo shows of curl, and reads from it."""

import pytest

from bridge.demo.child import Answer, read_answer, shown
from bridge.demo.errors import DemoError

TOKEN = "A" * 52
URL = "http://127.0.0.1:8080/cb"


def test_answer_is_status_and_body() -> None:
    """The head is cut off; a body with empty lines stays whole."""
    text = "HTTP/1.1 202 Accepted\r\nContent-Type: text/plain\r\n\r\none\n\ntwo\n"
    assert read_answer(text) == Answer(202, "one\n\ntwo")


def test_interim_answers_are_passed_over() -> None:
    """A 100 Continue is printed before the answer to a long body."""
    text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too Large\r\n\r\n{}"
    assert read_answer(text) == Answer(413, "{}")


def test_body_that_looks_like_an_answer_is_a_body() -> None:
    """Only interim answers are followed by another one."""
    assert read_answer("HTTP/1.1 200 OK\n\nHTTP/1.1 404 Not Found\n\n") == Answer(200, "HTTP/1.1 404 Not Found")


@pytest.mark.parametrize("text", ["", "curl: (7) refused", "HTTP/1.1 100 Continue\r\n\r\n"])
def test_no_answer_is_told(text: str) -> None:
    """Nothing printed is not a status of 0."""
    with pytest.raises(DemoError):
        read_answer(text)


def test_command_is_shown_as_it_would_be_typed() -> None:
    """Quoted for a shell; an option stays with its value; a callback token is cut."""
    assert shown(["-d", '{"a": "b"}', f"{URL}/{TOKEN}/failed"], 100) == [
        f'curl -i -d \'{{"a": "b"}}\' {URL}/AAAAAAAA.../failed'
    ]


def test_long_command_is_continued() -> None:
    """A line that is full ends with a backslash, and nowhere inside an argument."""
    lines = shown(["-H", "X-Event: review", "-H", f"X-Hub-Signature-256: sha256={'0a' * 32}", f"{URL}/{TOKEN}"], 40)
    assert lines == [
        "curl -i -H 'X-Event: review' \\",
        "-H 'X-Hub-Signature-256: sha256=0a0a0a0a...' \\",
        f"{URL}/AAAAAAAA...",
    ]
