"""Keyring: who signs. Keys of the config or of the machine, and where the account is another one, a role entered with them.

Contract: sts:AssumeRole {RoleArn, RoleSessionName, ExternalId?} answers keys with their expiry; sts:GetCallerIdentity answers
          the ARN that CodePipeline shows as lastUpdatedBy, and needs no permission.
Source:   AWS service model sts 2011-06-15; aiobotocore 3.10 (its chain, its fetcher for roles, its refresh before expiry).

A role's keys are renewed from 15 minutes before they expire. One target is one role in one Region, with keys and connections
of its own, so nothing of one account is ever signed with another's keys.

The libraries are imported by the first call: a coordinator reads addresses without them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

import structlog

from bridge.core.errors import ConfigError
from bridge.core.outcome import CredentialRefused

SESSION_NAME = "callback-bridge"
"""Of a role: what an audit trail shows behind the role's name."""
CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 10

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Identity(Protocol):
    """The settings that say who we are."""

    @property
    def region(self) -> str: ...

    @property
    def role_arn(self) -> str | None: ...

    @property
    def external_id(self) -> str | None: ...

    @property
    def sts_url(self) -> str: ...

    def given_credential(self) -> tuple[str, str, str | None] | None:
        """Return key id, secret and perhaps session token as configured; None: whatever the machine has."""
        ...


class Keyring:
    """Hands out the credential of one target, loaded once for all who ask at the same time."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._credential: Any = None
        self._loading = asyncio.Lock()
        self._arn = ""

    def prepare(self) -> None:
        """Import the libraries.

        Raises:
            ConfigError: they are not installed.
        """
        try:
            libraries()
        except ImportError:
            raise ConfigError(
                ["targets: codepipeline needs the extra `aws`: pip install 'callback-bridge[aws]'"]
            ) from None

    async def current(self) -> Any:
        """Return the credential; its keys come from frozen().

        Raises:
            CredentialRefused: there is none.
        """
        async with self._loading:
            if self._credential is None:
                self._credential = await self._load()
            return self._credential

    async def renewed(self, expired: Any) -> Any:
        """Return a credential loaded anew, once for all who saw it expire; None where only the config can change it."""
        if self._identity.given_credential() is not None and self._identity.role_arn is None:
            return None
        async with self._loading:
            if self._credential is expired:
                self._credential = await self._load()
            return self._credential

    async def arn(self) -> str:
        """Return our own ARN; empty where AWS does not tell it now."""
        if not self._arn:
            try:
                keys = await frozen(await self.current())
                async with self._sts(
                    aws_access_key_id=keys.access_key,
                    aws_secret_access_key=keys.secret_key,
                    aws_session_token=keys.token,
                ) as sts:
                    self._arn = str((await _guarded(sts.get_caller_identity())).get("Arn", ""))
            except CredentialRefused:
                return ""
        return self._arn

    async def _load(self) -> Any:
        found = await self._own()
        if self._identity.role_arn is None:
            return found
        _, credentials = libraries()
        fetcher = credentials.AioAssumeRoleCredentialFetcher(
            self._sts, found, self._identity.role_arn, extra_args=self._role_session()
        )
        return credentials.AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")

    async def _own(self) -> Any:
        """Return the keys of the config, or ask the chain: variables, profiles, web identity, container, instance.

        Raises:
            CredentialRefused: it has none.
        """
        sessions, credentials = libraries()
        given = self._identity.given_credential()
        if given is not None:
            return credentials.AioCredentials(*given)
        session = sessions.get_session()
        session.set_config_variable("region", self._identity.region)
        found = await _guarded(session.get_credentials())
        if found is None:
            _log.warning("credential_missing")
            raise CredentialRefused(HTTPStatus.UNAUTHORIZED)
        return found

    def _role_session(self) -> dict[str, str]:
        external = self._identity.external_id
        return {"RoleSessionName": SESSION_NAME, **({"ExternalId": external} if external else {})}

    def _sts(self, service: str = "sts", **keys: Any) -> AbstractAsyncContextManager[Any]:
        """Return a client of STS in our Region, bounded in time, that repeats a lost call once: neither changes anything."""
        from botocore.config import Config  # noqa: PLC0415 - heavy, and an extra

        sessions, _ = libraries()
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, retries={"total_max_attempts": 2}
        )
        client: Callable[..., AbstractAsyncContextManager[Any]] = sessions.get_session().create_client
        return client(
            service, region_name=self._identity.region, endpoint_url=self._identity.sts_url, config=config, **keys
        )


async def frozen(credential: Any) -> Any:
    """Return the present keys of *credential*: access_key, secret_key and token; renewed where they are about to expire.

    Raises:
        CredentialRefused: they have expired, and no others are given.
    """
    return await _guarded(credential.get_frozen_credentials())


def libraries() -> tuple[Any, Any]:
    """Return aiobotocore's modules for sessions and credentials, silent below errors: they log what signs a request."""
    from aiobotocore import credentials, session  # noqa: PLC0415 - heavy, and an extra

    for name in ("aiobotocore", "botocore"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return session, credentials


async def _guarded(question: Awaitable[T]) -> T:
    """Await the chain, and turn its faults into one; their texts may hold what must not be shown."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    try:
        return await question
    except (BotoCoreError, ClientError, RuntimeError, OSError, ValueError) as exc:
        _log.warning("credential_unavailable", fault=type(exc).__name__)
        raise CredentialRefused(HTTPStatus.UNAUTHORIZED) from None
