"""`bridge verify`: a saved request, and why it was refused."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from bridge.cli import app
from bridge.cli.verify import parse
from bridge.core.signing import CallbackKeys, new_wait_id
from tests.support.config_kinds import CALLBACK_KEY, write_config

SECRET = b"a secret of 24 bytes....."
TEXT = """
[callbacks]
keys = [{ id = "a", env = "KEY" }]
[sources.farm]
kind = "standard-webhooks"
secret_env = "FARM_SECRET"
[sources.other]
kind = "github"
secret_env = "NOT_SET"
"""
ENVIRON = {"KEY": CALLBACK_KEY, "FARM_SECRET": "whsec_" + base64.b64encode(SECRET).decode()}
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
BODY = b'{"type":"run.finished","data":{"run":"17","outcome":"failed"}}'


def signed(body: bytes = BODY) -> dict[str, str]:
    stamp = str(int(AT.timestamp()))
    mac = hmac.digest(SECRET, b"msg_1." + stamp.encode() + b"." + body, hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": stamp,
        "Webhook-Signature": "v1," + base64.b64encode(mac).decode(),
    }


def request(**changes: Any) -> dict[str, Any]:
    return {"method": "POST", "path": "/hooks/farm", "headers": signed(), "body": BODY.decode()} | changes


def verify(folder: Path, saved: dict[str, Any] | bytes, *options: str) -> Result:
    """Run `bridge verify` on *saved*, as if it had come at AT."""
    file = folder / "request"
    file.write_bytes(saved if isinstance(saved, bytes) else json.dumps(saved).encode())
    config = write_config(folder, TEXT)
    arguments = ["verify", str(file), "-c", str(config), *(options or ("--at", AT.isoformat()))]
    return CliRunner().invoke(app, arguments, env=ENVIRON)


def test_an_accepted_request_shows_its_events(tmp_path: Path) -> None:
    """Only the one source's secret is needed, and none is shown."""
    result = verify(tmp_path, request())
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "accepted by farm: 1 event",
        "type     run.finished",
        "outcome  failed",
        "keys     run=17  outcome=failed",
    ]


def test_events_as_json(tmp_path: Path) -> None:
    """The events in the shape of schemas/event.json."""
    document = json.loads(verify(tmp_path, request(), "--at", AT.isoformat(), "--json").stdout)
    assert document["events"][0]["data"]["body"]["type"] == "run.finished"


def test_a_request_may_say_when_it_came(tmp_path: Path) -> None:
    """Recorded requests carry their own time."""
    assert verify(tmp_path, request(now=AT.timestamp()), "--source", "farm").exit_code == 0


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"body": BODY.decode() + " "}, (), "refused by farm: 401 BadSignature"),
        ({}, ("--at", (AT + timedelta(seconds=301)).isoformat()), "refused by farm: 401 Stale"),
        ({}, ("--at", "2026-01-31T12:05:01"), "refused by farm: 401 Stale"),
        ({"now": AT.timestamp() - 301}, ("--source", "farm"), "refused by farm: 401 Stale"),
        ({"headers": {}}, (), "refused by farm: 401 BadSignature"),
        ({"path": "/hooks/nope"}, (), "there is no [sources.nope]; there are farm, other"),
    ],
)
def test_a_refusal_says_why(tmp_path: Path, changes: dict[str, Any], options: tuple[str, ...], words: str) -> None:
    """Exit 1 with the reason, without secret, signature or body."""
    result = verify(tmp_path, request(**changes), *options)
    assert result.exit_code == 1
    assert words in result.stderr
    hidden = [ENVIRON["FARM_SECRET"], signed()["Webhook-Signature"][3:], "run.finished"]
    assert not any(text in result.output for text in hidden)


def test_a_raw_request_is_read_to_the_byte(tmp_path: Path) -> None:
    """As a proxy or `nc` wrote it down; line ends of the body are its own."""
    body = b'{"type":"a.b",\r\n"data":{}}\n'
    head = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
    result = verify(tmp_path, b"POST /hooks/farm HTTP/1.1\r\nHost: x\r\n" + head.encode() + b"\r\n" + body)
    assert result.exit_code == 0, result.output
    assert "type     a.b" in result.stdout


def test_a_callback_url_is_verified_with_our_own_keys(tmp_path: Path) -> None:
    """The token is not shown; an expired and a foreign one are told apart here, where no stranger listens."""
    token = CallbackKeys([CALLBACK_KEY.encode()]).sign(new_wait_id(), AT)
    saved = request(path=f"/cb/{token}/failed", headers={}, body="")
    good = verify(tmp_path, saved, "--at", (AT - timedelta(seconds=1)).isoformat())
    assert good.exit_code == 0, good.output
    assert "outcome  failed" in good.stdout
    late = verify(tmp_path, saved)
    assert late.exit_code == 1
    assert "410 Expired" in late.stderr
    stranger = CallbackKeys([b"x" * 32]).sign(new_wait_id(), AT)
    foreign = verify(tmp_path, request(path=f"/cb/{stranger}"))
    assert foreign.exit_code == 1
    assert "404 UnknownSource" in foreign.stderr
    assert not any(token in result.output for result in (good, late, foreign))


def test_the_three_forms_of_a_body_are_the_same_bytes() -> None:
    """Text, base64 under its own name, and base64 by `body_encoding`; a header in a list is sent once for each."""
    encoded = base64.b64encode(b"\x00\xff").decode()
    for body in ({"body_base64": encoded}, {"body": encoded, "body_encoding": "base64"}):
        saved = parse(json.dumps({"path": "/hooks/x", "headers": {"A": ["1", "2"]}} | body).encode())
        assert saved.body == b"\x00\xff"
        assert saved.headers == [("a", "1"), ("a", "2")]
    assert parse(b'{"path": "/", "body": "\xc3\xa4"}').body == "ä".encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"path": "/", "body_base64": "!"}',
        b'{"path": "/", "headers": 1}',
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_a_file_that_holds_no_request_is_wrong_use(content: bytes) -> None:
    """It is told what was expected."""
    with pytest.raises(typer.BadParameter):
        parse(content)
