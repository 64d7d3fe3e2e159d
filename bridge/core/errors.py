"""The error tree. Adapters translate driver errors at their edge, `raise ... from exc`.

BridgeError
├── ConfigError            the start-up ends; carries every problem, each with its key
├── IntakeError            the caller's fault; carries the HTTP status; ingress answers, nothing is published
│   ├── UnknownSource      404
│   ├── BadSignature       401
│   ├── Stale              401  timestamp outside the window
│   ├── TooLarge           413
│   ├── Malformed          400
│   ├── UnsupportedEncoding 415
│   ├── NotAllowed         405
│   └── Expired            410  a callback URL of ours whose wait is over
├── ErrandFailed           a sender's own host did not answer: 503, the sender tries again
├── BrokerUnavailable      nothing is known to be stored, nothing was settled; callers answer 503 or try again
├── Unroutable             the broker returned the message: nobody declared its queue
├── StoreUnavailable       the transaction did not happen; the coordinator stops consuming until the store is back
├── Undecodable            a body that is no message of ours: dead letter, no attempt
├── Unopened               a sealed text cannot be opened here: the resolution is refused, nothing was sent
└── HttpFault              no reply came
    ├── Unreachable        the request was certainly not delivered
    └── Unanswered         the request may have been delivered: in doubt, the repeat looks first
"""

from http import HTTPStatus


class BridgeError(Exception):
    """Root of everything this package raises on purpose."""


class ConfigError(BridgeError):
    """The configuration cannot be used. `problems`: one `key: what was expected` line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class IntakeError(BridgeError):
    """A webhook was refused. The text is for our log: it never holds request bytes or secrets."""

    status: HTTPStatus = HTTPStatus.BAD_REQUEST


class UnknownSource(IntakeError):
    status = HTTPStatus.NOT_FOUND


class BadSignature(IntakeError):
    status = HTTPStatus.UNAUTHORIZED


class Stale(IntakeError):
    status = HTTPStatus.UNAUTHORIZED


class TooLarge(IntakeError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class Malformed(IntakeError):
    status = HTTPStatus.BAD_REQUEST


class UnsupportedEncoding(IntakeError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class NotAllowed(IntakeError):
    status = HTTPStatus.METHOD_NOT_ALLOWED


class Expired(IntakeError):
    status = HTTPStatus.GONE


class ErrandFailed(BridgeError):
    """What a source needs from its sender's own host could not be had now; nothing was published that was not published before."""


class BrokerUnavailable(BridgeError):
    """No confirm came. What was published may or may not be stored: repeat it, never assume."""


class Unroutable(BridgeError):
    """The broker stored nothing: no queue is bound to that route (a coordinator declares them all)."""


class StoreUnavailable(BridgeError):
    """The store did not answer; the transaction counts as not made, or made and harmless to repeat."""


class Undecodable(BridgeError):
    """A message body that is not in the shape of its schema."""


class Unopened(BridgeError):
    """A sealed text cannot be opened. The text says why, for people, as the end of a sentence about it; it holds nothing of it."""


class HttpFault(BridgeError):
    """An outbound call without a reply."""


class Unreachable(HttpFault):
    """No connection was made, so nothing was delivered."""


class Unanswered(HttpFault):
    """The connection broke or timed out after the request may have arrived."""
