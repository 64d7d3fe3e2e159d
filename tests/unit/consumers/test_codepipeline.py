"""The pure parts of the CodePipeline consumer as tables: addresses, settings, results."""

import subprocess
import sys
from hashlib import sha256
from typing import Any

import orjson
import pytest
from botocore.session import get_session
from pydantic import ValidationError

from bridge.consumers.codepipeline import Codepipeline, CodepipelineAddress, CodepipelineSettings
from bridge.consumers.codepipeline.results import (
    MAX_EXECUTION_ID,
    MAX_MESSAGE,
    MAX_SUMMARY,
    NO_JOB,
    PUT_FAILURE,
    PUT_SUCCESS,
    FailureType,
    Unfit,
    cut,
    output_variables,
    plan,
    substitute,
    trial,
)
from bridge.coordinator.errors import Rejected
from bridge.coordinator.registry import Target, read_address
from bridge.core.consumer import load_consumer
from bridge.core.event import Event, EventData, Outcome
from bridge.core.outcome import Refused
from bridge.core.resolution import Resolution
from bridge.testing.fleet import Script
from tests.support.fakes import START, a_resolution

JOB = "11111111-abcd-1111-abcd-111111abcdef"
MODEL = get_session().get_service_model("codepipeline")


def settings(**more: Any) -> CodepipelineSettings:
    return CodepipelineSettings.model_validate({"consumer": "codepipeline", "region": "eu-west-1", **more})


def said(outcome: Outcome, body: Any = None, summary: str = "") -> Resolution:
    event = Event.new(source="farm", type="done", time=START, data=EventData(summary=summary, body=body))
    return a_resolution(outcome=outcome, event=None if outcome is Outcome.TIMED_OUT else event)


def limit(shape: str, key: str = "max") -> Any:
    return MODEL.shape_for(shape).metadata[key]


# --- addresses and settings


@pytest.mark.parametrize(
    ("raw", "slug", "pointer"),
    [
        ({"job_id": "bG9uZyBiYXNlNjQ="}, "invalid", "/address/job_id"),
        ({"approval": {"pipeline": "p", "stage": "s", "action": "a"}, "client_id": JOB}, "invalid", "/address"),
        ({"work": ""}, "invalid", "/address/work"),
        ({"work": "a/b"}, "invalid", "/address/work"),
        ({"work": "w" * 65}, "invalid", "/address/work"),
        ({"work": "w", "job_id": JOB}, "invalid", "/address"),
        ({"work": "w", "client_id": JOB}, "invalid", "/address"),
        ({"client_id": JOB}, "invalid", "/address"),
        ({"job_id": "x", "client_id": JOB.upper()}, "invalid", "/address/client_id"),
        ({"job_id": "x" * 513, "client_id": JOB}, "invalid", "/address/job_id"),
        ({"approval": {"pipeline": "p", "stage": "s"}}, "invalid", "/address/approval/action"),
        ({"approval": {"pipeline": "p/q", "stage": "s", "action": "a"}}, "invalid", "/address/approval/pipeline"),
        (
            {"approval": {"pipeline": "p", "stage": "s", "action": "a", "token": JOB.upper()}},
            "invalid",
            "/address/approval/token",
        ),
        ({"job_id": JOB.upper()}, "invalid", "/address/job_id"),
        ({"job_id": f"{JOB}\n"}, "invalid", "/address/job_id"),
        ({"job_id": ""}, "invalid", "/address/job_id"),
        ({"job_id": 7}, "invalid", "/address/job_id"),
        ({"job_id": None}, "invalid", "/address"),
        ({}, "invalid", "/address"),
        ({"job_id": JOB, "jobid": JOB}, "invalid", "/address/jobid"),
    ],
    ids=str,
)
def test_addresses_that_are_refused(raw: dict[str, Any], slug: str, pointer: str) -> None:
    """What comes in a later version is told from a mistake, each with its field."""
    target = Target("aws", load_consumer("codepipeline"), settings())
    with pytest.raises(Rejected) as caught:
        read_address(target, raw)
    problem = caught.value.problem
    assert problem.type == f"/problems/{slug}"
    assert [error.pointer for error in problem.errors or ()] == [pointer]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"job_id": JOB}, JOB),
        ({"job_id": "bG9uZyBiYXNlNjQ=", "client_id": JOB}, "bG9uZyBiYXNlNjQ="),
        ({"work": "load_Test-7"}, "work:load_Test-7"),
        ({"approval": {"pipeline": "p", "stage": "s", "action": "a"}}, '["approval","p","s","a"]'),
        (
            {"approval": {"pipeline": "p", "stage": "s", "action": "a", "token": JOB}},
            f'["approval","p","s","a","{sha256(JOB.encode()).hexdigest()}"]',
        ),
    ],
    ids=str,
)
def test_one_wait_for_one_place(raw: dict[str, Any], expected: str) -> None:
    """A job's id, a work's id with a prefix that no job has, an approval's place with a hash of its token."""
    assert CodepipelineAddress.model_validate(raw).canonical(settings()) == expected


async def test_a_work_needs_the_agent() -> None:
    """A plain worker refuses a work, looked at or resumed, and asks AWS nothing."""
    consumer = Codepipeline(settings(), Script([]))
    address = CodepipelineAddress(work="load-test-7")
    with pytest.raises(Refused, match="needs the agent"):
        await consumer.look_closely(address)
    ending = await consumer.resume_seen(address, said(Outcome.SUCCEEDED), None)
    assert isinstance(ending, Refused)
    assert "needs the agent" in ending.reason


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "https://codepipeline.eu-west-1.amazonaws.com"),
        ({"region": "us-gov-west-1"}, "https://codepipeline.us-gov-west-1.amazonaws.com"),
        ({"region": "cn-north-1"}, "https://codepipeline.cn-north-1.amazonaws.com.cn"),
        ({"endpoint_url": "http://127.0.0.1:4566/"}, "http://127.0.0.1:4566"),
    ],
)
def test_each_region_has_its_host(given: dict[str, str], expected: str) -> None:
    """The host follows from the Region unless it is given."""
    assert settings(**given).base_url == expected


@pytest.mark.parametrize("region", sorted(get_session().get_available_regions("codepipeline")))
def test_every_region_of_botocore_is_one(region: str) -> None:
    """The pattern takes every Region that has a CodePipeline, and makes the host that botocore calls."""
    client = get_session().create_client(
        "codepipeline",
        region_name=region,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",  # noqa: S106 - signs nothing
    )
    assert client.meta.endpoint_url == settings(region=region).base_url


@pytest.mark.parametrize(
    "given",
    [
        {"region": "evil.example/"},
        {"region": "EU-WEST-1"},
        {"endpoint_url": "https://aws.example/path"},
        {"endpoint_url": "https://user:secret@aws.example"},
        {"access_key_id": "AKIDEXAMPLE"},
        {"secret_access_key": "secret"},
        {"session_token": "token"},
        {"role_arn": "arn:aws:iam::111122223333:user/bridge"},
        {"external_id": "tenant-7"},
        {"sts_endpoint_url": "https://sts.example/?a=b"},
        {"s3_endpoint_url": "https://user:secret@s3.example/"},
    ],
    ids=str,
)
def test_settings_that_are_refused(given: dict[str, str]) -> None:
    """No host but AWS's or a whole other one, no half of a key, and nothing that would be read and not done."""
    with pytest.raises(ValidationError):
        settings(**given)


def test_nothing_of_aws_is_imported_until_it_is_called() -> None:
    """A coordinator reads addresses without the extra `aws`."""
    script = (
        "import sys; from bridge.core.consumer import load_consumer; load_consumer('codepipeline');"
        "print([name for name in sys.modules if name.split('.')[0] in ('aiobotocore', 'botocore')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603 - a fixed script
    assert done.stdout.strip() == "[]"


# --- results


def test_limits_are_those_of_the_service_model() -> None:
    """Each constant is what botocore's model says."""
    assert limit("ExecutionSummary") == MAX_SUMMARY
    assert limit("ExecutionId") == MAX_EXECUTION_ID
    assert limit("Message") == MAX_MESSAGE
    assert limit("FailureType", "enum") == [kind.value for kind in FailureType]
    assert limit("OutputVariablesKey", "pattern") == r"[A-Za-z0-9@\-_]+"


@pytest.mark.parametrize(
    ("body", "summary", "shown"),
    [
        (None, "", "succeeded"),
        (None, "12 of 12", "12 of 12"),
        ({"summary": "in full"}, "in fu", "in full"),
        ({"summary": "  "}, "", "succeeded"),
        ({"summary": 7}, "", "7"),
        ({"summary": ["no"]}, "line", "line"),
        (["a list"], "line", "line"),
        ("text", "line", "line"),
    ],
)
def test_a_success_says_what_the_remote_said(body: Any, summary: str, shown: str) -> None:
    """The body's summary, else the event's, else the outcome; never a continuation token."""
    put = plan(JOB, said(Outcome.SUCCEEDED, body, summary))
    assert put.operation == PUT_SUCCESS
    assert put.members == {"jobId": JOB, "executionDetails": {"summary": shown, "percentComplete": 100}}
    assert put.unfit == ""


@pytest.mark.parametrize(
    ("outcome", "body", "details"),
    [
        (Outcome.FAILED, None, {"type": "JobFailed", "message": "failed"}),
        (Outcome.CANCELLED, None, {"type": "JobFailed", "message": "cancelled"}),
        (Outcome.TIMED_OUT, None, {"type": "JobFailed", "message": "timed out"}),
        (
            Outcome.FAILED,
            {"failure_type": "PermissionError", "summary": "no", "external_execution_id": 42},
            {"type": "PermissionError", "message": "no", "externalExecutionId": "42"},
        ),
        (Outcome.FAILED, {"failure_type": ["JobFailed"]}, {"type": "JobFailed", "message": "failed"}),
        (Outcome.FAILED, {"failure_type": {}}, {"type": "JobFailed", "message": "failed"}),
        (Outcome.FAILED, {"external_execution_id": True}, {"type": "JobFailed", "message": "failed"}),
    ],
)
def test_every_other_outcome_is_a_failure(outcome: Outcome, body: Any, details: dict[str, str]) -> None:
    """With a type of the model, a message and the execution id."""
    put = plan(JOB, said(outcome, body))
    assert (put.operation, put.members) == (PUT_FAILURE, {"jobId": JOB, "failureDetails": details})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        ("", {}),
        (" ", {}),
        ({}, {}),
        ("null", {}),
        ({"A-b_c@1": "x"}, {"A-b_c@1": "x"}),
        (
            {"n": 1, "f": 1.5, "t": True, "o": {"a": [1]}, "z": None},
            {"n": "1", "f": "1.5", "t": "true", "o": '{"a":[1]}'},
        ),
        ('{"A": "x"}', {"A": "x"}),
        ({"V": "x" * 122_879}, {"V": "x" * 122_879}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_output_variables_are_texts(value: Any, expected: dict[str, str]) -> None:
    """Texts stay, other values become JSON, null is left out; a form's JSON is read."""
    assert output_variables(value) == expected


@pytest.mark.parametrize(
    "value",
    [[], 7, True, "text", '"text"', "[1]", {"a b": "x"}, {"": "x"}, {"é": "x"}, {"a\n": "x"}, {"V": "é" * 61_440}],
    ids=lambda value: str(value)[:40],
)
def test_output_variables_that_aws_would_refuse(value: Any) -> None:
    """They become a failure of the configuration, with a reason that repeats nothing of them."""
    with pytest.raises(Unfit):
        output_variables(value)
    put = plan(JOB, said(Outcome.SUCCEEDED, {"output_variables": value}))
    assert put.operation == PUT_FAILURE
    assert put.members["failureDetails"]["type"] == "ConfigurationError"
    assert put.unfit in put.members["failureDetails"]["message"]


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("\U0001f600\U0001f600", 4, "\U0001f600\U0001f600"),
        ("\U0001f600\U0001f600", 3, "\U0001f600…"),
        ("a\U0001f600\U0001f600", 3, "a…"),
    ],
)
def test_texts_are_cut_by_utf_16_units(text: str, most: int, expected: str) -> None:
    """A character outside the basic plane counts twice and is never halved."""
    assert cut(text, most) == expected


def test_a_substitute_fits() -> None:
    """However long the reason is, its message is taken."""
    assert len(substitute(JOB, "x" * 9000).members["failureDetails"]["message"]) == MAX_MESSAGE


@pytest.mark.parametrize(
    "operation",
    [
        "GetJobDetails",
        PUT_SUCCESS,
        PUT_FAILURE,
        "GetThirdPartyJobDetails",
        "PutThirdPartyJobSuccessResult",
        "PutThirdPartyJobFailureResult",
    ],
)
def test_a_trial_names_no_job(operation: str) -> None:
    """It is a whole request for a job that cannot be."""
    members = trial(operation)
    assert members["jobId"] == NO_JOB
    assert set(MODEL.operation_model(operation).input_shape.required_members) <= set(members)
    assert orjson.dumps(members)
