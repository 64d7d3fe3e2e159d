"""HTTP in, events out: receives, verifies, normalises, publishes, and answers after the broker's confirm."""

from bridge.ingress.limits import Limits
from bridge.ingress.routes import Ingress

__all__ = ["Ingress", "Limits"]
