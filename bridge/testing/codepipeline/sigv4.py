"""Signature Version 4, from the side that checks it.

Contract: `Authorization: AWS4-HMAC-SHA256 Credential=<key>/<yyyymmdd>/<region>/<service>/aws4_request,
SignedHeaders=<a;b>, Signature=<hex>`, `X-Amz-Date: <yyyymmdd>T<hhmmss>Z`, `X-Amz-Security-Token` with session keys.
Source: AWS General Reference, "Create a signed AWS API request".
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bridge.testing.codepipeline.errors import CredentialError
from bridge.testing.codepipeline.spec import Credential

_ALGORITHM = "AWS4-HMAC-SHA256"
_SKEW = timedelta(minutes=5)
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
    try:
        signed_at = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise CredentialError("IncompleteSignatureException", "X-Amz-Date must be in ISO 8601 basic format") from None
    if claim.day != f"{signed_at:%Y%m%d}":
        raise CredentialError("InvalidSignatureException", "Date in Credential scope does not match X-Amz-Date")
    if abs(real_now - signed_at) > _SKEW:
        word = "expired" if signed_at < real_now else "not yet current"
        raise CredentialError("InvalidSignatureException", f"Signature {word}: {signed_at:%Y%m%dT%H%M%SZ}")


def _signature(request: SignedRequest, claim: _Claim, secret: str) -> str:
    scope = f"{claim.day}/{claim.region}/{claim.service}/aws4_request"
    canonical = hashlib.sha256(_canonical(request, claim.signed_headers).encode()).hexdigest()
    to_sign = "\n".join((_ALGORITHM, request.headers["x-amz-date"], scope, canonical))
    key = f"AWS4{secret}".encode()
    for part in (claim.day, claim.region, claim.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _canonical(request: SignedRequest, signed_headers: tuple[str, ...]) -> str:
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed_headers)
    query = "&".join(sorted(part if "=" in part else f"{part}=" for part in request.query.split("&") if part))
    digest = hashlib.sha256(request.body).hexdigest()
    return "\n".join((request.method, request.path, query, headers, ";".join(signed_headers), digest))
