"""The Jenkins emulator: proceed, proceedEmpty, submit and abort over HTTP (sections 1.1 to 1.5 of its contract page)."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge.testing import fixtures
from bridge.testing.jenkins import Build, Catch, Input, JenkinsEmulator, Loop, Parallel, Parameter, Sleep, Timeout
from tests.support.jenkins_client import RawClient, raw_client

jenkins = fixtures.jenkins

SECRET = "t"  # noqa: S105 - of an emulator
GO = "/job/app/1/input/Go"


@pytest_asyncio.fixture
async def client(jenkins: JenkinsEmulator) -> AsyncIterator[RawClient]:
    async with raw_client(jenkins) as opened:
        yield opened


def kinds(jenkins: JenkinsEmulator) -> list[str]:
    return [effect.kind for effect in jenkins.effects if effect.kind.startswith(("input.", "build."))]


def returned(build: Build) -> Any:
    return build.returned[-1].answer.returned


async def test_proceed_empty_answers_once_and_the_build_goes_on(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A parameterless input is answered with an empty 200, the step returns null, and the build ends well."""
    build = jenkins.start_build("job/app", inputs=["Go"])
    answer = await client.post(f"{GO}/proceedEmpty")
    assert (answer.status, answer.text) == (200, "")
    assert "Content-Type" not in answer.headers
    assert "X-Jenkins" not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (build.result, build.building, returned(build)) == ("SUCCESS", False, None)
    assert kinds(jenkins) == ["build.started", "input.reached", "input.proceeded", "build.finished"]
    answered = jenkins.effects[2]
    assert answered.subject == "job/app/1/input/Go"
    assert answered.detail == {
        "occurrence": 1,
        "verb": "proceedEmpty",
        "user": "bridge",
        "values": None,
        "returned": None,
    }


async def test_a_verb_before_the_first_input_is_a_redirect_up(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """While no input was reached, any verb and any method is a 404 with the RedirectUp page."""
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", held=True)])
    for verb in ("proceed", "proceedEmpty", "submit", "abort"):
        answer = await client.post(f"{GO}/{verb}")
        assert answer.is_redirect_up
        assert "X-Jenkins" not in answer.headers
    assert (await client.get(f"{GO}/proceed")).is_redirect_up
    jenkins.reach(build, "Go")
    assert (await client.post(f"{GO}/proceedEmpty")).status == 200


async def test_an_id_that_is_not_pending_is_a_stapler_404(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Not yet, wrong id, wrong case, answered: all the same once an input was reached."""
    build = jenkins.start_build("job/app", inputs=["deploy", Input(id="later", held=True)])
    for id_ in ("deploy", "Later", "Other"):
        assert (await client.post(f"/job/app/1/input/{id_}/proceedEmpty")).is_stapler_404
    assert (await client.get("/job/app/1/input/deploy/abort")).is_stapler_404
    assert (await client.get("/job/app/1/input/api/json")).is_stapler_404
    assert (await client.post("/job/app/1/input/Deploy/proceedEmpty")).status == 200
    assert (await client.post("/job/app/1/input/Deploy/proceedEmpty")).is_stapler_404
    assert (await client.post("/job/app/1/input/Deploy/abort")).is_stapler_404
    assert build.building


async def test_a_finished_build_says_whether_it_had_an_input(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """After the end it is a RedirectUp without any input before, a Stapler page with one."""
    jenkins.start_build("job/app", inputs=[])
    jenkins.start_build("job/app", inputs=["Go"])
    await client.post("/job/app/2/input/Go/abort")
    assert (await client.post("/job/app/1/input/Go/proceedEmpty")).is_redirect_up
    assert (await client.post("/job/app/2/input/Go/proceedEmpty")).is_stapler_404


@pytest.mark.parametrize("path", ["/job/none/1", "/job/app/7", "/job/app/x", "/job/app/1/x"])
async def test_what_is_not_there_is_404(jenkins: JenkinsEmulator, client: RawClient, path: str) -> None:
    """No such job, no such number, and an action that a build lacks."""
    jenkins.start_build("job/app", inputs=["Go"])
    answer = await client.post(f"{path}/input/Go/proceed")
    assert answer.is_redirect_up if path.endswith("1/x") else answer.is_stapler_404


async def test_a_deleted_build_is_gone_and_its_job_stays(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A discarded build is 404, its job 200."""
    build = jenkins.start_build("job/app", inputs=["Go"])
    jenkins.delete_build(build)
    assert (await client.post(f"{GO}/proceedEmpty")).is_stapler_404
    assert (await client.get("/job/app/1/api/json")).is_stapler_404
    assert (await client.get("/job/app/api/json")).status == 200


async def test_the_md5_of_the_message_is_the_id(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Without an id the digest of the message counts, its first letter in upper case."""
    jenkins.start_build("job/app", inputs=[Input(message="Is the build okay?")])
    raw = "ef95dd500ae6ed3b27b89fb852296d12"
    assert (await client.post(f"/job/app/1/input/{raw}/proceedEmpty")).status == 404
    assert (await client.post(f"/job/app/1/input/{raw.capitalize()}/proceedEmpty")).status == 200


@pytest.mark.parametrize("id_", ["a b", "a/b", "a;b", "ä", "..", "."])
async def test_an_illegal_id_fails_the_build(jenkins: JenkinsEmulator, id_: str) -> None:
    """The build fails at the step; an old plugin takes the id."""
    build = jenkins.start_build("job/app", inputs=[id_])
    assert (build.result, build.pending) == ("FAILURE", [])
    jenkins.switches.ids_checked = False
    assert jenkins.start_build("job/app", inputs=[id_]).building


async def test_an_id_with_every_legal_character_is_found_encoded(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """What an id may contain can be sent percent-encoded, and is decoded once."""
    jenkins.start_build("job/app", inputs=["A-._~!$()*+,:@=9"])
    assert (await client.post("/job/app/1/input/A-._%7E!$()*+,%3A@=9/proceedEmpty")).status == 200


@pytest.mark.parametrize(
    ("parameter", "entry", "expected"),
    [
        ({"type": "string"}, {"value": "ä&+%\"'\n"}, "ä&+%\"'\n"),
        ({"type": "string", "default": "d"}, {}, ""),
        ({"type": "string", "default": "d"}, {"value": None}, ""),
        ({"type": "string"}, {"value": 5}, "5"),
        ({"type": "string"}, {"value": True}, "true"),
        ({"type": "string"}, {"value": " x "}, " x "),
        ({"type": "string", "trim": True}, {"value": " x "}, "x"),
        ({"type": "text"}, {"value": "a\nb"}, "a\nb"),
        ({"type": "boolean"}, {"value": True}, True),
        ({"type": "boolean"}, {"value": "YES"}, True),
        ({"type": "boolean"}, {"value": "on"}, True),
        ({"type": "boolean"}, {"value": 1}, True),
        ({"type": "boolean"}, {"value": "maybe"}, False),
        ({"type": "boolean", "default": True}, {}, False),
        ({"type": "choice", "choices": ["a", "b"]}, {"value": "b"}, "b"),
        ({"type": "password"}, {"value": "s"}, "s"),
        ({"type": "password", "default": "kept"}, {"value": "<DEFAULT>"}, "kept"),
        ({"type": "credentials"}, {"value": "id-1"}, "id-1"),
        ({"type": "credentials", "required": True, "default": "d"}, {"value": ""}, "d"),
        ({"type": "credentials", "default": "d"}, {"value": ""}, ""),
        ({"type": "run"}, {"runId": "app#1"}, "app#1"),
        ({"type": "base64File"}, {"base64": "aGk="}, "aGk="),
    ],
)
async def test_proceed_returns_exactly_the_value_sent(
    jenkins: JenkinsEmulator, client: RawClient, parameter: dict[str, Any], entry: dict[str, Any], expected: Any
) -> None:
    """Each kind of parameter takes its form of value, and a single one is returned bare."""
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=(Parameter(name="P", **parameter),))])
    answer = await client.answer(f"{GO}/proceed", {"name": "P", **entry})
    assert (answer.status, answer.text) == (200, "")
    assert returned(build) == expected
    assert type(returned(build)) is type(expected)


@pytest.mark.parametrize(
    ("parameter", "form"),
    [
        ({"type": "choice", "choices": ["a"]}, {"parameter": {"name": "P", "value": "x"}}),
        ({"type": "choice", "choices": ["a"]}, {"parameter": {"name": "P"}}),
        ({"type": "password"}, {"parameter": {"name": "P"}}),
        ({"type": "run"}, {"parameter": {"name": "P", "runId": "app"}}),
        ({"type": "run"}, {"parameter": {"name": "P", "runId": "app#9"}}),
        ({"type": "base64File"}, {"parameter": {"name": "P", "file": "file0"}}),
        ({"type": "string"}, {"parameter": {"name": "Q", "value": "x"}}),
        ({"type": "string"}, {"parameter": {"value": "x"}}),
        ({"type": "string"}, {"parameter": ["x"]}),
        ({"type": "string"}, {"parameter": "x"}),
        ({"type": "string"}, [{"name": "P", "value": "x"}]),
        ({"type": "string"}, None),
    ],
)
async def test_a_bad_parameter_is_a_hidden_500_and_the_input_stays(
    jenkins: JenkinsEmulator, client: RawClient, parameter: dict[str, Any], form: Any
) -> None:
    """Wrong values and wrong shapes are the Oops page without its reason; nothing happens to the build."""
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=(Parameter(name="P", **parameter),))])
    text = "{not json" if form is None else json.dumps(form)
    answer = await client.post(f"{GO}/proceed", form={"json": text})
    assert answer.status == 500
    assert "Logging ID=" in answer.text
    assert "llegal" not in answer.text
    assert "X-Jenkins" in answer.headers
    assert [each.is_settled for each in build.pending] == [False]


async def test_an_unknown_boolean_word_may_be_an_error(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The switch makes the inferred silent false a 500."""
    jenkins.switches.unknown_boolean = "error"
    jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=(Parameter(name="P", type="boolean"),))])
    assert (await client.answer(f"{GO}/proceed", {"name": "P", "value": "maybe"})).status == 500
    assert (await client.answer(f"{GO}/proceed", {"name": "P", "value": "off"})).status == 200


TWO = (Parameter(name="A", default="da"), Parameter(name="B", default="db"))


@pytest.mark.parametrize(
    ("submitter_parameter", "entries", "expected"),
    [
        (None, [], None),
        (None, [{"name": "A", "value": "1"}], "1"),
        (None, [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], {"A": "1", "B": "2"}),
        ("WHO", [], "bridge"),
        ("WHO", [{"name": "A", "value": "1"}], {"A": "1", "WHO": "bridge"}),
    ],
)
async def test_the_returned_value_is_null_bare_or_a_map(
    jenkins: JenkinsEmulator, client: RawClient, submitter_parameter: str | None, entries: list[Any], expected: Any
) -> None:
    """What is not sent is absent; submitterParameter counts as an entry."""
    build = jenkins.start_build(
        "job/app", inputs=[Input(id="Go", parameters=TWO, submitter_parameter=submitter_parameter)]
    )
    assert (await client.answer(f"{GO}/proceed", entries)).status == 200
    assert returned(build) == expected


@pytest.mark.parametrize(("is_new", "expected"), [(True, "bridge"), (False, None)])
async def test_proceed_empty_ignores_parameters_and_defaults(
    jenkins: JenkinsEmulator, client: RawClient, expected: str | None, *, is_new: bool
) -> None:
    """The step returns null, or the user with a submitterParameter and a plugin that knows it."""
    jenkins.switches.submitter_on_empty = is_new
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=TWO, submitter_parameter="WHO")])
    await client.post(f"{GO}/proceedEmpty")
    assert returned(build) == expected
    other = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=TWO)])
    await client.post("/job/app/2/input/Go/proceedEmpty")
    assert returned(other) is None


@pytest.mark.parametrize(
    ("body", "content_type", "query", "message"),
    [
        ('{"parameter": []}', "application/json", "", "Nothing is submitted"),
        ("", "application/x-www-form-urlencoded", "", "Nothing is submitted"),
        ("x=1", "application/x-www-form-urlencoded", "", "This page expects a form submission"),
        ("json=", "application/x-www-form-urlencoded", "", "This page expects a form submission"),
        ("{}", "application/json", "?x=1", "This page expects a form submission"),
    ],
)
async def test_no_json_field_is_400(
    jenkins: JenkinsEmulator, client: RawClient, *, body: str, content_type: str, query: str, message: str
) -> None:
    """A JSON body is not read; what is missing is told apart by whether anything was sent."""
    build = jenkins.start_build("job/app", inputs=["Go"])
    answer = await client.post(f"{GO}/proceed{query}", body=body, headers={"Content-Type": content_type})
    assert answer.status == 400
    assert f"HTTP ERROR 400 {message}" in answer.text
    assert "X-Error" not in answer.headers
    assert "X-Jenkins" not in answer.headers
    assert build.pending
    jenkins.switches.missing_json_status = 500
    assert (await client.post(f"{GO}/proceed{query}", body=body, headers={"Content-Type": content_type})).status == 500


async def test_submit_answers_with_a_redirect_after_the_effect(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """With the parameter `proceed` it is a proceed, answered 302 to the console."""
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=TWO)])
    entries = json.dumps({"parameter": {"name": "A", "value": "1"}})
    answer = await client.post(f"{GO}/submit", form={"json": entries, "proceed": ""})
    assert (answer.status, answer.text) == (302, "")
    assert answer.headers["Location"] == f"{jenkins.url}/job/app/1/console"
    assert (returned(build), build.result) == ("1", "SUCCESS")


async def test_submit_without_proceed_aborts_the_build(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A correct json does not help, and a `proceed` inside of it does not count."""
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=TWO)])
    entries = json.dumps({"parameter": {"name": "A", "value": "1"}, "proceed": "yes"})
    assert (await client.post(f"{GO}/submit", form={"json": entries})).status == 302
    assert build.result == "ABORTED"
    assert kinds(jenkins)[-2:] == ["input.aborted", "build.aborted"]


async def test_submit_of_an_old_plugin_redirects_relatively_and_refusals_do_not(
    jenkins: JenkinsEmulator, client: RawClient
) -> None:
    """The target of the redirect depends on the version; a failure never redirects."""
    jenkins.switches.console_redirect = "relative"
    jenkins.start_build("job/app", inputs=["Go"])
    assert (await client.post(f"{GO}/submit", form={"proceed": "1"})).status == 400
    answer = await client.post(f"{GO}/submit", form={"proceed": "1", "json": "{}"})
    assert (answer.status, answer.headers["Location"]) == (302, "../../console")


async def test_abort_aborts_unless_the_script_catches_it(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A caught abort lets the build go on to its next input."""
    plain = jenkins.start_build("job/app", inputs=["Go"])
    answer = await client.post(f"{GO}/abort")
    assert (answer.status, answer.text, plain.result) == (200, "", "ABORTED")
    caught = jenkins.start_build("job/app", script=[Catch(body=(Input(id="Go"),), result="UNSTABLE"), Input(id="Next")])
    await client.post("/job/app/2/input/Go/abort")
    assert (caught.result, caught.building, [each.id for each in caught.pending]) == ("UNSTABLE", True, ["Next"])
    await client.post("/job/app/2/input/Next/proceedEmpty")
    assert (caught.result, caught.building) == ("UNSTABLE", False)


async def test_the_settle_window_says_already_given(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """An input that was answered but not yet removed is a 400 for every verb, before its form is read."""
    jenkins.switches.settle_s = 60
    build = jenkins.start_build("job/app", inputs=["Go"])
    assert (await client.post(f"{GO}/proceedEmpty")).status == 200
    for verb in ("proceed", "proceedEmpty", "abort", "submit"):
        answer = await client.post(f"{GO}/{verb}")
        assert (answer.status, answer.headers["X-Error"]) == (400, "This input has been already given")
    assert len(build.returned) == 1
    assert build.building


async def test_the_settle_window_ends_by_itself(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Behind the window the input is removed and the build goes on."""
    jenkins.switches.settle_s = 0.05
    build = jenkins.start_build("job/app", inputs=["Go"])
    await client.post(f"{GO}/proceedEmpty")
    await jenkins.until(lambda: build.result == "SUCCESS")
    assert (await client.post(f"{GO}/proceedEmpty")).is_stapler_404


async def test_loops_repeat_an_id_and_each_answer_counts_once(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The same URL answers the next occurrence: effects tell them apart."""
    build = jenkins.start_build("job/app", script=[Loop(times=2, body=(Input(id="Go"),))])
    assert (await client.post(f"{GO}/proceedEmpty")).status == 200
    assert [each.occurrence for each in build.pending] == [2]
    assert (await client.post(f"{GO}/proceedEmpty")).status == 200
    assert (await client.post(f"{GO}/proceedEmpty")).status == 404
    proceeded = [effect.detail["occurrence"] for effect in jenkins.effects if effect.kind == "input.proceeded"]
    assert proceeded == [1, 2]


async def test_parallel_inputs_wait_side_by_side(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Answering B leaves A pending; of two with one id the first is taken."""
    build = jenkins.start_build("job/app", script=[Parallel(branches=((Input(id="A"),), (Input(id="B"),)))])
    await client.post("/job/app/1/input/B/proceedEmpty")
    assert [each.id for each in build.pending] == ["A"]
    same = jenkins.start_build("job/app", script=[Parallel(branches=((Input(id="A"),), (Input(id="A"),)))])
    await client.post("/job/app/2/input/A/proceedEmpty")
    assert [each.occurrence for each in same.pending] == [2]


async def test_fail_fast_removes_the_other_input(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The abort of one branch takes the other's input away without an answer."""
    script = [Parallel(branches=((Input(id="A"),), (Input(id="B"),)), fail_fast=True)]
    build = jenkins.start_build("job/app", script=script)
    await client.post("/job/app/1/input/B/abort")
    assert build.result == "ABORTED"
    assert kinds(jenkins)[2:] == ["input.reached", "input.aborted", "input.removed", "build.aborted"]


async def test_a_timeout_takes_the_input_away(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """After its time the build is ABORTED and the input is 404."""
    build = jenkins.start_build("job/app", script=[Timeout(seconds=0.05, body=(Input(id="Go"),))])
    await jenkins.until(lambda: not build.building)
    assert build.result == "ABORTED"
    assert (await client.post(f"{GO}/proceedEmpty")).is_stapler_404
    assert "input.removed" in kinds(jenkins)


async def test_inputs_are_reached_late_by_time(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A delay of the input itself and a sleep before it both let the build run without an input."""
    build = jenkins.start_build("job/app", script=[Sleep(seconds=0.05), Input(id="Go", after_s=0.05)])
    assert (await client.post(f"{GO}/proceedEmpty")).is_redirect_up
    await jenkins.until(lambda: bool(build.pending))
    assert (await client.post(f"{GO}/proceedEmpty")).status == 200


async def test_stop_and_a_newer_build_take_the_input_away(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Stop is 302 and ABORTED, a newer build's abort is NOT_BUILT; neither asks for the submitter."""
    stopped = jenkins.start_build("job/app", inputs=[Input(id="Go", submitter="alice")])
    assert (await client.get("/job/app/1/stop")).status == 405
    jenkins.add_user("builder", token=SECRET, permissions={"Overall/Read", "Job/Read", "Job/Build"})
    assert (await client.post("/job/app/1/stop", auth=("builder", SECRET))).status == 403
    assert (await client.post("/job/app/1/stop")).status == 302
    replaced = jenkins.start_build("job/app", inputs=[Input(id="Go", submitter="alice")])
    jenkins.stop(replaced, "NOT_BUILT")
    assert (stopped.result, replaced.result) == ("ABORTED", "NOT_BUILT")
    assert kinds(jenkins)[-2:] == ["input.removed", "build.aborted"]


@pytest.mark.parametrize("verb", ["term", "kill"])
async def test_kill_asks_no_catch(jenkins: JenkinsEmulator, client: RawClient, verb: str) -> None:
    """A script that would catch a stop is ended by the harder ways."""
    build = jenkins.start_build("job/app", script=[Catch(body=(Input(id="Go"),)), Input(id="Next")])
    await client.post("/job/app/1/stop")
    assert build.building
    assert (await client.post(f"/job/app/1/{verb}")).status == 302
    assert (build.result, build.building) == ("ABORTED", False)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
@pytest.mark.parametrize("verb", ["proceed", "proceedEmpty", "submit", "abort"])
async def test_only_post_answers(jenkins: JenkinsEmulator, client: RawClient, method: str, verb: str) -> None:
    """Any other method on a pending input is 405 with Allow, and nothing happens."""
    build = jenkins.start_build("job/app", inputs=["Go"])
    answer = await client.send(method, f"{GO}/{verb}")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert method == "HEAD" or "This URL requires POST" in answer.text
    assert build.pending


@pytest.mark.parametrize(("type_", "is_unsafe"), [("file", False), ("stashedFile", False), ("stashedFile", True)])
async def test_a_file_parameter_fails_the_build(jenkins: JenkinsEmulator, type_: str, *, is_unsafe: bool) -> None:
    """Core files and stashed files cannot be asked for: FAILURE, nothing pending."""
    jenkins.switches.unsafe_files = is_unsafe
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=(Parameter(name="F", type=type_),))])
    assert (build.result, build.pending, build.had_input) == ("FAILURE", [], False)


async def test_the_escape_hatch_allows_core_files(jenkins: JenkinsEmulator) -> None:
    """With supportUnsafeParameters the input waits for its file, and returns a path on the controller."""
    jenkins.switches.unsafe_files = True
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=(Parameter(name="F", type="file"),))])
    entries = json.dumps({"parameter": {"name": "F", "file": "file0"}})
    url = f"{jenkins.url}{GO}/proceed"
    output = await curl("-u", "bridge:jenkins-token", "-F", f"json={entries}", "-F", "file0=x;filename=x.txt", url)
    assert output.endswith("200")
    assert returned(build) == "/var/jenkins_home/job/app/1/F"


async def test_multipart_over_curl(jenkins: JenkinsEmulator, tmp_path: Path) -> None:
    """A file part named by the entry comes back as Base64, all 256 bytes of it; `json` is read from its part."""
    content = bytes(range(256)) + b"\r\n--x\r\n"
    file = tmp_path / "report.bin"
    file.write_bytes(content)
    parameters = (Parameter(name="F", type="base64File"), Parameter(name="NOTE"))
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=parameters)])
    entries = [{"name": "F", "file": "file0"}, {"name": "NOTE", "value": "ä & +"}]
    output = await curl(
        "-u", "bridge:jenkins-token",
        "-F", "json=" + json.dumps({"parameter": entries}, ensure_ascii=False),
        "-F", f"file0=@{file};filename=report.bin",
        f"{jenkins.url}{GO}/proceed",
    )  # fmt: skip
    assert output.endswith("200")
    assert returned(build) == {"F": b64encode(content).decode(), "NOTE": "ä & +"}


async def test_urlencoded_over_curl(jenkins: JenkinsEmulator) -> None:
    """The option --data-urlencode brings every character through."""
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=(Parameter(name="P", type="text"),))])
    value = "a&b=c+d%41\n\"'ü"
    form = "json=" + json.dumps({"parameter": {"name": "P", "value": value}})
    output = await curl("-u", "bridge:jenkins-token", "--data-urlencode", form, f"{jenkins.url}{GO}/proceed")
    assert output.endswith("200")
    assert returned(build) == value


async def test_curl_keeps_the_doubly_encoded_slash(jenkins: JenkinsEmulator) -> None:
    """A branch's job answers to %252F byte for byte, and is not there as %2F."""
    build = jenkins.start_build("job/mb/job/feature%252Fx", inputs=["Go"])
    assert build.job == "mb/feature%2Fx"
    for wire, status in (("%2F", "404"), ("%252F", "200")):
        url = f"{jenkins.url}/job/mb/job/feature{wire}x/1/input/Go/proceedEmpty"
        assert (await curl("-u", "bridge:jenkins-token", "-X", "POST", url)).endswith(status)
    assert jenkins.log[-1].path == "/job/mb/job/feature%252Fx/1/input/Go/proceedEmpty"


async def test_input_submit_answers_null_and_refuses_with_500(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """wfapi/inputSubmit works like proceed, but every refusal is 500, save a missing json."""
    parameters = (Parameter(name="P", type="choice", choices=("a",)),)
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=parameters)])
    path = "/job/app/1/wfapi/inputSubmit?inputId=Go"
    jenkins.add_user("reader", token=SECRET, permissions={"Overall/Read", "Job/Read"})
    for refused in (
        await client.answer(path.replace("Go", "Other"), []),
        await client.answer(path, {"name": "P", "value": "x"}),
        await client.answer(path, {"name": "P", "value": "a"}, auth=("reader", SECRET)),
        await client.get(path),
    ):
        assert refused.status == 500
        assert "Logging ID=" in refused.text
    assert (await client.post(path)).status == 400
    jenkins.set_switches({"wfapi_missing_json_status": 500, "wfapi_get_status": 405})
    assert (await client.post(path)).status == 500
    assert (await client.get(path)).status == 405
    answer = await client.answer(path, {"name": "P", "value": "a"})
    assert (answer.status, answer.text) == (200, "null")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert returned(build) == "a"
    assert (await client.answer(path, [])).status == 500


async def test_quieting_down_takes_answers_and_moves_nothing(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """200 is given, the build stands still until quiet-down is cancelled."""
    build = jenkins.start_build("job/app", inputs=["Go", "Next"])
    jenkins.quiet_down()
    assert (await client.get("/api/json?tree=quietingDown")).json["quietingDown"] is True
    assert (await client.post(f"{GO}/proceedEmpty")).status == 200
    assert (await client.post(f"{GO}/proceedEmpty")).status == 404
    assert (build.pending, build.building) == ([], True)
    jenkins.cancel_quiet_down()
    assert [each.id for each in build.pending] == ["Next"]


async def test_pending_inputs_survive_a_restart(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A restart costs no input."""
    build = jenkins.start_build("job/app", inputs=["Go"])
    jenkins.restart()
    assert (await client.post(f"{GO}/proceedEmpty")).status == 200
    assert build.result == "SUCCESS"


async def test_a_crash_can_lose_an_answer_just_given(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The switch takes the 200 back: the input waits again, under the same occurrence, and the loss is an effect."""
    jenkins.switches.lose_answers = 1
    build = jenkins.start_build("job/app", inputs=["Go"])
    session = jenkins.world.session
    assert (await client.post(f"{GO}/proceedEmpty")).status == 200
    assert jenkins.world.session != session
    assert [(each.id, each.occurrence, each.is_settled) for each in build.pending] == [("Go", 1, False)]
    assert (await client.post(f"{GO}/proceedEmpty")).status == 200
    assert (build.result, len(build.returned)) == ("SUCCESS", 1)
    assert kinds(jenkins).count("input.lost") == 1


async def test_crash_rewinds_to_before_the_newest_answer(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """crash() does it at any moment; without lose_answers it is a restart."""
    build = jenkins.start_build("job/app", inputs=["Go", "Next"])
    await client.post(f"{GO}/proceedEmpty")
    jenkins.crash(lose_answers=False)
    assert [each.id for each in build.pending] == ["Next"]
    jenkins.crash()
    assert [each.id for each in build.pending] == ["Go"]
    jenkins.crash()
    assert [each.id for each in build.pending] == ["Go"]


async def test_executions_that_cannot_be_loaded_are_404(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The input is pending, yet no page finds it."""
    build = jenkins.start_build("job/app", inputs=["Go"])
    jenkins.set_executions(build, "unloadable")
    assert (await client.post(f"{GO}/proceedEmpty")).is_stapler_404
    assert (await client.get("/job/app/1/wfapi/pendingInputActions")).json == []
    jenkins.set_executions(build, "loaded")
    assert (await client.post(f"{GO}/proceedEmpty")).status == 200


async def test_loading_executions_block_then_answer_or_fail(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A call waits for the executions; it succeeds when they come, and is 500 when the time is over."""
    build = jenkins.start_build("job/app", inputs=["Go"])
    jenkins.set_executions(build, "loading")
    jenkins.switches.loading_block_s = 0.05
    assert (await client.post(f"{GO}/proceedEmpty")).status == 500
    assert (await client.get("/job/app/1/wfapi/pendingInputActions")).status == 500
    jenkins.switches.loading_block_s = 60
    asked = len(jenkins.log)
    call = asyncio.create_task(client.post(f"{GO}/proceedEmpty"))
    async with asyncio.timeout(5):
        await jenkins.until(lambda: len(jenkins.log) > asked)
    assert build.pending
    jenkins.set_executions(build, "loaded")
    assert (await call).status == 200


async def curl(*arguments: str) -> str:
    """Run curl; return the body and the status behind it."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-m", "20", "-w", "%{http_code}", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()
