"""What every consumer promises, whoever wrote it: checks that need no platform, no broker and no network.

For a consumer kept elsewhere:

    SPECIMEN = Specimen("acme_ci.bridge:Acme", settings={"base_url": "https://acme.example", "token": "t-0k3n"}, address={"gate": "g"})

    @pytest.mark.parametrize("promise", promises_of(SPECIMEN), ids=lambda promise: promise.__name__)
    async def test_acme(promise: Promise) -> None:
        await promise(SPECIMEN)

A promise raises BrokenPromise, whose text says what to mend.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, get_args

import orjson
from pydantic import SecretStr, ValidationError

from bridge.core.consumer import Address, Consumer, NotSupported, load_consumer
from bridge.core.errors import HttpFault, Unanswered, Unreachable
from bridge.core.event import Outcome
from bridge.core.outcome import CredentialRefused, Ending, Health, Later, NotYet, Refused, Standing
from bridge.core.request import Call, Reply
from bridge.core.resolution import Resolution
from bridge.core.sealed import has_secrets, secrets_of, with_secrets
from bridge.core.settings import TargetSettings
from bridge.core.signing import MIN_KEY_BYTES
from bridge.outbound import is_safe
from bridge.sealing import Sealing

_SECRET_NAMES = ("token", "secret", "password", "api_key")
_DAY = timedelta(days=1)


class BrokenPromise(AssertionError):
    """A consumer does not do what every consumer does."""


@dataclass(frozen=True)
class Specimen:
    """One consumer with values that its two models take.

    spec: as in a target's `consumer`.
    settings: the section without `consumer`; secrets as text that occurs nowhere else.
    uses_http: False for a platform that is reached through a library of its own; what needs Http is then not asked.
    others: more addresses, where one alone cannot hold every secret field; secrets as text that occurs nowhere else.
    """

    spec: str
    settings: Mapping[str, Any]
    address: Mapping[str, Any]
    uses_http: bool = True
    others: Sequence[Mapping[str, Any]] = ()

    @property
    def kind(self) -> type[Consumer[Any, Any]]:
        return load_consumer(self.spec)

    def make(self, *script: Reply | Exception) -> tuple[Consumer[Any, Any], "Script"]:
        """Return the consumer over an Http that answers from *script*."""
        settings = self.kind.settings_type.model_validate({**self.settings, "consumer": self.spec})
        http = Script(list(script))
        return self.kind(settings, http), http

    def place(self) -> Address:
        """Return the address as the worker hands it over."""
        place = self.kind.address_type.model_validate(dict(self.address))
        return place if place.third_party_client is None else place.with_client_token("client-token-0f-the-fleet")


@dataclass
class Script:
    """An Http that answers every call with the next entry, the last one for ever."""

    answers: list[Reply | Exception]
    calls: list[Call] = field(default_factory=list)

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        return


Promise: TypeAlias = Callable[[Specimen], Awaitable[None]]


def resolution(specimen: Specimen, outcome: Outcome = Outcome.SUCCEEDED) -> Resolution:
    """Return an instruction to resume the specimen's address."""
    now = datetime.now(UTC)
    return Resolution.model_validate(
        {
            "wait": "fleet",
            "target": "fleet",
            "dispatch": 1,
            "address": dict(specimen.address),
            "outcome": outcome,
            "decided_at": now,
            "deliver_until": now + _DAY,
        }
    )


def _promise(*, holds: bool, text: str) -> None:
    if not holds:
        raise BrokenPromise(text)


async def has_two_models(specimen: Specimen) -> None:
    """`class X(Consumer[Settings, Address])`: both are its own, refuse unknown fields, and cannot be changed."""
    kind = specimen.kind
    _promise(holds=issubclass(kind.settings_type, TargetSettings), text="settings must inherit from TargetSettings")
    _promise(
        holds=issubclass(kind.address_type, Address) and kind.address_type is not Address,
        text="name an Address of your own: class X(Consumer[XSettings, XAddress])",
    )
    consumer, _ = specimen.make(Reply(200, {}, b""))
    for model, given in ((kind.settings_type, consumer.settings.model_dump()), (kind.address_type, specimen.address)):
        try:
            model.model_validate({**given, "no_such_field": 1})
        except ValidationError:
            continue
        raise BrokenPromise(f"{model.__name__} must refuse unknown fields")


async def hides_its_secrets(specimen: Specimen) -> None:
    """A settings field that is named like a secret is a SecretStr, so that no log and no error shows it."""
    consumer, _ = specimen.make(Reply(200, {}, b""))
    for name in type(consumer.settings).model_fields:
        if not name.endswith(_SECRET_NAMES):
            continue
        value = getattr(consumer.settings, name)
        _promise(holds=value is None or isinstance(value, SecretStr), text=f"settings.{name} must be a SecretStr")


async def gives_no_secret_of_an_address_away(specimen: Specimen) -> None:
    """What is stored, sent and shown of an address holds no secret of it, and the worker gets the whole of it back."""
    kind = specimen.kind.address_type
    consumer, _ = specimen.make(Reply(200, {}, b""))
    sealing = Sealing([("fleet", b"f" * MIN_KEY_BYTES)])
    given: set[str] = set()
    for raw in (dict(specimen.address), *map(dict, specimen.others)):
        place = kind.model_validate(raw)
        secrets = set(secrets_of(place))
        given |= secrets
        sealed = with_secrets(kind, raw, lambda where, text: sealing.seal(text, where))
        shown = [orjson.dumps(sealed).decode(), repr(place), str(place), place.model_dump_json()]
        with suppress(NotSupported):
            shown.append(place.canonical(consumer.settings))
        for secret in secrets:
            _promise(
                holds=not any(secret in text for text in shown),
                text=f"a secret of {kind.__name__} stands in canonical(), in its repr or dump, or cannot be sealed",
            )
        opened = with_secrets(kind, sealed, lambda where, text: sealing.open(text, where))
        _promise(holds=kind.model_validate(opened) == place, text="a sealed address must come back as it was")
    _promise(
        holds=bool(given) or not has_secrets(kind), text="give each secret field in the Specimen's address or `others`"
    )


async def says_its_contract(specimen: Specimen) -> None:
    """Its module names the calls that it makes and the page that they were read from; both models are documented."""
    kind = specimen.kind
    text = sys.modules[kind.__module__].__doc__ or ""
    _promise(holds="Contract:" in text and "Source:" in text, text="the module's docstring needs Contract: and Source:")
    for part in (kind, kind.address_type):
        own = part.__doc__ if "__doc__" in vars(part) else None
        _promise(holds=bool(own), text=f"{part.__name__} needs a docstring: its reference page is made from it")


async def answers_all_three_questions(specimen: Specimen) -> None:
    """It resumes, looks and tells health; of look_closely and resume_seen it overrides both or neither."""
    kind = specimen.kind

    def own(name: str) -> bool:
        return getattr(kind, name) is not getattr(Consumer, name)

    _promise(holds=own("health"), text="health() is missing")
    _promise(holds=own("look_closely") is own("resume_seen"), text="override look_closely and resume_seen, or neither")
    both = own("look_closely")
    _promise(holds=both or (own("look") and own("resume")), text="look() or resume() is missing")


async def has_one_spelling_for_a_place(specimen: Specimen) -> None:
    """canonical() is the same text each time, and does not change when it is read from JSON again."""
    consumer, _ = specimen.make(Reply(200, {}, b""))
    place = specimen.place()
    first = place.canonical(consumer.settings)
    again = type(place).model_validate_json(place.model_dump_json()).canonical(consumer.settings)
    _promise(holds=bool(first) and first == again, text="canonical() must be one and the same non-empty text")


async def keeps_a_resolution_while_the_platform_is_down(specimen: Specimen) -> None:
    """5xx, a closed port and a lost answer end nothing: the worker tries again."""
    faults: Sequence[Reply | Exception] = (
        Reply(500, {}, b"oops"),
        Reply(503, {}, b"<html>Please wait</html>"),
        Unreachable("no connection"),
        Unanswered("broke"),
    )
    for fault in faults:
        ending = await _resume(specimen, fault)
        _promise(holds=isinstance(ending, Later), text=f"resume() ended {ending!r} at {fault!r}; expected Later")
        seen = await _look(specimen, fault)
        _promise(
            holds=seen not in (Standing.ANSWERED, Standing.GONE), text=f"look() said {seen} at {fault!r}; raise Later"
        )


async def waits_when_asked_to(specimen: Specimen) -> None:
    """429 is later, not before Retry-After."""
    ending = await _resume(specimen, Reply(429, {"retry-after": "17"}, b""))
    _promise(
        holds=isinstance(ending, Later) and ending.after == timedelta(seconds=17),
        text=f"resume() ended {ending!r} at 429 with Retry-After: 17",
    )


async def leaves_a_refused_credential_to_the_worker(specimen: Specimen) -> None:
    """401 and 403 everywhere end nothing, and health() tells them from a dead platform."""
    for status in (401, 403):
        ending = await _resume(specimen, Reply(status, {}, b""))
        _promise(
            holds=isinstance(ending, Later | CredentialRefused),
            text=f"resume() ended {ending!r} at {status} everywhere",
        )
        health = await _health(specimen, Reply(status, {}, b""))
        _promise(holds=health is Health.CREDENTIAL, text=f"health() said {health} at {status}; expected CREDENTIAL")


async def tells_a_dead_platform(specimen: Specimen) -> None:
    """health() is down when nobody answers, and at 5xx."""
    for fault in (Reply(503, {}, b""), Unreachable("no connection"), Unanswered("broke")):
        health = await _health(specimen, fault)
        _promise(holds=health is Health.DOWN, text=f"health() said {health} at {fault!r}; expected DOWN")


async def believes_no_login_page(specimen: Specimen) -> None:
    """A proxy's 200 with a page for people is not an answer of the platform."""
    page = Reply(200, {"content-type": "text/html"}, b"<html><title>Sign in</title></html>")
    ending = await _resume(specimen, page)
    kinds = Later | NotYet | Refused
    _promise(holds=isinstance(ending, kinds), text=f"resume() ended {ending!r} at a proxy's login page")
    seen = await _look(specimen, page)
    _promise(holds=seen not in (Standing.ANSWERED, Standing.GONE), text=f"look() said {seen} at a proxy's login page")


async def sends_safe_calls_without_secrets(specimen: Specimen) -> None:
    """Paths are encoded and relative, and no secret of the settings stands in a path or query."""
    for script in (Reply(200, {}, b"{}"), Reply(404, {}, b"{}"), Reply(503, {}, b"")):
        consumer, http = specimen.make(script)
        await _ended(consumer.look_closely(specimen.place()))
        for outcome in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT):
            await _ended(consumer.resume_seen(specimen.place(), resolution(specimen, outcome), None))
        secrets = [each.get_secret_value() for each in vars(consumer.settings).values() if isinstance(each, SecretStr)]
        for call in http.calls:
            target = call.path + "?" + "&".join(f"{name}={value}" for name, value in call.query.items())
            _promise(
                holds=call.path.startswith("/") and is_safe(call.path), text=f"unsafe path {call.path!r}: segment()"
            )
            _promise(
                holds=not any(each in target for each in secrets), text=f"a secret stands in {call.method} {call.path}"
            )


async def _resume(specimen: Specimen, *script: Reply | Exception) -> Any:
    consumer, _ = specimen.make(*script)
    return await _ended(consumer.resume_seen(specimen.place(), resolution(specimen), None))


async def _look(specimen: Specimen, *script: Reply | Exception) -> Standing | None:
    """Return what look_closely() said; None when it raised an ending or a fault."""
    consumer, _ = specimen.make(*script)
    seen = await _ended(consumer.look_closely(specimen.place()))
    return getattr(seen, "standing", None)


async def _health(specimen: Specimen, *script: Reply | Exception) -> Any:
    """Return what the worker makes of health()."""
    consumer, _ = specimen.make(*script)
    answer = await _ended(consumer.health())
    if isinstance(answer, CredentialRefused):
        return Health.CREDENTIAL
    return Health.DOWN if isinstance(answer, Exception) else answer


async def _ended(question: Awaitable[Any]) -> Any:
    """Return what *question* returned or raised, as the worker sees it: a fault without reply is later.

    Raises:
        BrokenPromise: it raised what no consumer raises.
    """
    try:
        return await question
    except (*get_args(Ending), CredentialRefused) as ending:
        return ending
    except HttpFault as fault:
        return Later(str(fault))
    except Exception as exc:
        raise BrokenPromise(
            f"raised {type(exc).__name__}: an answer that it did not expect must become an ending"
        ) from exc


PROMISES: Sequence[Promise] = (
    has_two_models,
    hides_its_secrets,
    gives_no_secret_of_an_address_away,
    says_its_contract,
    answers_all_three_questions,
    has_one_spelling_for_a_place,
)
"""Kept by every consumer."""

HTTP_PROMISES: Sequence[Promise] = (
    keeps_a_resolution_while_the_platform_is_down,
    waits_when_asked_to,
    leaves_a_refused_credential_to_the_worker,
    tells_a_dead_platform,
    believes_no_login_page,
    sends_safe_calls_without_secrets,
)
"""Kept by every consumer that talks through Http."""


def promises_of(specimen: Specimen) -> Sequence[Promise]:
    """Return what *specimen* has to keep."""
    return (*PROMISES, *HTTP_PROMISES) if specimen.uses_http else PROMISES
