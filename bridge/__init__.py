"""The bridge: a remote's webhook resumes the pipeline that waits for it, once.

These are the names that authors of consumers and sources import. See docs/how-to/add-a-consumer.md.
"""

from bridge.core.consumer import Address, AddressError, Consumer, healthy
from bridge.core.event import Event, EventData, Outcome
from bridge.core.outcome import AlreadyDone, Done, Ending, Gone, Health, Later, NotYet, Refused, Standing
from bridge.core.request import (
    Basic,
    Bearer,
    Call,
    NoAuth,
    Part,
    RawRequest,
    Reply,
    TokenHeader,
    VerifiedRequest,
    segment,
)
from bridge.core.resolution import Resolution
from bridge.core.settings import SourceSettings, TargetSettings
from bridge.core.source import Answer, Source

__version__ = "0.1.0"

__all__ = [
    "Address",
    "AddressError",
    "AlreadyDone",
    "Answer",
    "Basic",
    "Bearer",
    "Call",
    "Consumer",
    "Done",
    "Ending",
    "Event",
    "EventData",
    "Gone",
    "Health",
    "Later",
    "NoAuth",
    "NotYet",
    "Outcome",
    "Part",
    "RawRequest",
    "Refused",
    "Reply",
    "Resolution",
    "Source",
    "SourceSettings",
    "Standing",
    "TargetSettings",
    "TokenHeader",
    "VerifiedRequest",
    "healthy",
    "segment",
]
