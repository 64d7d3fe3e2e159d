"""Users, permissions, sessions and crumbs.

Contract: sections 0 and 3 of the Jenkins page; jenkins core @ ff9430ee1dc6 (SecurityRealm, DefaultCrumbIssuer, CrumbFilter).
"""

import hashlib
import secrets
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

OVERALL_READ = "Overall/Read"
ADMINISTER = "Overall/Administer"
READ = "Job/Read"
DISCOVER = "Job/Discover"
BUILD = "Job/Build"
CANCEL = "Job/Cancel"
EVERYTHING = frozenset({OVERALL_READ, READ, DISCOVER, BUILD, CANCEL})
ANONYMOUS = "anonymous"


class User(BaseModel):
    """An account. `jobs`: the permissions on a job, by its full name, in place of the general ones; `Overall/Administer` has all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    token: str | None = None
    password: str | None = None
    groups: tuple[str, ...] = ()
    permissions: frozenset[str] = EVERYTHING
    jobs: dict[str, frozenset[str]] = {}

    @property
    def is_administrator(self) -> bool:
        return ADMINISTER in self.permissions

    @property
    def is_anonymous(self) -> bool:
        return self.name == ANONYMOUS

    def may(self, permission: str, job: str | None = None) -> bool:
        """Say whether the user has *permission*, on the job of that full name or in general."""
        granted = self.permissions if job is None else self.jobs.get(job, self.permissions)
        return self.is_administrator or permission in granted


@dataclass
class Session:
    """A browser's session. `user`: who is logged in with it, None for nobody."""

    id: str
    used_at: float
    user: str | None = None


@dataclass
class Security:
    """The accounts of one Jenkins, and what a start of it makes anew: its salt, its cookie's name and its sessions."""

    users: dict[str, User]
    anonymous: User = field(default_factory=lambda: User(name=ANONYMOUS, permissions=frozenset()))
    sessions: dict[str, Session] = field(default_factory=dict)
    salt: str = ""
    cookie_name: str = ""

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start anew: every crumb given so far is stale."""
        self.sessions.clear()
        self.salt = secrets.token_hex(16)
        self.cookie_name = f"JSESSIONID.{secrets.token_hex(4)}"

    def user_of(self, name: str) -> User:
        return self.users.get(name, self.anonymous)

    def check(self, name: str, secret: str) -> tuple[User, bool] | None:
        """Return the user and whether *secret* is the API token; None when it is neither token nor password."""
        user = self.users.get(name)
        if user is None:
            return None
        if user.token is not None and secrets.compare_digest(user.token.encode(), secret.encode()):
            return user, True
        if user.password is not None and secrets.compare_digest(user.password.encode(), secret.encode()):
            return user, False
        return None

    def open_session(self, now: float, user: str | None = None) -> Session:
        session = Session(f"node0{secrets.token_hex(13)}", now, user)
        self.sessions[session.id] = session
        return session

    def session(self, session_id: str | None, now: float, idle_s: float) -> Session | None:
        """Return the session that is alive under this id, and keep it alive."""
        found = self.sessions.get(session_id or "")
        if found is None:
            return None
        if now - found.used_at > idle_s:
            del self.sessions[found.id]
            return None
        found.used_at = now
        return found

    def crumb(self, user: str, session: Session, client_ip: str = "") -> str:
        """Return the crumb of *user* in *session*: 64 hex digits."""
        return hashlib.sha256(f"{user};{session.id}{client_ip}{self.salt}".encode()).hexdigest()


def default_users() -> dict[str, User]:
    bridge = User(name="bridge", token="jenkins-token", password="jenkins-password")  # noqa: S106 - of an emulator
    return {bridge.name: bridge}
