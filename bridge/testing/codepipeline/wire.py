"""The wire: target, signature, JSON, errors. One `POST /` for every operation.

Contract: `POST /`, `X-Amz-Target: CodePipeline_20150709.<Operation>`, `Content-Type: application/x-amz-json-1.1`, Signature
Version 4 for the service `codepipeline` in the emulator's Region. 200 with JSON, or with an empty body after a result; errors
are 400 with `__type` and `message`.
Source: AWS service model 2015-07-09 and User Guide; what they leave open is a knob.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from bridge.testing.codepipeline.errors import CredentialError, ServiceError
from bridge.testing.codepipeline.operations import Operations
from bridge.testing.codepipeline.requests import REQUESTS
from bridge.testing.codepipeline.shapes import check
from bridge.testing.codepipeline.sigv4 import SignedRequest, verify
from bridge.testing.codepipeline.spec import Credential
from bridge.testing.codepipeline.state import Caller
from bridge.testing.codepipeline.views import JsonObject
from bridge.testing.codepipeline.world import World

TARGET = "CodePipeline_20150709."
CONTENT_TYPE = "application/x-amz-json-1.1"
_SERVICE = "codepipeline"


class Wire:
    """Answers requests. `credentials`: who may sign, changed from outside; `default_key`: who it is when nobody is asked."""

    def __init__(
        self, world: World, operations: Operations, credentials: Mapping[str, Credential], default_key: str
    ) -> None:
        self._world = world
        self._operations = operations
        self._credentials = credentials
        self._default_key = default_key

    async def post(self, request: web.Request) -> web.Response:
        """Answer one call."""
        try:
            answer = self._answer(request, await request.read())
        except CredentialError as error:
            return self._refusal(error, self._world.knobs.credential_error_status)
        except ServiceError as error:
            return self._refusal(error, 400)
        return _response(b"" if answer is None else orjson.dumps(answer), 200)

    def error_body(self, code: str, text: str) -> JsonObject:
        """Return the JSON of an error, spelt as the knobs say."""
        namespace = self._world.knobs.error_namespace
        return {"__type": f"{namespace}#{code}" if namespace else code, self._world.knobs.error_text_key: text}

    def _answer(self, request: web.Request, body: bytes) -> JsonObject | None:
        operation = _operation(request)
        caller = self.identify(request, body, _SERVICE)
        if operation in self._world.knobs.denied_operations:
            text = f"User: {caller.arn} is not authorized to perform: codepipeline:{operation}"
            raise CredentialError("AccessDeniedException", text)
        return self._operations.run(operation, caller, check(REQUESTS[operation], _parsed(body)))

    def identify(self, request: web.Request, body: bytes, service: str) -> Caller:
        """Return who signed *request* for *service*; raises CredentialError."""
        is_verified = self._world.knobs.verify_signatures
        key = self._signer(request, body, service) if is_verified else self._default_key
        credential = self._credentials[key]
        account = credential.account_id or self._world.account_id
        kind = "sts" if credential.principal.startswith("assumed-role/") else "iam"
        return Caller(account, f"arn:aws:{kind}::{account}:{credential.principal}")

    def _signer(self, request: web.Request, body: bytes, service: str) -> str:
        headers = {name.lower(): ",".join(request.headers.getall(name)) for name in request.headers}
        path, _, query = request.raw_path.partition("?")
        return verify(
            SignedRequest(request.method, path, query, headers, body),
            self._credentials,
            region=self._world.region,
            service=service,
            now=self._world.now(),
            real_now=datetime.now(UTC),
        )

    def _refusal(self, error: ServiceError, status: int) -> web.Response:
        return _response(orjson.dumps(self.error_body(error.code, error.text)), status)


def _operation(request: web.Request) -> str:
    """Return the operation that the request's target names; raises UnknownOperationException."""
    target = request.headers.get("X-Amz-Target", "")
    operation = target.removeprefix(TARGET)
    if request.content_type != CONTENT_TYPE or not target.startswith(TARGET) or operation not in REQUESTS:
        raise ServiceError("UnknownOperationException", f"No such operation, or not sent as {CONTENT_TYPE}")
    return operation


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        raise ServiceError("SerializationException", "The request is not JSON") from None


def _response(body: bytes, status: int) -> web.Response:
    return web.Response(
        body=body, status=status, headers={"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": str(uuid.uuid4())}
    )
