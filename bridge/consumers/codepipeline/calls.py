"""Calls: the one way to CodePipeline. Credentials come from aiobotocore's chain, the signature from botocore, the wire is ours.

Contract: POST / with X-Amz-Target: CodePipeline_20150709.<Operation>, Content-Type: application/x-amz-json-1.1, Signature
          Version 4 for the service codepipeline and the endpoint's Region; the body is one JSON object.
Source:   AWS service model 2015-07-09, protocol json; aiobotocore 3.10, botocore 1.43.

Why not aiobotocore's own client: it takes any 200 for a result that was put, a proxy's login page too; follows a redirect to
another host with body and session token; and gives a reset after sending the same name as a refused connection. Over Http a
reply is a value, one host is spoken to, and what may have arrived is told from what did not.

The libraries are imported by the first call: a coordinator reads addresses without them.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Protocol

import orjson
import structlog

from bridge.consumers.codepipeline.judging import EXPIRED, error_code
from bridge.core.errors import ConfigError
from bridge.core.outcome import CredentialRefused
from bridge.core.ports import Http
from bridge.core.request import Call, Reply

CONTENT_TYPE = "application/x-amz-json-1.1"
SERVICE = "codepipeline"
TARGET = "CodePipeline_20150709."

_log = structlog.get_logger(__name__)


class Account(Protocol):
    """The settings that say where CodePipeline is and who we are there."""

    @property
    def region(self) -> str: ...

    @property
    def base_url(self) -> str:
        """Without a slash at its end."""
        ...

    def given_credential(self) -> tuple[str, str, str | None] | None:
        """Return key id, secret and perhaps session token as configured; None: whatever the machine has."""
        ...


class Calls:
    """Signs and sends. One refresh of the credential and one repeat when it has expired; no other retry."""

    def __init__(self, http: Http, account: Account) -> None:
        self._http = http
        self._account = account
        self._credential: Any = None
        self._loading = asyncio.Lock()

    def prepare(self) -> None:
        """Import the libraries.

        Raises:
            ConfigError: they are not installed.
        """
        try:
            _import()
        except ImportError:
            raise ConfigError(
                ["targets: codepipeline needs the extra `aws`: pip install 'callback-bridge[aws]'"]
            ) from None

    async def send(self, operation: str, members: Any) -> Reply:
        """Send one call and return whatever was answered.

        Raises:
            CredentialRefused: there is no credential to sign with; nothing was sent.
            Unreachable, Unanswered: as the port says.
        """
        credential = await self._current()
        reply = await self._send(credential, operation, members)
        if error_code(reply) in EXPIRED and (fresh := await self._renew(credential)):
            reply = await self._send(fresh, operation, members)
        return reply

    async def _send(self, credential: Any, operation: str, members: Any) -> Reply:
        content = orjson.dumps(members)
        headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": f"{TARGET}{operation}"}
        frozen = await _guarded(credential.get_frozen_credentials())
        signed = _signed(f"{self._account.base_url}/", headers, content, frozen, self._account.region)
        return await self._http.send(Call.post("/", headers=signed, content=content))

    async def _current(self) -> Any:
        async with self._loading:
            if self._credential is None:
                self._credential = await self._load()
            return self._credential

    async def _renew(self, expired: Any) -> Any:
        """Return a credential loaded anew, once for all who saw it expire; None where only the config can change it."""
        if self._account.given_credential() is not None:
            return None
        async with self._loading:
            if self._credential is expired:
                self._credential = await self._load()
            return self._credential

    async def _load(self) -> Any:
        """Ask the chain: variables, profiles, web identity, container, instance.

        Raises:
            CredentialRefused: it has none.
        """
        sessions, credentials = _import()
        given = self._account.given_credential()
        if given is not None:
            return credentials.AioCredentials(*given)
        session = sessions.get_session()
        session.set_config_variable("region", self._account.region)
        found = await _guarded(session.get_credentials())
        if found is None:
            _log.warning("credential_missing")
            raise CredentialRefused(HTTPStatus.UNAUTHORIZED)
        return found


def _import() -> tuple[Any, Any]:
    """Return aiobotocore's modules for sessions and credentials, silent below errors: they log what signs a request."""
    from aiobotocore import credentials, session  # noqa: PLC0415 - heavy, and an extra

    for name in ("aiobotocore", "botocore"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return session, credentials


async def _guarded(question: Any) -> Any:
    """Await the chain, and turn its faults into one; their texts may hold what must not be shown."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    try:
        return await question
    except (BotoCoreError, ClientError, RuntimeError, OSError, ValueError) as exc:
        _log.warning("credential_unavailable", fault=type(exc).__name__)
        raise CredentialRefused(HTTPStatus.UNAUTHORIZED) from None


def _signed(url: str, headers: dict[str, str], content: bytes, credential: Any, region: str) -> dict[str, str]:
    """Return *headers* and those of the signature."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - as above
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - as above

    request = AWSRequest("POST", url, headers=headers, data=content)
    SigV4Auth(credential, SERVICE, region).add_auth(request)
    return dict(request.headers.items())
