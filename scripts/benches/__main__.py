"""`scripts/bench`: measures the bars and prints what it sees."""

import argparse
from collections.abc import Awaitable, Callable

import uvloop

from scripts.benches import agent, ingress, kill, line, mishaps, share, waits
from scripts.benches.common import Section, say, write
from scripts.benches.platforms import PLATFORMS

Bench = Callable[[bool], Awaitable[list[Section]]]


async def _ingress(is_quick: bool) -> list[Section]:  # noqa: FBT001 - the benches' one switch
    return [await ingress.measure(seconds=2 if is_quick else 6)]


async def _line(is_quick: bool) -> list[Section]:  # noqa: FBT001
    seconds = 5 if is_quick else 30
    return [
        await line.measure(is_local=is_local, seconds=seconds, per_s=150 if is_local else 300, platform=platform)
        for platform in PLATFORMS
        for is_local in (False, True)
    ]


async def _waits(is_quick: bool) -> list[Section]:  # noqa: FBT001
    return [await waits.measure(count=5_000 if is_quick else 100_000)]


async def _kill(is_quick: bool) -> list[Section]:  # noqa: FBT001
    return [await kill.measure(kills=2 if is_quick else 20)]


async def _mishaps(is_quick: bool) -> list[Section]:  # noqa: FBT001
    return [await mishaps.measure(rounds=2 if is_quick else 20)]


async def _share(is_quick: bool) -> list[Section]:  # noqa: FBT001
    return [await share.measure(seconds=2 if is_quick else 15)]


async def _agent(is_quick: bool) -> list[Section]:  # noqa: FBT001
    return [await agent.measure(seconds=15 if is_quick else 120)]


BENCHES: dict[str, Bench] = {
    "ingress": _ingress,
    "line": _line,
    "waits": _waits,
    "kill": _kill,
    "mishaps": _mishaps,
    "share": _share,
    "agent": _agent,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHES], help="which; all when none is named")
    parser.add_argument("--quick", action="store_true", help="short runs, to see that it works")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/reference/benchmarks.md")
    arguments = parser.parse_args()
    sections = []
    for name in arguments.names or BENCHES:
        say(f"== {name}")
        sections += uvloop.run(BENCHES[name](arguments.quick))
    if arguments.write:
        write(sections)


main()
