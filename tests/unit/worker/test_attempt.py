import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.core.consumer import AddressError
from bridge.core.errors import BrokerUnavailable, Unanswered, Unreachable
from bridge.core.outcome import (
    AlreadyDone,
    CredentialRefused,
    Done,
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
from bridge.core.request import Reply
from bridge.core.resolution import Resolution
from bridge.core.sealed import of_address, of_client
from bridge.outbound import Unsendable
from bridge.sealing import Sealing
from bridge.testing.fleet import Specimen
from bridge.worker.attempt import Attempts, Result
from bridge.worker.breaker import Sign
from bridge.worker.trail import Trail
from tests.support.acme.keyed import KeyedAcme, KeyedAddress
from tests.support.fakes import FakeConsumer, a_resolution

FRESH = Trail()
DOUBTED = Trail(in_doubt=True)
ANNOUNCED = Trail(is_announced=True)


class Case:
    """One consumer and what was announced for it."""

    def __init__(self, *, tells_answered: bool = True, timeout_s: float = 300) -> None:
        self.consumer = FakeConsumer(tells_answered=tells_answered)
        self.announced: list[Resolution] = []
        self.attempts = Attempts(self.consumer, announce=self._announce, timeout_s=timeout_s)

    async def _announce(self, resolution: Resolution, _trail: Trail) -> None:
        assert "resume" not in self.consumer.did, "the announcement must come before the send"
        self.announced.append(resolution)

    async def make(self, trail: Trail = FRESH, **more: Any) -> Result:
        return await self.attempts.make(a_resolution(**more), trail)


async def test_first_attempt_sends_without_a_look() -> None:
    """A platform that tells an answered place costs one call when nothing speaks of doubt."""
    case = Case()
    assert (await case.make()).ending == Done()
    assert case.consumer.did == ["resume"]
    assert case.announced == []


@pytest.mark.parametrize(
    ("standing", "ending", "did"),
    [
        (Standing.WAITING, Done(), ["look", "resume"]),
        (Standing.ANSWERED, AlreadyDone("by ann"), ["look"]),
        (Standing.NOT_THERE, NotYet("by ann"), ["look"]),
        (Standing.GONE, Gone("by ann"), ["look"]),
        (Standing.ABSENT, NotYet("by ann"), ["look"]),
    ],
)
async def test_doubt_looks_first(standing: Standing, ending: Ending, did: list[str]) -> None:
    """In doubt only a place that is seen waiting is answered."""
    case = Case()
    case.consumer.standings = [Sight(standing, "by ann")]
    assert (await case.make(DOUBTED)).ending == ending
    assert case.consumer.did == did


@pytest.mark.parametrize("trail", [FRESH, DOUBTED, ANNOUNCED], ids=["fresh", "doubted", "announced"])
async def test_untold_waiting_is_announced_once_then_sent(trail: Trail) -> None:
    """Where the platform does not tell, the coordinator hears of the first send before it is made, and only then."""
    case = Case(tells_answered=False)
    result = await case.make(trail)
    assert result.ending == Done()
    assert case.consumer.did == ["look", "resume"]
    assert len(case.announced) == (0 if trail.is_announced else 1)
    assert result.is_announced is not trail.is_announced


@pytest.mark.parametrize(
    ("standing", "trail", "ending"),
    [
        (Standing.NOT_THERE, FRESH, NotYet()),
        (Standing.NOT_THERE, DOUBTED, NotYet()),
        (Standing.ABSENT, FRESH, NotYet()),
        (Standing.ABSENT, DOUBTED, InDoubt()),
        (Standing.ABSENT, ANNOUNCED, InDoubt()),
        (Standing.GONE, FRESH, Gone()),
        (Standing.GONE, DOUBTED, InDoubt()),
        (Standing.GONE, ANNOUNCED, Gone()),
        (Standing.ANSWERED, FRESH, AlreadyDone()),
    ],
)
async def test_untold_without_waiting_sends_nothing(standing: Standing, trail: Trail, ending: Ending) -> None:
    """What is not waiting is neither announced nor sent; in doubt the coordinator decides."""
    case = Case(tells_answered=False)
    case.consumer.standings = [standing]
    assert (await case.make(trail)).ending == ending
    assert case.consumer.did == ["look"]
    assert case.announced == []


@pytest.mark.parametrize(("trail", "ending"), [(FRESH, Gone("over")), (DOUBTED, InDoubt("over"))])
async def test_untold_gone_while_it_was_sent_is_a_doubt_only_in_doubt(trail: Trail, ending: Ending) -> None:
    """The call of an earlier copy may have come between our look and our call, and the build gone on and ended."""
    case = Case(tells_answered=False)
    case.consumer.endings = [Gone("over")]
    assert (await case.make(trail)).ending == ending


async def test_unconfirmed_announcement_sends_nothing() -> None:
    """Without the coordinator's memory of it, no send is made: the fault passes through."""
    consumer = FakeConsumer(tells_answered=False)

    async def announce(_resolution: Resolution, _trail: Trail) -> None:
        raise BrokerUnavailable("away")

    with pytest.raises(BrokerUnavailable):
        await Attempts(consumer, announce=announce).make(a_resolution(), FRESH)
    assert consumer.did == ["look"]


async def test_look_is_handed_to_the_resume_that_follows() -> None:
    """One listing serves both: resume_seen gets what look_closely saw, and nothing when nobody looked."""
    case = Case()
    sight = Sight(Standing.WAITING, seen={"inputs": 1})
    case.consumer.standings = [sight]
    await case.make(DOUBTED)
    await case.make()
    assert case.consumer.seen == [sight, None]


@pytest.mark.parametrize(
    ("is_cleared", "trail", "standing", "ending", "did"),
    [
        (False, FRESH, Standing.WAITING, Unmarked(), ["look"]),
        (False, DOUBTED, Standing.WAITING, Unmarked(), ["look"]),
        (False, FRESH, Standing.NOT_THERE, NotYet(), ["look"]),
        (False, FRESH, Standing.ABSENT, NotYet(), ["look"]),
        (False, FRESH, Standing.GONE, Gone(), ["look"]),
        (True, FRESH, Standing.WAITING, Done(), ["look", "resume"]),
        (True, DOUBTED, Standing.WAITING, InDoubt(), []),
        (True, FRESH, Standing.ABSENT, AlreadyDone("no longer pending"), ["look"]),
        (True, FRESH, Standing.NOT_THERE, AlreadyDone("no longer pending"), ["look"]),
        (True, FRESH, Standing.GONE, Gone(), ["look"]),
    ],
)
@pytest.mark.parametrize("tells_answered", [True, False])
async def test_repeated_address_is_sent_once_and_only_with_its_mark(
    *, is_cleared: bool, trail: Trail, standing: Standing, ending: Ending, did: list[str], tells_answered: bool
) -> None:
    """A place that may come again is answered only from a cleared copy that nobody may have used."""
    case = Case(tells_answered=tells_answered)
    case.consumer.standings = [standing]
    result = await case.make(trail, address={"repeats": True}, is_cleared=is_cleared)
    assert result.ending == ending
    assert case.consumer.did == did
    assert case.announced == []


@pytest.mark.parametrize(
    ("fault", "ending", "sign"),
    [
        (Unreachable("no connection"), Later("no connection"), Sign.FAILED),
        (Unanswered("broke"), Later("broke", is_doubtful=True), Sign.FAILED),
        (Unsendable("unsafe"), Refused("unsafe"), Sign.NOTHING),
        (AddressError("/place", "unknown"), Refused("address/place: unknown"), Sign.NOTHING),
        (ValueError("secret body"), Later("the consumer failed: ValueError", is_doubtful=True), Sign.NOTHING),
        (Later("429", is_throttled=True), Later("429", is_throttled=True), Sign.NOTHING),
        (Later("503", is_doubtful=True), Later("503", is_doubtful=True), Sign.FAILED),
        (NotYet(), NotYet(), Sign.WELL),
        (Refused("no"), Refused("no"), Sign.WELL),
        (Gone("over"), Gone("over"), Sign.WELL),
    ],
)
async def test_every_fault_of_a_resume_becomes_an_ending(fault: Exception, ending: Ending, sign: Sign) -> None:
    """Raised or returned, whatever ends a resume is a value with a sign for the breaker."""

    async def fails() -> Ending:
        raise fault

    case = Case()
    case.consumer.endings = [fails]
    result = await case.make()
    assert (result.ending, result.sign) == (ending, sign)


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        (Unanswered("broke"), Later("broke")),
        (Unreachable("no connection"), Later("no connection")),
        (KeyError("x"), Later("the consumer failed: KeyError")),
    ],
)
async def test_a_fault_of_a_look_makes_no_doubt(fault: Exception, ending: Ending) -> None:
    """A look changes nothing, so its loss leaves nothing open."""
    case = Case()
    case.consumer.standings = [fault]
    assert (await case.make(DOUBTED)).ending == ending


@pytest.mark.parametrize(
    ("health", "ending", "sign"),
    [
        (Health.UP, Refused("the platform answered 403, with a good credential"), Sign.WELL),
        (Health.CREDENTIAL, Later("credential refused"), Sign.CREDENTIAL),
        (CredentialRefused(401), Later("credential refused"), Sign.CREDENTIAL),
        (Health.DOWN, Later("the platform answered 403, and the health call failed"), Sign.FAILED),
        (Unreachable("x"), Later("the platform answered 403, and the health call failed"), Sign.FAILED),
        (Later("503"), Later("the platform answered 403, and the health call failed"), Sign.FAILED),
    ],
)
async def test_a_refused_call_is_blamed_by_the_health_call(
    health: Health | Exception, ending: Ending, sign: Sign
) -> None:
    """401 and 403 are the resolution's fault only when the platform takes our credential elsewhere."""

    async def refused() -> Ending:
        raise CredentialRefused(403)

    case = Case()
    case.consumer.endings = [refused]
    case.consumer.healths = [health]
    result = await case.make()
    assert (result.ending, result.sign) == (ending, sign)


async def test_an_address_that_does_not_fit_is_refused_without_its_values() -> None:
    """A wrong address ends at once, names the field, and shows nothing of what stood there."""
    case = Case()
    result = await case.make(address={"place": ["hunter2"], "more": "hunter2"})
    assert isinstance(result.ending, Refused)
    assert "address/place" in result.note
    assert "hunter2" not in result.note
    assert case.consumer.did == []


class KeyedCase:
    """Attempts of a consumer whose addresses hold secrets."""

    def __init__(self, *keys: tuple[str, bytes]) -> None:
        self.told: list[KeyedAddress] = []
        case = self

        class Told(KeyedAcme):
            async def resume(self, address: KeyedAddress, resolution: Resolution) -> Ending:  # noqa: ARG002 - the port's shape
                case.told.append(address)
                return Refused(f"said {' '.join(address.given)}")

        async def announce(_resolution: Resolution, _trail: Trail) -> None: ...

        consumer, _ = Specimen(SPEC, {"base_url": "https://acme.example", "token": "acme-token"}, {}).make(
            Reply(200, {}, b"")
        )
        made = Told(consumer.settings, consumer.raw_http)
        more = {"unseal": Sealing(keys).open} if keys else {}
        self.attempts = Attempts(made, announce=announce, **more)  # type: ignore[arg-type] # the one argument or none

    async def make(self, address: dict[str, Any], **more: Any) -> Result:
        return await self.attempts.make(a_resolution(address={"gate": "g", **address}, **more), FRESH)


SPEC = "tests.support.acme.keyed:KeyedAcme"
KEY = ("2026a", b"a" * 32)
WAIT = a_resolution()


def sealed(text: str, *location: str | int, key: tuple[str, bytes] = KEY, wait: str = WAIT.wait) -> str:
    return Sealing([key]).seal(text, of_address(WAIT.target, wait, location))


async def test_a_sealed_address_is_opened_for_the_consumer_alone() -> None:
    """The consumer gets every secret in plain, at whatever depth; a note that repeats one shows stars."""
    case = KeyedCase(KEY)
    address = {"key": sealed("hunter2", "key"), "lock": {"name": "l", "code": sealed("4-8-15", "lock", "code")}}
    result = await case.make({**address, "codes": [sealed("swordfish", "codes", 0)]})
    assert [place.given for place in case.told] == [["hunter2", "4-8-15", "swordfish"]]
    assert result.note == "said *** *** ***"


async def test_a_text_from_before_its_field_was_secret_serves() -> None:
    """An address that was stored in plain, by an older consumer, resumes its pipeline all the same."""
    case = KeyedCase()
    await case.make({"key": "hunter2"})
    assert [place.given for place in case.told] == [["hunter2"]]


@pytest.mark.parametrize(
    ("keys", "address", "note"),
    [
        ([], {"key": sealed("hunter2", "key")}, "address/key: is sealed, and this process has no [secrets] keys"),
        (
            [("2026b", b"b" * 32)],
            {"lock": {"name": "l", "code": sealed("hunter2", "lock", "code")}},
            "address/lock/code: is sealed with the key 2026a, which is not in [secrets] keys",
        ),
        (
            [KEY],
            {"key": sealed("hunter2", "key", wait="another")},
            "address/key: cannot be opened with the key 2026a: made for something else, or changed",
        ),
        (
            [KEY],
            {"lock": {"name": "l", "code": sealed("word-hunter2", "lock", "code")}},
            "address/lock/code: Value error, *** is no code",
        ),
        (
            [KEY],
            {"key": sealed("hu", "key")},
            "address/key: Value should have at least 3 items after validation, not 2",
        ),
    ],
)
async def test_what_cannot_be_opened_is_refused_with_its_reason(
    keys: list[tuple[str, bytes]], address: dict[str, Any], note: str
) -> None:
    """The resolution ends and can be replayed when the key is back; the consumer is not called, nothing is shown."""
    case = KeyedCase(*keys)
    result = await case.make(address)
    assert result.ending == Refused(note)
    assert result.note == note
    assert result.sign is Sign.NOTHING
    assert case.told == []


CLIENT = "0a1b2c3d-0000-4000-8000-000000000001"
OTHER_CLIENT = "0a1b2c3d-0000-4000-8000-000000000002"


async def test_a_clients_token_is_opened_for_the_consumer_alone() -> None:
    """The consumer finds it in the address; a note that repeats it shows stars, and no dump of the address has it."""
    case = KeyedCase(KEY)
    token = Sealing([KEY]).seal("p4rtner-t0ken", of_client(CLIENT))
    result = await case.make({"client": CLIENT}, client_token=token)
    (place,) = case.told
    assert place.given == ["p4rtner-t0ken"]
    assert "p4rtner" not in f"{place!r} {place.model_dump_json()} {place.model_dump()}"
    assert result.note == "said ***"


async def test_a_token_that_nobody_needs_is_left_closed() -> None:
    """An address without a client gets none, whatever the message holds."""
    case = KeyedCase(KEY)
    await case.make({}, client_token="no sealed text")  # noqa: S106 - no secret of anybody
    assert [place.given for place in case.told] == [[]]
    with pytest.raises(AddressError):
        _ = case.told[0].client_token


@pytest.mark.parametrize(
    ("token", "note"),
    [
        (None, "address: its third-party client has no token: `bridge client set`, then replay"),
        (
            Sealing([KEY]).seal("p4rtner-t0ken", of_client(OTHER_CLIENT)),
            (
                "address: the token of its third-party client cannot be opened with the key 2026a: "
                "made for something else, or changed"
            ),
        ),
        (
            Sealing([("2026b", b"b" * 32)]).seal("p4rtner-t0ken", of_client(CLIENT)),
            "address: the token of its third-party client is sealed with the key 2026b, which is not in [secrets] keys",
        ),
    ],
)
async def test_without_its_clients_token_a_resolution_is_refused(token: str | None, note: str) -> None:
    """Not set, of another client, or under a key that is gone: told, and replayed when it is mended."""
    case = KeyedCase(KEY)
    result = await case.make({"client": CLIENT}, client_token=token)
    assert (result.ending, result.note) == (Refused(note), note)
    assert case.told == []


async def test_a_consumer_that_hangs_is_given_up_in_doubt() -> None:
    """The bound on an attempt ends it as later, doubtful once the send has begun."""

    async def hangs() -> Ending:
        await asyncio.Event().wait()
        raise AssertionError

    case = Case(timeout_s=0.01)
    case.consumer.endings = [hangs]
    result = await case.make()
    assert result.ending == Later("the attempt did not end within 0.01 s", is_doubtful=True)
    assert result.sign is Sign.FAILED


async def test_a_bug_is_logged_with_its_places_and_not_its_text() -> None:
    """A consumer's exception may hold a body: the log tells type and lines."""

    async def fails() -> Ending:
        raise RuntimeError("hunter2")

    case = Case()
    case.consumer.endings = [fails]
    with capture_logs() as logs:
        await case.make()
    (entry,) = [entry for entry in logs if entry["event"] == "consumer_failed"]
    assert entry["fault"] == "RuntimeError"
    assert any("test_attempt.py" in place for place in entry["at"])
    assert "hunter2" not in str(logs)
