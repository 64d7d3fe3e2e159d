"""PacedHttp: the Http port within the platform's quota. A call that would be one too many waits for the next window."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from bridge.core.outcome import Later
from bridge.core.ports import Http
from bridge.core.quota import Allowance, Quota
from bridge.core.request import Call, Reply

PATIENCE_S = 5.0
"""What one call waits at most; a longer wait is the worker's, which holds the whole target meanwhile."""


class PacedHttp:
    """Sends through *http* as *read* says of each reply: what the platform still takes, None where it does not tell."""

    def __init__(self, http: Http, read: Callable[[Reply], Quota | None]) -> None:
        self._http = http
        self._read = read
        self._allowance = Allowance()

    async def send(self, call: Call) -> Reply:
        """Send *call* when its turn has come; see the port.

        Raises:
            Later: the quota is used up for longer than PATIENCE_S; nothing was sent.
        """
        await self._turn()
        try:
            reply = await self._http.send(call)
        finally:
            self._allowance.give_back()
        quota = self._read(reply)
        if quota is not None:
            self._allowance.learn(quota, _now())
        return reply

    async def close(self) -> None:
        await self._http.close()

    async def _turn(self) -> None:
        patience_until = _now() + PATIENCE_S
        while wait_s := self._allowance.take(_now()):
            if _now() + wait_s > patience_until:
                raise Later("the platform's quota is used up", timedelta(seconds=wait_s), is_throttled=True)
            await asyncio.sleep(wait_s)


def _now() -> float:
    return asyncio.get_running_loop().time()
