"""Callback URLs: what is believed, and what a body says."""

import base64
from datetime import timedelta
from typing import Any

import orjson
import pytest

from bridge.core.errors import Expired, IntakeError, Malformed, UnknownSource, UnsupportedEncoding
from bridge.core.event import Event, File
from bridge.core.request import RawRequest, VerifiedRequest
from bridge.core.signing import CallbackKeys, new_wait_id
from bridge.sources.callback import Callback
from tests.support.senders import JSON, NOW, raw
from tests.support.vectors import OUTCOMES, Vector, vectors

KEYS = CallbackKeys([b"k" * 32])
WAIT = new_wait_id()
TOKEN = KEYS.sign(WAIT, NOW + timedelta(hours=1))
CALLBACK = Callback(KEYS)
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=X"


def event_of(request: RawRequest) -> Event:
    (event,) = CALLBACK.normalise(CALLBACK.verify(request, now=NOW))
    return event


def called(body: bytes = b"", content_type: str | None = None, *, suffix: str = "", query: str = "") -> Event:
    """Return the event of one call of the URL."""
    return event_of(raw(body, content_type, path=f"/cb/{TOKEN}{suffix}", query=query))


@pytest.mark.parametrize("vector", vectors("curl"))
def test_a_recorded_call_says_what_was_recorded(vector: Vector) -> None:
    """Every form that curl gives a call is read; a method that cannot post is the door's business."""
    if vector.method == "HEAD":
        pytest.skip("refused by its method: tests/integration/test_ingress_server.py")
    event = event_of(vector.request(f"/cb/{TOKEN}"))
    assert event.data.outcome == OUTCOMES[vector.expect["outcome"]]
    assert event.data.keys == {"wait": WAIT}
    assert event.type == "callback"


def test_an_event_carries_the_wait_and_never_the_token() -> None:
    """Whoever reads messages or rows cannot call back."""
    event = called(b"x", "text/plain", query="a=b")
    assert event.data.keys == {"wait": WAIT}
    assert TOKEN not in event.serialise().decode()
    assert (event.source, event.type, event.time, event.data.dedupe) == ("callback", "callback", NOW, ())


SAID = [
    # body, content type, outcome, body as parsed
    (b"", None, "succeeded", None),
    (b"OK", FORM, "succeeded", {"OK": ""}),
    (b"outcome=failed&summary=2+red", FORM, "failed", {"outcome": "failed", "summary": "2 red"}),
    (b'{"outcome":"failed"}', FORM, "failed", {"outcome": "failed"}),
    (b' \n{"outcome":"failed"} ', FORM, "failed", {"outcome": "failed"}),
    (b'{"outcome":"cancelled"}', None, "cancelled", {"outcome": "cancelled"}),
    (b'{"outcome":"failed"}', "application/octet-stream", "failed", {"outcome": "failed"}),
    (b'{"outcome":"failed"}', "application/x-own", "failed", {"outcome": "failed"}),
    (b'{"outcome":"failed"}', "text/plain", "succeeded", '{"outcome":"failed"}'),
    (b'{"outcome":"failed"}', "application/vnd.x+json", "failed", {"outcome": "failed"}),
    (b'{"outcome":"progress","percent":40}', JSON, "progress", {"outcome": "progress", "percent": 40}),
    (b'{"outcome":"timed_out"}', JSON, "none", {"outcome": "timed_out"}),
    (b'{"outcome":"none"}', JSON, "none", {"outcome": "none"}),
    (b'{"outcome":"success"}', JSON, "none", {"outcome": "success"}),
    (b'{"outcome":"Failed"}', JSON, "none", {"outcome": "Failed"}),
    (b'{"outcome":""}', JSON, "none", {"outcome": ""}),
    (b'{"status":"red"}', JSON, "succeeded", {"status": "red"}),
    (b'[{"outcome":"failed"}]', JSON, "succeeded", [{"outcome": "failed"}]),
    (b"<a/>", "application/xml", "succeeded", "<a/>"),
    (b"<a/>", "image/svg+xml", "succeeded", "<a/>"),
    (b"plain", None, "succeeded", "plain"),
    (b"{{ template }}", None, "succeeded", "{{ template }}"),
    (b"{{ template }}", FORM, "succeeded", {"{{ template }}": ""}),
    (b"[1]", None, "succeeded", "[1]"),
]


@pytest.mark.parametrize(("body", "content_type", "outcome", "parsed"), SAID)
def test_a_body_is_read_in_the_form_it_declares(
    body: bytes, content_type: str | None, outcome: str, parsed: Any
) -> None:
    """The outcome is the body's own word, and without one the call itself says succeeded."""
    event = called(body, content_type)
    assert (event.data.outcome, event.data.body) == (outcome, parsed)


@pytest.mark.parametrize("suffix", ["succeeded", "failed", "cancelled", "progress"])
def test_the_suffix_decides_before_the_body(suffix: str) -> None:
    """The path speaks first, and the event tells that it did."""
    event = called(b'{"outcome":"cancelled"}', JSON, suffix=f"/{suffix}")
    assert (event.data.outcome, event.subject) == (suffix, suffix)
    assert called(b'{"outcome":"cancelled"}', JSON).subject is None


def test_progress_is_told_by_query_or_body() -> None:
    """Percent, message and url are read from either; the query goes first."""
    by_query = called(suffix="/progress", query="percent=40&message=half+way&url=https://ci.example/7").data
    by_body = called(
        b'{"percent":40.9,"message":"half way","url":"https://ci.example/7"}', JSON, suffix="/progress"
    ).data
    by_form = called(b"percent=40.5&message=half+way&url=https://ci.example/7", FORM, suffix="/progress").data
    for data in (by_query, by_body, by_form):
        assert (data.percent, data.summary, data.url) == (40, "half way", "https://ci.example/7")
    assert called(b"percent=1", FORM, suffix="/progress", query="percent=2").data.percent == 2


@pytest.mark.parametrize("percent", ["-1", "101", "40%", "abc", "NaN", "1e1", "", "4" * 400, "٤"])
def test_progress_that_is_no_percentage_is_malformed(percent: str) -> None:
    """A wrong figure is told to its sender."""
    with pytest.raises(Malformed, match="percent"):
        called(orjson.dumps({"percent": percent}), JSON, suffix="/progress")


def test_a_results_own_percent_and_query_do_no_harm() -> None:
    """Only progress reads them, so a result is never refused for them, nor changed by them."""
    data = called(b'{"percent":"most","summary":"s"}', JSON, query="outcome=failed&summary=other&%zz").data
    assert (data.outcome, data.percent, data.summary) == ("succeeded", None, "s")


def test_summary_and_link_are_taken_from_the_body() -> None:
    """One line, bounded, and a link that a browser may follow."""
    data = called(b'{"message":"a\\n\\u001b[31mb","url":"javascript:alert(1)"}', JSON).data
    assert (data.summary, data.url) == ("a [31mb", "")
    assert len(called(orjson.dumps({"summary": "x" * 5000}), JSON).data.summary) == 1000
    for url in (
        "https://u:p@ci.example/",
        "http://a b/",
        "//ci.example",
        "ftp://ci.example",
        "https://",
        "http://x\\@y/",
    ):
        assert called(orjson.dumps({"url": url}), JSON).data.url == ""
    assert called(b'{"url":"HTTP://ci.example:8080?x=1#y"}', JSON).data.url == "HTTP://ci.example:8080?x=1#y"


def test_files_arrive_under_their_fields_names() -> None:
    """A posted file stays beside the fields, and may come with an outcome."""
    body = (
        b'--X\r\nContent-Disposition: form-data; name="file0"; filename="../r.txt"\r\n\r\nok\r\n'
        b'--X\r\nContent-Disposition: form-data; name="outcome"\r\n\r\nfailed\r\n--X--\r\n'
    )
    data = called(body, MULTIPART).data
    assert data.files == {"file0": File(filename="r.txt", size=2, content="ok")}
    assert (data.outcome, data.body) == ("failed", {"outcome": "failed"})


def test_bytes_of_no_known_type_are_kept_as_a_file() -> None:
    """An uploaded archive is a result too."""
    data = called(b"\x1f\x8b\x00\xff", "application/gzip").data
    assert (data.body, base64.b64decode(data.files["body"].content)) == (None, b"\x1f\x8b\x00\xff")


@pytest.mark.parametrize("word", [None, 1, True, ["succeeded"], {"x": "succeeded"}])
def test_attack_31_an_outcome_that_is_no_word_decides_nothing(word: Any) -> None:
    """What stands where a word belongs is an unknown word."""
    assert called(orjson.dumps({"outcome": word, "__proto__": {"outcome": "succeeded"}}), JSON).data.outcome == "none"


REFUSED = {
    "json declared, none there": (b"OK", JSON),
    "form declared as json": (b"outcome=failed", JSON),
    "outcome twice in json": (b'{"outcome":"failed","outcome":"succeeded"}', JSON),
    "outcome twice in json declared as a form": (b'{"outcome":"failed","outcome":"succeeded"}', FORM),
    "outcome in json with a NaN, declared as a form": (b'{"outcome":"failed","x":NaN}', FORM),
    "outcome in json with a bom, no type": (b'\xef\xbb\xbf{"outcome":"failed"}', None),
    "outcome twice in a form": (b"outcome=failed&outcome=succeeded", FORM),
    "text not in its charset": (b"\xff", "text/plain"),
    "multipart without a boundary": (b"--X--", "multipart/form-data"),
}


@pytest.mark.parametrize(("body", "content_type"), REFUSED.values(), ids=REFUSED)
def test_attack_33_a_result_that_cannot_be_read_is_no_success(body: bytes, content_type: str | None) -> None:
    """A body that tried to say something and failed at it is refused, never taken for a bare call."""
    with pytest.raises(Malformed):
        called(body, content_type)


def test_attack_33_content_type_twice_is_malformed() -> None:
    """Two types are two readings."""
    with pytest.raises(Malformed):
        event_of(raw(b"{}", JSON, headers=[("content-type", FORM)], path=f"/cb/{TOKEN}"))


def test_attack_35_xml_stays_text() -> None:
    """No entity is resolved or expanded, because nothing parses it."""
    xml = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd"><!ENTITY b "&a;&a;">]><testsuite>&b;</testsuite>'
    assert called(xml, "text/xml").data.body == xml.decode()
    with pytest.raises(UnsupportedEncoding):
        called(b"\xff\xfe<", "application/xml; charset=utf-16")


FOREIGN = CallbackKeys([b"f" * 32]).sign(WAIT, NOW + timedelta(hours=1))
NOT_OURS = {
    "unknown": "A" * 52,
    "foreign key": FOREIGN,
    "truncated": TOKEN[:-1],
    "longer": TOKEN + "A",
    "prefix": TOKEN[:20],
    "other case": TOKEN.swapcase(),
    "empty": "",
    "long": "A" * 5000,
    "padded": TOKEN + "=",
    "wait id alone": WAIT,
}


@pytest.mark.parametrize("token", NOT_OURS.values(), ids=NOT_OURS)
def test_attack_38_every_token_that_is_not_ours_is_the_same_nothing(token: str) -> None:
    """One error, whatever is wrong with it."""
    with pytest.raises(UnknownSource, match="no callback URL of ours"):
        CALLBACK.verify(raw(path=f"/cb/{token}"), now=NOW)


@pytest.mark.parametrize(
    "path",
    [
        f"/cb/{TOKEN}/",
        f"/cb/{TOKEN}/failed/",
        f"/cb/{TOKEN}/timed_out",
        f"/cb/{TOKEN}/none",
        f"/cb/{TOKEN}/../{TOKEN}",
        f"/cb/x/../{TOKEN}",
        f"/cb/%2e%2e%2f{TOKEN}",
        f"/cb/{TOKEN}%00",
        f"/cb/{TOKEN}%2ffailed",
        f"/cb/{TOKEN}%252ffailed",
        f"/cb//{TOKEN}",
        f"/cb/{TOKEN}//failed",
        f"/cb/{TOKEN};x",
        f"/cb/{TOKEN}\n",
        "/cb/%" + f"{ord(TOKEN[0]):02x}" + TOKEN[1:],
    ],
)
def test_attack_39_a_token_has_one_spelling(path: str) -> None:
    """No escape, dot or slash leads to a token or past it."""
    with pytest.raises(UnknownSource):
        CALLBACK.verify(raw(path=path), now=NOW)


def test_an_expired_token_is_gone_and_its_edge_too() -> None:
    """Genuine and over is told apart from not ours: its holder was trusted before."""
    token = KEYS.sign(WAIT, NOW)
    with pytest.raises(Expired):
        CALLBACK.verify(raw(path=f"/cb/{token}"), now=NOW)
    assert CALLBACK.verify(raw(path=f"/cb/{token}"), now=NOW - timedelta(milliseconds=1)).wait == WAIT


def test_only_its_own_proof_is_normalised() -> None:
    """A request that another source has proven names no wait."""
    with pytest.raises(TypeError):
        CALLBACK.normalise(VerifiedRequest(raw(path=f"/cb/{TOKEN}")))


def test_attack_37_and_49_nothing_of_a_refusal_repeats_the_request() -> None:
    """An error's text is ours alone, so it may be logged and shown."""
    for body, content_type in [*REFUSED.values(), (b'{"percent":"S3CRET"}', JSON)]:
        with pytest.raises(IntakeError) as caught:
            called(body.replace(b"OK", b"S3CRET"), content_type, suffix="/progress" if b"S3CRET" in body else "")
        assert "S3CRET" not in str(caught.value)
