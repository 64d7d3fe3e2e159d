"""Signature Version 4, from the side that checks it.

Contract: `Authorization: AWS4-HMAC-SHA256 Credential=<key>/<yyyymmdd>/<region>/<service>/aws4_request,
SignedHeaders=<a;b>, Signature=<hex>`, `X-Amz-Date: <yyyymmdd>T<hhmmss>Z`, `X-Amz-Security-Token` with session keys.
S3 besides: `X-Amz-Content-SHA256`; or all of it in the query (`X-Amz-Algorithm -Credential -Date -Expires -SignedHeaders
-Security-Token -Signature`), with the payload unsigned.
Source: AWS General Reference, "Create a signed AWS API request"; S3 API Reference, "Authenticating Requests: Using Query
Parameters".
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from bridge.testing.codepipeline.errors import CredentialError
from bridge.testing.codepipeline.spec import Credential

_ALGORITHM = "AWS4-HMAC-SHA256"
_SKEW = timedelta(minutes=5)
_MAX_EXPIRES_S = 7 * 24 * 3600
_UNSIGNED = "UNSIGNED-PAYLOAD"
_AUTHORIZATION = re.compile(
    _ALGORITHM
    + r" Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method."
)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature covers. `headers`: names in lower case, several values joined by a comma."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Claim:
    access_key: str
    day: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str


def verify(
    request: SignedRequest,
    credentials: Mapping[str, Credential],
    *,
    region: str,
    service: str,
    now: datetime,
    real_now: datetime,
) -> str:
    """Return the access key that signed *request*.

    *now*: the emulator's time, which ends credentials. *real_now*: the time that clients sign with.
    Raises CredentialError with the code of AWS.
    """
    claim = _parse(request.headers)
    credential = _known(claim, credentials, request.headers)
    if credential.expires_at is not None and now >= credential.expires_at:
        raise CredentialError("ExpiredTokenException", "The security token included in the request is expired")
    _refuse_bad_scope(claim, region=region, service=service)
    _refuse_bad_date(claim, request.headers, real_now)
    if not hmac.compare_digest(_signature(request, claim, credential.secret), claim.signature):
        raise CredentialError("InvalidSignatureException", _MISMATCH)
    return claim.access_key


def verify_s3(
    request: SignedRequest, credentials: Mapping[str, Credential], *, region: str, now: datetime, real_now: datetime
) -> str:
    """Return the access key that signed a request to S3, by headers or by its query.

    A presigned URL ends in the time that it was signed in, its credential in the emulator's. Raises CredentialError with S3's own codes.
    """
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    is_presigned = "X-Amz-Signature" in query
    claim = _parse_query(request, query) if is_presigned else _parse(request.headers)
    headers = request.headers if not is_presigned else {**request.headers, **_as_headers(query)}
    credential = _known(claim, credentials, headers)
    if credential.expires_at is not None and now >= credential.expires_at:
        raise CredentialError("ExpiredToken", "The provided token has expired.")
    _refuse_bad_scope(claim, region=region, service="s3")
    signed_at = _signed_at(headers)
    _refuse_other_day(claim, signed_at)
    if is_presigned:
        _refuse_late(query.get("X-Amz-Expires", ""), signed_at, real_now)
    else:
        _refuse_skew(signed_at, real_now)
    payload = _UNSIGNED if is_presigned else _declared_payload(request)
    bare = replace(request, query=_without_signature(request.query), headers=headers)
    if not hmac.compare_digest(_signature(bare, claim, credential.secret, payload), claim.signature):
        raise CredentialError("SignatureDoesNotMatch", _MISMATCH)
    return claim.access_key


def _parse_query(request: SignedRequest, query: Mapping[str, str]) -> _Claim:
    scope = re.fullmatch(
        r"(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request",
        query.get("X-Amz-Credential", ""),
    )
    signed = tuple(query.get("X-Amz-SignedHeaders", "").split(";"))
    is_complete = (
        query.get("X-Amz-Algorithm") == _ALGORITHM and "host" in signed and set(signed) <= request.headers.keys()
    )
    if scope is None or not is_complete:
        raise CredentialError(
            "AuthorizationQueryParametersError", "Query-string authentication version 4 is incomplete"
        )
    return _Claim(scope["key"], scope["day"], scope["region"], scope["service"], signed, query["X-Amz-Signature"])


def _as_headers(query: Mapping[str, str]) -> dict[str, str]:
    """Return the date and the token of a presigned URL under their names as headers."""
    return {name.lower(): query[name] for name in ("X-Amz-Date", "X-Amz-Security-Token") if name in query}


def _declared_payload(request: SignedRequest) -> str:
    declared = request.headers.get("x-amz-content-sha256", "")
    if declared not in (_UNSIGNED, hashlib.sha256(request.body).hexdigest()):
        raise CredentialError("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match")
    return declared


def _without_signature(query: str) -> str:
    return "&".join(part for part in query.split("&") if not part.startswith("X-Amz-Signature="))


def _refuse_late(expires_s: str, signed_at: datetime, real_now: datetime) -> None:
    if not expires_s.isdigit() or not 0 < int(expires_s) <= _MAX_EXPIRES_S:
        raise CredentialError(
            "AuthorizationQueryParametersError", "X-Amz-Expires must be a number of seconds, a week at most"
        )
    if real_now > signed_at + timedelta(seconds=int(expires_s)):
        raise CredentialError("AccessDenied", "Request has expired")


def _parse(headers: Mapping[str, str]) -> _Claim:
    authorization = headers.get("authorization")
    if authorization is None:
        raise CredentialError("MissingAuthenticationTokenException", "Missing Authentication Token")
    match = _AUTHORIZATION.fullmatch(authorization.strip())
    if match is None:
        raise CredentialError(
            "IncompleteSignatureException", "The Authorization header is not one of Signature Version 4"
        )
    signed = tuple(match["headers"].split(";"))
    must = {"host", "x-amz-date"} | ({"x-amz-security-token"} & headers.keys())
    if list(signed) != sorted(set(signed)) or not must <= set(signed) or not set(signed) <= headers.keys():
        raise CredentialError("InvalidSignatureException", _MISMATCH)
    return _Claim(match["key"], match["day"], match["region"], match["service"], signed, match["signature"])


def _known(claim: _Claim, credentials: Mapping[str, Credential], headers: Mapping[str, str]) -> Credential:
    credential = credentials.get(claim.access_key)
    token = headers.get("x-amz-security-token")
    if credential is None or credential.session_token != token:
        raise CredentialError("UnrecognizedClientException", "The security token included in the request is invalid.")
    return credential


def _refuse_bad_scope(claim: _Claim, *, region: str, service: str) -> None:
    if claim.region != region:
        text = f"Credential should be scoped to a valid region, not '{claim.region}'."
        raise CredentialError("InvalidSignatureException", text)
    if claim.service != service:
        raise CredentialError(
            "InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'."
        )


def _refuse_bad_date(claim: _Claim, headers: Mapping[str, str], real_now: datetime) -> None:
    signed_at = _signed_at(headers)
    _refuse_other_day(claim, signed_at)
    _refuse_skew(signed_at, real_now)


def _signed_at(headers: Mapping[str, str]) -> datetime:
    try:
        return datetime.strptime(headers.get("x-amz-date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise CredentialError("IncompleteSignatureException", "X-Amz-Date must be in ISO 8601 basic format") from None


def _refuse_other_day(claim: _Claim, signed_at: datetime) -> None:
    if claim.day != f"{signed_at:%Y%m%d}":
        raise CredentialError("InvalidSignatureException", "Date in Credential scope does not match X-Amz-Date")


def _refuse_skew(signed_at: datetime, real_now: datetime) -> None:
    if abs(real_now - signed_at) > _SKEW:
        word = "expired" if signed_at < real_now else "not yet current"
        raise CredentialError("InvalidSignatureException", f"Signature {word}: {signed_at:%Y%m%dT%H%M%SZ}")


def _signature(request: SignedRequest, claim: _Claim, secret: str, payload: str | None = None) -> str:
    """payload: what stands for the body in the signature; None: its SHA-256."""
    scope = f"{claim.day}/{claim.region}/{claim.service}/aws4_request"
    digest = payload or hashlib.sha256(request.body).hexdigest()
    canonical = hashlib.sha256(_canonical(request, claim.signed_headers, digest).encode()).hexdigest()
    to_sign = "\n".join((_ALGORITHM, request.headers["x-amz-date"], scope, canonical))
    key = f"AWS4{secret}".encode()
    for part in (claim.day, claim.region, claim.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _canonical(request: SignedRequest, signed_headers: tuple[str, ...], digest: str) -> str:
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed_headers)
    query = "&".join(sorted(part if "=" in part else f"{part}=" for part in request.query.split("&") if part))
    return "\n".join((request.method, request.path, query, headers, ";".join(signed_headers), digest))
