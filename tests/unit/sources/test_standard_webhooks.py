"""Standard Webhooks and Svix: three headers, a window, and a body that is the sender's to define."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from bridge.core.errors import BadSignature, IntakeError, Malformed, Stale, UnsupportedEncoding
from bridge.core.event import Event
from bridge.core.request import RawRequest
from bridge.sources.standard_webhooks import UNTYPED, StandardWebhooks, StandardWebhooksSettings
from tests.support.senders import NOW, WHSEC, raw, replaced, standard, with_body, without
from tests.support.vectors import OUTCOMES, Vector, vectors

OTHER = "whsec_" + base64.b64encode(b"another secret of 32 bytes......").decode()
EMPTY = "whsec_"
BODY = {"type": "build.finished", "data": {"id": "b-7", "outcome": "failed"}}


def settings(*secrets: str, **more: Any) -> StandardWebhooksSettings:
    return StandardWebhooksSettings.model_validate({"kind": "standard-webhooks", "secret": secrets, **more})


def events_of(request: RawRequest, *secrets: str, now: datetime = NOW) -> list[Event]:
    hook = StandardWebhooks("farm", settings(*(secrets or (WHSEC,))))
    return hook.normalise(hook.verify(request, now=now))


@pytest.mark.parametrize("vector", [*vectors("standard-webhooks"), *vectors("svix")])
def test_a_recorded_delivery_is_judged_as_recorded(vector: Vector) -> None:
    """Signature, window, outcome and dedupe id of every recording."""
    assert vector.secret is not None
    if not vector.expect["verified"]:
        with pytest.raises(IntakeError):
            events_of(vector.request(), vector.secret, now=vector.now)
        return
    (event,) = events_of(vector.request(), vector.secret, now=vector.now)
    assert event.data.outcome == OUTCOMES[vector.expect["outcome"]]
    assert event.data.dedupe == (f"id:{vector.expect['dedupe_id']}",)


@pytest.mark.parametrize("family", ["webhook", "svix"])
def test_both_families_of_headers_are_known(family: str) -> None:
    """Svix signs in the same way under its own names."""
    (event,) = events_of(standard(BODY, family=family))
    assert (event.type, event.data.outcome, event.data.dedupe) == ("build.finished", "failed", ("id:msg_1",))


def test_two_families_are_never_mixed() -> None:
    """Neither in parts nor whole: a second set is a second story."""
    good, other = standard(BODY), standard(BODY, family="svix")
    with pytest.raises(BadSignature):
        events_of(replaced(good, "svix-id", "msg_1"))
    with pytest.raises(BadSignature):
        events_of(replaced(without(good, "webhook-signature"), "svix-signature", other.headers[-1][1]))


def test_keys_are_the_scalars_of_the_data() -> None:
    """As strings; what is empty, a list, an object or null is no key."""
    data = {"s": "x", "i": 7, "f": 1.5, "t": True, "e": "", "n": None, "l": [1], "o": {"a": 1}}
    (event,) = events_of(standard({"type": "x", "data": data}))
    assert event.data.keys == {"s": "x", "i": "7", "f": "1.5", "t": "true"}
    assert event.data.body == {"type": "x", "data": data}


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        ({"outcome": "succeeded"}, "succeeded"),
        ({"outcome": "failed"}, "failed"),
        ({"outcome": "cancelled"}, "cancelled"),
        ({"outcome": "progress"}, "progress"),
        ({"outcome": "timed_out"}, "none"),
        ({"outcome": "passed"}, "none"),
        ({"outcome": ["succeeded"]}, "none"),
        ({}, "none"),
        (None, "none"),
        ("succeeded", "none"),
        ([{"outcome": "succeeded"}], "none"),
    ],
)
def test_the_outcome_is_a_callbacks_word_in_the_data(data: Any, outcome: str) -> None:
    """Absent or unknown: none. Nothing beside `data` is read for it."""
    (event,) = events_of(standard({"type": "x", "outcome": "succeeded", "data": data}))
    assert event.data.outcome == outcome


def test_summary_link_and_progress_come_from_the_data() -> None:
    """As in a callback's body."""
    data = {"outcome": "progress", "percent": 30, "message": "half", "url": "https://farm.example/7"}
    (event,) = events_of(standard({"type": "x", "data": data}))
    assert (event.data.percent, event.data.summary, event.data.url) == (30, "half", "https://farm.example/7")
    with pytest.raises(Malformed):
        events_of(standard({"type": "x", "data": {**data, "percent": 101}}))


def test_an_authentic_message_without_a_type_is_told_of() -> None:
    """It decides nothing; a 4xx would have it repeated for days. A type that is no word is a mistake to tell."""
    bodies: list[Any] = [{}, [], b"", b"7"]
    for body in bodies:
        (event,) = events_of(standard(body))
        assert (event.type, event.data.outcome, event.data.keys) == (UNTYPED, "none", {})
    for kind in (None, "", 7, ["x"], "x" * 256):
        with pytest.raises(Malformed):
            events_of(standard({"type": kind}))


def test_several_signatures_and_secrets_rotate() -> None:
    """One match of any entry with any secret suffices."""
    right, wrong = standard(BODY).headers[-1][1], standard(BODY, secret=OTHER).headers[-1][1]
    assert events_of(replaced(standard(BODY), "webhook-signature", f"{wrong} v2,x v1 {right}"))
    assert events_of(standard(BODY), OTHER, WHSEC)
    with pytest.raises(BadSignature):
        events_of(replaced(standard(BODY), "webhook-signature", " ".join(["v1,x"] * 20 + [right])))


def asymmetric(body: bytes) -> tuple[str, RawRequest]:
    """Return a public key and a request that its private half has signed."""
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    stamp = str(int(NOW.timestamp()))
    signature = base64.b64encode(key.sign(f"msg_1.{stamp}.".encode() + body)).decode()
    headers = [("webhook-id", "msg_1"), ("webhook-timestamp", stamp), ("webhook-signature", f"v1a,{signature}")]
    return f"whpk_{public}", raw(body, "application/json", headers=headers)


def test_a_public_key_verifies_v1a_and_nothing_else() -> None:
    """Each version is checked with the secrets of its own kind, in its one spelling."""
    public, request = asymmetric(orjson.dumps(BODY))
    assert events_of(request, public)
    stranger, _ = asymmetric(b"")
    entry = request.headers[-1][1]
    for secret in (stranger, WHSEC):
        with pytest.raises(BadSignature):
            events_of(request, secret)
    for header in (entry.replace("v1a,", "v1,"), entry[:-4], entry + "=", "v1a,", "v1a,!!!!", entry.replace("=", "")):
        with pytest.raises(BadSignature):
            events_of(replaced(request, "webhook-signature", header), public)
    with pytest.raises(BadSignature):
        events_of(with_body(request, b"{}"), public)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    respelt = f"{entry[:-3]}{alphabet[alphabet.index(entry[-3]) + 1]}=="  # the same bytes: four bits of that letter are unused
    with pytest.raises(BadSignature):
        events_of(replaced(request, "webhook-signature", respelt), public)


def test_attack_8_a_key_that_comes_along_is_not_trusted() -> None:
    """Keys come from the configuration."""
    public, request = asymmetric(orjson.dumps(BODY))
    with pytest.raises(BadSignature):
        events_of(replaced(request, "webhook-public-key", public), WHSEC)


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_attack_1_and_3_each_header_is_there_once(header: str) -> None:
    """Missing or doubled, nothing is taken."""
    with pytest.raises(BadSignature):
        events_of(without(standard(BODY), header))
    value = standard(BODY).header(header) or ""
    with pytest.raises(Malformed):
        events_of(replaced(standard(BODY), header, value, value))


RIGHT = standard(BODY).headers[-1][1]


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "v1,",
        RIGHT[:-1],
        RIGHT[3:],
        RIGHT + "=",
        RIGHT.replace("v1,", "v1, "),
        RIGHT[:10] + "!!" + RIGHT[10:],
        RIGHT[:9] + "\xe9",
        "v1," + "A" * 16384,
        RIGHT.replace(",", "="),
    ],
)
def test_attack_2_and_4_a_wrong_signature_is_refused(signature: str) -> None:
    """Base64 has one spelling here, and junk inside it is not skipped."""
    with pytest.raises(BadSignature):
        events_of(replaced(standard(BODY), "webhook-signature", signature))


def test_attack_5_6_and_14_only_our_secret_over_these_bytes_counts() -> None:
    """Another body, another id, another tenant, no key at all."""
    good = standard(BODY)
    for request in (
        with_body(good, good.body + b"\n"),
        replaced(good, "webhook-id", "msg_2"),
        standard(BODY, secret=OTHER),
        standard(BODY, secret=EMPTY),
    ):
        with pytest.raises(BadSignature):
            events_of(request)


def test_attack_12_the_window_is_300_seconds_with_its_edge() -> None:
    """Both ways, in whole seconds."""
    for seconds in (-300, 300):
        assert events_of(standard(BODY), now=NOW + timedelta(seconds=seconds))
    for seconds in (-301, 301):
        with pytest.raises(Stale):
            events_of(standard(BODY), now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "nan",
        "inf",
        "1e400",
        "-1",
        "0",
        "0x69a42b40",
        "1772366400.0",
        "1_772_366_400",
        "+1772366400",
        " 1772366400",
        "01772366400",
        "1772366400000000",
        "١٧٧٢٣٦٦٤٠٠",
        "1772366400\n",
    ],
)
def test_attack_13_a_timestamp_is_plain_digits(timestamp: str) -> None:
    """Even signed, any other spelling is refused."""
    with pytest.raises(BadSignature):
        events_of(standard(BODY, timestamp=timestamp))


def test_attack_13_milliseconds_are_far_in_the_future() -> None:
    """They are digits, and outside every window."""
    assert datetime.fromtimestamp(1772366400, UTC) == NOW
    with pytest.raises(IntakeError):
        events_of(standard(BODY, timestamp="1772366400000"))


@pytest.mark.parametrize("body", [b" ", b"x", b'{"type":"a","type":"b"}', b"\xef\xbb\xbf{}", b'{"data":NaN}'])
def test_attack_27_28_29_and_32_what_is_no_json_is_malformed(body: bytes) -> None:
    """Authentic, and unusable."""
    with pytest.raises(Malformed):
        events_of(standard(body))


@pytest.mark.parametrize(
    "content_type", ["text/html", "application/x-www-form-urlencoded", "application/json; charset=utf-7"]
)
def test_attack_29_and_33_another_type_is_not_sniffed(content_type: str) -> None:
    """JSON under another name or charset is not JSON."""
    with pytest.raises(UnsupportedEncoding):
        events_of(standard(BODY, content_type=content_type))


def test_attack_49_an_id_is_short_and_printable() -> None:
    """It becomes a dedupe key, never a property of a message."""
    for message_id in ("x" * 256, "", "a b", "a\x7f", "\u00e9"):
        with pytest.raises(BadSignature):
            events_of(standard(BODY, message_id=message_id))


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_AAAA",
        "whsec_!!!",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whpk_" + base64.b64encode(b"x" * 31).decode(),
        "plain text",
    ],
)
def test_a_secret_that_cannot_be_one_ends_the_start_up(secret: str) -> None:
    """With what was expected, and without the secret."""
    with pytest.raises(ValueError, match="secret_env: expected") as caught:
        settings(secret)
    assert isinstance(caught.value, ValidationError)
    assert secret not in str(caught.value.errors(include_input=False)).replace("whsec_ or whpk_", "").replace(
        "after wh", ""
    )
