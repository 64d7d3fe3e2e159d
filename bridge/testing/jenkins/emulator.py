"""The emulator: the model, its clock and its HTTP, in one object."""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import orjson
from aiohttp import web

from bridge.testing.emulator import Emulator
from bridge.testing.jenkins.control import Control
from bridge.testing.jenkins.model.accounts import User
from bridge.testing.jenkins.model.builds import Build, Executions
from bridge.testing.jenkins.model.jobs import Job, JobSpec
from bridge.testing.jenkins.model.script import script_of
from bridge.testing.jenkins.model.switches import Switches
from bridge.testing.jenkins.model.waiting import QueueItem
from bridge.testing.jenkins.model.world import Phase, World
from bridge.testing.jenkins.web.front import handle

T = TypeVar("T")


class JenkinsEmulator(Emulator):
    """A Jenkins that speaks the wire contract of input steps, queue and builds.

    `url` is where the Jenkins is (with its context path), `base_url` where the server is (with `/_emulator`).
    """

    name = "jenkins"

    def __init__(self, *, context: str = "", clock: Callable[[], float] = time.time, **switches: Any) -> None:
        """Take the context path (empty, or `/jenkins`), a clock in seconds since 1970, and switches by name."""
        super().__init__()
        self.context = context.rstrip("/")
        self.world = World(record=self.effect, clock=clock, switches=Switches(**switches))
        self._changed = asyncio.Event()

    # ---- what it has

    @property
    def url(self) -> str:
        """The URL of the Jenkins, without a trailing slash: the target's `base_url`."""
        return self.base_url + self.context

    @property
    def switches(self) -> Switches:
        """How this Jenkins is installed; assign to change it."""
        return self.world.switches

    def url_of(self, build: Build) -> str:
        """Return the build's BUILD_URL."""
        return f"{self.url}/{build.path}/"

    def add_job(self, job: JobSpec | str, **more: Any) -> Job:
        """Configure a job: a JobSpec, or its path or full name and JobSpec's fields."""
        spec = JobSpec.model_validate({"name": job, **more}) if isinstance(job, str) else job
        return self._do(lambda: self.world.add_job(spec))

    def add_user(self, user: User | str, **more: Any) -> User:
        """Add or replace an account: a User, or its name and User's fields. `anonymous` is everybody without one."""
        added = User.model_validate({"name": user, **more}) if isinstance(user, str) else user
        self._do(lambda: self.world.add_user(added))
        return added

    # ---- builds

    def start_build(
        self,
        job: str,
        *,
        inputs: Sequence[Any] | None = None,
        script: Sequence[Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Build:
        """Start a build now, past the queue.

        job: its path (`job/app`) or full name; made when missing. inputs, script: steps, see model/script.py; a
        string is an input with this id. Without both, the job's own script. Raises pydantic.ValidationError, ValueError.
        """
        found = self.world.job(job)
        given = inputs if script is None else script
        steps = found.spec.script if given is None else script_of(given)
        return self._do(lambda: self.world.start(found, steps, dict(parameters or {})))

    def find_build(self, run: str) -> Build | None:
        """Return the build at a raw path: `job/mb/job/feature%252Fx/1`. Raises ValueError when it is no such path."""
        job, _, number = run.strip("/").rpartition("/")
        return self.world.build(job, int(number))

    def delete_build(self, build: Build) -> None:
        """Delete it, as a rotation of builds does."""
        self._do(lambda: self.world.delete(build))

    def reach(self, build: Build, name: str | None = None) -> None:
        """Let the next held input of this id, or hold of this name, go on; None: whichever comes first."""
        self._do(lambda: build.reach(name))

    def stop(self, build: Build, result: str = "ABORTED") -> None:
        """Interrupt the build as a person does (ABORTED) or a newer build (NOT_BUILT)."""
        self._do(lambda: build.stop(result))

    def set_executions(self, build: Build, state: Executions) -> None:
        """Make the build's executions loaded, still loading (calls block, then 500), or unloadable (404)."""

        def change() -> None:
            build.executions = state

        self._do(change)

    def queue_item(self, item_id: int) -> QueueItem | None:
        """Return an item of the queue that is not forgotten yet."""
        self.refresh()
        return self.world.queue.items.get(item_id)

    # ---- up and down

    def restart(self, *, for_s: float = 0.0, requests: int = 0) -> None:
        """Restart; with *for_s* or *requests* it answers 503 for that time and that many requests first."""
        self._do(lambda: self.world.restart(for_s=for_s, requests=requests))

    def crash(self, *, lose_answers: bool = True, for_s: float = 0.0, requests: int = 0) -> None:
        """Restart without warning; with *lose_answers* each build is back before its newest answer, though 200 was given."""
        self._do(lambda: self.world.crash(lose_answers=lose_answers, for_s=for_s, requests=requests))

    def hold(self, phase: Phase | str) -> None:
        """Stay up, starting or restarting until the next call."""
        self._do(lambda: self.world.hold(Phase(phase)))

    def quiet_down(self) -> None:
        """Take answers, but move no build and start none."""
        self.refresh()
        self.world.is_quieting_down = True

    def cancel_quiet_down(self) -> None:
        """Let builds move again."""
        self.world.is_quieting_down = False
        self.refresh()

    def set_switches(self, changes: Mapping[str, Any]) -> None:
        """Change switches by name. Raises pydantic.ValidationError, then none is changed."""
        checked = Switches.model_validate({**self.switches.model_dump(), **changes})

        def change() -> None:
            for name in changes:
                setattr(self.switches, name, getattr(checked, name))

        self._do(change)

    def log_in(self, user: str) -> dict[str, str]:
        """Log *user* in as a browser does; return the cookie, name to value."""
        session = self.world.security.open_session(self.world.clock(), user)
        return {self.world.security.cookie_name: session.id}

    # ---- time

    def refresh(self) -> None:
        """Do what is due, and tell who waits."""
        self.world.advance()
        self._notify()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait until *condition* holds for this Jenkins. Raises TimeoutError."""
        if not await self._wait(condition, timeout_s):
            raise TimeoutError(f"the condition did not hold within {timeout_s:g} s")

    def _do(self, change: Callable[[], T]) -> T:
        result = change()
        self.refresh()
        return result

    async def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not condition():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            await self._next_change(left)
        return True

    async def _next_change(self, timeout_s: float | None) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout_s)

    def _notify(self) -> None:
        """Wake everyone who waits for a change; the next one has an event of its own."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _run_clock(self) -> None:
        """Do what time alone makes due, when it is due."""
        while True:
            self.refresh()
            due = self.world.due()
            await self._next_change(None if due is None else max(0.0, due - self.world.clock()))

    # ---- the server

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on loopback; yield the base URL. Builds move while it serves."""
        async with super().serve(port) as url:
            clock = asyncio.create_task(self._run_clock())
            try:
                yield url
            finally:
                clock.cancel()
                with suppress(asyncio.CancelledError):
                    await clock

    def routes(self) -> list[web.RouteDef]:
        return [web.route("*", "/{path:.*}", self._handle)]

    def control_routes(self) -> list[web.RouteDef]:
        return Control(self).routes()

    async def _handle(self, request: web.Request) -> web.Response:
        self._notify()
        try:
            return await handle(request, self.world, self.context, self._wait)
        finally:
            self._notify()

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--context", default="", help="the context path: /jenkins (default: none)")
        parser.add_argument(
            "--switch", action="append", default=[], metavar="NAME=JSON", help="a switch: csrf=false (repeatable)"
        )

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> "JenkinsEmulator":
        switches = dict(each.partition("=")[::2] for each in arguments.switch)
        return cls(context=arguments.context, **{name: orjson.loads(value) for name, value in switches.items()})
