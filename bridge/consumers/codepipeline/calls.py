"""Calls: the one way to CodePipeline. The keys come from credentials.py, the signature from botocore, the wire is ours.

Contract: POST / with X-Amz-Target: CodePipeline_20150709.<Operation>, Content-Type: application/x-amz-json-1.1, Signature
          Version 4 for the service codepipeline and the endpoint's Region; the body is one JSON object.
Source:   AWS service model 2015-07-09, protocol json; aiobotocore 3.10, botocore 1.43.

Why not aiobotocore's own client: it takes any 200 for a result that was put, a proxy's login page too; follows a redirect to
another host with body and session token; and gives a reset after sending the same name as a refused connection. Over Http a
reply is a value, one host is spoken to, and what may have arrived is told from what did not.
"""

from typing import Any, Protocol

import orjson

from bridge.consumers.codepipeline.credentials import Identity, Keyring, frozen
from bridge.consumers.codepipeline.judging import EXPIRED, error_code
from bridge.core.ports import Http
from bridge.core.request import Call, Reply

CONTENT_TYPE = "application/x-amz-json-1.1"
SERVICE = "codepipeline"
TARGET = "CodePipeline_20150709."


class Account(Identity, Protocol):
    """The settings that say where CodePipeline is and who we are there."""

    @property
    def base_url(self) -> str:
        """Without a slash at its end."""
        ...


class Calls:
    """Signs and sends. One refresh of the credential and one repeat when it has expired; no other retry."""

    def __init__(self, http: Http, account: Account) -> None:
        self._http = http
        self._account = account
        self.keyring = Keyring(account)

    async def send(self, operation: str, members: Any) -> Reply:
        """Send one call and return whatever was answered.

        Raises:
            CredentialRefused: there is no credential to sign with; nothing was sent.
            Unreachable, Unanswered: as the port says.
        """
        credential = await self.keyring.current()
        reply = await self._send(credential, operation, members)
        if error_code(reply) in EXPIRED and (fresh := await self.keyring.renewed(credential)):
            reply = await self._send(fresh, operation, members)
        return reply

    async def _send(self, credential: Any, operation: str, members: Any) -> Reply:
        content = orjson.dumps(members)
        headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": f"{TARGET}{operation}"}
        signed = _signed(f"{self._account.base_url}/", headers, content, await frozen(credential), self._account.region)
        return await self._http.send(Call.post("/", headers=signed, content=content))


def _signed(url: str, headers: dict[str, str], content: bytes, keys: Any, region: str) -> dict[str, str]:
    """Return *headers* and those of the signature."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - heavy, and an extra
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - as above

    request = AWSRequest("POST", url, headers=headers, data=content)
    SigV4Auth(keys, SERVICE, region).add_auth(request)
    return dict(request.headers.items())
