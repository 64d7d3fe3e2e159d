"""AWS STS beside CodePipeline: roles that are entered, and who a caller is. Served below `/sts/`.

Contract: POST, form fields Action, Version=2011-06-15 and the members; Signature Version 4 for the service `sts`. 200 and XML, or
          403 `AccessDenied` for a role that is unknown, does not trust the caller's account, or wants another ExternalId.
Source:   AWS service model sts 2011-06-15 (protocol query); IAM User Guide, "Access to AWS accounts owned by third parties".
"""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from bridge.testing.codepipeline.errors import CredentialError, ServiceError, invalid
from bridge.testing.codepipeline.spec import AccountId, Credential
from bridge.testing.codepipeline.state import Caller
from bridge.testing.codepipeline.world import World

PATH = "/sts/"
NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"

_ARN = re.compile(r"arn:aws:iam::(?P<account>[0-9]{12}):role/(?:.*/)?(?P<name>[^/]+)")
_SESSION = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}")

Identify = Callable[[web.Request, bytes, str], Caller]
Grant = Callable[[str, Credential], Credential]


class Role(BaseModel):
    """A role that may be entered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arn: Annotated[str, Field(pattern=f"^{_ARN.pattern}$")]
    external_id: str | None = None
    """What its trust policy asks for; None: nothing."""
    trusts: AccountId | None = None
    """The account that may enter it; None: any."""
    expires_after_s: Annotated[float, Field(gt=0)] | None = None
    """In place of what the caller asks for (an hour, where it asks for nothing)."""


class Sts:
    """Answers STS's calls. `identify`: tells who signed; `grant`: makes a credential known."""

    def __init__(self, world: World, identify: Identify, grant: Grant) -> None:
        self._world = world
        self._identify = identify
        self._grant = grant
        self.roles: dict[str, Role] = {}

    async def post(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            caller = self._identify(request, body, "sts")
            return _xml(self._answer(caller, {name: values[-1] for name, values in parse_qs(body.decode()).items()}))
        except ServiceError as error:
            text = f"<Code>{escape(error.code)}</Code><Message>{escape(error.text)}</Message>"
            status = 403 if isinstance(error, CredentialError) else 400
            return _xml(f"<ErrorResponse><Error><Type>Sender</Type>{text}</Error></ErrorResponse>", status)

    def _answer(self, caller: Caller, fields: Mapping[str, str]) -> str:
        match fields.get("Action"):
            case "AssumeRole":
                return _result("AssumeRole", self._assume(caller, fields))
            case "GetCallerIdentity":
                who = f"<Arn>{escape(caller.arn)}</Arn><UserId>AIDA</UserId><Account>{caller.account_id}</Account>"
                return _result("GetCallerIdentity", who)
            case _:
                raise ServiceError("InvalidAction", "Could not find operation")

    def _assume(self, caller: Caller, fields: Mapping[str, str]) -> str:
        role, session = self._entered(caller, fields), fields.get("RoleSessionName", "")
        match = _ARN.fullmatch(role.arn)
        if match is None or not _SESSION.fullmatch(session):
            raise invalid("roleSessionName must have 2 to 64 of [A-Za-z0-9_+=,.@-]")
        number = self._world.ids.number()
        key, secret, token = f"ASIAROLE{number:08d}", f"role-secret-{number}", f"role-session-{number}"
        seconds = role.expires_after_s or float(fields.get("DurationSeconds", "3600"))
        expires_at = self._world.now() + timedelta(seconds=seconds)
        principal = f"assumed-role/{match['name']}/{session}"
        self._grant(
            key,
            Credential(
                secret=secret,
                session_token=token,
                expires_at=expires_at,
                account_id=match["account"],
                principal=principal,
            ),
        )
        self._world.record("role.assumed", role.arn, session=session, key=key, by=caller.arn)
        return (
            f"<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
            f"<SessionToken>{token}</SessionToken><Expiration>{expires_at:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
            f"<AssumedRoleUser><Arn>arn:aws:sts::{match['account']}:{escape(principal)}</Arn>"
            f"<AssumedRoleId>AROA:{escape(session)}</AssumedRoleId></AssumedRoleUser>"
        )

    def _entered(self, caller: Caller, fields: Mapping[str, str]) -> Role:
        role = self.roles.get(fields.get("RoleArn", ""))
        is_trusted = role is not None and role.trusts in (None, caller.account_id)
        if role is None or not is_trusted or role.external_id not in (None, fields.get("ExternalId")):
            text = f"User: {caller.arn} is not authorized to perform: sts:AssumeRole"
            raise CredentialError("AccessDenied", text)
        return role


def _result(action: str, inner: str) -> str:
    return f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{inner}</{action}Result></{action}Response>'


def _xml(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/xml")
