"""Registering a wait, and taking it back: what a client asks for, checked whole before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from bridge.coordinator.errors import Rejected
from bridge.coordinator.expecting import expectation, names_of_wholes, wrong_keys
from bridge.coordinator.ledger import Ledger
from bridge.coordinator.looking import look_back
from bridge.coordinator.outbox import Outbox
from bridge.coordinator.store import waits, wholes
from bridge.coordinator.store.engine import Database
from bridge.coordinator.third_party import alarm, lacks_token, tokens_for
from bridge.core.api import RegisterRequest, longest_timeout, unsupported
from bridge.core.consumer import Address, AddressError, Consumer, NotSupported
from bridge.core.ports import Clock
from bridge.core.problem import FieldError, Problem, Slug, field_errors, pointer
from bridge.core.sealed import Location, Seal, given_secrets, of_address, redacted, with_secrets
from bridge.core.settings import TargetSettings
from bridge.core.signing import CallbackKeys, new_wait_id
from bridge.core.source import Source, Whole
from bridge.core.wait import Entry, Expectation, Kind, Wait

NO_TOKEN = "its third-party client has no token yet"  # noqa: S105 - a note


@dataclass(frozen=True, slots=True)
class Target:
    """A configured target as the coordinator knows it: no secret in it."""

    name: str
    kind: type[Consumer[Any, Any]]
    settings: TargetSettings


@dataclass(frozen=True, slots=True)
class Asker:
    """Who registers, and what it may name; None is everything."""

    name: str
    targets: frozenset[str] | None
    sources: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Registered:
    """A wait and its capability."""

    wait: Wait
    callback_url: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What the config says of registrations. `public_url` has no trailing slash."""

    public_url: str
    max_timeout: timedelta
    keep_early: timedelta


class Registry:
    """Opens waits."""

    def __init__(
        self,
        db: Database,
        ledger: Ledger,
        outbox: Outbox,
        *,
        targets: Mapping[str, Target],
        sources: Mapping[str, type[Source[Any]]],
        wholes: Mapping[str, Whole],
        keys: CallbackKeys,
        seal: Seal | None,
        clock: Clock,
        terms: Terms,
    ) -> None:
        """Wire it.

        wholes: by source, what its events add up to, where a poller asks for that.
        seal: None: there are no `[secrets] keys`, so no address with a secret is taken.
        """
        self._db = db
        self._ledger = ledger
        self._outbox = outbox
        self._targets = targets
        self._sources = sources
        self._wholes = wholes
        self._keys = keys
        self._seal = seal
        self._clock = clock
        self._terms = terms

    async def register(
        self, request: RegisterRequest, asker: Asker, *, idempotency_key: str | None, body: bytes
    ) -> Registered:
        """Open a wait, commit it, then look for events that came before it.

        body: the request as sent; the same key with another one is refused.

        Raises:
            Rejected: with the problem; nothing was written.
            StoreUnavailable: the caller repeats, best with an idempotency key.
        """
        target = self._check(request, asker)
        wait = self._new_wait(request, target, asker)
        expected = [expectation(one, self._wholes) for one in request.expects]
        lacks = lacks_token(wait, await tokens_for(self._db, [wait]))
        opened = Entry(Kind.OPENED, wait.created_at, note=f"by {wait.client}{'; ' + NO_TOKEN if lacks else ''}")
        marks = self._keys.request_marks(body) if idempotency_key is not None else []
        stored = await self._store(wait, expected, opened, idempotency_key, marks)
        if stored is wait:
            if lacks:
                alarm(wait)
            since = wait.created_at - self._terms.keep_early
            stored = await look_back(self._db, self._ledger, self._outbox, wait, expected, since=since)
        return Registered(stored, self._callback_url(stored))

    def _check(self, request: RegisterRequest, asker: Asker) -> Target:
        if pointers := unsupported(request):
            errors = [FieldError(pointer=pointer, detail="is not supported by this version") for pointer in pointers]
            raise Rejected(Problem.of(Slug.NOT_SUPPORTED, "This version cannot do that", errors=errors))
        target = self._targets.get(request.target)
        if target is None or (asker.targets is not None and request.target not in asker.targets):
            wrong = FieldError(pointer="/target", detail="expected a configured target that this client may use")
            raise Rejected(Problem.of(Slug.UNKNOWN_TARGET, "There is no such target", errors=[wrong]))
        errors = [*self._wrong_expectations(request, asker)]
        if too_long := longest_timeout(request, maximum=self._terms.max_timeout):
            errors.append(too_long)
        if errors:
            raise Rejected(Problem.of(Slug.INVALID, "The request is not valid", errors=errors))
        return target

    def _wrong_expectations(self, request: RegisterRequest, asker: Asker) -> Sequence[FieldError]:
        errors = []
        for place, one in enumerate(request.expects):
            kind = self._sources.get(one.source)
            if kind is None or (asker.sources is not None and one.source not in asker.sources):
                detail = "expected a configured source that this client may use"
                errors.append(FieldError(pointer=f"/expects/{place}/source", detail=detail))
                continue
            errors += wrong_keys(place, one, kind, self._wholes)
        return errors

    def _new_wait(self, request: RegisterRequest, target: Target, asker: Asker) -> Wait:
        address, canonical = read_address(target, request.address)
        wait_id, now = new_wait_id(), self._clock.now()
        return Wait(
            id=wait_id,
            target=target.name,
            address=sealed_address(target, request.address, wait_id, self._seal),
            canonical=canonical,
            is_repeated=address.is_repeated,
            client=asker.name,
            third_party_client=address.third_party_client,
            created_at=now,
            expires_at=_whole_millis(now + request.timeout),
            labels=request.labels,
        )

    async def _store(
        self,
        wait: Wait,
        expected: Sequence[Expectation],
        opened: Entry,
        idempotency_key: str | None,
        marks: Sequence[str],
    ) -> Wait:
        """Insert *wait*; return it, or the one that the same client registered under the same key before."""
        if idempotency_key is not None and (earlier := await self._earlier(wait, idempotency_key, marks)):
            return earlier
        mark = marks[0] if marks else None
        try:
            async with self._db.write() as tx:
                await waits.insert(tx, wait, expected, opened, idempotency_key=idempotency_key, request_hash=mark)
                for source, name in sorted(names_of_wholes(expected, self._wholes)):
                    await wholes.ask(self._db, tx, source, name, until=wait.expires_at, now=wait.created_at)
        except sa.exc.IntegrityError:
            return await self._taken(wait, idempotency_key, marks)
        return wait

    async def _earlier(self, wait: Wait, key: str, marks: Sequence[str]) -> Wait | None:
        async with self._db.read() as tx:
            found = await waits.find_registration(tx, wait.client, key)
        if found is None:
            return None
        earlier, earlier_mark = found
        if earlier_mark not in marks:
            raise Rejected(Problem.of(Slug.KEY_REUSED, "This Idempotency-Key was used for another request"))
        return earlier

    async def _taken(self, wait: Wait, key: str | None, marks: Sequence[str]) -> Wait:
        """Say who was faster: the same request under the same key, or another wait at the same address."""
        if key is not None and (earlier := await self._earlier(wait, key, marks)):
            return earlier
        async with self._db.read() as tx:
            holder = await waits.find_holder(tx, wait.target, wait.canonical)
        raise Rejected(Problem.of(Slug.ADDRESS_TAKEN, "Another wait is open for this address", wait=holder))

    def _callback_url(self, wait: Wait) -> str:
        return f"{self._terms.public_url}/cb/{self._keys.sign(wait.id, wait.expires_at)}"


def read_address(target: Target, raw: dict[str, Any]) -> tuple[Address, str]:
    """Return the address as its consumer reads it, and its canonical spelling.

    Raises:
        Rejected: it does not have the shape, does not belong to this target, or is not supported.
    """
    slug = Slug.INVALID
    try:
        address = target.kind.address_type.model_validate(raw)
        return address, address.canonical(target.settings)
    except ValidationError as exc:
        errors: Sequence[FieldError] = field_errors(exc, prefix="/address")
    except AddressError as exc:
        errors = [FieldError(pointer=f"/address{exc.pointer}", detail=exc.detail)]
        if isinstance(exc, NotSupported):
            slug = Slug.NOT_SUPPORTED
    errors = _without_secrets(errors, target.kind.address_type, raw)
    title = "The address is not valid" if slug is Slug.INVALID else "This version cannot do that"
    raise Rejected(Problem.of(slug, title, errors=errors))


def _without_secrets(errors: Sequence[FieldError], kind: type[Address], raw: dict[str, Any]) -> Sequence[FieldError]:
    """Return *errors* without the secrets of *raw*: a consumer's own rule may have repeated one."""
    secrets = given_secrets(kind, raw).values()
    return [FieldError(pointer=error.pointer, detail=redacted(error.detail, secrets)) for error in errors]


def sealed_address(target: Target, raw: dict[str, Any], wait: str, seal: Seal | None) -> dict[str, Any]:
    """Return the address as it may be stored and sent: its secret fields sealed for this wait alone.

    raw: accepted by read_address().

    Raises:
        Rejected: it has a secret, and there is no key to seal it with.
    """
    kind = target.kind.address_type
    if seal is None:
        if places := given_secrets(kind, raw):
            detail = "is a secret: this bridge takes none until it has [secrets] keys to seal them with"
            errors = [FieldError(pointer=f"/address{pointer(place)}", detail=detail) for place in places]
            raise Rejected(Problem.of(Slug.NOT_SUPPORTED, "This bridge cannot keep a secret", errors=errors))
        return raw

    def sealed(location: Location, text: str) -> str:
        return seal(text, of_address(target.name, wait, location))

    return with_secrets(kind, raw, sealed)


def _whole_millis(moment: datetime) -> datetime:
    """Return *moment* cut to milliseconds, the precision of a callback token."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
