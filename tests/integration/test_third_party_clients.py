"""Third-party clients through a whole bridge: their tokens are set, travel sealed, rotate, and hold nobody up where one is missing."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.core.sealed import HIDDEN
from bridge.ops import metrics
from tests.support.in_process import Bridge, bridge, local, token
from tests.support.keyed import KEYED, KEYS, Place, config, letter, paused, sent_body

CLIENT = "0a1b2c3d-0000-4000-8000-000000000001"
OTHER = "0a1b2c3d-0000-4000-8000-000000000002"
TOKENS = ("p4rtner-one", "p4rtner-two")
ADMIN = '[clients.admin]\ntoken_env = "T_ADMIN"\nroles = ["admin"]\n'
ENVIRON = {**KEYS, "T_ADMIN": "admin-token-of-the-tests"}
PATH = f"/v1/third-party-clients/{CLIENT}"


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with bridge(tmp_path, more=config("old") + ADMIN, environ=ENVIRON) as running:
        yield running


async def put(made: Bridge, text: Any, *, client: str = CLIENT, by: str = "admin") -> tuple[int, Any]:
    path = f"/v1/third-party-clients/{client}"
    return await made.api.call("PUT", path, json={"token": text}, headers=token(by))


async def drop(made: Bridge, *, by: str = "admin") -> int:
    return (await made.api.call("DELETE", PATH, headers=token(by)))[0]


async def resolved(made: Bridge, gate: str, **more: Any) -> str:
    """Register a wait for *gate*, call back, and return what the platform was told with the answer."""
    opened = made.acme.open_gate(gate)
    wait = await made.api.register("keyed", {"gate": gate, **more})
    await made.post(local(made, wait["callback_url"]))
    await made.api.wait_until(wait["id"], "resolved")
    return str(opened.decisions[-1]["comment"])


def alarms() -> float:
    return metrics.REGISTRY.get_sample_value("bridge_unknown_clients_total", {"target": "keyed"}) or 0.0


@pytest.mark.parametrize("kind", ["sqlite", "servers"])
async def test_a_token_travels_sealed_to_the_platform_alone(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Store, queue and answers never hold it; the message has the one that was set when it was sent."""
    place = Place.of(kind, request, tmp_path)
    async with place.run("old", more=ADMIN, environ=ENVIRON) as made:
        assert await put(made, TOKENS[0]) == (204, None)
        assert await put(made, TOKENS[1]) == (204, None)
        gate = made.acme.open_gate("g")
        wait = await made.api.register("keyed", {"gate": "g", "client": CLIENT})
        await paused(made)
        await made.post(local(made, wait["callback_url"]))
        body = await sent_body(place)
        assert json.loads(body)["data"]["client_token"].startswith("sealed:v1:old:")
        seen = [body, await place.stored()]
        assert (await made.api.call("POST", "/v1/targets/keyed/resume"))[0] == 202
        whole = await made.api.wait_until(wait["id"], "resolved")
        assert [decision["comment"] for decision in gate.decisions] == [TOKENS[1]]
        seen += [json.dumps(whole), await place.stored(), "".join(capfd.readouterr())]
    assert [text for text in seen for secret in TOKENS if secret in text] == []


async def test_a_replay_takes_the_token_of_that_moment(made: Bridge) -> None:
    """The partner's token was rotated: the refused resolution comes back with the new one."""
    await put(made, TOKENS[0])
    gate = made.acme.open_gate("g")
    made.acme.fault("status", path="decision", status=418)
    wait = await made.api.register("keyed", {"gate": "g", "client": CLIENT})
    await made.post(local(made, wait["callback_url"]))
    await made.api.wait_until(wait["id"], "undeliverable")
    item = await letter(made)
    _, whole = await made.api.call("GET", f"/v1/dead-letters/{item['id']}")
    assert whole["body"]["data"]["client_token"] == HIDDEN
    await put(made, TOKENS[1])
    assert (await made.api.call("POST", f"/v1/dead-letters/{item['id']}/replay"))[0] == 202
    await made.api.wait_until(wait["id"], "resolved")
    assert [decision["comment"] for decision in gate.decisions] == [TOKENS[1]]


async def test_an_unknown_client_raises_an_alarm_and_blocks_nobody(made: Bridge) -> None:
    """Its wait opens, is told at error level, and is refused alone; set, it is replayed; the others went on meanwhile."""
    await put(made, TOKENS[0], client=OTHER)
    before = alarms()
    with capture_logs() as logs:
        unknown = await made.api.register("keyed", {"gate": "u", "client": CLIENT})
        assert (alarms(), unknown["state"]) == (before + 1, "open")
        gate = made.acme.open_gate("u")
        await made.post(local(made, unknown["callback_url"]))
        assert await resolved(made, "a", client=OTHER) == TOKENS[0]
        assert await resolved(made, "b", key="k3y") == "k3y"
        seen = await made.api.wait_until(unknown["id"], "undeliverable")
    assert alarms() == before + 2
    told = [entry for entry in logs if entry["event"] == "third_party_client_unknown"]
    assert [(entry["log_level"], entry["correlation_id"], entry["client"]) for entry in told] == [
        ("error", unknown["id"], CLIENT)
    ] * 2
    assert (seen["reason"], gate.decisions) == ("refused", [])
    notes = [entry["note"] for entry in seen["timeline"] if entry["note"]]
    assert notes[0] == "by test; its third-party client has no token yet"
    assert notes[-1] == "address: its third-party client has no token: `bridge client set`, then replay"
    await put(made, TOKENS[1])
    item = await letter(made)
    assert (await made.api.call("POST", f"/v1/dead-letters/{item['id']}/replay"))[0] == 202
    await made.api.wait_until(unknown["id"], "resolved")
    assert [decision["comment"] for decision in gate.decisions] == [TOKENS[1]]


async def test_a_dropped_token_is_gone(made: Bridge) -> None:
    """Once: the second drop finds none, and an open wait of that client is refused when it is decided."""
    await put(made, TOKENS[0])
    wait = await made.api.register("keyed", {"gate": "g", "client": CLIENT})
    assert [await drop(made), await drop(made)] == [204, 404]
    made.acme.open_gate("g")
    before = alarms()
    await made.post(local(made, wait["callback_url"]))
    seen = await made.api.wait_until(wait["id"], "undeliverable")
    assert (seen["reason"], alarms()) == ("refused", before + 1)


@pytest.mark.parametrize(
    ("text", "status", "slug", "pointer"),
    [
        ("", 422, "invalid", "/token"),
        ("x" * 257, 422, "invalid", "/token"),
        (17, 422, "invalid", "/token"),
        (None, 422, "invalid", "/token"),
        ("x" * 256, 204, None, None),
        ("\u00e9 \n", 204, None, None),
    ],
)
async def test_a_token_has_1_to_256_characters(
    made: Bridge, text: Any, status: int, slug: str | None, pointer: str | None
) -> None:
    """As the platform's own model says; what is wrong with one does not show it."""
    answered, problem = await put(made, text)
    assert answered == status
    if slug is not None:
        assert problem["type"] == f"/problems/{slug}"
        assert [error["pointer"] for error in problem["errors"]] == [pointer]
        assert "xxx" not in json.dumps(problem)


@pytest.mark.parametrize("client", ["nobody", CLIENT.upper(), CLIENT + "0", "..%2f", "\u00e9"])
async def test_a_client_is_a_uuid(made: Bridge, client: str) -> None:
    """As the platform gives it, in lower case; nothing else is stored, and none of it is repeated."""
    status, problem = await put(made, "x", client=client)
    assert (status, problem["type"]) == (422, "/problems/invalid")
    assert client not in json.dumps(problem)


@pytest.mark.parametrize("by", ["reader", "stranger", "nobody"])
async def test_only_an_admin_sets_and_drops(made: Bridge, by: str) -> None:
    """Register, read and operate do not, and nobody reads a token: there is no such call."""
    assert (await put(made, "x", by=by))[0] == 403
    assert await drop(made, by=by) == 403
    assert (await made.api.call("GET", PATH, headers=token("admin")))[0] == 405


async def test_without_keys_no_token_is_taken(tmp_path: Path) -> None:
    """422 names the section that is missing; a wait of a client is opened all the same."""
    async with bridge(tmp_path, more=KEYED + ADMIN, environ=ENVIRON) as made:
        status, problem = await put(made, "hunter2")
        assert (status, problem["type"]) == (422, "/problems/not-supported")
        assert problem["errors"][0]["pointer"] == "/token"
        assert "[secrets] keys" in problem["errors"][0]["detail"]
        await made.api.register("keyed", {"gate": "g", "client": CLIENT})


async def test_two_admins_at_once_leave_one_token(made: Bridge) -> None:
    """Whoever comes last wins; nobody gets an error."""
    texts = [f"token-{number}" for number in range(8)]
    answers = await asyncio.gather(*(put(made, text) for text in texts))
    assert [status for status, _ in answers] == [204] * 8
    assert await resolved(made, "g", client=CLIENT) in texts
