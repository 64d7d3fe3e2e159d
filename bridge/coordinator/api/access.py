"""Who may do what: bearer tokens, hashed in memory, to clients with roles and a scope."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from bridge.coordinator.errors import Rejected
from bridge.coordinator.registry import Asker
from bridge.coordinator.store.views import Scope
from bridge.core.problem import Problem, Slug

EVERYTHING = "*"


class Role(StrEnum):
    """What a client may do. Each stands alone: `operate` does not include `read`."""

    REGISTER = "register"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Client:
    """One `[clients.<name>]`. targets, sources: names, or `*` for all."""

    name: str
    roles: frozenset[str]
    targets: frozenset[str]
    sources: frozenset[str]

    @property
    def scope(self) -> Scope:
        return Scope(_or_all(self.targets), _or_all(self.sources))

    @property
    def asker(self) -> Asker:
        return Asker(self.name, _or_all(self.targets), _or_all(self.sources))

    def sees_target(self, name: str) -> bool:
        return EVERYTHING in self.targets or name in self.targets


def _or_all(names: frozenset[str]) -> frozenset[str] | None:
    return None if EVERYTHING in names else names


class Clients:
    """Finds the client of a request. Tokens are looked up by their hash, so that the time taken tells nothing about them."""

    def __init__(self, tokens: Mapping[str, Client]) -> None:
        self._by_hash = {_hashed(token): client for token, client in tokens.items()}

    def of(self, request: web.Request, role: Role) -> Client:
        """Return the client that sent *request*, which must have *role*.

        Raises:
            Rejected: 401 without a known token, 403 without the role.
        """
        token = _bearer(request.headers.get("Authorization", ""))
        if token is None and request.path == "/":
            token = _password(request.headers.get("Authorization", ""))
        client = self._by_hash.get(_hashed(token)) if token else None
        if client is None:
            raise Rejected(Problem.of(Slug.UNAUTHENTICATED, "A known token is needed: Authorization: Bearer <token>"))
        if role.value not in client.roles:
            raise Rejected(Problem.of(Slug.FORBIDDEN, f"This client does not have the role {role.value}"))
        return client


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _bearer(header: str) -> str | None:
    scheme, _, token = header.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _password(header: str) -> str | None:
    scheme, _, pair = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(pair, validate=True).decode().partition(":")[2] or None
    except (binascii.Error, UnicodeDecodeError):
        return None


Authorise = Callable[[web.Request, Role], Client]
