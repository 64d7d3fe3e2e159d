"""The Jenkins emulator's forms and exports, without a socket."""

from typing import Any

import pytest

from bridge.testing.jenkins.model.parameters import Upload
from bridge.testing.jenkins.web.export import BadTreeError, Bean, export, parse_tree
from bridge.testing.jenkins.web.forms import read_form

URLENCODED = "application/x-www-form-urlencoded"

BEAN = Bean(
    "Run",
    {
        "number": 7,
        "actions": [Bean("A", {"x": 1, "far": Bean(None, {"deep": 2}), "near": Bean(None, {"deep": 3})}, inline=frozenset({"near"}))],
        "job": lambda: Bean("Job", {"name": "app", "more": 1}, prominent=frozenset({"name"})),
        "nothing": None,
        "list": [1, 2, 3, 4],
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, {"actions": [{"_class": "A"}], "job": {"_class": "Job", "name": "app"}}),
        (
            1,
            {
                "actions": [{"_class": "A", "x": 1, "far": {}, "near": {"deep": 3}}],
                "job": {"_class": "Job", "name": "app", "more": 1},
            },
        ),
        (
            2,
            {
                "actions": [{"_class": "A", "x": 1, "far": {"deep": 2}, "near": {"deep": 3}}],
                "job": {"_class": "Job", "name": "app", "more": 1},
            },
        ),
    ],
)
def test_depth(depth: int, expected: dict[str, Any]) -> None:
    """Each step shows one level more; prominent and inline properties come a level earlier."""
    shown = export(BEAN, tree=None, depth=depth)
    assert shown == {"_class": "Run", "number": 7, "nothing": None, "list": [1, 2, 3, 4], **expected}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ("number", {"number": 7}),
        ("number,nothing,unknown", {"number": 7, "nothing": None}),
        ("job", {"job": {"_class": "Job"}}),
        ("job[name]", {"job": {"_class": "Job", "name": "app"}}),
        ("actions[far[deep],near]", {"actions": [{"_class": "A", "far": {"deep": 2}, "near": {}}]}),
        ("actions[*[deep]]", {"actions": [{"_class": "A", "x": 1, "far": {"deep": 2}, "near": {"deep": 3}}]}),
        ("list{1}", {"list": [2]}),
        ("list{1,3}", {"list": [2, 3]}),
        ("actions[x]{0}", {"actions": [{"_class": "A", "x": 1}]}),
        ("actions[x]{1,}", {"actions": []}),
        ("actions[x]{,0}", {"actions": []}),
    ],
)
def test_tree(tree: str, expected: dict[str, Any]) -> None:
    """Only what is named is shown, whatever its depth."""
    assert export(BEAN, tree=tree, depth=0) == {"_class": "Run", **expected}


@pytest.mark.parametrize("tree", ["[a]", "a,", "a[b", "a]b", "a{", "a{1-2}", "a b]"])
def test_a_broken_tree(tree: str) -> None:
    """Missing names, brackets and numbers are refused."""
    with pytest.raises(BadTreeError):
        parse_tree(tree)


def test_query_and_form_are_parameters() -> None:
    """Both count, the query first; a plus is a space and %XX is decoded once."""
    form = read_form("a=1&b=", f"{URLENCODED}; charset=utf-8", b"a=2&json=%7B%22x%22%3A%22a+%2B%2526%22%7D")
    assert form.parameters["a"] == ("1", "2")
    assert form.parameter("b") == ""
    assert form.submitted == '{"x":"a +%26"}'


@pytest.mark.parametrize("content_type", ["application/json", "", "text/plain", "nonsense"])
def test_another_body_is_not_read(content_type: str) -> None:
    """Only the query is seen."""
    form = read_form("", content_type, b'{"json": 1}')
    assert (form.submitted, form.refusal) == (None, "Nothing is submitted")


def test_multipart_keeps_every_byte() -> None:
    """Parts with a file name are uploads, byte for byte; the others are fields, and no parameters."""
    content = bytes(range(256)) + b"\r\n--y\r\n\r\n--"
    body = (
        b'--b-1\r\nContent-Disposition: form-data; name="json"\r\n\r\n{"a": "\xc3\xa4"}\r\n'
        b'--b-1\r\ncontent-disposition: form-data; name="file0"; filename="r.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--b-1--\r\n"
    )
    form = read_form("q=1", 'multipart/form-data; boundary="b-1"', body)
    assert form.submitted == '{"a": "ä"}'
    assert form.uploads == {"file0": Upload("r.bin", content)}
    assert form.parameters == {"q": ("1",)}
    assert form.parameter("json") is None


def test_an_empty_multipart_submits_nothing() -> None:
    """Without parts there is nothing; with one that is not json, something."""
    assert read_form("", "multipart/form-data; boundary=x", b"--x--\r\n").refusal == "Nothing is submitted"
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'
    form = read_form("", "multipart/form-data; boundary=x", part)
    assert (form.submitted, form.refusal) == (None, "This page expects a form submission")
