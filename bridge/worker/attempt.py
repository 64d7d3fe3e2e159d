"""One attempt: from a resolution to an ending. Every fault becomes a value here; nothing is settled here.

Law (DESIGN section 3, rule 9): what may have been sent before is looked at before it is sent again. Three ways:

    the platform tells an answered place from one not reached   look when in doubt, then send
    it does not (Consumer.tells_answered is False)              look always; before the first send the coordinator is told
    the address may be reached again under its name (repeats)   look; the coordinator stores a mark; send once; in doubt, stop
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, TypeVar, get_args

import structlog
from pydantic import SecretStr, ValidationError

from bridge.core.consumer import Address, AddressError, Consumer
from bridge.core.errors import Unanswered, Unopened, Unreachable
from bridge.core.outcome import (
    AlreadyDone,
    CredentialRefused,
    Ending,
    Gone,
    Health,
    InDoubt,
    Later,
    NotYet,
    Refused,
    Sight,
    Standing,
    Unmarked,
)
from bridge.core.problem import pointer
from bridge.core.resolution import Resolution
from bridge.core.sealed import Location, Unseal, is_sealed, no_key, of_address, of_client, with_secrets
from bridge.ops.faults import places
from bridge.outbound import Unsendable
from bridge.worker.breaker import Sign, probe
from bridge.worker.reporting import Redaction
from bridge.worker.trail import Trail

ATTEMPT_TIMEOUT_S = 300.0
"""A bound for a consumer that never comes back: far below the broker's own on an unsettled delivery (30 min)."""

T = TypeVar("T")
Announce: TypeAlias = Callable[[Resolution, Trail], Awaitable[None]]

_ENDINGS = get_args(Ending)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one attempt.

    sign: what it says about the platform.
    is_announced: the coordinator was told of the send during this attempt.
    note: the ending's reason, short and without secrets.
    """

    ending: Ending
    sign: Sign = Sign.WELL
    is_announced: bool = False
    note: str = ""


class _Ended(Exception):
    """Carries an ending, with what it says about the platform, out of a call."""

    def __init__(self, ending: Ending, sign: Sign) -> None:
        super().__init__()
        self.ending = ending
        self.sign = sign


class Attempts:
    """Makes attempts on one target.

    announce: tells the coordinator, confirmed, that a dispatch is about to be sent. What it raises passes through.
    unseal: opens the sealed fields of an address.
    """

    def __init__(
        self,
        consumer: Consumer[Any, Any],
        *,
        announce: Announce,
        unseal: Unseal = no_key,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
    ) -> None:
        self._consumer = consumer
        self._announce = announce
        self._unseal = unseal
        self._timeout_s = timeout_s

    async def make(self, resolution: Resolution, trail: Trail) -> Result:
        """Attempt *resolution* once.

        Raises:
            BrokerUnavailable, Unroutable: the announcement was not confirmed, so nothing was sent.
        """
        try:
            address = self.address_of(resolution)
        except AddressError as exc:
            refused = _refused(exc)
            return Result(refused, Sign.NOTHING, note=Redaction(self._consumer.settings)(refused.reason))
        course = _Course(self._consumer, self._announce, address, resolution, trail)
        ending, sign = await self._within_bound(course)
        return Result(ending, sign, course.is_announced, Redaction(self._consumer.settings, address)(ending.reason))

    async def _within_bound(self, course: "_Course") -> tuple[Ending, Sign]:
        try:
            async with asyncio.timeout(self._timeout_s):
                ending = await course.run()
        except _Ended as ended:
            return ended.ending, ended.sign
        except TimeoutError:
            late = Later(f"the attempt did not end within {self._timeout_s:g} s", is_doubtful=course.is_sent)
            return late, Sign.FAILED
        return ending, _sign(ending)

    def address_of(self, resolution: Resolution) -> Address:
        """Open the address's secret fields, read it with the consumer's own model, and give it its client's token.

        Raises:
            AddressError: it cannot be opened, is not one of this platform, or its client has no token; the text never
                holds its values.
        """
        address = self._read(resolution)
        client = address.third_party_client
        if client is None:
            return address
        if resolution.client_token is None:
            raise AddressError("", "its third-party client has no token: `bridge client set`, then replay")
        try:
            return address.with_client_token(self._unseal(resolution.client_token, of_client(client)))
        except Unopened as exc:
            raise AddressError("", f"the token of its third-party client {exc}") from None

    def _read(self, resolution: Resolution) -> Address:
        kind = self._consumer.address_type
        secrets: list[SecretStr] = []

        def opened(location: Location, text: str) -> str:
            if is_sealed(text):  # else it was registered before its field was a secret: its pipeline waits all the same
                text = self._opened(text, resolution, location)
            secrets.append(SecretStr(text))
            return text

        try:
            return kind.model_validate(with_secrets(kind, resolution.address, opened))
        except ValidationError as exc:
            first = exc.errors(include_input=False, include_url=False)[0]
            place = "".join(f"/{part}" for part in first["loc"])
            raise AddressError(place, Redaction(secrets)(first["msg"])) from None

    def _opened(self, text: str, resolution: Resolution, location: Location) -> str:
        try:
            return self._unseal(text, of_address(resolution.target, resolution.wait, location))
        except Unopened as exc:
            raise AddressError(pointer(location), str(exc)) from None


class _Course:
    """The steps of one attempt, and how far it went."""

    def __init__(
        self,
        consumer: Consumer[Any, Any],
        announce: Announce,
        address: Address,
        resolution: Resolution,
        trail: Trail,
    ) -> None:
        self._consumer = consumer
        self._announce = announce
        self._address = address
        self._resolution = resolution
        self._trail = trail
        self.is_announced = False
        self.is_sent = False

    async def run(self) -> Ending:
        if self._address.is_repeated:
            return await (self._cleared() if self._resolution.is_cleared else self._uncleared())
        if not self._consumer.tells_answered:
            return await self._untold()
        return await self._told()

    async def _told(self) -> Ending:
        """The platform tells an answered place: look only when in doubt."""
        if not self._trail.in_doubt:
            return await self._send(None)
        sight = await self._look()
        if sight.standing is Standing.WAITING:
            return await self._send(sight)
        return _unsent(sight)

    async def _untold(self) -> Ending:
        """The platform does not tell an answered place from one not reached: the coordinator remembers the first send."""
        sight = await self._look()
        match sight.standing:
            case Standing.WAITING:
                await self._tell()
                return self._ours_perhaps(await self._send(sight))
            case Standing.ABSENT if self._trail.in_doubt or self._trail.is_announced:
                return InDoubt(sight.note)
            case Standing.GONE if self._trail.in_doubt:  # it may have gone on and ended because of us
                return InDoubt(sight.note)
            case _:
                return _unsent(sight)

    def _ours_perhaps(self, ending: Ending) -> Ending:
        """Say of a place that waited a moment ago and is over now that an earlier copy's call, late, may have done it."""
        return InDoubt(ending.reason) if isinstance(ending, Gone) and self._trail.in_doubt else ending

    async def _uncleared(self) -> Ending:
        """Ask for the mark once the place is reached; nothing was or is sent."""
        sight = await self._look()
        return Unmarked(sight.note) if sight.standing is Standing.WAITING else _unsent(sight)

    async def _cleared(self) -> Ending:
        """Send once. In doubt a look helps nothing: what waits now may be the next occurrence."""
        if self._trail.in_doubt:
            return InDoubt()
        sight = await self._look()
        match sight.standing:
            case Standing.WAITING:
                return await self._send(sight)
            case Standing.GONE:
                return Gone(sight.note)
            case _:  # it was waiting when the mark was asked for, and we have sent nothing
                return AlreadyDone(sight.note or "no longer pending")

    async def _tell(self) -> None:
        if not self._trail.is_announced:
            await self._announce(self._resolution, self._trail)
            self.is_announced = True

    async def _look(self) -> Sight:
        return await self._ask(self._consumer.look_closely(self._address))

    async def _send(self, sight: Sight | None) -> Ending:
        self.is_sent = True
        return await self._ask(self._consumer.resume_seen(self._address, self._resolution, sight))

    async def _ask(self, question: Awaitable[T]) -> T:
        """Await the consumer and turn whatever it raises into an ending.

        Raises:
            _Ended: always the only one.
        """
        try:
            return await question
        except _ENDINGS as ending:
            raise _Ended(ending, _sign(ending)) from None
        except AddressError as exc:
            raise _Ended(_refused(exc), Sign.NOTHING) from None
        except Unsendable as exc:
            raise _Ended(Refused(str(exc)), Sign.NOTHING) from None
        except Unreachable as exc:
            raise _Ended(Later(str(exc)), Sign.FAILED) from None
        except Unanswered as exc:
            raise _Ended(Later(str(exc), is_doubtful=self.is_sent), Sign.FAILED) from None
        except CredentialRefused as exc:
            await self._blame(exc)
        except Exception as exc:  # noqa: BLE001 - one consumer's bug must lose no resolution
            _log.error("consumer_failed", wait=self._resolution.wait, fault=type(exc).__name__, at=places(exc))
            bug = Later(f"the consumer failed: {type(exc).__name__}", is_doubtful=self.is_sent)
            raise _Ended(bug, Sign.NOTHING) from None

    async def _blame(self, refusal: CredentialRefused) -> NoReturn:
        """Say whose fault a 401 or 403 is: the resolution's own when our credential is good."""
        match await probe(self._consumer):
            case Health.UP:
                raise _Ended(Refused(f"{refusal}, with a good credential"), Sign.WELL) from None
            case Health.CREDENTIAL:
                raise _Ended(Later("credential refused"), Sign.CREDENTIAL) from None
            case _:
                raise _Ended(Later(f"{refusal}, and the health call failed"), Sign.FAILED) from None


def _refused(fault: AddressError) -> Refused:
    return Refused(f"address{fault.pointer}: {fault.detail}")


def _unsent(sight: Sight) -> Ending:
    """Return the ending of a look that leaves nothing to send."""
    match sight.standing:
        case Standing.ANSWERED:
            return AlreadyDone(sight.note)
        case Standing.GONE:
            return Gone(sight.note)
        case _:
            return NotYet(sight.note)


def _sign(ending: Ending) -> Sign:
    if not isinstance(ending, Later):
        return Sign.WELL
    return Sign.NOTHING if ending.is_throttled else Sign.FAILED
