"""Consumer: the base class of the files that talk to a platform. A platform team writes one of these and nothing else.

It says how to resume, how to look, and how to ask for health. Queue, prefetch, concurrency, rate, backoff, breaker, dead
letters, metrics, redaction and audit are the worker's (DESIGN section 4).
"""

from datetime import UTC, datetime
from http import HTTPStatus
from importlib import import_module
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, get_args, get_origin

import orjson
from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretStr

from bridge.core.event import EventData
from bridge.core.outcome import CredentialRefused, Ending, Health, Later, Sight, Standing
from bridge.core.ports import Clock, Http
from bridge.core.quota import Quota
from bridge.core.request import Auth, Call, NoAuth, Reply
from bridge.core.resolution import Resolution
from bridge.core.sealed import has_secrets
from bridge.core.settings import TargetSettings


class AddressError(ValueError):
    """An address cannot be used at this target. `pointer`: RFC 6901, relative to the address."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.pointer = pointer
        self.detail = detail


class NotSupported(AddressError):
    """The address names a kind of place that this version cannot resume."""


class Address(BaseModel):
    """What waits at a target; a consumer's own address inherits from it. An unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def canonical(self, settings: Any) -> str:  # noqa: ARG002 - a platform's own rule may need them
        """Return the one spelling under which two addresses are the same place. At most one wait is open for it.

        Raises:
            AddressError: the address does not belong to this target; NotSupported: nor to any, in this version.
        """
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS).decode()

    @property
    def is_repeated(self) -> bool:
        """True when the place may be reached several times under one name, so that a second answer could hit another occurrence."""
        return False

    _client_token: SecretStr | None = PrivateAttr(default=None)

    @property
    def third_party_client(self) -> str | None:
        """The id of the platform's third-party client whose token calls about this place need; None: they need none."""
        return None

    @property
    def client_token(self) -> SecretStr:
        """The token of `third_party_client`; the worker gives it before the consumer is called. It is no field: no request sets it.

        Raises:
            AddressError: none was given.
        """
        if self._client_token is None:
            raise AddressError("", "has no token of a third-party client")
        return self._client_token

    def with_client_token(self, token: str) -> Self:
        """Return the same address with the token of its client."""
        given = self.model_copy()
        given._client_token = SecretStr(token)  # noqa: SLF001 - a copy of ourselves
        return given


S = TypeVar("S", bound=TargetSettings)
A = TypeVar("A", bound=Address)


class UtcClock:
    """The system's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class _Screened:
    """The consumer's view of Http: what no platform needs to judge by itself is judged here."""

    def __init__(self, http: Http, judges: frozenset[int], clock: Clock) -> None:
        self._http = http
        self._judges = judges
        self._clock = clock

    async def send(self, call: Call) -> Reply:
        """Send *call*.

        Raises:
            Later: 429 or 5xx, with Retry-After where given.
            CredentialRefused: 401 or 403.
            Unreachable, Unanswered: no reply came.
        """
        reply = await self._http.send(call)
        if reply.status in self._judges:
            return reply
        if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise CredentialRefused(reply.status)
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise later(reply, now=self._clock.now(), is_write=call.method != "GET")
        return reply


def later(reply: Reply, *, now: datetime, is_write: bool) -> Later:
    """Return the ending of a throttled or failing platform.

    is_write: the call had an effect to make; a 5xx may come after it (a proxy's 502), so the repeat looks first.
    """
    return Later(
        f"the platform answered {reply.status}",
        reply.retry_after(now),
        is_doubtful=is_write and reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        is_throttled=reply.status == HTTPStatus.TOO_MANY_REQUESTS,
    )


class Consumer(Generic[S, A]):
    """One platform. The worker makes one for its target, opens it, and calls it concurrently."""

    auth: ClassVar[Auth] = NoAuth()
    """What Http signs each call with."""
    judges: ClassVar[frozenset[int]] = frozenset()
    """Statuses that mean something of their own on this platform, so that `http.send` returns them instead of raising."""
    tells_answered: ClassVar[bool] = True
    """False: look() can say ABSENT, so the worker has the coordinator remember each first attempt."""
    settings_type: ClassVar[type[TargetSettings]] = TargetSettings
    address_type: ClassVar[type[Address]] = Address

    def __init_subclass__(cls, **more: Any) -> None:
        """Take the two models from `Consumer[Settings, Address]`."""
        super().__init_subclass__(**more)
        for base in getattr(cls, "__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Consumer):
                arguments = get_args(base)
                if len(arguments) == 2 and all(isinstance(argument, type) for argument in arguments):  # noqa: PLR2004 - [Settings, Address]
                    cls.settings_type, cls.address_type = arguments

    @classmethod
    def takes_secrets(cls) -> bool:
        """Return True when an address may hold a secret, or need a client's, so that its worker needs the keys to open it."""
        return cls.names_clients() or has_secrets(cls.address_type)

    @classmethod
    def names_clients(cls) -> bool:
        """Return True when an address may need the token of a third-party client."""
        return cls.address_type.third_party_client is not Address.third_party_client

    @classmethod
    def tells_wholes(cls) -> bool:
        """Return True when whole() is written."""
        return cls.whole is not Consumer.whole

    @classmethod
    def keeps_cookies(cls, settings: Any) -> bool:  # noqa: ARG003 - a platform's own rule may need them
        """Return True when the platform's session needs a cookie jar; by default no cookie is kept."""
        return False

    @staticmethod
    def quota(reply: Reply) -> Quota | None:  # noqa: ARG004 - most platforms do not tell
        """Return what *reply* says of the requests that are left, so that calls wait before the platform throttles them."""
        return None

    def __init__(self, settings: S, http: Http, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or UtcClock()
        self.raw_http = http
        self.http = _Screened(http, self.judges, self.clock)

    async def open(self) -> None:
        """Make what the consumer itself holds (a client library); called once before any other call."""

    async def close(self) -> None:
        """Let go of it."""

    async def resume(self, address: A, resolution: Resolution) -> Ending:
        """Apply *resolution*: the worker calls it at most once per delivery. Endings may be returned or raised."""
        raise NotImplementedError

    async def look(self, address: A) -> Standing:
        """Say where the address stands, without changing anything; the worker asks before it repeats anything."""
        raise NotImplementedError

    async def look_closely(self, address: A) -> Sight:
        """Do what look() does, and keep what was seen for resume_seen(). Override both, or neither.

        This is what the worker calls; a simple consumer writes look() alone.
        """
        return Sight(await self.look(address))

    async def resume_seen(self, address: A, resolution: Resolution, sight: Sight | None) -> Ending:  # noqa: ARG002 - for consumers that override it
        """Do what resume() does, knowing what look_closely() saw a moment ago; None: nobody looked.

        This is what the worker calls, at most once per delivery; a simple consumer writes resume() alone.
        """
        return await self.resume(address, resolution)

    async def whole(self, name: str) -> EventData | None:
        """Return what the whole called *name* came to; None: it is not over. The poller asks; few platforms need to be.

        Raises:
            NotYet: there is no such whole, or none that our credential may see.
            Later, Refused, CredentialRefused, HttpFault: it is not known.
        """
        raise NotImplementedError

    async def health(self) -> Health:
        """Say whether the platform is up and takes our credential, with no wait involved; the breaker asks this."""
        raise NotImplementedError


def load_consumer(spec: str) -> type[Consumer[Any, Any]]:
    """Return the class that a target's `consumer` names: a file of bridge/consumers, or `module:Class` kept elsewhere.

    Raises:
        ValueError: there is no such file or class, or it is no consumer.
    """
    module_name, _, class_name = spec.partition(":")
    if not class_name:
        module_name = f"bridge.consumers.{module_name}"
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise  # the file is there, and something that it needs is not
        raise ValueError(f"no consumer {spec!r}: there is no module {module_name}") from None
    if class_name:
        found = [getattr(module, class_name, None)]
    else:
        found = [
            kind for kind in vars(module).values() if _is_consumer(kind) and kind.__module__.startswith(module_name)
        ]
    if len(found) != 1 or not _is_consumer(found[0]):
        raise ValueError(f"no consumer {spec!r}: {module_name} must hold one class that inherits from bridge.Consumer")
    return cast("type[Consumer[Any, Any]]", found[0])


def _is_consumer(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Consumer) and kind is not Consumer


def healthy(reply: Reply) -> Health:
    """Read a health call's reply: success is up, 401 and 403 our credential, all else down."""
    if reply.is_success:
        return Health.UP
    if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Health.CREDENTIAL
    return Health.DOWN
