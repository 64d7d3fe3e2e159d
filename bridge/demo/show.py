"""The whole demo in order: raise the stage, play each story, judge what the pipelines got, say what to try next."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from bridge.demo import trying
from bridge.demo.errors import DemoError
from bridge.demo.promises import Promise, faults
from bridge.demo.setting import Setting
from bridge.demo.stage import Stage, raised
from bridge.demo.stories import STORIES, Story
from bridge.demo.timeline import Timeline, make_console

_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the summary. problem: empty where the pipeline was resumed once with the right result."""

    pipeline: str
    result: str
    problem: str = ""


def demo(*, keep: bool = False, broker_url: str | None = None) -> int:
    """Play all stories; return the exit code: 0 only if every pipeline was resumed once with the right result.

    keep: leave everything running until a signal comes. broker_url: an AMQP virtual host for this demo alone; None: SQLite.
    """
    timeline = Timeline(make_console())
    folder = Path(tempfile.mkdtemp(prefix="bridge-demo-"))
    setting = Setting(folder, broker_url=broker_url)
    is_left = False
    try:
        code = asyncio.run(_until_signalled(setting, timeline, keep=keep))
        is_left = code != 0
    except asyncio.CancelledError:
        timeline.note("\nended before its end")
        code = _INTERRUPTED
    except DemoError as exc:
        timeline.note(f"\ndemo: {exc}")
        code, is_left = 1, setting.log.exists()
    finally:
        if not is_left:
            shutil.rmtree(folder, ignore_errors=True)
    if is_left:
        timeline.note(f"config and log are left in {folder}")
    return code


async def _until_signalled(setting: Setting, timeline: Timeline, *, keep: bool) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run made one
    loop = asyncio.get_running_loop()

    def end() -> None:
        for number in _SIGNALS:  # what is ended now takes a moment; a second Ctrl-C must not cut that
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, end)
    timeline.say("bridge", "starts, beside an emulated Jenkins, CircleCI and CodePipeline")
    async with raised(setting, timeline) as stage:
        return await _show(stage, keep=keep)


async def _show(stage: Stage, *, keep: bool) -> int:
    broker = "RabbitMQ" if stage.setting.broker_url else "SQLite"
    stage.timeline.say("bridge", f"runs at {stage.setting.url}: every role in one process, on {broker}")
    stage.timeline.say("bridge", f"its config, secrets and log are in {stage.setting.folder}")
    rows = await play(stage, STORIES)
    _summarise(stage.timeline, rows)
    code = exit_code(rows)
    if keep:
        await _keep(stage)
    else:
        stage.timeline.note("\nWhat to try next, with --keep, which leaves all of this running:\n")
        _suggest(stage.timeline, "http://127.0.0.1:…", "…", f"http://127.0.0.1:…/{trying.JOB}/1/")
    return code


async def play(stage: Stage, stories: Sequence[Story]) -> list[Row]:
    """Play *stories*, then judge what they promised, once no message is on its way any more."""
    told = []
    for story in stories:
        stage.timeline.chapter(story.title, story.about)
        try:
            told.append((story, list(await story.play(stage)), ""))
        except DemoError as exc:
            stage.timeline.say("bridge", f"✗ {exc}")
            told.append((story, [], str(exc)))
    rows = await _settled(stage)
    for story, promises, problem in told:
        rows += [await judge(stage, promise) for promise in promises]
        if problem:
            rows.append(Row(story.title, "the story came to no end", problem))
    return rows


async def _settled(stage: Stage) -> list[Row]:
    """Wait until whatever a pipeline was to get has been delivered; return a row of the summary when it was not."""
    try:
        await stage.until_idle()
        await stage.catch_up()
    except DemoError as exc:
        return [Row("all of them", "", str(exc))]
    return []


def exit_code(rows: Sequence[Row]) -> int:
    """Return 0 only if there were pipelines, and each was resumed once with the right result."""
    return 0 if rows and not any(row.problem for row in rows) else 1


async def judge(stage: Stage, promise: Promise) -> Row:
    """Say whether *promise* is kept, from the platform's effects and from the API."""
    found = faults(promise, stage.effects, await stage.wait_of(promise.wait))
    return Row(promise.pipeline, promise.result, "; ".join(found))


def _summarise(timeline: Timeline, rows: Sequence[Row]) -> None:
    width = max(len(row.pipeline) for row in rows)
    timeline.note("")
    for row in rows:
        mark = ("✗", "red") if row.problem else ("✓", "green")
        timeline.note(Text.assemble(" ", mark, f"  {row.pipeline:<{width}}  {row.problem or f'once: {row.result}'}"))
    good = sum(not row.problem for row in rows)
    timeline.note(
        f"\n{good} of {len(rows)} pipelines were resumed once with the right result, in {timeline.elapsed_s:.0f} s."
    )


async def _keep(stage: Stage) -> None:
    """Say what to try, and leave everything running until a signal comes."""
    setting, timeline = stage.setting, stage.timeline
    timeline.note("\nStill running; Ctrl-C ends it. What to try, in another shell:\n")
    _suggest(timeline, setting.url, setting.api_token, trying.prepare(stage))
    timeline.note(f"\nStatus page: {setting.url}/ (any user; the token is the password)")
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def _suggest(timeline: Timeline, url: str, token: str, build_url: str) -> None:
    for attempt in trying.commands(url, token, build_url):
        timeline.note(f"# {attempt.why}")
        timeline.note(attempt.command)
