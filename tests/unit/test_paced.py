import asyncio
from datetime import timedelta

import pytest

from bridge.core.errors import Unanswered
from bridge.core.outcome import Later
from bridge.core.quota import Quota
from bridge.core.request import Call, Reply
from bridge.paced import PATIENCE_S, PacedHttp
from tests.support.fakes import FakeHttp

CALL = Call.get("/")


def told(reply: Reply) -> Quota | None:
    """Read `left/reset` of a body."""
    left, _, reset_s = reply.text.partition("/")
    return Quota(int(left), float(reset_s), limit=2) if reset_s else None


def paced(*bodies: str | Exception) -> tuple[PacedHttp, FakeHttp]:
    http = FakeHttp(*(body if isinstance(body, Exception) else Reply(200, {}, body.encode()) for body in bodies))
    return PacedHttp(http, told), http


async def test_a_call_waits_for_the_next_window() -> None:
    """Nothing is left for a moment: the call is held, not refused, and then sent."""
    loop = asyncio.get_running_loop()
    one, http = paced("0/0.05", "fine")
    began = loop.time()
    await one.send(CALL)
    await one.send(CALL)
    assert loop.time() - began >= 0.05
    assert len(http.calls) == 2


async def test_a_long_wait_is_the_workers() -> None:
    """Nothing is sent, and the ending says how long the whole target is to be held; it is no failure of the platform."""
    one, http = paced(f"0/{PATIENCE_S + 25}")
    await one.send(CALL)
    with pytest.raises(Later) as caught:
        await one.send(CALL)
    assert caught.value.is_throttled
    assert not caught.value.is_doubtful
    assert timedelta(seconds=29) < (caught.value.after or timedelta()) <= timedelta(seconds=30)
    assert len(http.calls) == 1


async def test_calls_without_an_answer_are_counted_out_again() -> None:
    """What broke is under way no longer: the first answer's word is not lessened by it."""
    one, http = paced(Unanswered("broke"), Unanswered("broke"), "2/30", "fine")
    for _ in range(2):
        with pytest.raises(Unanswered):
            await one.send(CALL)
    for _ in range(3):
        await one.send(CALL)
    assert len(http.calls) == 5


async def test_closing_closes_what_is_inside() -> None:
    """The connection pool is the inner one's."""
    one, http = paced("fine")
    await one.close()
    assert http.is_closed
