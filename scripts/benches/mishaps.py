"""Random faults at all platforms and a killed bridge, round after round: what was done twice, wrongly, or not at all."""

import tempfile
from pathlib import Path

from scripts.benches.common import Section, say
from tests.support.mishaps import run


async def measure(*, rounds: int) -> Section:
    """Play *rounds* rounds, with the seeds 1, 2, …; return the sums."""
    seen = []
    for seed in range(1, rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            seen.append(await run(Path(folder), seed=seed))
        say(f"  {seed}: {seen[-1]}")
    text = (
        "Jenkins inputs, CircleCI approvals, CodePipeline jobs, approvals and the agent's works, in one process on SQLite, with twelve faults "
        "at random moments at each platform and one kill -9 a round. Counted from the emulators' lists of effects."
    )
    head = ("rounds", "pipelines", "faults", "second effects", "wrong effects", "left waiting")
    row = (
        rounds,
        sum(one.places for one in seen),
        sum(one.faults for one in seen),
        sum(len(one.twice) for one in seen),
        sum(len(one.wrong) for one in seen),
        sum(len(one.waiting) for one in seen),
    )
    return Section("mishaps", text, [head, tuple(map(str, row))])
