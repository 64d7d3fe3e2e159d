"""The artifact store beside CodePipeline: S3, path style, below `/s3/`. A job's own credentials open its own buckets.

Contract: GET, HEAD and PUT /{bucket}/{key}, Signature Version 4 for the service `s3`, by headers or presigned. 200; XML errors:
          400 ExpiredToken, 403 AccessDenied, SignatureDoesNotMatch, InvalidAccessKeyId, 404 NoSuchKey. PUT takes
          `x-amz-server-side-encryption: aws:kms` and `x-amz-server-side-encryption-aws-kms-key-id`.
Source:   S3 API Reference (GetObject, PutObject, Error Responses); User Guide of CodePipeline, "artifactCredentials".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote
from xml.sax.saxutils import escape

from aiohttp import web

from bridge.testing.codepipeline.errors import CredentialError, ServiceError
from bridge.testing.codepipeline.sigv4 import SignedRequest, verify_s3
from bridge.testing.codepipeline.views import ArtifactKey
from bridge.testing.codepipeline.world import World

PATH = "/s3/"
_STATUS = {"ExpiredToken": 400, "XAmzContentSHA256Mismatch": 400, "NoSuchKey": 404}
_SPELLING = {
    "UnrecognizedClientException": "InvalidAccessKeyId",
    "MissingAuthenticationTokenException": "AccessDenied",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "IncompleteSignatureException": "AuthorizationHeaderMalformed",
}
"""What S3 calls by another name than the services with JSON."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object. `encryption`: `aws:kms`, or empty; `kms_key`: the key that was asked for, empty: the default one."""

    body: bytes
    encryption: str = ""
    kms_key: str = ""


class S3:
    """Answers S3's calls. `keys`: what was issued for jobs, changed from outside."""

    def __init__(self, world: World, keys: Mapping[str, ArtifactKey]) -> None:
        self._world = world
        self._keys = keys
        self.objects: dict[tuple[str, str], StoredObject] = {}

    def routes(self) -> list[web.RouteDef]:
        place = f"{PATH}{{bucket}}/{{key:.+}}"
        return [web.get(place, self._get), web.put(place, self._put)]

    async def _get(self, request: web.Request) -> web.Response:
        try:
            found = self.objects.get(await self._allowed(request))
        except ServiceError as error:
            return _error(error)
        if found is None:
            return _error(ServiceError("NoSuchKey", "The specified key does not exist."))
        return web.Response(body=found.body, content_type="application/octet-stream")

    async def _put(self, request: web.Request) -> web.Response:
        try:
            place = await self._allowed(request)
            encryption = request.headers.get("x-amz-server-side-encryption", "")
            if self._world.knobs.artifacts_need_kms and encryption != "aws:kms":
                raise CredentialError("AccessDenied", "Access Denied")
        except ServiceError as error:
            return _error(error)
        key = request.headers.get("x-amz-server-side-encryption-aws-kms-key-id", "")
        self.objects[place] = StoredObject(await request.read(), encryption, key)
        self._world.record("object.put", "/".join(place), encryption=encryption, kmsKey=key)
        return web.Response(headers={"ETag": '"0"'})

    async def _allowed(self, request: web.Request) -> tuple[str, str]:
        """Return bucket and key; raises CredentialError for a key that does not open the bucket."""
        path, _, query = request.raw_path.partition("?")
        bucket, _, key = unquote(path.removeprefix(PATH)).partition("/")
        headers = {name.lower(): ",".join(request.headers.getall(name)) for name in request.headers}
        signer = verify_s3(
            SignedRequest(request.method, path, query, headers, await request.read()),
            {name: issued.credential for name, issued in self._keys.items()},
            region=self._world.region,
            now=self._world.now(),
            real_now=datetime.now(UTC),
        )
        if bucket not in self._keys[signer].buckets:
            raise CredentialError("AccessDenied", "Access Denied")
        return bucket, key


def _error(error: ServiceError) -> web.Response:
    code = _SPELLING.get(error.code, error.code)
    text = f"<Error><Code>{escape(code)}</Code><Message>{escape(error.text)}</Message></Error>"
    return web.Response(text=text, status=_STATUS.get(code, 403), content_type="application/xml")
