"""Continuing a setup pipeline: the call, and what its answer means. Pure, so that their tests are tables.

Contract: POST /api/v2/pipeline/continue {"continuation-key", "configuration", "parameters"}   200
          the key alone authorises it, once in a pipeline and within six hours; at most 100 parameters, names of 128 and
          values of 512 characters, each declared by the configuration; string, integer, boolean
          409: used or expired. 400, 404: an unknown key, a wrong configuration or parameter. What is said to one that is
          not in setup is not documented
Source:   OpenAPI 3.0.3 "CircleCI API v2" (2025-02); CircleCI documentation, "Dynamic configuration" (2026-08);
          CircleCI-Public/continuation-orb, src/scripts/continue.sh
"""

from http import HTTPStatus
from typing import Any, TypeAlias

import orjson
from pydantic import SecretStr

from bridge.consumers.circleci.address import MAX_VALUE, CircleciAddress
from bridge.consumers.circleci.reading import JSON
from bridge.core.expression import document_of, search
from bridge.core.outcome import AlreadyDone, Done, Ending, Gone, Later, Refused, Standing
from bridge.core.request import Call, Reply
from bridge.core.resolution import Resolution

OUTCOME_ALONE = {"outcome": "outcome"}
"""What is sent where the address names no parameters: a pipeline that is not told must not go on as if all were well."""

Value: TypeAlias = str | int | bool


def plan_continue(address: CircleciAddress, resolution: Resolution) -> Call:
    """Return the call that continues the pipeline of *address*.

    Raises:
        Refused: a value is longer than CircleCI takes.
    """
    document = document_of(resolution)
    expressions = OUTCOME_ALONE if address.parameters is None else address.parameters
    computed = {name: search(expression, document) for name, expression in expressions.items()}
    body = {
        "continuation-key": (address.continuation_key or SecretStr("")).get_secret_value(),
        "configuration": address.configuration,
        "parameters": {name: value_of(name, value) for name, value in computed.items() if value is not None},
    }
    return Call.post("/api/v2/pipeline/continue", json=body, headers=JSON, is_signed=False)


def value_of(name: str, value: Any) -> Value:
    """Return *value* as a pipeline parameter: text, whole numbers and booleans as they are, all else as compact JSON.

    Raises:
        Refused: it is longer than CircleCI takes.
    """
    fit = value if isinstance(value, str | int) else orjson.dumps(value).decode()
    if len(str(fit)) > MAX_VALUE:
        raise Refused(f"parameter {name}: {len(str(fit))} characters; CircleCI takes {MAX_VALUE}")
    return fit


def judge_continue(reply: Reply, *, is_in_doubt: bool) -> Ending:
    """Say what *reply* means.

    is_in_doubt: an earlier attempt of ours may have used the key up.
    """
    match reply.status:
        case HTTPStatus.OK:
            return Done() if isinstance(reply.json(), dict) else Later("not CircleCI's answer (200)", is_doubtful=True)
        case HTTPStatus.CONFLICT if is_in_doubt:
            return AlreadyDone("continued by an earlier attempt")
        case HTTPStatus.CONFLICT:
            return Gone("the pipeline was continued already, or its continuation key is over")
        case (
            HTTPStatus.BAD_REQUEST | HTTPStatus.FORBIDDEN | HTTPStatus.NOT_FOUND | HTTPStatus.UNPROCESSABLE_ENTITY as no
        ):
            also = ", or an earlier attempt has continued it" if is_in_doubt else ""
            return Refused(f"CircleCI answered {no}: the continuation's key, configuration or parameters{also}")
        case status:  # a proxy's page, a redirect
            return Later(f"not CircleCI's answer ({status})", is_doubtful=True)


def standing_of(state: str | None) -> Standing:
    """Say where a pipeline in *state* stands: only one in its setup can be continued, or was not yet."""
    match state:
        case "setup" | "setup-pending":
            return Standing.WAITING
        case "errored":
            return Standing.GONE
        case _:
            return Standing.ANSWERED
