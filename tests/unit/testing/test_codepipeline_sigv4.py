"""The CodePipeline emulator's check of signatures, against AWS's published example and botocore's signer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bridge.testing.codepipeline.errors import CredentialError
from bridge.testing.codepipeline.sigv4 import SignedRequest, _Claim, _signature, verify, verify_s3
from bridge.testing.codepipeline.spec import Credential

NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
CREDENTIALS = {"AKIDEXAMPLE": Credential(secret=KEY)}

# Source: AWS Signature Version 4 test suite, get-vanilla and post-vanilla.
VANILLA = {
    "GET": "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    "POST": "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
}


def vanilla(method: str) -> SignedRequest:
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={VANILLA[method]}"
    )
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z", "authorization": authorization}
    return SignedRequest(method, "/", "", headers, b"")


def signer(request: SignedRequest, *, now: datetime = NOW, real_now: datetime = NOW) -> str:
    return verify(request, CREDENTIALS, region="us-east-1", service="service", now=now, real_now=real_now)


def code(request: SignedRequest, credentials: dict[str, Credential] = CREDENTIALS, **more: str) -> str:
    scope = {"region": "us-east-1", "service": "service"} | more
    with pytest.raises(CredentialError) as caught:
        verify(request, credentials, now=NOW, real_now=NOW, **scope)
    return caught.value.code


def with_headers(request: SignedRequest, **changes: str) -> SignedRequest:
    return replace(request, headers={**request.headers, **{name.replace("_", "-"): v for name, v in changes.items()}})


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_published_example_is_believed(method: str) -> None:
    """A signature that AWS published is right."""
    assert signer(vanilla(method)) == "AKIDEXAMPLE"


@pytest.mark.parametrize("token", [None, "session"])
def test_what_botocore_signs_is_believed(token: str | None) -> None:
    """Query, body, spaces in a header and a session token are covered as botocore covers them."""
    headers = {"X-Amz-Target": "Service.Do", "X-Odd": "  a   b "}
    url = "https://example.amazonaws.com/?b=2&a=1&c"
    request = AWSRequest("POST", url, headers=headers, data=b'{"a": 1}')
    SigV4Auth(Credentials("AKIDEXAMPLE", KEY, token), "service", "us-east-1").add_auth(request)
    sent = {name.lower(): value for name, value in request.headers.items()} | {"host": "example.amazonaws.com"}
    signed = SignedRequest("POST", "/", "b=2&a=1&c", sent, b'{"a": 1}')
    now = datetime.now(UTC)
    credentials = {"AKIDEXAMPLE": Credential(secret=KEY, session_token=token)}
    assert verify(signed, credentials, region="us-east-1", service="service", now=now, real_now=now) == "AKIDEXAMPLE"


def test_what_changes_breaks_the_signature() -> None:
    """Method, path, query, a signed header and the body are all covered."""
    request = vanilla("POST")
    for changed in (
        replace(request, method="PUT"),
        replace(request, path="/x"),
        replace(request, query="a=1"),
        replace(request, body=b"x"),
        with_headers(request, host="other.example"),
    ):
        assert code(changed) == "InvalidSignatureException"


def test_scope_and_secret() -> None:
    """Region, service and secret must be ours."""
    assert code(vanilla("GET"), region="eu-west-1") == "InvalidSignatureException"
    assert code(vanilla("GET"), service="codepipeline") == "InvalidSignatureException"
    assert code(vanilla("GET"), {"AKIDEXAMPLE": Credential(secret="x")}) == "InvalidSignatureException"  # noqa: S106
    assert code(vanilla("GET"), {}) == "UnrecognizedClientException"


def test_the_session_token_must_be_signed() -> None:
    """A token added after signing is not believed."""
    credentials = {"AKIDEXAMPLE": Credential(secret=KEY, session_token="t")}  # noqa: S106 - a dummy
    added = with_headers(vanilla("GET"), x_amz_security_token="t")  # noqa: S106 - a dummy
    assert code(added, credentials) == "InvalidSignatureException"
    assert code(vanilla("GET"), credentials) == "UnrecognizedClientException"


@pytest.mark.parametrize("off_s", [-301, 301])
def test_a_date_off_by_more_than_five_minutes(off_s: int) -> None:
    """A request signed too long ago, or in the future, is refused; five minutes are allowed."""
    near = timedelta(seconds=300 if off_s > 0 else -300)
    assert signer(vanilla("GET"), real_now=NOW + near) == "AKIDEXAMPLE"
    with pytest.raises(CredentialError, match=r"Signature (expired|not yet current)"):
        signer(vanilla("GET"), real_now=NOW + timedelta(seconds=off_s))


def test_credentials_end_in_the_emulator_s_time() -> None:
    """A credential is good until its end, which the emulator's clock decides."""
    credentials = {"AKIDEXAMPLE": Credential(secret=KEY, expires_at=NOW + timedelta(hours=1))}
    scope = {"region": "us-east-1", "service": "service"}
    for now, is_good in ((NOW + timedelta(minutes=59), True), (NOW + timedelta(hours=1), False)):
        if is_good:
            assert verify(vanilla("GET"), credentials, now=now, real_now=NOW, **scope) == "AKIDEXAMPLE"
        else:
            with pytest.raises(CredentialError, match="ExpiredTokenException"):
                verify(vanilla("GET"), credentials, now=now, real_now=NOW, **scope)


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Basic eDp5", "IncompleteSignatureException"),
        (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request",
            "IncompleteSignatureException",
        ),
        ("{0}SignedHeaders=x-amz-date, Signature={1}", "InvalidSignatureException"),
        ("{0}SignedHeaders=x-amz-date;host, Signature={1}", "InvalidSignatureException"),
        ("{0}SignedHeaders=host;x-absent;x-amz-date, Signature={1}", "InvalidSignatureException"),
        ("{0}SignedHeaders=host;x-amz-date, Signature=0", "IncompleteSignatureException"),
    ],
)
def test_an_authorization_that_is_none(authorization: str, expected: str) -> None:
    """A header of another kind is incomplete; one that does not sign host and date, in order, is wrong."""
    scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
    header = authorization.format(scope, VANILLA["GET"])
    assert code(with_headers(vanilla("GET"), authorization=header)) == expected


def test_no_authorization_at_all() -> None:
    """A request that nobody signed has its own code."""
    request = vanilla("GET")
    headers = {name: value for name, value in request.headers.items() if name != "authorization"}
    assert code(replace(request, headers=headers)) == "MissingAuthenticationTokenException"


@pytest.mark.parametrize(
    ("day", "signed_headers", "is_good"),
    [
        ("20150830", ("host", "x-amz-date"), True),
        ("20150829", ("host", "x-amz-date"), False),
        ("20150830", ("x-amz-date", "host"), False),
    ],
)
def test_a_right_signature_over_a_wrong_form(day: str, signed_headers: tuple[str, ...], *, is_good: bool) -> None:
    """The day of the scope is the day of the date, and signed headers stand in order, however well it is signed."""
    request = vanilla("GET")
    signature = _signature(request, _Claim("AKIDEXAMPLE", day, "us-east-1", "service", signed_headers, ""), KEY)
    authorization = (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{day}/us-east-1/service/aws4_request, "
        f"SignedHeaders={';'.join(signed_headers)}, Signature={signature}"
    )
    claimed = with_headers(request, authorization=authorization)
    if is_good:
        assert signer(claimed) == "AKIDEXAMPLE"
    else:
        assert code(claimed) == "InvalidSignatureException"


# --- S3


def presigned(expires_s: int = 60, token: str | None = "session") -> SignedRequest:  # noqa: S107 - a dummy
    """Return a request with a URL that botocore signed now."""
    request = AWSRequest("GET", "https://s3.example/bucket/a%20key")
    S3SigV4QueryAuth(Credentials("AKIDEXAMPLE", KEY, token), "s3", "us-east-1", expires=expires_s).add_auth(request)
    path, _, query = request.url.removeprefix("https://s3.example").partition("?")
    return SignedRequest("GET", path, query, {"host": "s3.example"}, b"")


def s3_signer(request: SignedRequest, *, later: timedelta = timedelta(), ahead: timedelta = timedelta()) -> str:
    """later: how much later the request comes; ahead: how far the emulator's clock is ahead."""
    real_now = datetime.now(UTC) + later
    ends = datetime.now(UTC) + timedelta(minutes=15)
    known = {"AKIDEXAMPLE": Credential(secret=KEY, session_token="session", expires_at=ends)}  # noqa: S106 - a dummy
    return verify_s3(request, known, region="us-east-1", now=real_now + ahead, real_now=real_now)


def test_a_presigned_url_is_believed_while_it_lasts() -> None:
    """What botocore presigned is good for its seconds, and no longer than its credential."""
    assert s3_signer(presigned()) == "AKIDEXAMPLE"
    assert s3_signer(presigned(), later=timedelta(seconds=58)) == "AKIDEXAMPLE"
    with pytest.raises(CredentialError, match="expired"):
        s3_signer(presigned(), later=timedelta(seconds=62))
    with pytest.raises(CredentialError, match="ExpiredToken"):
        s3_signer(presigned(), ahead=timedelta(minutes=16))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"method": "PUT"}, "SignatureDoesNotMatch"),
        ({"path": "/bucket/another"}, "SignatureDoesNotMatch"),
        ({"query": ("Expires=60", "Expires=600")}, "SignatureDoesNotMatch"),
        ({"query": ("Expires=60", "Expires=x")}, "AuthorizationQuery"),
        ({"query": ("Expires=60", "Expires=604801")}, "AuthorizationQuery"),
        ({"query": ("session", "other")}, "UnrecognizedClientException"),
        ({"query": ("X-Amz-Algorithm=AWS4-HMAC-SHA256&", "")}, "AuthorizationQuery"),
        ({"query": ("X-Amz-Signature", "x")}, "MissingAuthenticationTokenException"),
    ],
    ids=str,
)
def test_a_presigned_url_covers_everything(change: dict[str, Any], expected: str) -> None:
    """Method, path, expiry and token cannot be changed or left out."""
    request = presigned()
    if isinstance(change.get("query"), tuple):
        change = {"query": request.query.replace(*change["query"])}
    with pytest.raises(CredentialError, match=expected):
        s3_signer(replace(request, **change))


def test_a_presigned_url_needs_its_token() -> None:
    """One signed without the session's token is not believed."""
    with pytest.raises(CredentialError, match="UnrecognizedClientException"):
        s3_signer(presigned(token=None))


def signed_put(content: bytes) -> SignedRequest:
    """Return an upload that botocore signed by headers."""
    request = AWSRequest("PUT", "https://s3.example/bucket/key", data=content)
    S3SigV4Auth(Credentials("AKIDEXAMPLE", KEY, "session"), "s3", "us-east-1").add_auth(request)
    sent = {name.lower(): value for name, value in request.headers.items()} | {"host": "s3.example"}
    return SignedRequest("PUT", "/bucket/key", "", sent, content)


def test_an_upload_is_signed_with_its_bytes() -> None:
    """The declared hash is the body's own, and under the signature."""
    assert s3_signer(signed_put(b"a result")) == "AKIDEXAMPLE"
    with pytest.raises(CredentialError, match="XAmzContentSHA256Mismatch"):
        s3_signer(replace(signed_put(b"a result"), body=b"another"))
    with pytest.raises(CredentialError, match="SignatureDoesNotMatch"):
        s3_signer(with_headers(signed_put(b"a result"), x_amz_content_sha256="UNSIGNED-PAYLOAD"))
