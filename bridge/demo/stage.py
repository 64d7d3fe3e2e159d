"""The stage of a demo: three emulated platforms in this process, the bridge in one of its own, and the one who tells."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson

from bridge.demo import child
from bridge.demo.broker import check_is_ours
from bridge.demo.errors import DemoError
from bridge.demo.setting import AWS_KEY_ID, AWS_REGION, AWS_SECRET, Setting
from bridge.demo.teller import new_lines
from bridge.demo.timeline import Timeline
from bridge.testing.circleci import CircleciEmulator
from bridge.testing.codepipeline import CodepipelineEmulator
from bridge.testing.emulator import Effect
from bridge.testing.jenkins import JenkinsEmulator

READY_S = 30.0
STEP_S = 15.0
WORK_S = 1.0
_LOOK_S = 0.05
_LOG_LINES = 15


@dataclass(slots=True)
class Wait:
    """An open wait. seen: as the API showed it last; told: how many entries of its timeline people have seen."""

    id: str
    target: str
    callback_url: str
    seen: Mapping[str, Any] = field(default_factory=dict)
    told: int = 0

    @property
    def is_over(self) -> bool:
        return self.seen.get("state") in ("resolved", "undeliverable")

    def has_tried(self, ending: str) -> bool:
        """Say whether an attempt at the platform ended so."""
        return any(entry.get("ending") == ending for entry in self.seen.get("timeline", ()))

    def untold(self) -> Iterator[tuple[Mapping[str, Any], str]]:
        entries = self.seen.get("timeline", ())
        for entry in entries[self.told :]:
            yield entry, self.target
        self.told = len(entries)


class Stage:
    """What a story plays on. Every method that waits has a deadline, and tells what happens meanwhile."""

    def __init__(self, setting: Setting, timeline: Timeline, session: aiohttp.ClientSession) -> None:
        self.setting = setting
        self.timeline = timeline
        self.jenkins = JenkinsEmulator()
        self.circleci = CircleciEmulator()
        self.codepipeline = CodepipelineEmulator(region=AWS_REGION, access_key=AWS_KEY_ID, secret=AWS_SECRET)
        self._session = session
        self._waits: list[Wait] = []
        self._told: dict[str, int] = {}

    # --- what a story does

    def say(self, who: str, text: str) -> None:
        self._tell_effects()
        self.timeline.say(who, text)

    async def open_wait(self, target: str, address: Mapping[str, Any], **more: Any) -> Wait:
        """Register a wait, as a step of the pipeline would; *more*: the other fields of the request.

        Raises:
            DemoError: it was refused.
        """
        asked = {"target": target, "address": dict(address), **more}
        made = await self.api("POST", "/v1/waits", asked)
        wait = Wait(made["id"], target, made["callback_url"])
        self._waits.append(wait)
        return wait

    async def curl(self, who: str, *arguments: str) -> child.Answer:
        """Let *who* run curl in the demo's folder; the command and its answer are shown.

        Raises:
            DemoError: it failed, or was not answered with 2xx.
        """
        await self.catch_up()
        self.timeline.command(who, child.shown(arguments, self.timeline.text_width))
        answer = await child.curl(arguments, folder=self.setting.folder)
        self.timeline.say("bridge", f"{answer.status} {answer.body}".rstrip())
        if answer.status // 100 != 2:  # noqa: PLR2004 - any 2xx
            raise DemoError(f"curl was answered {answer.status}")
        return answer

    async def pass_time(self) -> None:
        """Let a remote take its time over its work, as far as that fits into a demo; tell what happens meanwhile."""
        end = asyncio.get_running_loop().time() + WORK_S
        await self.until(lambda: asyncio.get_running_loop().time() >= end, "the time to pass")

    async def until(self, condition: Callable[[], bool], what: str, *, within_s: float = STEP_S) -> None:
        """Wait until *condition* holds, and tell what happens meanwhile.

        Raises:
            DemoError: it did not hold in time; *what*: what was waited for.
        """
        try:
            async with asyncio.timeout(within_s):
                while await self.catch_up() or not condition():  # noqa: ASYNC110 - the API and three platforms have no common event
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise DemoError(f"within {within_s:g} s not seen: {what}") from None

    async def until_over(self, wait: Wait) -> None:
        """Wait until *wait* is resolved or undeliverable. Raises DemoError."""
        await self.until(lambda: wait.is_over, "the end of the wait")

    # --- what people are told

    async def catch_up(self) -> bool:
        """Tell what is new at the platforms and in the waits; return whether there was anything."""
        effects = self._new_effects()
        for wait in self._waits:
            if not wait.is_over:
                wait.seen = await self.api("GET", f"/v1/waits/{wait.id}")
        entries = [entry for wait in self._waits for entry in wait.untold()]
        lines = new_lines(effects + self._new_effects(), entries)
        for line in lines:
            self.timeline.say(line.who, line.text, at=line.at)
        return bool(lines)

    def _tell_effects(self) -> None:
        for line in new_lines(self._new_effects(), ()):
            self.timeline.say(line.who, line.text, at=line.at)

    def _new_effects(self) -> list[Effect]:
        found = []
        for emulator in (self.jenkins, self.circleci, self.codepipeline):
            found += emulator.effects[self._told.get(emulator.name, 0) :]
            self._told[emulator.name] = len(emulator.effects)
        return found

    @property
    def effects(self) -> Sequence[Effect]:
        """All that changed at the platforms."""
        return [*self.jenkins.effects, *self.circleci.effects, *self.codepipeline.effects]

    # --- the API

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the bridge's API; return its JSON.

        Raises:
            DemoError: it was refused, or the bridge does not answer.
        """
        headers = {"Authorization": f"Bearer {self.setting.api_token}"}
        try:
            async with self._session.request(
                method, f"{self.setting.url}{path}", json=body, headers=headers
            ) as response:
                raw, status = await response.read(), response.status
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise DemoError(f"the bridge does not answer: {type(exc).__name__}; its log: {self.setting.log}") from exc
        if status // 100 != 2:  # noqa: PLR2004 - any 2xx
            raise DemoError(f"{method} {path} was answered {status}: {raw.decode(errors='replace')}")
        return orjson.loads(raw)

    async def wait_of(self, wait_id: str) -> Mapping[str, Any]:
        """Return a wait as the API shows it now. Raises DemoError."""
        shown: Mapping[str, Any] = await self.api("GET", f"/v1/waits/{wait_id}")
        return shown

    async def verdict_of(self, event_id: str) -> str:
        """Return what became of an event, as soon as the coordinator has looked at it. Raises DemoError."""
        verdict = ""

        async def is_known() -> bool:
            nonlocal verdict
            for event in (await self.api("GET", "/v1/events"))["items"]:
                if event["id"] == event_id:
                    verdict = event["verdict"]
            return bool(verdict)

        await self._poll(is_known, "a verdict on the event", within_s=STEP_S)
        return verdict

    async def until_idle(self) -> None:
        """Wait until no message is on its way: whatever a pipeline was to get, it has got. Raises DemoError."""
        await self._poll(self._is_idle, "no message on its way", within_s=STEP_S)

    async def _is_idle(self) -> bool:
        queues = (await self.api("GET", "/v1/queues"))["items"]
        return not any(queue["ready"] or queue["unacked"] for queue in queues)

    async def until_ready(self, process: asyncio.subprocess.Process) -> None:
        """Wait until the bridge's own connections stand.

        Raises:
            DemoError: it ended, or did not become ready; with the end of its log.
        """

        async def is_ready() -> bool:
            if process.returncode is not None:
                raise DemoError(f"the bridge ended with {process.returncode}:\n{self._log_end()}")
            try:
                async with self._session.get(f"{self.setting.url}/readyz") as response:
                    return response.status == HTTPStatus.OK
            except aiohttp.ClientError:
                return False

        try:
            await self._poll(is_ready, "the bridge is ready", within_s=READY_S)
        except TimeoutError:
            raise DemoError(f"the bridge was not ready within {READY_S:g} s:\n{self._log_end()}") from None

    def _log_end(self) -> str:
        lines = self.setting.log.read_text(errors="replace").splitlines() if self.setting.log.exists() else []
        return "\n".join(lines[-_LOG_LINES:])

    async def _poll(self, holds: Callable[[], Awaitable[bool]], what: str, *, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not await holds():  # noqa: ASYNC110 - the API tells no event
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise DemoError(f"within {within_s:g} s not seen: {what}") from None


@asynccontextmanager
async def raised(setting: Setting, timeline: Timeline) -> AsyncIterator[Stage]:
    """Start the platforms and the bridge; end them all.

    Raises:
        DemoError: the bridge does not start, or its broker is another's.
    """
    if setting.broker_url is not None:
        await check_is_ours(setting.broker_url)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        stage = Stage(setting, timeline, session)
        jenkins, circleci, codepipeline = [
            await stack.enter_async_context(each.serve())
            for each in (stage.jenkins, stage.circleci, stage.codepipeline)
        ]
        setting.write(jenkins=jenkins, circleci=circleci, codepipeline=codepipeline)
        command = (*child.BRIDGE, "run", "-c", str(setting.config))
        process = await stack.enter_async_context(child.running(command, folder=setting.folder, log=setting.log))
        await stage.until_ready(process)
        yield stage
