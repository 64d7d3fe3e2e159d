"""Amazon SNS as a sender: a key and certificate of its own, signed messages, and the host that serves both."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import CertificateBuilder, DNSName, Name, NameAttribute, SubjectAlternativeName
from cryptography.x509 import random_serial_number as serial_number
from cryptography.x509.oid import NameOID

from bridge.sources.sns import signed_text

REGION = "eu-west-1"
TOPIC = f"arn:aws:sns:{REGION}:111122223333:approvals"
PATH = "/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
CERTIFICATE_URL = f"https://sns.{REGION}.amazonaws.com{PATH}"


@cache
def key(name: str = "amazon") -> rsa.RSAPrivateKey:
    """Return a key, the same each time for one *name*."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(
    name: str = "amazon", *, begins: datetime | None = None, lasts: timedelta = timedelta(days=365)
) -> bytes:
    """Return a certificate for the key *name* in PEM; it began a day ago unless said otherwise."""
    subject = Name([NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    since = begins or datetime.now(UTC) - timedelta(days=1)
    builder = (
        CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key(name).public_key())
        .serial_number(serial_number())
        .not_valid_before(since)
        .not_valid_after(since + lasts)
        .add_extension(SubjectAlternativeName([DNSName("sns.amazonaws.com")]), critical=False)
    )
    return builder.sign(key(name), SHA256()).public_bytes(Encoding.PEM)


def message(
    text: Any = "hello",
    *,
    kind: str = "Notification",
    version: str = "2",
    at: datetime | None = None,
    by: str = "amazon",
    **fields: Any,
) -> dict[str, Any]:
    """Return a signed message. text: what is no text becomes JSON. fields: others, in place of the usual ones."""
    made: dict[str, Any] = {
        "Type": kind,
        "MessageId": "5f1b2c3d-0000-5000-8000-000000000001",
        "TopicArn": TOPIC,
        "Message": text if isinstance(text, str) else json.dumps(text),
        "Timestamp": f"{at or datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.000Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
    }
    if kind != "Notification":
        made |= {"Token": "c0nfirm", "SubscribeURL": f"https://sns.{REGION}.amazonaws.com/?Action=ConfirmSubscription"}
    made |= fields
    digest = SHA1() if version == "1" else SHA256()  # noqa: S303 - what SNS signs with
    made["Signature"] = base64.b64encode(key(by).sign(signed_text(made), PKCS1v15(), digest)).decode()
    return made


class SnsHost:
    """SNS's own host: serves the certificate, takes confirmations, and counts both."""

    def __init__(self, pem: bytes | None = None) -> None:
        self.pem = pem if pem is not None else certificate()
        self.fetched: list[str] = []
        self.confirmed: list[dict[str, str]] = []
        self.status = 200
        """Of every answer, but for a certificate that is not there."""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        app = web.Application()
        app.add_routes([web.get("/", self._confirm), web.get("/{path:.+}", self._certificate)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _certificate(self, request: web.Request) -> web.Response:
        self.fetched.append(request.path)
        if request.path != PATH:
            return web.Response(status=404)
        return web.Response(status=self.status, body=self.pem)

    async def _confirm(self, request: web.Request) -> web.Response:
        self.confirmed.append(dict(request.query))
        return web.Response(status=self.status, text="<ConfirmSubscriptionResponse/>", content_type="text/xml")
