"""What an answer of CodePipeline means: by its error code, never by its status, which is 400 for almost everything.

Contract: 200 and an empty body, or a JSON object; else `{"__type": "[namespace#]Code", "message" or "Message": "…"}`. The
          message may repeat what we sent, so it is never told.
Source:   AWS service model 2015-07-09; botocore's parsers.py (2026-11) for the spellings of the code.
"""

import re
from datetime import datetime
from http import HTTPStatus

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

DENIED = frozenset({"AccessDeniedException", "AccessDenied"})
"""Known and not allowed: the operation is missing from its policy."""
EXPIRED = frozenset({"ExpiredTokenException", "ExpiredToken"})
"""A newer credential may do."""

_NOT_BELIEVED = frozenset(
    {
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_CREDENTIAL = DENIED | EXPIRED | _NOT_BELIEVED
_THROTTLED = frozenset(
    {
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_FAILING = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServerException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
_ELSEWHERE = frozenset({"InvalidAction", "UnknownOperation", "UnknownOperationException"})
"""The endpoint is not CodePipeline's: ours to mend."""
_CODE = re.compile(r"[A-Za-z]{1,80}")


class Code:
    """What an operation answers about the job it names."""

    ENDED = "InvalidJobStateException"
    UNKNOWN = "JobNotFoundException"
    INVALID = "ValidationException"
    CLIENT = "InvalidClientTokenException"
    """A partner's customer, not us: our own credential is refused as InvalidClientTokenId."""


UNCONFIRMED = "unconfirmed: the job has ended, and an answer to an earlier attempt was lost"
ENDED = "the job has ended: it timed out, its execution was stopped, or somebody else answered"
UNKNOWN = "no such job in this account and Region, or it ended long ago"


def error_code(reply: Reply) -> str:
    """Return the code of an error of AWS, without its namespace; empty where *reply* is none."""
    body = reply.json()
    if not isinstance(body, dict):
        return ""
    given = body.get("__type") or reply.headers.get("x-amzn-errortype") or ""
    code = str(given).rpartition("#")[2].partition(":")[0]
    return code if _CODE.fullmatch(code) else ""


def screen(reply: Reply, *, now: datetime, is_put: bool) -> str:
    """Return the code that is for the operation to judge; empty: it was done.

    Raises:
        CredentialRefused: we are not believed, or not allowed.
        Later: throttled, failing, or not an answer of AWS. A Put may have been applied, unless it was throttled.
    """
    code = error_code(reply)
    if code in _CREDENTIAL or (not code and reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)):
        raise CredentialRefused(reply.status)
    if code in _THROTTLED or (not code and reply.status == HTTPStatus.TOO_MANY_REQUESTS):
        raise Later(code or "throttled", reply.retry_after(now), is_throttled=True)
    if code in _ELSEWHERE:
        raise Later(f"this is not CodePipeline: it answered {code}")
    if code in _FAILING or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        reason = f"the platform answered {reply.status} {code}".rstrip()
        raise Later(reason, reply.retry_after(now), is_doubtful=is_put)
    if not code and not _is_done(reply):
        raise Later(f"not an answer of AWS ({reply.status})", reply.retry_after(now), is_doubtful=is_put)
    return code


def _is_done(reply: Reply) -> bool:
    """Return True for 200 with nothing or a JSON object: a proxy's page is 200 too."""
    return reply.status == HTTPStatus.OK and (not reply.body.strip() or isinstance(reply.json(), dict))


def judge(code: str, *, is_in_doubt: bool) -> Ending:
    """Say what became of a Put. is_in_doubt: an earlier one may have been applied."""
    match code:
        case "":
            return Done()
        case Code.ENDED:
            return AlreadyDone(UNCONFIRMED) if is_in_doubt else Gone(ENDED)
        case Code.UNKNOWN:
            return Gone(UNKNOWN)
        case _:
            return Refused(f"AWS answered {code}")


def sight(code: str) -> Sight:
    """Say where a job stands: GetJobDetails tells that there is one, and not its state.

    Raises:
        Refused: it cannot be asked about.
    """
    match code:
        case "":
            return Sight(Standing.WAITING)
        case Code.UNKNOWN:
            return Sight(Standing.GONE, UNKNOWN)
        case _:
            raise Refused(f"AWS answered {code}")


def condition(reply: Reply, *, now: datetime) -> Health:
    """Read the answer to an operation on no job: that there is no such job is what a healthy CodePipeline says."""
    try:
        code = screen(reply, now=now, is_put=False)
    except CredentialRefused:
        return Health.CREDENTIAL
    except Later as later:
        return Health.UP if later.is_throttled else Health.DOWN
    return Health.UP if code in (Code.UNKNOWN, Code.ENDED, Code.INVALID, Code.CLIENT) else Health.DOWN
