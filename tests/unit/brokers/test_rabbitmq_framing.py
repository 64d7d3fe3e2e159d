"""Our frames against the driver's own encoder and decoder."""

import struct
from typing import Any, cast

import pamqp.frame
import pytest
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.brokers.rabbitmq.framing import body_frame, header_frame
from bridge.brokers.rabbitmq.messages import Headers, WireMessage
from tests.support.brokers import properties_of

HEADERS: tuple[Headers, ...] = (
    {},
    {"traceparent": "00-1", "bridge-attempt": 1},
    {"bridge-attempt": 2**31, "bridge-not-before": 1_767_323_045_678, "low": -(2**63)},
    {"bridge-reason": "größer\u2028als 255 " * 100, "empty": ""},
)


def decoded(frame: bytes) -> tuple[int, Any]:
    """Return the channel and the driver's reading of one frame, which it must use up."""
    used, channel, value = pamqp.frame.unmarshal(frame)
    assert used == len(frame)
    return channel, value


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("correlation_id", ["", "c-1", "x" * 255])
@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_header_says_what_the_drivers_own_says(headers: Headers, correlation_id: str, size: int) -> None:
    """The driver reads our content header as the one that it writes itself."""
    message = WireMessage("e", "k", b"x" * size, headers, correlation_id)
    own = pamqp.frame.marshal(ContentHeader(body_size=size, properties=properties_of(message, "m-1")), 7)
    channel, ours = decoded(b"".join(header_frame(message, "m-1", 7)))
    _, theirs = decoded(own)
    assert channel == 7
    assert ours.body_size == theirs.body_size == size
    assert dict(cast(Basic.Properties, ours.properties)) == dict(cast(Basic.Properties, theirs.properties))


def test_body_is_byte_for_byte_the_drivers() -> None:
    """A body frame is what the driver writes."""
    part = bytes(range(256))
    assert b"".join(body_frame(part, 3)) == pamqp.frame.marshal(ContentBody(part), 3)


def test_what_does_not_fit_is_refused() -> None:
    """Nothing is cut and no length overflows: ids and header names have one byte for theirs, numbers eight."""
    with pytest.raises(ValueError, match="255"):
        header_frame(WireMessage("", "k", b"", {}, "ö" * 128), "m", 1)
    with pytest.raises(ValueError, match="255"):
        header_frame(WireMessage("", "k", b"", {"n" * 256: 1}), "m", 1)
    with pytest.raises(struct.error):
        header_frame(WireMessage("", "k", b"", {"n": 2**63}), "m", 1)
