"""The commands that talk to the API, against a fake of it: what is sent, what is shown, and how each ends."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bridge.cli import app
from tests.support.fake_api import TOKEN, FakeApi, event_view, letter_view, running

ADDRESS = '{"build_url": "https://jenkins.example.com/job/app/1/", "input_id": "Proceed"}'


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with running(FakeApi()) as fake:
        yield fake


def bridge(api: FakeApi, *arguments: str, token: str = TOKEN, stdin: str | None = None) -> Result:
    """Run `bridge …` as a client of *api*."""
    return CliRunner().invoke(app, arguments, env={"BRIDGE_URL": api.url, "BRIDGE_TOKEN": token}, input=stdin)


def register(api: FakeApi, *more: str, address: str = ADDRESS) -> Result:
    return bridge(api, "wait", "register", "--target", "jenkins-prod", "--timeout", "8h", "--address", address, *more)


def last_body(api: FakeApi) -> Any:
    return api.calls[-1][3]


def test_register_shows_the_callback_url(api: FakeApi) -> None:
    """People see the wait, its URL and its end."""
    result = register(api)
    assert result.exit_code == 0, result.output
    assert "https://bridge.example.com/cb/t-w1" in result.output
    assert "in 8 h" in result.output


def test_register_sends_what_the_options_say(api: FakeApi) -> None:
    """Every option has its place in the request, and the key its header."""
    expect = '{"source": "farm", "keys": {"run": "17"}}'
    result = bridge(
        api,
        *("wait", "register", "--target", "t", "--timeout", "90", "--address", "a=1", "--address", "b=x=y"),
        *("--expect", expect, "--label", "team=web", "--idempotency-key", "k1"),
    )
    assert result.exit_code == 0, result.output
    assert last_body(api) == {
        "target": "t",
        "timeout": 90,
        "address": {"a": "1", "b": "x=y"},
        "expects": [json.loads(expect)],
        "labels": {"team": "web"},
    }
    assert api.calls[-1][2]["Idempotency-Key"] == "k1"


def test_register_plain_prints_the_url_alone(api: FakeApi) -> None:
    """A pipeline's shell takes it as it is."""
    assert register(api, "--plain").stdout == "https://bridge.example.com/cb/t-w1\n"


def test_register_takes_a_whole_request(api: FakeApi, tmp_path: Path) -> None:
    """A file or standard input holds the request; an option goes over it."""
    request = {"target": "t", "timeout": "1h", "address": {"a": 1}}
    path = tmp_path / "wait.json"
    path.write_text(json.dumps(request))
    assert bridge(api, "wait", "register", "--request", f"@{path}").exit_code == 0
    other = bridge(
        api, "wait", "register", "--request", "@-", "--target", "u", "--address", "b=1", stdin=json.dumps(request)
    )
    assert other.exit_code == 0, other.output
    assert last_body(api) == {"target": "u", "timeout": "1h", "address": {"b": "1"}}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--target", "t", "--timeout", "1h"],
        ["--target", "t", "--timeout", "1h", "--address", "novalue"],
        ["--target", "t", "--timeout", "1h", "--address", "{"],
        ["--target", "t", "--timeout", "1h", "--address", "a=1", "--label", "x"],
        ["--target", "t", "--timeout", "1h", "--address", "a=1", "--label", "x=1", "--label", "x=2"],
        ["--target", "t", "--timeout", "1h", "--address", "@/nowhere"],
        ["--nonsense"],
    ],
)
def test_wrong_use_ends_with_2_and_sends_nothing(api: FakeApi, arguments: list[str]) -> None:
    """What the command line can see itself never reaches the server."""
    assert bridge(api, "wait", "register", *arguments).exit_code == 2
    assert api.calls == []


def test_a_refusal_shows_title_and_fields(api: FakeApi) -> None:
    """Exit 1; each field by its pointer."""
    result = bridge(api, "wait", "register", "--target", "T!", "--timeout", "soon", "--address", "a=1")
    assert result.exit_code == 1
    assert "refused: The request is not valid (422 invalid)" in result.stderr
    assert "  /target: " in result.stderr
    assert "  /timeout: expected a duration" in result.stderr


def test_a_taken_address_names_the_other_wait(api: FakeApi) -> None:
    """So that it can be looked at or cancelled."""
    register(api)
    result = register(api)
    assert result.exit_code == 1
    assert "409 address-taken" in result.stderr
    assert "wait: w1" in result.stderr


def test_lists_are_the_apis_own_json_for_machines(api: FakeApi) -> None:
    """`--json` adds and hides nothing."""
    register(api)
    api.events["e1"] = event_view("e1")
    api.letters["d1"] = letter_view("d1")
    for group in ("wait", "event", "queue", "dead", "target"):
        page = json.loads(bridge(api, group, "list", "--json").stdout)
        assert set(page) == {"items", "next_cursor"}
        assert page["items"]


def test_wait_list_shows_a_table_and_how_to_go_on(api: FakeApi) -> None:
    """Filters go to the server; a list that goes on says so."""
    register(api)
    register(api, address='{"other": 1}')
    result = bridge(api, "wait", "list", "--state", "open", "--label", "a:b", "--limit", "1")
    assert api.calls[-1][1] == "/v1/waits?state=open&label=a%3Ab&limit=1"
    assert "w1" in result.stdout
    assert "w2" not in result.stdout
    assert "more: --cursor next" in result.stdout


def test_wait_show_and_cancel(api: FakeApi) -> None:
    """A wait's life is shown; a cancelled one cannot be cancelled again."""
    register(api)
    shown = bridge(api, "wait", "show", "w1")
    assert "40 % building" in shown.stdout
    assert "opened" in shown.stdout
    assert json.loads(bridge(api, "wait", "show", "w1", "--json").stdout)["id"] == "w1"
    assert bridge(api, "wait", "cancel", "w1").exit_code == 0
    again = bridge(api, "wait", "cancel", "w1")
    assert again.exit_code == 1
    assert "409 decided" in again.stderr


def test_an_id_is_one_segment_of_the_path(api: FakeApi) -> None:
    """Nothing typed as an id reaches another call."""
    assert bridge(api, "wait", "cancel", "../targets/jenkins-prod/pause?x").exit_code == 1
    assert api.calls[-1][1].startswith("/v1/waits/..%2Ftargets%2F")
    assert api.paused == set()


def test_events_are_listed_shown_and_sent(api: FakeApi) -> None:
    """Relative times and verdicts for people; what is sent has the API's shape."""
    api.events["e1"] = event_view("e1")
    assert "3 min ago" in bridge(api, "event", "list").stdout
    shown = bridge(api, "event", "show", "e1").stdout
    assert "run=17" in shown
    assert "resumed" in shown
    sent = bridge(
        api,
        *("event", "send", "--source", "farm", "--type", "run.finished", "--outcome", "failed", "--key", "run=17"),
        *("--summary", "lost", "--body", '{"a": 1}', "--id", "mine"),
    )
    assert sent.stdout == "accepted as e-run.finished\n"
    assert last_body(api) == {
        "source": "farm",
        "type": "run.finished",
        "id": "mine",
        "data": {"outcome": "failed", "keys": {"run": "17"}, "summary": "lost", "body": {"a": 1}},
    }


def test_what_a_remote_said_cannot_steer_the_terminal(api: FakeApi) -> None:
    """Control characters are shown as text, markup is no markup."""
    api.events["e1"] = event_view("e1", summary="\x1b[31m[bold]red\u202e")
    for command in ("list", "show"):
        arguments = ["event", command] + (["e1"] if command == "show" else [])
        text = bridge(api, *arguments).stdout
        assert "\x1b" not in text
        assert "\\x1b[31m[bold]red\\x202e" in text


def test_dead_letters_are_listed_shown_replayed_and_dropped(api: FakeApi) -> None:
    """Each verb is one call; what is not there is told."""
    api.letters["d1"] = letter_view("d1")
    assert "2 h ago" in bridge(api, "dead", "list").stdout
    assert "bridge.resolution" in bridge(api, "dead", "show", "d1").stdout
    assert bridge(api, "dead", "replay", "d1").stdout == "replayed d1\n"
    assert bridge(api, "dead", "drop", "d1").stdout == "dropped d1\n"
    gone = bridge(api, "dead", "show", "d1")
    assert gone.exit_code == 1
    assert "404 not-found" in gone.stderr


def test_targets_are_listed_paused_and_resumed(api: FakeApi) -> None:
    """The list shows what the switch did."""
    assert bridge(api, "target", "pause", "jenkins-prod").exit_code == 0
    assert "paused" in bridge(api, "target", "list").stdout
    assert (
        bridge(api, "target", "resume", "jenkins-prod", "--json").stdout == '{"name":"jenkins-prod","paused":false}\n'
    )
    assert "active" in bridge(api, "target", "list").stdout


CLIENT = "0a1b2c3d-0000-4000-8000-000000000001"


def test_a_clients_token_is_read_where_no_process_list_shows_it(api: FakeApi, tmp_path: Path) -> None:
    """From standard input or a file, without the line end that an editor adds; nothing that is printed has it."""
    results = [bridge(api, "client", "set", CLIENT, stdin="hunter2 a\r\n")]
    assert api.tokens == {CLIENT: "hunter2 a"}
    path = tmp_path / "token"
    path.write_text("hunter2-b")
    results.append(bridge(api, "client", "set", CLIENT, "--token-file", str(path), "--json"))
    assert api.tokens == {CLIENT: "hunter2-b"}
    assert [result.exit_code for result in results] == [0, 0]
    assert results[1].stdout == f'{{"client":"{CLIENT}","set":true}}\n'
    assert "hunter2" not in results[0].output + results[1].output


def test_a_clients_token_is_dropped_once(api: FakeApi) -> None:
    """The second time there is none."""
    api.tokens[CLIENT] = "x"
    assert bridge(api, "client", "drop", CLIENT).stdout == f"dropped the token of {CLIENT}\n"
    gone = bridge(api, "client", "drop", CLIENT)
    assert (gone.exit_code, "404 not-found" in gone.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["set", CLIENT], ""),
        (["set", CLIENT], "\n"),
        (["set", CLIENT, "--token-file", "/nowhere/at/all"], None),
        (["set", CLIENT, "--token", "hunter2"], None),
        (["set", CLIENT, "hunter2"], None),
        (["set"], "x"),
    ],
)
def test_without_a_token_nothing_is_sent(api: FakeApi, arguments: list[str], stdin: str | None) -> None:
    """An empty one, a file that is not there; and no option or argument takes one."""
    assert bridge(api, "client", *arguments, stdin=stdin).exit_code == 2
    assert api.calls == []


def test_queues_show_what_is_not_known(api: FakeApi) -> None:
    """Null is `?`, not zero."""
    lines = bridge(api, "queue", "list").stdout.splitlines()
    assert [line.split() for line in lines if "bridge." in line] == [
        ["bridge.events", "3", "?", "2", "min", "1"],
        ["bridge.dead", "0", "0", "?", "1"],
    ]


def test_a_wrong_token_is_refused_with_advice(api: FakeApi) -> None:
    """The token itself is not shown."""
    result = bridge(api, "wait", "list", token="hunter2")  # noqa: S106 - no secret of anybody
    assert result.exit_code == 1
    assert "401 unauthenticated" in result.stderr
    assert "BRIDGE_TOKEN" in result.stderr
    assert "hunter2" not in result.output


@pytest.mark.parametrize(
    ("path", "word"), [("/moved", "302"), ("/html", "is this the API of a bridge?"), ("/x", "404")]
)
def test_another_server_is_told(api: FakeApi, path: str, word: str) -> None:
    """A redirect is not followed, so that the token stays with the named server."""
    result = bridge(api, "wait", "list", "--url", api.url + path)
    assert result.exit_code == 1
    assert word in result.stderr
    assert not any(call[1] == "/v1/waits" for call in api.calls)


def test_no_server_is_told() -> None:
    """Exit 1 with the address, no traceback."""
    with socket.socket() as held:  # bound and not listening: the port is nobody else's, and refuses
        held.bind(("127.0.0.1", 0))
        result = bridge(FakeApi(url=f"http://127.0.0.1:{held.getsockname()[1]}"), "queue", "list")
    assert result.exit_code == 1
    assert "did not answer" in result.stderr


@pytest.mark.parametrize("url", ["ftp://x", "nonsense", "http://user:hunter2@x"])
def test_a_url_that_is_none_is_wrong_use(api: FakeApi, url: str) -> None:
    """Credentials do not belong into it, and are not repeated."""
    result = bridge(api, "queue", "list", "--url", url)
    assert result.exit_code == 2
    assert "hunter2" not in result.output
