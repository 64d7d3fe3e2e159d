"""The config as a command loads it: problems are printed, all of them, and end the command with 1."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.cli.output import fail

if TYPE_CHECKING:  # help and version do not load it
    from bridge.config import Config


def load(path: Path | None, **options: Any) -> "Config":
    """Load the config at *path* or the default one; *options* as of load_config()."""
    from bridge.config import find_file, load_config  # noqa: PLC0415 - see the package's docstring
    from bridge.core.errors import ConfigError  # noqa: PLC0415

    found = find_file(path)
    try:
        return load_config(found, environ=os.environ, **options)
    except ConfigError as exc:
        where = str(found) if found else "no bridge.toml here; from defaults and the environment"
        count = len(exc.problems)
        fail(*exc.problems, f"{count} problem{'' if count == 1 else 's'} ({where})")
