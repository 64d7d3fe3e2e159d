r"""Amazon SNS over HTTPS: notifications of a topic, and among them those of CodePipeline's manual approvals.

Contract: POST, JSON in text/plain {Type, MessageId, TopicArn, Message, Timestamp, Subject?, Token?, SubscribeURL?,
          SignatureVersion, Signature, SigningCertURL}
          signed: `Key\nValue\n` for Message, MessageId, Subject where there is one, Timestamp, TopicArn, Type; of the two
          confirmations Message, MessageId, SubscribeURL, Timestamp, Token, TopicArn, Type. RSA PKCS #1 v1.5, version 1
          over SHA-1, 2 over SHA-256, with the certificate at https://sns.<region>.amazonaws.com[.cn]/….pem
          a subscription is confirmed by GET /?Action=ConfirmSubscription&TopicArn=…&Token=…
          2xx within 15 s; else again, for about an hour by default, under the same MessageId and Timestamp
          an approval's Message: JSON {region, consoleLink, approval {pipelineName, stageName, actionName, token, expires,
          externalEntityLink, approvalReviewLink, customData}}
Source:   SNS Developer Guide, "Verifying the signatures of Amazon SNS messages"; aws/aws-sdk-java-v2, sns-message-manager;
          CodePipeline User Guide, "JSON data format for manual approval notifications" (2023-06)

Law: anybody can have SNS sign something, so a message counts only from a topic of the config. Hosts are made from the Regions
of these topics, never taken from a request. An approval's token is a credential: neither it nor the link that holds it goes
into an event; whoever answers finds it by the pipeline's state.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import Certificate, load_pem_x509_certificate
from pydantic import Field, HttpUrl, StringConstraints, model_validator

from bridge.core.body import parse_json
from bridge.core.errors import BadSignature, Malformed, Stale
from bridge.core.event import Event, EventData
from bridge.core.inbound import keys_of, line, link, outcome_of, said
from bridge.core.request import Call, RawRequest, VerifiedRequest
from bridge.core.settings import Duration, SourceSettings
from bridge.core.source import Errand, Source

APPROVAL_NEEDED = "approval.needed"
NOTIFICATION = "notification"
EARLIER_CLOCK = timedelta(minutes=5)
MAX_CERTIFICATES = 50

_ARN = r"arn:aws(?:-cn|-us-gov)?:sns:(?P<region>[a-z]{2,8}(?:-[a-z]{1,12}){1,3}-[0-9]{1,2}):[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:[.]fifo)?"
_TOPIC = re.compile(_ARN)
_CERTIFICATE = re.compile(r"https://(?P<host>[a-z0-9.-]{1,100})(?P<path>/[A-Za-z0-9_-]{1,100}[.]pem)")
_TOKEN = re.compile(r"[A-Za-z0-9]{1,1024}")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9-]{1,100}")
_CONFIRMATIONS = ("SubscriptionConfirmation", "UnsubscribeConfirmation")
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    **dict.fromkeys(_CONFIRMATIONS, ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")),
}
_SHOWN = ("pipelineName", "stageName", "actionName", "expires", "externalEntityLink", "customData")
"""Of an approval: all but its token, and the link that ends with it."""

TopicArn = Annotated[str, StringConstraints(pattern=f"^{_ARN.replace('?P<region>', '?:')}$")]


class SnsSettings(SourceSettings):
    """Topics that post to us. SNS signs with a key of Amazon's: no secret is shared, the topics are what is trusted."""

    topics: Annotated[tuple[TopicArn, ...], Field(min_length=1)] = Field(
        description="ARNs; a message of any other topic is refused, however well it is signed"
    )
    signature_version: Literal[1, 2] = Field(
        default=1,
        description="the least that is taken: 1 is SHA-1, what a topic uses unless told otherwise; 2 is SHA-256",
    )
    max_age: Duration = Field(
        default=timedelta(hours=1), description="of a message; SNS repeats one for about an hour with its first time"
    )
    endpoint_url: HttpUrl | None = Field(
        default=None, description="in place of https://sns.<region>.amazonaws.com: a VPC endpoint, or an emulator"
    )

    @model_validator(mode="after")
    def _is_signed(self) -> Self:
        if self.unsigned:
            raise ValueError("unsigned: SNS signs all that it sends")
        return self

    def base_url(self, region: str) -> str:
        """Return where SNS is in *region*, without a slash at its end."""
        return str(self.endpoint_url).rstrip("/") if self.endpoint_url else f"https://{host_of(region)}"


def host_of(region: str) -> str:
    return f"sns.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


class Sns(Source[SnsSettings]):
    """Verifies with certificates that ingress fetches on request; they are kept by their URL until they expire."""

    def __init__(self, name: str, settings: SnsSettings) -> None:
        super().__init__(name, settings)
        self._certificates: dict[str, Certificate] = {}

    def needs(self, raw: RawRequest) -> Errand | None:
        """Ask for the certificate of a message that would count if it were signed."""
        message = _read(raw)
        self._check_terms(message, now=raw.received_at)
        host, path = self._certificate_place(message)
        known = self._certificates.get(host + path)
        if known is not None and known.not_valid_after_utc > raw.received_at:
            return None
        return Errand(self.settings.base_url(_region(message)), Call.get(path))

    def learn(self, raw: RawRequest, document: bytes) -> None:
        host, path = self._certificate_place(_read(raw))
        try:
            certificate = load_pem_x509_certificate(document)
        except ValueError:
            raise BadSignature("there is no certificate at the message's SigningCertURL") from None
        while len(self._certificates) >= MAX_CERTIFICATES:
            self._certificates.pop(next(iter(self._certificates)))
        self._certificates[host + path] = certificate

    def verify(self, raw: RawRequest, *, now: datetime) -> VerifiedRequest:
        message = _read(raw)
        self._check_terms(message, now=now)
        host, path = self._certificate_place(message)
        certificate = self._certificates.get(host + path)
        if certificate is None:
            raise BadSignature("its certificate is not at hand")
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise BadSignature("its certificate is not valid now")
        _check_signature(message, certificate)
        return VerifiedRequest(raw)

    def owes(self, request: VerifiedRequest) -> Errand | None:
        """Confirm a subscription to a topic of ours, with the token that SNS signed; an unsubscription is left alone."""
        message = _read(request.raw)
        if message["Type"] != "SubscriptionConfirmation":
            return None
        token = message.get("Token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise Malformed("Token: expected letters and digits")
        query = {"Action": "ConfirmSubscription", "TopicArn": message["TopicArn"], "Token": token}
        return Errand(self.settings.base_url(_region(message)), Call.get("/", query=query))

    def normalise(self, request: VerifiedRequest) -> list[Event]:
        message = _read(request.raw)
        if message["Type"] in _CONFIRMATIONS:
            return []
        event_type, data = describe(message)
        return [Event.new(source=self.name, type=event_type, time=request.raw.received_at, data=data)]

    def _check_terms(self, message: Mapping[str, Any], *, now: datetime) -> None:
        """Check what the config says of a message, before anything is fetched for it.

        Raises:
            BadSignature, Stale, Malformed: it would not count, whoever signed it.
        """
        if message["TopicArn"] not in self.settings.topics:
            raise BadSignature("its topic is not one of the config")
        if message.get("SignatureVersion") not in ("1", "2")[self.settings.signature_version - 1 :]:
            raise BadSignature("its signature version is not taken")
        sent_at = _timestamp(message)
        if not -EARLIER_CLOCK <= now - sent_at <= self.settings.max_age:
            raise Stale("its Timestamp is too old, or in the future")

    def _certificate_place(self, message: Mapping[str, Any]) -> tuple[str, str]:
        """Return host and path of the certificate.

        Raises:
            BadSignature: it is not at SNS's own host in the Region of the topic.
        """
        url = message.get("SigningCertURL")
        match = _CERTIFICATE.fullmatch(url) if isinstance(url, str) else None
        if match is None or match["host"] != host_of(_region(message)):
            raise BadSignature("its SigningCertURL is not one of SNS")
        return match["host"], match["path"]


def describe(message: Mapping[str, Any]) -> tuple[str, EventData]:
    """Return type and data of a notification. One for an approval is known by its shape, and loses its token here."""
    text = message.get("Message")
    if not isinstance(text, str):
        raise Malformed("Message: expected text")
    body = _parsed(text)
    dedupe = (f"id:{message['MessageId']}",)
    subject = line(message.get("Subject"))
    if isinstance(body, dict) and "approval" in body:
        return APPROVAL_NEEDED, _approval(message, body, dedupe)
    fields = body if isinstance(body, dict) else {}
    shown = said(fields)
    return NOTIFICATION, EventData.trusted(
        outcome=outcome_of(fields.get("outcome")),
        keys=keys_of({"topic": message["TopicArn"], **{name: fields[name] for name in fields if name != "topic"}}),
        summary=shown["summary"] or subject,
        url=shown["url"],
        body=body,
        dedupe=dedupe,
    )


def _approval(message: Mapping[str, Any], body: Mapping[str, Any], dedupe: tuple[str, ...]) -> EventData:
    given = body["approval"]
    if not isinstance(given, dict):
        raise Malformed("Message.approval: expected an object")
    approval = {name: given[name] for name in _SHOWN if isinstance(given.get(name), str)}
    place = {name: approval.get(f"{name}Name") for name in ("pipeline", "stage", "action")}
    if None in place.values():
        raise Malformed("Message.approval: expected pipelineName, stageName and actionName")
    region = _region(message)
    return EventData.trusted(
        keys=keys_of(
            {"topic": message["TopicArn"], "region": region, "account": message["TopicArn"].split(":")[4], **place}
        ),
        summary=line(f"{'/'.join(str(name) for name in place.values())} waits for an approval"),
        url=link(body.get("consoleLink")),
        body={"region": region, "consoleLink": link(body.get("consoleLink")), "approval": approval},
        dedupe=dedupe,
    )


def _read(raw: RawRequest) -> dict[str, Any]:
    """Return the message of a request: what every one of them has is there, and text.

    Raises:
        Malformed: it is no message of SNS.
    """
    message = parse_json(raw.body)
    if not isinstance(message, dict) or message.get("Type") not in tuple(_SIGNED):  # a tuple: a list may be asked for
        raise Malformed("Type: expected a message of SNS")
    if not isinstance(message.get("TopicArn"), str) or not _TOPIC.fullmatch(message["TopicArn"]):
        raise Malformed("TopicArn: expected the ARN of a topic")
    if not isinstance(message.get("MessageId"), str) or not _MESSAGE_ID.fullmatch(message["MessageId"]):
        raise Malformed("MessageId: expected a short id")
    return message


def _region(message: Mapping[str, Any]) -> str:
    return str(message["TopicArn"]).split(":")[3]


def _timestamp(message: Mapping[str, Any]) -> datetime:
    given = message.get("Timestamp")
    try:
        return datetime.strptime(str(given), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        raise Malformed("Timestamp: expected a time such as 2026-03-06T19:31:32.895Z") from None


def _check_signature(message: Mapping[str, Any], certificate: Certificate) -> None:
    """Raise BadSignature unless the key of *certificate* signed *message*."""
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise BadSignature("its certificate has no RSA key")
    digest = SHA1() if message["SignatureVersion"] == "1" else SHA256()  # noqa: S303 - what SNS signs with, where it is taken
    try:
        signature = base64.b64decode(str(message.get("Signature")), validate=True)
        key.verify(signature, signed_text(message), PKCS1v15(), digest)
    except (binascii.Error, ValueError, InvalidSignature):
        raise BadSignature("the signature does not match") from None


def signed_text(message: Mapping[str, Any]) -> bytes:
    """Return what the signature of *message* covers.

    Raises:
        Malformed: a part of it is missing, or no text.
    """
    names: Sequence[str] = _SIGNED[message["Type"]]
    parts = [name for name in names if name != "Subject" or message.get(name) is not None]
    if not all(isinstance(message.get(name), str) for name in parts):
        raise Malformed("a field that SNS signs is missing")
    return "".join(f"{name}\n{message[name]}\n" for name in parts).encode("utf-8", "surrogatepass")


def _parsed(text: str) -> Any:
    """Return *text* as JSON where it is an object or a list of it; else as it is."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return parse_json(text.encode())
    except (Malformed, UnicodeEncodeError):
        return text
