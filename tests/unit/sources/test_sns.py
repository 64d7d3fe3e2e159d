"""Amazon SNS: recorded messages with Amazon's own signatures, and messages signed with a key of the tests."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import CertificateBuilder, Name, random_serial_number
from pydantic import ValidationError

from bridge.core.errors import BadSignature, IntakeError, Malformed, Stale
from bridge.core.event import Event, Outcome
from bridge.core.request import Call, RawRequest
from bridge.core.source import Errand
from bridge.sources.sns import MAX_CERTIFICATES, Sns, SnsSettings
from tests.support.codepipeline_sns import CERTIFICATE_URL, PATH, REGION, TOPIC, certificate, message
from tests.support.vectors import Vector, vectors

NOW = datetime.now(UTC).replace(microsecond=0)
TOKEN = "1a2b3c4d-c0de-4000-8000-s3cret000000"  # noqa: S105 - a dummy
APPROVAL: dict[str, Any] = {
    "region": REGION,
    "consoleLink": "https://console.aws.amazon.com/codepipeline/home",
    "approval": {
        "pipelineName": "release",
        "stageName": "Gate",
        "actionName": "Approve",
        "token": TOKEN,
        "expires": "2026-07-07T20:22Z",
        "externalEntityLink": "https://farm.example.com/7",
        "approvalReviewLink": f"https://console.aws.amazon.com/approve/{TOKEN}",
        "customData": "please look",
        "other": TOKEN,
    },
    "other": {"token": TOKEN},
}


def source(*, knows: bytes | None = None, **settings: Any) -> Sns:
    """Return a source; knows: the certificate that it has learned."""
    made = Sns("aws", SnsSettings.model_validate({"kind": "sns", "topics": [TOPIC], **settings}))
    if knows is not None:
        made.learn(raw(message()), knows)
    return made


def raw(body: Any, at: datetime = NOW) -> RawRequest:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RawRequest("POST", "/hooks/aws", "", [("content-type", "text/plain; charset=UTF-8")], content, at)


def event_of(text: Any, **fields: Any) -> Event:
    made = source(knows=certificate())
    (event,) = made.normalise(made.verify(raw(message(text, **fields)), now=NOW))
    return event


# --- recorded


@pytest.mark.parametrize("vector", vectors("sns"))
def test_recorded(vector: Vector) -> None:
    """Each is believed or refused as the recordings say; an attack on the certificate's URL asks for nothing at all."""
    policy = vector.case.get("policy") or {}
    settings = {
        "topics": policy.get("allowed_topics", ["arn:aws:sns:us-west-2:131990247566:dongie-standard-topic"]),
        "signature_version": int(policy.get("require_signature_version", "1")),
    }
    made, request = source(**settings), vector.request()
    try:
        needed = made.needs(request)
        assert needed is not None
        assert f"{needed.base_url}{needed.call.path}" == vector.case["trust"]["cert_url"]
        made.learn(request, vector.case["trust"]["cert_pem"].encode())
        assert made.needs(request) is None
        events = made.normalise(made.verify(request, now=vector.now))
    except IntakeError:
        assert not vector.expect["verified"]
        return
    assert vector.expect["verified"]
    assert len(events) == (0 if vector.expect["outcome"] == "handshake" else 1)
    for event in events:
        assert event.data.outcome is Outcome.NONE
        assert event.data.dedupe == (f"id:{vector.expect['dedupe_id']}",)


# --- what is believed


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("fields", [{}, {"Subject": "APPROVAL NEEDED"}], ids=["plain", "subject"])
def test_both_versions_are_believed(version: str, fields: dict[str, str]) -> None:
    """SHA-1 and SHA-256, with and without a subject."""
    event = event_of("hello", version=version, **fields)
    assert (event.type, event.data.body, event.data.summary) == ("notification", "hello", fields.get("Subject", ""))


@pytest.mark.parametrize(
    "change",
    [
        {"Message": "another"},
        {"MessageId": "another-id"},
        {"Subject": "added"},
        {"Timestamp": f"{NOW:%Y-%m-%dT%H:%M:%S}.001Z"},
        {"Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/"},
        {"SignatureVersion": "1"},
        {"Signature": ""},
        {"Signature": "????"},
        {"Signature": None},
    ],
    ids=str,
)
def test_what_is_changed_is_not_believed(change: dict[str, Any]) -> None:
    """Every signed field counts, and so does the version; junk in the signature is no crash."""
    with pytest.raises(BadSignature):
        source(knows=certificate()).verify(raw(message(at=NOW) | change), now=NOW)


def test_what_is_not_signed_is_ignored() -> None:
    """Attributes and the link to unsubscribe are not covered by the signature, so nothing of them is in the event."""
    made = source(knows=certificate())
    added = {"MessageAttributes": {"outcome": {"Value": "succeeded"}}, "UnsubscribeURL": "https://evil.example/"}
    (event,) = made.normalise(made.verify(raw(message() | added), now=NOW))
    assert "evil" not in event.model_dump_json()
    assert "succeeded" not in event.model_dump_json()


def test_a_foreign_topic_is_refused_before_anything_is_fetched() -> None:
    """However well it is signed: anybody can make SNS sign."""
    foreign = message(TopicArn=TOPIC.replace("111122223333", "999999999999"))
    with pytest.raises(BadSignature, match="topic"):
        source().needs(raw(foreign))
    with pytest.raises(BadSignature, match="topic"):
        source(knows=certificate()).verify(raw(foreign), now=NOW)


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE_URL.replace("https", "http"),
        CERTIFICATE_URL.replace(".com", ".com.evil.example"),
        CERTIFICATE_URL.replace(".com", ".com:8443"),
        CERTIFICATE_URL.replace(".com", ".com.cn"),
        CERTIFICATE_URL.replace("https://", "https://user@"),
        CERTIFICATE_URL.replace(REGION, "us-east-1"),
        CERTIFICATE_URL.replace("sns.eu-west-1", "sns.s3"),
        CERTIFICATE_URL + "?a=b",
        CERTIFICATE_URL + "#a",
        CERTIFICATE_URL + "\n",
        CERTIFICATE_URL.replace(".pem", ".txt"),
        CERTIFICATE_URL.replace("/Simple", "/../Simple"),
        "",
        None,
        ["https://"],
    ],
    ids=str,
)
def test_a_certificate_comes_from_sns_in_the_topics_region(url: Any) -> None:
    """Exact host, https, default port, a .pem at its root; anything else is refused before a call."""
    with pytest.raises(BadSignature, match="SigningCertURL"):
        source().needs(raw(message(SigningCertURL=url)))


def test_a_certificate_is_asked_for_once() -> None:
    """By its URL at the host of the topic's Region, or at the endpoint of the config; then it is known."""
    assert source().needs(raw(message())) == Errand(f"https://sns.{REGION}.amazonaws.com", Call.get(PATH))
    elsewhere = source(endpoint_url="https://vpce.example/")
    assert elsewhere.needs(raw(message())) == Errand("https://vpce.example", Call.get(PATH))
    assert source(knows=certificate()).needs(raw(message())) is None


def test_china_has_its_own_hosts() -> None:
    """A topic of a Region of China is signed from its own domain, and from no other."""
    topic = "arn:aws-cn:sns:cn-north-1:111122223333:approvals"
    url = f"https://sns.cn-north-1.amazonaws.com.cn{PATH}"
    needed = source(topics=[topic]).needs(raw(message(TopicArn=topic, SigningCertURL=url)))
    assert needed == Errand("https://sns.cn-north-1.amazonaws.com.cn", Call.get(PATH))


@pytest.mark.parametrize(
    ("begins", "lasts"), [(NOW - timedelta(days=9), timedelta(days=8)), (NOW + timedelta(days=1), timedelta(days=8))]
)
def test_a_certificate_counts_in_its_time(begins: datetime, lasts: timedelta) -> None:
    """Expired or not valid yet: refused; an expired one is asked for again."""
    made = source(knows=certificate(begins=begins, lasts=lasts))
    with pytest.raises(BadSignature, match="not valid now"):
        made.verify(raw(message()), now=NOW)
    assert (made.needs(raw(message())) is not None) is (begins < NOW)


def test_another_key_is_not_believed() -> None:
    """A message signed by somebody else's key, with Amazon's certificate at hand."""
    with pytest.raises(BadSignature, match="does not match"):
        source(knows=certificate()).verify(raw(message(by="mallory")), now=NOW)


def test_a_key_that_is_not_rsa_is_refused() -> None:
    """SNS signs with RSA; another kind of certificate is a refusal and no crash."""
    private = ec.generate_private_key(ec.SECP256R1())
    builder = CertificateBuilder(Name([]), Name([]), private.public_key(), random_serial_number())
    dated = builder.not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1))
    made = source(knows=dated.sign(private, SHA256()).public_bytes(Encoding.PEM))
    with pytest.raises(BadSignature, match="RSA"):
        made.verify(raw(message()), now=NOW)


@pytest.mark.parametrize(
    "document", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_is_refused(document: bytes) -> None:
    """A page in its place proves nothing, and is not kept."""
    made = source()
    with pytest.raises(BadSignature, match="no certificate"):
        made.learn(raw(message()), document)
    assert made.needs(raw(message())) is not None


def test_without_its_certificate_nothing_is_believed() -> None:
    """Verify alone never passes."""
    with pytest.raises(BadSignature, match="not at hand"):
        source().verify(raw(message()), now=NOW)


def test_the_certificates_kept_are_few() -> None:
    """Many URLs push out the oldest, and no memory grows."""
    made, pem = source(), certificate()
    urls = [CERTIFICATE_URL.replace("0123", f"{number:04d}") for number in range(MAX_CERTIFICATES + 5)]
    for url in urls:
        made.learn(raw(message(SigningCertURL=url)), pem)
    assert [made.needs(raw(message(SigningCertURL=url))) is None for url in (urls[0], urls[-1])] == [False, True]


@pytest.mark.parametrize(("age_s", "is_taken"), [(3599, True), (3601, False), (-299, True), (-301, False)])
def test_an_old_message_is_refused(age_s: int, *, is_taken: bool) -> None:
    """An hour unless the config says otherwise; five minutes ahead of our clock are allowed."""
    made, request = source(knows=certificate()), raw(message(at=NOW - timedelta(seconds=age_s)))
    if is_taken:
        assert made.verify(request, now=NOW)
    else:
        with pytest.raises(Stale):
            made.verify(request, now=NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        {"Type": "Other"},
        {"Type": ["Notification"]},
        message() | {"TopicArn": 7},
        message() | {"TopicArn": "arn:aws:sns:evil.example/:111122223333:x"},
        message() | {"MessageId": ""},
        message() | {"MessageId": "x" * 101},
        message() | {"Timestamp": "now"},
    ],
    ids=lambda body: str(body)[:40],
)
def test_what_is_no_message_is_malformed(body: Any) -> None:
    """Told as such, before anything is fetched."""
    with pytest.raises(Malformed):
        source().needs(raw(body))


# --- subscriptions


def test_a_subscription_to_our_topic_is_confirmed_at_our_own_address() -> None:
    """With the token that was signed, at the host of the topic's Region: whatever SubscribeURL says, it is not visited."""
    made = source(knows=certificate())
    signed = message(kind="SubscriptionConfirmation", SubscribeURL="http://169.254.169.254/latest/meta-data/")
    request = made.verify(raw(signed), now=NOW)
    query = {"Action": "ConfirmSubscription", "TopicArn": TOPIC, "Token": "c0nfirm"}
    assert made.owes(request) == Errand(f"https://sns.{REGION}.amazonaws.com", Call.get("/", query=query))
    assert made.normalise(request) == []


@pytest.mark.parametrize("kind", ["Notification", "UnsubscribeConfirmation"])
def test_nothing_else_is_confirmed(kind: str) -> None:
    """Least of all the end of a subscription, which that would make anew."""
    made = source(knows=certificate())
    assert made.owes(made.verify(raw(message(kind=kind)), now=NOW)) is None


@pytest.mark.parametrize("token", ["", "a&b=c", "x" * 1025, "é"])
def test_a_token_that_is_none(token: str) -> None:
    """Signed, and still nothing that goes into a call."""
    made = source(knows=certificate())
    with pytest.raises(Malformed):
        made.owes(made.verify(raw(message(kind="SubscriptionConfirmation", Token=token)), now=NOW))


# --- events


def test_an_approval_says_where_and_not_its_token() -> None:
    """Keys to expect it by, a link to the console; the token, the link that ends with it and whatever is unknown are left out."""
    event = event_of(APPROVAL)
    assert event.type == "approval.needed"
    assert event.data.outcome is Outcome.NONE
    assert event.data.keys == {
        "topic": TOPIC,
        "region": REGION,
        "account": "111122223333",
        "pipeline": "release",
        "stage": "Gate",
        "action": "Approve",
    }
    assert event.data.summary == "release/Gate/Approve waits for an approval"
    assert event.data.url == "https://console.aws.amazon.com/codepipeline/home"
    assert event.data.body["approval"] == {
        "pipelineName": "release",
        "stageName": "Gate",
        "actionName": "Approve",
        "expires": "2026-07-07T20:22Z",
        "externalEntityLink": "https://farm.example.com/7",
        "customData": "please look",
    }
    assert TOKEN not in event.model_dump_json()


@pytest.mark.parametrize(
    "approval", [None, "text", {}, {"pipelineName": "p", "stageName": "s", "token": TOKEN}], ids=str
)
def test_an_approval_in_another_shape_is_malformed(approval: Any) -> None:
    """It is not passed on as it is: its token would go with it."""
    with pytest.raises(Malformed) as caught:
        event_of({"approval": approval})
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "outcome", "keys", "summary"),
    [
        ({"job": 4711, "outcome": "succeeded", "message": "412/s"}, "succeeded", {"job": "4711"}, "412/s"),
        ({"job": "a", "outcome": "timed_out"}, "none", {"job": "a"}, ""),
        ({"topic": "mine", "job": "a"}, "none", {"job": "a"}, ""),
        ([1, 2], "none", {}, ""),
        ("{not JSON", "none", {}, ""),
        ("7", "none", {}, ""),
    ],
    ids=str,
)
def test_a_notification_says_what_its_message_says(text: Any, outcome: str, keys: dict[str, str], summary: str) -> None:
    """JSON: its scalars are keys, its outcome by the callback's words; the topic is always ours. Other text is a body."""
    event = event_of(text)
    assert (event.type, event.data.outcome, event.data.summary) == ("notification", outcome, summary)
    assert event.data.keys["topic"] == TOPIC
    assert keys.items() <= event.data.keys.items()
    assert event.data.body == text
    assert event.data.dedupe == ("id:5f1b2c3d-0000-5000-8000-000000000001",)


# --- settings


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"topics": []},
        {"topics": ["*"]},
        {"topics": ["arn:aws:sns:*:111122223333:x"]},
        {"topics": ["arn:aws:sns:evil.example/:111122223333:x"]},
        {"topics": [TOPIC + "\n"]},
        {"topics": [TOPIC], "unsigned": True},
        {"topics": [TOPIC], "signature_version": 3},
        {"topics": [TOPIC], "secret": "x" * 30},
    ],
    ids=str,
)
def test_settings_that_are_refused(given: dict[str, Any]) -> None:
    """Topics are named one by one; there is no unsigned SNS, and no secret."""
    with pytest.raises(ValidationError):
        SnsSettings.model_validate({"kind": "sns", **given})
