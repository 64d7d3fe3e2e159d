"""The API over HTTP, as its clients see it, with a whole bridge behind it."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bridge_process import SECRET, TOKEN
from tests.support.in_process import Bridge, bridge, local, token

SHA = "c" * 40


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with bridge(tmp_path) as running:
        yield running


def asked(gate: str = "g1", **more: Any) -> dict[str, Any]:
    return {"target": "acme", "address": {"gate": gate}, "timeout": "1h", **more}


async def register(made: Bridge, gate: str = "g1", **more: Any) -> Any:
    status, body = await made.api.call("POST", "/v1/waits", json=asked(gate, **more))
    assert status == 201, body
    return body


async def review(made: Bridge, state: str = "approved", *, delivery: str = "1") -> int:
    """Post a signed review of SHA, as GitHub does."""
    body = json.dumps(
        {
            "action": "submitted",
            "review": {"state": state, "commit_id": SHA, "id": delivery},
            "pull_request": {"number": 7, "head": {"sha": SHA}},
            "repository": {"full_name": "acme/app"},
        }
    ).encode()
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "pull_request_review",
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={digest}",
    }
    return await made.post(f"{made.url}/hooks/hub", data=body, headers=headers)


EXPECTS = [{"source": "hub", "type": "review.approved", "keys": {"repository": "acme/app", "sha": SHA}}]


async def until_listed(made: Bridge, path: str) -> Any:
    """Return the items of a list as soon as it has any."""
    async with asyncio.timeout(10):
        while True:
            _, listed = await made.api.call("GET", path)
            if listed["items"]:
                return listed["items"]
            await asyncio.sleep(0.02)


def pointers(problem: Any) -> list[str]:
    return [error["pointer"] for error in problem["errors"]]


async def test_registration_tells_the_url_once(made: Bridge) -> None:
    """201 has the callback URL below the public name; no later answer shows it."""
    wait = await register(made, labels={"run": "17"})
    assert wait["callback_url"].startswith("https://bridge.example.com/cb/")
    assert wait["links"] == {"self": f"/v1/waits/{wait['id']}", "result": f"/v1/waits/{wait['id']}/result"}
    _, shown = await made.api.call("GET", f"/v1/waits/{wait['id']}")
    assert "callback_url" not in json.dumps(shown)
    assert shown["labels"] == {"run": "17"}
    assert [entry["kind"] for entry in shown["timeline"]] == ["opened"]


async def test_plain_text_is_the_bare_url(made: Bridge) -> None:
    """A shell script asks for text and gets nothing else."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/plain"}
    async with made.session.post(f"{made.url}/v1/waits", json=asked(), headers=headers) as response:
        assert response.status == 201
        assert (await response.text()).strip().startswith("https://bridge.example.com/cb/")


async def test_callback_resumes_the_pipeline_and_shows_the_result(made: Bridge) -> None:
    """From the webhook to the platform and back to the pipeline."""
    made.acme.open_gate("g1")
    wait = await register(made)
    url = local(made, wait["callback_url"])
    assert await made.post(f"{url}/progress?percent=40&message=linking") == 202
    assert (
        await made.post(url, json={"outcome": "failed", "summary": "3 of 412 failed", "url": "https://farm.example/1"})
        == 202
    )
    seen = await made.api.wait_until(wait["id"], "resolved")
    assert seen["progress"] == {"percent": 40, "message": "linking", "url": ""}
    assert [entry["kind"] for entry in seen["timeline"]] == ["opened", "event", "event", "decided", "sent", "report"]
    assert [(effect.kind, effect.detail.get("approved")) for effect in made.acme.effects] == [("decided", False)]
    status, result = await made.api.call("GET", f"/v1/waits/{wait['id']}/result")
    assert status == 200
    assert result["outcome"] == "failed"
    assert result["data"]["summary"] == "3 of 412 failed"
    assert result["data"]["url"] == "https://farm.example/1"
    assert result["data"]["data"]["outcome"] == "failed"


async def test_result_is_a_long_poll(made: Bridge) -> None:
    """A pipeline that asks early gets its answer as soon as there is one, 202 when patience ends first."""
    wait = await register(made)
    path = f"/v1/waits/{wait['id']}/result"
    assert await made.api.call("GET", path) == (202, {"state": "open"})
    asking = asyncio.create_task(made.api.call("GET", f"{path}?wait=20"))
    await made.post(local(made, wait["callback_url"]))
    status, result = await asking
    assert (status, result["outcome"]) == (200, "succeeded")
    status, problem = await made.api.call("GET", f"{path}?wait=61")
    assert (status, problem["type"]) == (422, "/problems/invalid")


async def test_second_decision_changes_nothing(made: Bridge) -> None:
    """The same outcome is a duplicate, another one late; both are 202."""
    made.acme.open_gate("g1")
    wait = await register(made)
    url = local(made, wait["callback_url"])
    for suffix in ("succeeded", "succeeded", "failed"):
        assert await made.post(f"{url}/{suffix}") == 202
    await made.api.wait_until(wait["id"], "resolved")
    await _verdicts(made, {"duplicate": 1, "late": 1, "resumed": 1}, source="callback")
    assert len(made.acme.effects) == 1


async def test_address_is_taken_until_the_wait_is_over(made: Bridge) -> None:
    """Rule 8: another registration is 409 with the holder, and free again afterwards."""
    wait = await register(made)
    status, problem = await made.api.call("POST", "/v1/waits", json=asked())
    assert (status, problem["type"], problem["wait"]) == (409, "/problems/address-taken", wait["id"])
    assert (await made.api.call("DELETE", f"/v1/waits/{wait['id']}"))[0] == 204
    await register(made)


async def test_idempotency_key_gives_the_same_wait(made: Bridge) -> None:
    """The same key with the same body is the same 201; with another body it is refused."""
    headers = {"Idempotency-Key": "build-17"}
    first = await made.api.call("POST", "/v1/waits", json=asked(), headers=headers)
    assert await made.api.call("POST", "/v1/waits", json=asked(), headers=headers) == first
    status, problem = await made.api.call("POST", "/v1/waits", json=asked("g2"), headers=headers)
    assert (status, problem["type"]) == (422, "/problems/key-reused")


async def test_event_before_the_registration_counts(made: Bridge) -> None:
    """Both sides look: a review that came first decides at once."""
    made.acme.open_gate("g1")
    assert await review(made) == 202
    await _verdicts(made, {"early": 1})
    wait = await register(made, expects=EXPECTS)
    assert wait["state"] == "resolving"
    await made.api.wait_until(wait["id"], "resolved")
    await _verdicts(made, {"resumed": 1})


async def test_event_after_the_registration_counts(made: Bridge) -> None:
    """A review of that repository and commit answers the wait; the sender's repeat is a duplicate."""
    made.acme.open_gate("g1")
    wait = await register(made, expects=EXPECTS)
    assert await review(made, "commented", delivery="0") == 202
    assert await review(made) == 202
    assert await review(made) == 202
    await made.api.wait_until(wait["id"], "resolved")
    await _verdicts(made, {"resumed": 1, "duplicate": 1, "no_match": 1})


async def test_early_false_does_not_look_back(made: Bridge) -> None:
    """A wait that wants only what comes later leaves the early event alone."""
    assert await review(made) == 202
    await _verdicts(made, {"early": 1})
    wait = await register(made, expects=[{**EXPECTS[0], "early": False}])
    assert wait["state"] == "open"


async def _verdicts(made: Bridge, wanted: dict[str, int], *, source: str = "hub") -> None:
    """Wait until the events of *source* show these verdicts."""
    async with asyncio.timeout(10):
        while True:
            _, listed = await made.api.call("GET", f"/v1/events?source={source}")
            counts: dict[str, int] = {}
            for item in listed["items"]:
                counts[item["verdict"]] = counts.get(item["verdict"], 0) + 1
            if counts == wanted:
                return
            await asyncio.sleep(0.02)


async def test_deadline_resolves_as_timed_out(made: Bridge) -> None:
    """Nobody calls back: the timer decides and the pipeline is told."""
    made.acme.open_gate("g1")
    wait = await register(made, timeout=1)
    seen = await made.api.wait_until(wait["id"], "resolved")
    assert (seen["outcome"], seen["reason"]) == ("timed_out", "deadline")
    assert made.acme.effects[0].detail["approved"] is False
    assert await made.post(local(made, wait["callback_url"])) == 410


async def test_cancelled_wait_sends_nothing(made: Bridge) -> None:
    """A wait taken back is over: its result is 410, a late callback is accepted and late."""
    wait = await register(made)
    assert (await made.api.call("DELETE", f"/v1/waits/{wait['id']}"))[0] == 204
    assert (await made.api.call("GET", f"/v1/waits/{wait['id']}/result"))[0] == 410
    assert await made.post(local(made, wait["callback_url"])) == 202
    await until_listed(made, "/v1/events?verdict=late")
    assert made.acme.log == []


async def test_decided_wait_cannot_be_taken_back(made: Bridge) -> None:
    """409 with the slug of the state."""
    wait = await register(made)
    await made.post(local(made, wait["callback_url"]))
    await made.api.wait_until(wait["id"], "resolving")
    status, problem = await made.api.call("DELETE", f"/v1/waits/{wait['id']}")
    assert (status, problem["type"]) == (409, "/problems/decided")


@pytest.mark.parametrize(
    ("change", "slug", "pointer"),
    [
        ({"target": "other"}, "unknown-target", "/target"),
        ({"address": {}}, "invalid", "/address/gate"),
        ({"address": {"gate": "g", "colour": "red"}}, "invalid", "/address/colour"),
        ({"timeout": "8 hours"}, "invalid", "/timeout"),
        ({"timeout": "8d"}, "invalid", "/timeout"),
        ({"expects": [{"source": "hub", "keys": {}}]}, "invalid", "/expects/0/keys"),
        ({"expects": [{"source": "gone", "keys": {"a": "b"}}]}, "invalid", "/expects/0/source"),
        (
            {"expects": [{"source": "hub", "type": "review.approved", "keys": {"sha": SHA}}]},
            "invalid",
            "/expects/0/keys",
        ),
        ({"heartbeat": "5m"}, "not-supported", "/heartbeat"),
        ({"parties": ["qa"]}, "not-supported", "/parties"),
        ({"require": "all"}, "not-supported", "/require"),
        ({"poll": {"poller": "builds"}}, "not-supported", "/poll"),
        ({"on": {"outcome": "state"}}, "not-supported", "/on"),
        ({"colour": "red"}, "invalid", "/colour"),
    ],
)
async def test_wrong_registration_names_the_field(
    made: Bridge, change: dict[str, Any], slug: str, pointer: str
) -> None:
    """422 with the pointer of the field, and nothing is opened."""
    status, problem = await made.api.call("POST", "/v1/waits", json={**asked(), **change})
    assert status == 422, problem
    assert problem["type"] == f"/problems/{slug}"
    assert pointer in pointers(problem)
    assert (await made.api.call("GET", "/v1/waits"))[1]["items"] == []


async def test_body_that_is_no_json_is_400(made: Bridge) -> None:
    """Bytes that cannot be read are told apart from fields that are wrong."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert await made.post(f"{made.url}/v1/waits", data=b"{", headers=headers) == 400


async def test_tokens_and_roles(made: Bridge) -> None:
    """401 without a known token, 403 without the role; both say nothing about the token."""
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer nope"}):
        status, problem = await made.api.call("GET", "/v1/waits", headers=headers)
        assert (status, problem["type"]) == (401, "/problems/unauthenticated")
    status, problem = await made.api.call("POST", "/v1/waits", json=asked(), headers=token("reader"))
    assert (status, problem["type"]) == (403, "/problems/forbidden")
    assert (await made.api.call("GET", "/v1/waits", headers=token("nobody")))[0] == 403


async def test_what_a_client_may_not_see_is_404(made: Bridge) -> None:
    """Another team's wait does not exist for a stranger, nor does its target, nor its events."""
    wait = await register(made)
    await made.post(local(made, wait["callback_url"]))
    await made.api.wait_until(wait["id"], "resolving")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/result")):
        assert (await made.api.call(method, f"/v1/waits/{wait['id']}{path}", headers=token("stranger")))[0] == 404
    for path in ("/v1/waits", "/v1/events", "/v1/dead-letters"):
        assert (await made.api.call("GET", path, headers=token("stranger")))[1]["items"] == []
    _, targets = await made.api.call("GET", "/v1/targets", headers=token("stranger"))
    assert [item["name"] for item in targets["items"]] == ["acme-two"]
    _, queues = await made.api.call("GET", "/v1/queues", headers=token("stranger"))
    assert "bridge.target.acme" not in [item["name"] for item in queues["items"]]
    status, problem = await made.api.call("POST", "/v1/waits", json=asked(), headers=token("stranger"))
    assert (status, problem["type"]) == (422, "/problems/unknown-target")
    assert (await made.api.call("POST", "/v1/targets/acme/pause", headers=token("stranger")))[0] == 404


async def test_lists_have_pages_and_filters(made: Bridge) -> None:
    """Newest first, a cursor until the end, and only what is asked for."""
    ids = [
        (await register(made, f"g{number}", labels={"team": "a" if number % 2 else "b"}))["id"] for number in range(5)
    ]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        _, page = await made.api.call("GET", f"/v1/waits?limit=2{f'&cursor={cursor}' if cursor else ''}")
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == ids[::-1]
    _, labelled = await made.api.call("GET", "/v1/waits?label=team:a")
    assert {item["id"] for item in labelled["items"]} == {ids[1], ids[3]}
    assert (await made.api.call("GET", "/v1/waits?state=resolved"))[1]["items"] == []
    assert (await made.api.call("GET", "/v1/waits?target=acme-two"))[1]["items"] == []
    assert (await made.api.call("GET", "/v1/waits?cursor=nonsense"))[0] == 422
    assert (await made.api.call("GET", "/v1/waits?limit=501"))[0] == 422


async def test_event_sent_by_an_operator(made: Bridge) -> None:
    """An operator may say what a source would have said."""
    made.acme.open_gate("g1")
    wait = await register(made, expects=EXPECTS)
    event = {
        "source": "hub",
        "type": "review.approved",
        "data": {"outcome": "succeeded", "keys": {"repository": "acme/app", "sha": SHA}, "summary": "by hand"},
    }
    status, sent = await made.api.call("POST", "/v1/events", json=event)
    assert status == 202
    await made.api.wait_until(wait["id"], "resolved")
    _, shown = await made.api.call("GET", f"/v1/events/{sent['event']}")
    assert shown["verdict"] == "resumed"
    assert shown["verdicts"] == [{"wait": wait["id"], "verdict": "resumed"}]
    assert (await made.api.call("POST", "/v1/events", json={**event, "source": "other"}))[0] == 422


async def test_refusal_is_a_dead_letter_and_replays(made: Bridge) -> None:
    """What the platform refuses ends undeliverable with a letter; replayed after the repair it resumes."""
    gate = made.acme.open_gate("g1")
    gate.state = "teapot"
    made.acme.fault("status", path="decision", status=418)
    wait = await register(made)
    await made.post(local(made, wait["callback_url"]))
    seen = await made.api.wait_until(wait["id"], "undeliverable")
    assert seen["reason"] == "refused"
    (letter,) = await until_listed(made, "/v1/dead-letters")
    assert (letter["wait"], letter["target"], letter["reason"]) == (wait["id"], "acme", "refused")
    gate.state = "waiting"
    assert (await made.api.call("POST", f"/v1/dead-letters/{letter['id']}/replay"))[0] == 202
    seen = await made.api.wait_until(wait["id"], "resolved")
    assert "replayed" in [entry["kind"] for entry in seen["timeline"]]
    assert (await made.api.call("GET", "/v1/dead-letters"))[1]["items"] == []


async def test_replay_waits_for_the_address(made: Bridge) -> None:
    """While another wait is open at the address, a replay is 409; a dropped letter is gone."""
    made.acme.fault("status", path="decision", status=418)
    made.acme.open_gate("g1")
    wait = await register(made)
    await made.post(local(made, wait["callback_url"]))
    await made.api.wait_until(wait["id"], "undeliverable")
    await register(made)
    (letter,) = await until_listed(made, "/v1/dead-letters")
    path = f"/v1/dead-letters/{letter['id']}"
    status, problem = await made.api.call("POST", f"{path}/replay")
    assert (status, problem["type"]) == (409, "/problems/address-taken")
    assert (await made.api.call("DELETE", path))[0] == 204
    assert (await made.api.call("GET", path))[0] == 404


async def test_paused_target_keeps_its_resolutions(made: Bridge) -> None:
    """Nothing reaches a paused platform; when it goes on everything does."""
    made.acme.open_gate("g1")
    assert (await made.api.call("POST", "/v1/targets/acme/pause"))[0] == 202
    _, targets = await made.api.call("GET", "/v1/targets")
    assert {item["name"]: item["paused"] for item in targets["items"]} == {"acme": True, "acme-two": False}
    await _consumers(made, "bridge.target.acme", 0)
    wait = await register(made)
    await made.post(local(made, wait["callback_url"]))
    await made.api.wait_until(wait["id"], "resolving")
    _, queues = await made.api.call("GET", "/v1/queues")
    (queue,) = [item for item in queues["items"] if item["name"] == "bridge.target.acme"]
    assert (queue["ready"], queue["consumers"]) == (1, 0)
    assert queue["oldest_age_s"] >= 0
    assert made.acme.log == []
    assert (await made.api.call("POST", "/v1/targets/acme/resume"))[0] == 202
    await made.api.wait_until(wait["id"], "resolved")


async def _consumers(made: Bridge, name: str, wanted: int) -> None:
    async with asyncio.timeout(10):
        while True:
            _, queues = await made.api.call("GET", "/v1/queues")
            if [item["consumers"] for item in queues["items"] if item["name"] == name] == [wanted]:
                return
            await asyncio.sleep(0.02)


async def test_open_pages(made: Bridge) -> None:
    """Health, figures and the description need no token; the status page does, also as a Basic password."""
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        async with made.session.get(f"{made.url}{path}") as response:
            assert response.status == 200
    async with made.session.get(f"{made.url}/") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic")
    await register(made, "<script>alert(1)</script>")
    credentials = {"Authorization": "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()}
    async with made.session.get(f"{made.url}/", headers=credentials) as response:
        page = await response.text()
        assert response.status == 200
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


async def test_openapi_is_true_to_the_models(made: Bridge) -> None:
    """Every reference in the description resolves, and every call is described."""
    async with made.session.get(f"{made.url}/openapi.json") as response:
        document = await response.json()
    known = document["components"]["schemas"]
    text = json.dumps(document)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.partition('"')[0] in known
    assert {"/v1/waits", "/v1/waits/{id}/result", "/v1/dead-letters/{id}/replay"} <= set(document["paths"])
