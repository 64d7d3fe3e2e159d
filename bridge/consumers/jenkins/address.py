"""Where a Jenkins target is, and the input step that a wait names.

Source: pipeline-input-step-plugin @ d2b888dfb50d (InputStep: which ids are legal, how the first letter is changed);
        stapler @ 135bbbc88aa4 (each segment of a path is decoded once).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

import orjson
from pydantic import AfterValidator, Field, HttpUrl, SecretStr, field_validator, model_validator

from bridge.core.consumer import Address, AddressError
from bridge.core.expression import Expression, check_expressions
from bridge.core.paths import SEGMENT, check_segments
from bridge.core.request import segment
from bridge.core.settings import Duration, TargetSettings

READ_TIMEOUT = timedelta(seconds=75)
"""Jenkins itself may take 60 s, while it loads the build; an answer that is not awaited is a doubt for nothing."""

_URL = re.compile(r"[!-~]+")
_NOT_IN_A_URL = frozenset('"<>\\^`{|}')
_RUN = re.compile(f"((?:job/{SEGMENT}/)+)([1-9][0-9]{{0,8}})/?")
_PORTS = {"http": 80, "https": 443}


class JenkinsSettings(TargetSettings):
    """One Jenkins, and the user that answers its inputs: the approver that a build shows."""

    base_url: HttpUrl = Field(description="where the bridge reaches it, with its context path where it has one")
    public_urls: tuple[HttpUrl, ...] = Field(
        default=(),
        description="other names of it that a BUILD_URL may begin with, such as the one under Jenkins Location",
    )
    username: str = Field(
        min_length=1,
        description="the id of a user with Overall/Read, Job/Read and Job/Build, or listed as `submitter` of the inputs; "
        "Job/Cancel, or being listed, to abort",
    )
    token: SecretStr | None = Field(
        default=None,
        description="an API token of that user: no crumb and no cookie is needed. Either this or `password`",
    )
    password: SecretStr | None = Field(
        default=None,
        description="the user's password, where API tokens are not allowed: each answer takes a crumb and its session along",
    )
    timeout: Duration = Field(
        default=READ_TIMEOUT,
        description="for one call; Jenkins takes up to 60 s by itself while it loads a build, so less makes doubts",
    )

    @field_validator("base_url", "public_urls")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        for url in value if isinstance(value, tuple) else (value,):
            if url.query is not None or url.fragment is not None or url.username or url.password:
                raise ValueError("expected http(s)://host[:port][/context], without credentials, query and fragment")
        return value

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if (self.token is None) == (self.password is None):
            raise ValueError("token_env: expected one of token_env (an API token) and password_env, and not both")
        return self

    @property
    def secret(self) -> SecretStr:
        """What stands behind the user's name in Basic authentication."""
        return self.token or self.password or SecretStr("")


def _not_dots(input_id: str) -> str:
    if input_id in (".", ".."):
        raise ValueError("expected an id that is no dot segment")
    return input_id


InputId = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9\-._~!$()*+,:@=]+$", min_length=1, max_length=255), AfterValidator(_not_dots)
]


@dataclass(frozen=True, slots=True)
class Place:
    """An input of a build. Paths are relative to base_url and as they go over the wire: `/job/a/job/b%252Fc/7`.

    id: as Jenkins compares it.
    """

    job: str
    number: int
    id: str

    @property
    def run(self) -> str:
        return f"{self.job}/{self.number}"

    def verb(self, name: str) -> str:
        return f"{self.run}/input/{segment(self.id)}/{name}"


class JenkinsAddress(Address):
    """One input step of one build. Its id must be given in the Jenkinsfile, and be the only one of its name in the build."""

    build_url: str = Field(
        min_length=1,
        max_length=2000,
        description="the build's BUILD_URL, byte for byte; of it only the path under base_url or one of public_urls is used",
    )
    input_id: InputId = Field(description="the input's `id`; a first letter in lower case is raised, as Jenkins does")
    parameters: dict[str, Expression] | None = Field(
        default=None,
        description="JMESPath over the event for each parameter; without it the input's own are filled by name",
    )
    on_failure: Literal["abort", "proceed"] = Field(
        default="abort",
        description="for every outcome but `succeeded`: `abort` the input, or `proceed` (the pipeline reads the outcome)",
    )
    repeats: bool = Field(
        default=False,
        description="true where the build may reach an input of this id again (a loop, a retry): answered at most once, "
        "and in doubt not at all",
    )

    @property
    def is_repeated(self) -> bool:
        return self.repeats

    def canonical(self, settings: JenkinsSettings) -> str:
        """Return the build's path decoded once and the id that Jenkins knows, as JSON.

        Raises:
            AddressError: build_url is elsewhere or no build, or an expression cannot be read.
        """
        place = self.place(settings)
        check_expressions((self.parameters or {}).items())
        return orjson.dumps([unquote(place.run), place.id]).decode()

    def place(self, settings: JenkinsSettings) -> Place:
        """Return what build_url means at this target.

        Raises:
            AddressError: it is elsewhere, or no build.
        """
        is_under = False
        for path in _paths(_split(self.build_url), settings):
            is_under = True
            if match := _RUN.fullmatch(path):
                _check_segments(match[1])
                return Place("/" + match[1].rstrip("/"), int(match[2]), normalise(self.input_id))
        if is_under:
            raise AddressError("/build_url", "expected a build's URL: …/job/<name>/<number>/")
        raise AddressError("/build_url", "is not under the target's base_url or one of its public_urls")


def _check_segments(path: str) -> None:
    try:
        check_segments(path)
    except ValueError as exc:
        raise AddressError("/build_url", str(exc)) from None


def normalise(input_id: str) -> str:
    """Return the id as Jenkins makes it: a first letter a-z raised, nothing else."""
    return input_id[0].upper() + input_id[1:] if "a" <= input_id[0] <= "z" else input_id


def _split(url: str) -> SplitResult:
    """Split an absolute URL that holds nothing but ASCII, and neither credentials nor query nor fragment."""
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme in _PORTS and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:  # a port that is no number, a broken IPv6 address
        is_plain = False
    if not is_plain or not _URL.fullmatch(url) or _NOT_IN_A_URL & set(url):
        raise AddressError("/build_url", "expected an http(s) URL, percent-encoded as BUILD_URL is")
    if "?" in url or "#" in url or ";" in url:
        raise AddressError("/build_url", "must hold no query, no fragment and no semicolon")
    return parts


def _paths(given: SplitResult, settings: JenkinsSettings) -> Iterator[str]:
    """Yield the path of *given* below each URL of the target that it is under."""
    for url in (settings.base_url, *settings.public_urls):
        base = urlsplit(str(url))
        prefix = base.path.rstrip("/") + "/"
        if _origin(base) == _origin(given) and given.path.startswith(prefix):
            yield given.path[len(prefix) :]


def _origin(url: SplitResult) -> tuple[str, str, int]:
    return url.scheme, (url.hostname or "").lower(), url.port or _PORTS[url.scheme]
