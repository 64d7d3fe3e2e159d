"""What an answer of CodePipeline means, as tables; and the consumer over an Http that answers from a script."""

import sys
from datetime import timedelta
from typing import Any

import orjson
import pytest

from bridge.consumers.codepipeline import Codepipeline, CodepipelineAddress, CodepipelineSettings
from bridge.consumers.codepipeline.judging import (
    ENDED,
    UNCONFIRMED,
    UNKNOWN,
    condition,
    error_code,
    judge,
    screen,
    sight,
)
from bridge.core.errors import ConfigError
from bridge.core.outcome import (
    AlreadyDone,
    CredentialRefused,
    Done,
    Ending,
    Gone,
    Health,
    Later,
    Refused,
    Sight,
    Standing,
)
from bridge.core.request import Reply
from bridge.testing.fleet import Script
from tests.support.fakes import START, a_resolution

JOB = "11111111-abcd-1111-abcd-111111abcdef"
PAGE = b"<html>Sign in</html>"


def reply(status: int = 200, document: Any = None, body: bytes = b"", **headers: str) -> Reply:
    content = body if document is None else orjson.dumps(document)
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def error(code: str, status: int = 400, **headers: str) -> Reply:
    return reply(status, {"__type": code, "message": "Value 's3cret' at 'x'"}, b"", **headers)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (error("JobNotFoundException"), "JobNotFoundException"),
        (error("com.amazonaws.codepipeline#JobNotFoundException"), "JobNotFoundException"),
        (error("JobNotFoundException:http://internal.amazon.com/x/"), "JobNotFoundException"),
        (reply(400, {"message": "x"}, x_amzn_errortype="ThrottlingException:http://x/"), "ThrottlingException"),
        (reply(400, {"message": "x"}), ""),
        (error("<script>"), ""),
        (reply(400, {"__type": {"a": 1}}), ""),
        (reply(400, ["list"]), ""),
        (reply(200), ""),
        (reply(400, body=PAGE), ""),
    ],
)
def test_the_code_of_an_error(given: Reply, code: str) -> None:
    """Without namespace and address, from body or header; what does not look like one is none."""
    assert error_code(given) == code


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (reply(), ""),
        (reply(200, body=b"\n"), ""),
        (reply(200, {}), ""),
        (error("InvalidJobStateException"), "InvalidJobStateException"),
        (error("SomethingNewException"), "SomethingNewException"),
    ],
)
def test_what_passes_the_screen(given: Reply, code: str) -> None:
    """Success, and errors about the job, are for the operation to judge."""
    assert screen(given, now=START, is_put=True) == code


DOUBTFUL: list[tuple[Reply, str]] = [
    (error("InternalFailure"), "the platform answered 400 InternalFailure"),
    (error("SomethingNewException", 500), "the platform answered 500 SomethingNewException"),
    (error("ServiceUnavailableException", 503), "the platform answered 503 ServiceUnavailableException"),
    (reply(502, body=PAGE), "the platform answered 502"),
    (reply(200, body=PAGE), "not an answer of AWS (200)"),
    (reply(200, ["list"]), "not an answer of AWS (200)"),
    (reply(204), "not an answer of AWS (204)"),
    (reply(307, location="http://elsewhere.example/"), "not an answer of AWS (307)"),
    (reply(404, body=PAGE), "not an answer of AWS (404)"),
    (reply(400, {"message": "x"}), "not an answer of AWS (400)"),
]


@pytest.mark.parametrize("is_put", [True, False])
@pytest.mark.parametrize(("given", "reason"), DOUBTFUL)
def test_what_is_no_answer_is_later(*, given: Reply, reason: str, is_put: bool) -> None:
    """Of a Put it may have been applied, so it is doubtful; of a read it is not."""
    with pytest.raises(Later) as caught:
        screen(given, now=START, is_put=is_put)
    assert caught.value == Later(reason, is_doubtful=is_put)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (error("ThrottlingException"), Later("ThrottlingException", is_throttled=True)),
        (
            error("ThrottlingException", 503, retry_after="3"),
            Later("ThrottlingException", timedelta(seconds=3), is_throttled=True),
        ),
        (reply(429, retry_after="17"), Later("throttled", timedelta(seconds=17), is_throttled=True)),
        (error("UnknownOperationException"), Later("this is not CodePipeline: it answered UnknownOperationException")),
    ],
)
def test_what_was_certainly_not_applied_is_no_doubt(given: Reply, expected: Later) -> None:
    """Throttled, or not CodePipeline at all: the repeat is a first attempt."""
    with pytest.raises(Later) as caught:
        screen(given, now=START, is_put=True)
    assert caught.value == expected


CREDENTIALS = [
    error(code, status)
    for code in (
        "AccessDeniedException",
        "ExpiredTokenException",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "aws#InvalidClientTokenId",
    )
    for status in (400, 403)
] + [reply(401), reply(403, body=PAGE)]


@pytest.mark.parametrize("given", CREDENTIALS)
def test_a_refused_credential_is_the_workers(given: Reply) -> None:
    """Whatever its status; and a bare 401 or 403, which a proxy may say."""
    with pytest.raises(CredentialRefused):
        screen(given, now=START, is_put=True)
    assert condition(given, now=START) is Health.CREDENTIAL


@pytest.mark.parametrize(
    ("code", "clean", "doubt"),
    [
        ("", Done(), Done()),
        ("InvalidJobStateException", Gone(ENDED), AlreadyDone(UNCONFIRMED)),
        ("JobNotFoundException", Gone(UNKNOWN), Gone(UNKNOWN)),
        (
            "ValidationException",
            Refused("AWS answered ValidationException"),
            Refused("AWS answered ValidationException"),
        ),
    ],
)
def test_judge_says_what_became_of_a_put(code: str, clean: Ending, doubt: Ending) -> None:
    """Only InvalidJobState depends on the doubt."""
    assert judge(code, is_in_doubt=False) == clean
    assert judge(code, is_in_doubt=True) == doubt


def test_a_look_tells_only_that_there_is_a_job() -> None:
    """Its state is not told, so it counts as waiting; an unknown one is gone; what cannot be asked is refused."""
    assert sight("") == Sight(Standing.WAITING)
    assert sight("JobNotFoundException") == Sight(Standing.GONE, UNKNOWN)
    with pytest.raises(Refused):
        sight("ValidationException")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (error("JobNotFoundException"), Health.UP),
        (error("ValidationException"), Health.UP),
        (error("ThrottlingException"), Health.UP),
        (reply(), Health.DOWN),
        (reply(200, body=PAGE), Health.DOWN),
        (reply(503), Health.DOWN),
        (error("UnknownOperationException"), Health.DOWN),
    ],
)
def test_health_is_that_there_is_no_such_job(given: Reply, expected: Health) -> None:
    """That answer needs a good credential and a CodePipeline; a success on no job comes from something else."""
    assert condition(given, now=START) is expected


# --- the consumer over a script


def consumer(*script: Reply) -> tuple[Codepipeline, Script]:
    http = Script(list(script))
    keys = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "k3y-s3cret", "session_token": "t0ken-s3cret"}
    settings = CodepipelineSettings.model_validate({"consumer": "codepipeline", "region": "eu-west-1", **keys})
    return Codepipeline(settings, http), http


async def put(one: Codepipeline, sight: Sight | None = None) -> Ending:
    return await one.resume_seen(CodepipelineAddress(job_id=JOB), a_resolution(), sight)


async def test_a_call_is_signed_for_its_region() -> None:
    """One POST to `/`, JSON 1.1 by name of the operation, signed with key and session token; the key itself is not sent."""
    one, http = consumer(reply())
    assert await put(one) == Done()
    (call,) = http.calls
    assert (call.method, call.path) == ("POST", "/")
    assert call.headers["X-Amz-Target"] == "CodePipeline_20150709.PutJobSuccessResult"
    assert call.headers["Content-Type"] == "application/x-amz-json-1.1"
    assert "/eu-west-1/codepipeline/aws4_request" in call.headers["Authorization"]
    assert call.headers["X-Amz-Security-Token"] == "t0ken-s3cret"
    assert "k3y-s3cret" not in str(call)


async def test_a_configured_key_that_has_expired_is_not_tried_again() -> None:
    """Only the config can change it, so a repeat would be refused too."""
    one, http = consumer(error("ExpiredTokenException"))
    with pytest.raises(CredentialRefused):
        await put(one)
    assert len(http.calls) == 1


async def test_a_denied_operation_is_what_health_asks_for() -> None:
    """It is asked on no job, until it is allowed; then health goes back to reading."""
    one, http = consumer(error("AccessDeniedException"), error("AccessDeniedException"), error("JobNotFoundException"))
    with pytest.raises(CredentialRefused):
        await put(one)
    assert [await one.health() for _ in range(3)] == [Health.CREDENTIAL, Health.UP, Health.UP]
    asked = [call.headers["X-Amz-Target"].partition(".")[2] for call in http.calls]
    assert asked == ["PutJobSuccessResult"] * 3 + ["GetJobDetails"]
    assert JOB.encode() not in b"".join(call.content or b"" for call in http.calls[1:])


@pytest.mark.parametrize(
    ("substitute", "expected"),
    [
        (reply(), Refused("a failure was put instead: AWS answered ValidationException")),
        (error("InvalidJobStateException"), Gone(ENDED)),
        (error("ValidationException"), Refused("AWS answered ValidationException")),
    ],
)
async def test_what_aws_refuses_is_ended_by_a_failure(substitute: Reply, expected: Ending) -> None:
    """The substitute is put once; the ending is never that the success was delivered."""
    one, http = consumer(error("ValidationException"), substitute)
    assert await put(one) == expected
    assert len(http.calls) == 2


async def test_a_substitute_that_got_no_answer_is_tried_again() -> None:
    """503 to it: doubtful, so the whole attempt is repeated after a look."""
    one, _ = consumer(error("ValidationException"), reply(503))
    with pytest.raises(Later) as caught:
        await put(one)
    assert caught.value.is_doubtful


async def test_a_missing_extra_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without aiobotocore a worker does not start, and says what to install."""
    monkeypatch.setitem(sys.modules, "aiobotocore", None)
    one, _ = consumer(reply())
    with pytest.raises(ConfigError, match=r"callback-bridge\[aws\]"):
        await one.open()
