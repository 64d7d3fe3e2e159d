"""Artifacts: what a job reads and writes in S3, with the credentials that CodePipeline gave for that job alone.

Contract: GetJobDetails data {inputArtifacts, outputArtifacts [{name, revision, location.s3Location {bucketName, objectKey}}],
          artifactCredentials {accessKeyId, secretAccessKey, sessionToken}, encryptionKey {id}}: good for 15 minutes
          GET {s3}/{bucket}/{key} presigned, Signature Version 4 in the query (KMS takes no other): 200
          PUT {s3}/{bucket}/{key} with x-amz-server-side-encryption: aws:kms, and the key's id where the pipeline has its own: 200
               400 ExpiredToken; 403 AccessDenied; 503 SlowDown: XML with a Code
Source:   AWS service model 2015-07-09; User Guide, "Create and add a custom action" (2023-06); S3 API Reference, PutObject.

Law: no credential leaves this module but inside a signature, and none is kept longer than the job is worked on. A presigned
URL holds the session's token: it goes to the remote alone, and into no queue, log or store.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from pydantic import SecretStr

from bridge.consumers.codepipeline.credentials import libraries
from bridge.consumers.codepipeline.settings import CodepipelineSettings
from bridge.core.outcome import Later, Refused
from bridge.core.ports import Clock, Http
from bridge.core.request import Call, Reply

LIFETIME = timedelta(minutes=15)
"""Of the credentials of a job, from when they were asked for."""
RENEWED_AFTER = timedelta(minutes=14)
UPLOAD_TIMEOUT = timedelta(seconds=60)

_SERVICE = "s3"
_CODE = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")
_EXPIRED = frozenset({"ExpiredToken", "RequestExpired"})

Data = Mapping[str, Any]
Refetch = Callable[[], Awaitable[Data]]
"""Asks GetJobDetails or GetThirdPartyJobDetails for the job's data; raises endings as every call does."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact of a job and its place."""

    name: str
    bucket: str
    key: str
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A presigned URL for an input artifact; whoever holds it may read it until *expires_at*."""

    name: str
    revision: str
    url: SecretStr
    expires_at: datetime


class _Keys(NamedTuple):
    """In the shape that botocore signs with."""

    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return "_Keys(…)"


@dataclass(frozen=True, slots=True)
class JobArtifacts:
    """What a job's data say of its artifacts. kms_key: the pipeline's own key; empty: S3's default one for KMS."""

    inputs: tuple[Artifact, ...]
    outputs: tuple[Artifact, ...]
    kms_key: str
    read_at: datetime
    keys: _Keys | None

    @classmethod
    def read(cls, data: Data, *, now: datetime) -> Self:
        """Read *data* as it came; members that are missing are nothing."""
        given = _object(data, "artifactCredentials")
        key_id, secret = _text(given, "accessKeyId"), _text(given, "secretAccessKey")
        keys = _Keys(key_id, secret, _text(given, "sessionToken") or None) if key_id and secret else None
        encryption = _text(_object(data, "encryptionKey"), "id")
        return cls(_artifacts(data, "inputArtifacts"), _artifacts(data, "outputArtifacts"), encryption, now, keys)


class ArtifactStore:
    """One job's artifacts. Every call asks for the job's data again where the credentials at hand are too old.

    http: to `settings.s3_url`, with no credential of its own.
    """

    def __init__(
        self, settings: CodepipelineSettings, http: Http, refetch: Refetch, *, clock: Clock, data: Data | None = None
    ) -> None:
        """data: what was fetched just now, so that the first call needs no other."""
        self._settings = settings
        self._http = http
        self._refetch = refetch
        self._clock = clock
        self._known = None if data is None else JobArtifacts.read(data, now=clock.now())

    async def links(self) -> list[Link]:
        """Return a presigned URL for each input artifact, good as long as the credentials are: 15 minutes at most.

        Raises:
            Refused: CodePipeline gave no credentials.
            Later, CredentialRefused, Unreachable, Unanswered: the job's data could not be asked for.
        """
        known, keys = await self._current()
        ends = known.read_at + LIFETIME
        seconds = int((ends - self._clock.now()).total_seconds())
        return [Link(each.name, each.revision, self._presigned(each, keys, seconds), ends) for each in known.inputs]

    async def outputs(self) -> tuple[Artifact, ...]:
        """Return where the job's results belong; raises as links()."""
        known, _ = await self._current()
        return known.outputs

    async def upload(self, artifact: Artifact, content: bytes) -> None:
        """Write *content* to the place of an output artifact, encrypted as the pipeline wants it. Repeating it is harmless.

        Raises:
            Later: S3 is throttled or failing, or no answer of S3 came.
            Refused: S3 does not take it.
            CredentialRefused, Unreachable, Unanswered: as links(), or S3 did not answer.
        """
        code = await self._put(artifact, content)
        if code in _EXPIRED:
            self._known = None
            code = await self._put(artifact, content)
        if code:
            raise Refused(f"S3 answered {code} to the artifact {artifact.name}")

    async def _put(self, artifact: Artifact, content: bytes) -> str:
        """Return the error's code, empty where it was done."""
        known, keys = await self._current()
        headers = {"x-amz-server-side-encryption": "aws:kms"}
        if known.kms_key:
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = known.kms_key
        signed = self._signed(artifact, headers, content, keys)
        call = Call("PUT", _path(artifact), headers=signed, content=content, timeout=UPLOAD_TIMEOUT)
        return _screened(await self._http.send(call), now=self._clock.now())

    async def _current(self) -> tuple[JobArtifacts, _Keys]:
        if self._known is None or self._clock.now() - self._known.read_at > RENEWED_AFTER:
            data = await self._refetch()
            self._known = JobArtifacts.read(data, now=self._clock.now())
        if self._known.keys is None:
            raise Refused("CodePipeline gave no credentials for the artifacts of this job")
        return self._known, self._known.keys

    def _signed(self, artifact: Artifact, headers: Mapping[str, str], content: bytes, keys: _Keys) -> dict[str, str]:
        """Return *headers* and those of the signature."""
        libraries()  # what signs is logged otherwise
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - heavy, and an extra
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - as above

        request = AWSRequest("PUT", f"{self._settings.s3_url}{_path(artifact)}", headers=dict(headers), data=content)
        S3SigV4Auth(keys, _SERVICE, self._settings.region).add_auth(request)
        return dict(request.headers.items())

    def _presigned(self, artifact: Artifact, keys: _Keys, seconds: int) -> SecretStr:
        libraries()  # what signs is logged otherwise
        from botocore.auth import S3SigV4QueryAuth  # noqa: PLC0415 - heavy, and an extra
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - as above

        request = AWSRequest("GET", f"{self._settings.s3_url}{_path(artifact)}")
        S3SigV4QueryAuth(keys, _SERVICE, self._settings.region, expires=seconds).add_auth(request)
        return SecretStr(request.url)


def _screened(reply: Reply, *, now: datetime) -> str:
    """Return the code that is for the upload to judge; empty: it was done.

    Raises:
        Later: throttled, failing, or not an answer of S3.
    """
    found = _CODE.search(reply.body[:4096])
    code = found[1].decode() if found else ""
    is_done = reply.is_success and "etag" in reply.headers
    if not is_done and (reply.is_success or not code or reply.status >= 500):  # noqa: PLR2004 - HTTP's own bound
        raise Later(f"S3 answered {reply.status} {code}".rstrip(), reply.retry_after(now))
    return "" if is_done else code


def _path(artifact: Artifact) -> str:
    return f"/{quote(artifact.bucket, safe='')}/{quote(artifact.key, safe='/~')}"


def _artifacts(data: Data, name: str) -> tuple[Artifact, ...]:
    """Return the artifacts whose place is known."""
    given = data.get(name)
    found: list[Artifact] = []
    for entry in given if isinstance(given, list) else ():
        place = _object(_object(entry, "location"), "s3Location")
        artifact = Artifact(
            _text(entry, "name"), _text(place, "bucketName"), _text(place, "objectKey"), _text(entry, "revision")
        )
        if artifact.bucket and artifact.key:
            found.append(artifact)
    return tuple(found)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _text(value: Any, name: str) -> str:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""
