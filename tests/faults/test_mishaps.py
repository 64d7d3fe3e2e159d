"""All platforms under faults at random moments, and a killed bridge; `scripts/bench mishaps` plays more rounds."""

import secrets
from pathlib import Path

from tests.support.mishaps import run


async def test_every_pipeline_goes_on_once_whatever_goes_wrong(tmp_path: Path) -> None:
    """No second effect, no wrong one, and nobody is left waiting; the seed is shown to play a failure again."""
    seed = secrets.randbits(32)
    seen = await run(tmp_path, seed=seed)
    assert seen.is_clean, f"seed {seed}: {seen}"
