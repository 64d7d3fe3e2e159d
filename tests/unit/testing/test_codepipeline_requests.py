"""The CodePipeline emulator's shapes: against the service model in botocore, and what is said about a bad request."""

from typing import Any

import botocore.session
import pytest

from bridge.testing.codepipeline.errors import ServiceError
from bridge.testing.codepipeline.requests import REQUESTS
from bridge.testing.codepipeline.shapes import Mapping, Moment, Shape, Struct, Text, Whole, check

MODEL = botocore.session.get_session().get_service_model("codepipeline")
JOB = "11111111-abcd-1111-abcd-111111abcdef"


def as_modelled(shape: Any) -> Shape:
    """Return botocore's *shape* as one of ours."""
    limits = shape.metadata
    match shape.type_name:
        case "structure":
            members = {name: as_modelled(member) for name, member in shape.members.items()}
            return Struct(members, frozenset(shape.required_members))
        case "map":
            key, value = as_modelled(shape.key), as_modelled(shape.value)
            assert isinstance(key, Text)
            assert isinstance(value, Text)
            return Mapping(key, value, limits.get("max"))
        case "integer":
            return Whole(limits.get("min"), limits.get("max"))
        case "timestamp":
            return Moment()
        case "string":
            pattern = shape.metadata.get("pattern")
            return Text(limits.get("min"), limits.get("max"), pattern, tuple(shape.metadata.get("enum", ())))
        case other:
            raise AssertionError(f"no such type: {other}")


@pytest.mark.parametrize("operation", sorted(REQUESTS))
def test_requests_are_those_of_the_service_model(operation: str) -> None:
    """Members, required members, limits, patterns and enumerations are the model's."""
    modelled = as_modelled(MODEL.operation_model(operation).input_shape)
    assert spelled_alike(REQUESTS[operation]) == spelled_alike(modelled)


def spelled_alike(shape: Shape) -> Any:
    """Return a comparable form: the order of an enumeration says nothing."""
    match shape:
        case Struct(members, required):
            return {name: spelled_alike(member) for name, member in members.items()}, required
        case Mapping(key, value, most):
            return spelled_alike(key), spelled_alike(value), most
        case Text(least, most, pattern, choices):
            return least, most, pattern, frozenset(choices)
        case _:
            return shape


def refused(operation: str, request: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        check(REQUESTS[operation], request)
    return caught.value


def test_all_problems_are_named_at_once() -> None:
    """One ValidationException names every broken member with its path."""
    error = refused("PutJobFailureResult", {"jobId": "x", "failureDetails": {"type": "Odd", "message": ""}})
    assert error.code == "ValidationException"
    assert error.text.startswith("3 validation errors detected: ")
    assert "Value 'Odd' at 'failureDetails.type' failed to satisfy constraint: Member must satisfy enum" in error.text
    assert "at 'failureDetails.message' failed to satisfy constraint: Member must have length greater" in error.text
    assert "Value 'x' at 'jobId' failed to satisfy constraint: Member must satisfy regular expression" in error.text


def test_a_missing_member_is_named() -> None:
    """A required member that is absent or null is a problem of its own."""
    error = refused("AcknowledgeJob", {"jobId": JOB, "nonce": None})
    assert error.text == (
        "1 validation error detected: Value null at 'nonce' failed to satisfy constraint: Member must not be null"
    )


@pytest.mark.parametrize(
    "request_",
    [
        [],
        {"jobId": 1},
        {"jobId": JOB, "executionDetails": "done"},
        {"jobId": JOB, "executionDetails": {"percentComplete": 1.5}},
        {"jobId": JOB, "executionDetails": {"percentComplete": True}},
        {"jobId": JOB, "outputVariables": {"A": 1}},
        {"jobId": JOB, "outputVariables": {"A": None}},
        {"jobId": JOB, "currentRevision": {"revision": "r", "changeIdentifier": "c", "created": "2026-01-01"}},
    ],
)
def test_a_wrong_type_is_another_error(request_: Any) -> None:
    """A member of a wrong JSON type is a SerializationException."""
    assert refused("PutJobSuccessResult", request_).code == "SerializationException"


def test_what_is_checked_is_what_is_used() -> None:
    """Nulls of optional members and unknown members are gone after the check."""
    request = {"jobId": JOB, "continuationToken": None, "executionDetails": {"summary": "s", "new": 1}, "new": 1}
    assert check(REQUESTS["PutJobSuccessResult"], request) == {"jobId": JOB, "executionDetails": {"summary": "s"}}
