"""Secrets of addresses through a whole bridge: the platform gets them, and nothing that is stored, sent, shown or logged has them."""

import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.core.sealed import HIDDEN
from tests.support.bridge_process import TOKEN
from tests.support.in_process import Bridge, bridge, local
from tests.support.keyed import KEYED, KEYS, Place, config, files, letter, paused, sent_body

SECRETS = ("k3y-hunter2", "c0de-4815", "sw0rdfish", "n0te-1623")
ADDRESS = {
    "key": SECRETS[0],
    "lock": {"name": "front", "code": SECRETS[1]},
    "codes": [SECRETS[2]],
    "notes": {"a/b": SECRETS[3]},
}


@pytest.fixture(params=["sqlite", "servers"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place.of(request.param, request, tmp_path)


def assert_hidden(*texts: object) -> None:
    """Fail where a text, or what it is as JSON, has a secret."""
    for text in texts:
        shown = text if isinstance(text, str) else json.dumps(text)
        assert [secret for secret in SECRETS if secret in shown] == []


async def shown(made: Bridge, wait_id: str) -> list[Any]:
    """Return what the API shows, of every list and item that may hold an address or a message."""
    paths = [f"/v1/waits/{wait_id}", "/v1/waits", f"/v1/waits/{wait_id}/result", "/v1/events", "/v1/dead-letters"]
    answers = [(await made.api.call("GET", path))[1] for path in paths]
    letters = [f"/v1/dead-letters/{item['id']}" for item in answers[-1]["items"]]
    answers += [(await made.api.call("GET", path))[1] for path in letters]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/", "/metrics", "/openapi.json"):
        async with made.session.get(f"{made.url}{path}", headers=headers) as response:
            answers.append(await response.text())
    return answers


async def test_a_secret_reaches_the_platform_and_nothing_else(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """Store, queue, answers and logs hold sealed text or stars; the platform gets what the pipeline gave, at every depth."""
    async with place.run("old") as made:
        gate = made.acme.open_gate("g")
        await paused(made)
        headers = {"Idempotency-Key": "k-1"}
        asked = {"target": "keyed", "address": {"gate": "g", **ADDRESS}, "timeout": "1h"}
        status, wait = await made.api.call("POST", "/v1/waits", json=asked, headers=headers)
        assert status == 201, wait
        assert (await made.api.call("POST", "/v1/waits", json=asked, headers=headers))[1] == wait
        assert await made.post(local(made, wait["callback_url"])) == 202
        seen = await made.api.wait_until(wait["id"], "resolving")
        assert seen["address"] == {
            "gate": "g",
            "key": HIDDEN,
            "lock": {"name": "front", "code": HIDDEN},
            "codes": [HIDDEN],
            "notes": {"a/b": HIDDEN},
        }
        body = await sent_body(place)
        sent = json.loads(body)["data"]["address"]
        assert sent["gate"] == "g"
        assert sent["lock"]["code"].startswith("sealed:v1:old:")
        assert_hidden(body, await place.stored(), *await shown(made, wait["id"]), wait)
        assert (await made.api.call("POST", "/v1/targets/keyed/resume"))[0] == 202
        await made.api.wait_until(wait["id"], "resolved")
        assert [decision["comment"] for decision in gate.decisions] == [" ".join(SECRETS)]
        assert_hidden(await place.stored(), *await shown(made, wait["id"]))
    assert_hidden(*capfd.readouterr())


async def test_a_request_is_known_again_by_no_plain_hash(tmp_path: Path) -> None:
    """A short secret could be guessed by its hash, so the mark of a request is keyed; it is kept only where it is needed."""
    body = json.dumps({"target": "keyed", "address": {"gate": "g", "key": SECRETS[0]}, "timeout": "1h"}).encode()
    async with bridge(tmp_path, more=config("old"), environ=KEYS) as made:
        headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "k-1"}
        for _ in range(2):
            async with made.session.post(f"{made.url}/v1/waits", data=body, headers=headers) as response:
                assert response.status == 201
        async with made.session.post(f"{made.url}/v1/waits", data=body + b" ", headers=headers) as response:
            assert (response.status, (await response.json())["type"]) == (422, "/problems/key-reused")
        await made.api.register("keyed", {"gate": "h", "key": SECRETS[0]})
        with sqlite3.connect(f"file:{tmp_path}/store.db?mode=ro", uri=True) as file:
            marks = [mark for (mark,) in file.execute("SELECT request_hash FROM waits ORDER BY created_at")]
    assert marks[1] is None
    assert marks[0] not in (None, hashlib.sha256(body).hexdigest())


async def test_a_dead_letter_keeps_its_secrets_sealed_and_replays_them(place: Place) -> None:
    """A refused resolution lies sealed in the store and shows stars; its replay opens the gate."""
    async with place.run("old") as made:
        gate = made.acme.open_gate("g")
        made.acme.fault("status", path="decision", status=418)
        wait = await made.api.register("keyed", {"gate": "g", **ADDRESS})
        await made.post(local(made, wait["callback_url"]))
        await made.api.wait_until(wait["id"], "undeliverable")
        item = await letter(made)
        _, whole = await made.api.call("GET", f"/v1/dead-letters/{item['id']}")
        assert whole["body"]["data"]["address"]["key"] == HIDDEN
        assert "sealed:" not in json.dumps(await shown(made, wait["id"]))
        assert_hidden(await place.stored(), *await shown(made, wait["id"]))
        assert (await made.api.call("POST", f"/v1/dead-letters/{item['id']}/replay"))[0] == 202
        await made.api.wait_until(wait["id"], "resolved")
        assert [decision["comment"] for decision in gate.decisions] == [" ".join(SECRETS)]


async def test_keys_rotate_under_open_waits(place: Place) -> None:
    """With a new key first an old wait still opens; when the old key is gone it is refused, told, and comes back with the key."""
    async with place.run("old") as made:
        first = await made.api.register("keyed", {"gate": "a", "key": SECRETS[0]})
        second = await made.api.register("keyed", {"gate": "b", "key": SECRETS[0]})
    async with place.run("new", "old") as made:
        gate = made.acme.open_gate("a")
        third = await made.api.register("keyed", {"gate": "c", "key": SECRETS[0]})
        assert "sealed:v1:new:" in await place.stored()
        await made.post(local(made, first["callback_url"]))
        await made.api.wait_until(first["id"], "resolved")
        assert [decision["comment"] for decision in gate.decisions] == [SECRETS[0]]
    async with place.run("new") as made:
        gates = {name: made.acme.open_gate(name) for name in "bc"}
        for wait in (second, third):
            await made.post(local(made, wait["callback_url"]))
        await made.api.wait_until(third["id"], "resolved")
        seen = await made.api.wait_until(second["id"], "undeliverable")
        assert (seen["reason"], gates["b"].decisions) == ("refused", [])
        notes = [entry["note"] for entry in seen["timeline"] if entry["ending"] == "refused"]
        assert notes == ["address/key: is sealed with the key old, which is not in [secrets] keys"]
        item = await letter(made)
    async with place.run("new", "old") as made:
        gate = made.acme.open_gate("b")
        assert (await made.api.call("POST", f"/v1/dead-letters/{item['id']}/replay"))[0] == 202
        await made.api.wait_until(second["id"], "resolved")
        assert [decision["comment"] for decision in gate.decisions] == [SECRETS[0]]


@pytest.fixture
async def keyless(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with bridge(tmp_path, more=KEYED) as running:
        yield running


async def test_without_keys_no_secret_is_taken(keyless: Bridge, tmp_path: Path) -> None:
    """422 names each secret field and the section that is missing; an address without one is taken."""
    asked = {"target": "keyed", "address": {"gate": "g", **ADDRESS}, "timeout": "1h"}
    status, problem = await keyless.api.call("POST", "/v1/waits", json=asked)
    assert (status, problem["type"]) == (422, "/problems/not-supported")
    pointers = [error["pointer"] for error in problem["errors"]]
    assert pointers == ["/address/key", "/address/lock/code", "/address/codes/0", "/address/notes"]
    assert all("[secrets] keys" in error["detail"] for error in problem["errors"])
    assert_hidden(problem, files(tmp_path))
    gate = keyless.acme.open_gate("g")
    wait = await keyless.api.register("keyed", {"gate": "g", "lock": {"name": "front"}})
    await keyless.post(local(keyless, wait["callback_url"]))
    await keyless.api.wait_until(wait["id"], "resolved")
    assert len(gate.decisions) == 1


async def test_two_secrets_are_one_place(tmp_path: Path) -> None:
    """A refusal of a registration tells nothing of the secrets: neither that of a taken address, nor of a wrong one."""
    async with bridge(tmp_path, more=config("old"), environ=KEYS) as made:
        await made.api.register("keyed", {"gate": "g", "key": SECRETS[0]})
        asked = {"target": "keyed", "address": {"gate": "g", "key": SECRETS[1]}, "timeout": "1h"}
        status, problem = await made.api.call("POST", "/v1/waits", json=asked)
        assert (status, problem["type"]) == (409, "/problems/address-taken")
        wrong = {**asked, "address": {"gate": "g", "key": SECRETS[1], "lock": SECRETS[2], "codes": [{"x": SECRETS[3]}]}}
        status, refused = await made.api.call("POST", "/v1/waits", json=wrong)
        assert (status, refused["type"]) == (422, "/problems/invalid")
        assert_hidden(problem, refused)
