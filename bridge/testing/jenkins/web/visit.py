"""One request on its way through the filters to its route."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from aiohttp import web

from bridge.testing.jenkins.model.accounts import Session, User
from bridge.testing.jenkins.model.world import World
from bridge.testing.jenkins.web.forms import Form, read_form

Wait = Callable[[Callable[[], bool], float], Awaitable[bool]]
"""wait(condition, seconds): True as soon as the condition holds, False when it still does not after that time."""


@dataclass
class Visit:
    """A request, and what the filters learnt of it. `context`: the context path, empty or `/jenkins`."""

    request: web.Request
    world: World
    context: str
    user: User
    wait: Wait
    by_token: bool = False
    session: Session | None = None
    opened: Session | None = None
    """The session that this request opened; its cookie goes out with the answer."""
    form: Form = field(default_factory=lambda: Form({}))

    async def read(self) -> None:
        """Read the body into the form."""
        body = await self.request.read()
        self.form = read_form(self.query, self.request.headers.get("Content-Type", ""), body)

    @property
    def path(self) -> str:
        """The raw path, as on the wire."""
        return self.request.raw_path.partition("?")[0]

    @property
    def query(self) -> str:
        return self.request.raw_path.partition("?")[2]

    @property
    def is_post(self) -> bool:
        return self.request.method == "POST"

    @property
    def segments(self) -> list[str]:
        """The segments behind the context path, each decoded once."""
        return [unquote(part) for part in self.path[len(self.context) :].split("/") if part]

    @property
    def base(self) -> str:
        """Scheme and host as a redirect names them."""
        headers = self.request.headers
        if "X-Forwarded-Host" in headers:
            return f"{headers.get('X-Forwarded-Proto', 'http')}://{headers['X-Forwarded-Host']}"
        return (self.world.switches.internal_url or f"http://{self.request.host}").rstrip("/")

    @property
    def root_url(self) -> str:
        """The URL of this Jenkins as `url` properties name it."""
        return f"http://{self.request.host}{self.context}"

    @property
    def client_ip(self) -> str:
        forwarded = self.request.headers.get("X-Forwarded-For", "").partition(",")[0].strip()
        return forwarded or self.request.remote or ""
