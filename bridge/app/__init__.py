"""The one place where everything is wired together: from a config to a running process."""

from bridge.app.probing import probe
from bridge.app.process import run, serve

__all__ = ["probe", "run", "serve"]
