"""From a registration and a callback to the input step: the whole bridge in one process, over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge.testing import fixtures
from bridge.testing.emulator import FaultKind
from bridge.testing.jenkins import Build, Input, JenkinsEmulator, Loop, Parameter
from tests.support.jenkins_bridge import JenkinsBridge, jenkins_bridge

jenkins = fixtures.jenkins

GO = {"input_id": "Go"}


@pytest.fixture
async def bridge(jenkins: JenkinsEmulator, tmp_path: Path) -> AsyncIterator[JenkinsBridge]:
    async with jenkins_bridge(jenkins, tmp_path) as running:
        yield running


def kinds(jenkins: JenkinsEmulator) -> list[str]:
    return [effect.kind for effect in jenkins.effects if effect.kind in ("input.proceeded", "input.aborted")]


def loop(jenkins: JenkinsEmulator) -> Build:
    return jenkins.start_build("job/app", inputs=[Loop(times=3, body=(Input(id="Go"),))])


async def test_jenkins_case_04_repeats_answers_each_occurrence_by_its_own_wait(
    jenkins: JenkinsEmulator, bridge: JenkinsBridge
) -> None:
    """One wait, one answer: the next occurrence waits for a wait of its own."""
    build = loop(jenkins)
    address = {"build_url": jenkins.url_of(build), "repeats": True, **GO}
    for occurrence in (1, 2):
        created = await bridge.register(address)
        assert (await bridge.call_back(created)).status == 202
        assert (await bridge.call_back(created)).status == 202
        shown = await bridge.ended(created)
        assert shown["state"] == "resolved"
        assert [each.occurrence for each in build.pending] == [occurrence + 1]
    assert kinds(jenkins) == ["input.proceeded"] * 2


@pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE])
async def test_jenkins_case_04_repeats_in_doubt_ends_doubtful(
    jenkins: JenkinsEmulator, bridge: JenkinsBridge, kind: FaultKind
) -> None:
    """The answer was lost: whether the first or the second occurrence waits now, it gets none from us."""
    build = loop(jenkins)
    jenkins.fault(kind, method="POST")
    created = await bridge.register({"build_url": jenkins.url_of(build), "repeats": True, **GO})
    await bridge.call_back(created)
    shown = await bridge.ended(created)
    assert (shown["state"], shown["reason"]) == ("undeliverable", "doubtful")
    assert len(kinds(jenkins)) == (kind is FaultKind.RESET_AFTER)
    assert len([entry for entry in jenkins.log if entry.method == "POST"]) == 1


async def test_jenkins_case_04_a_loop_that_says_nothing_gets_one_answer(
    jenkins: JenkinsEmulator, bridge: JenkinsBridge
) -> None:
    """Without `repeats` and without a doubt one callback is one answer all the same."""
    build = loop(jenkins)
    created = await bridge.register({"build_url": jenkins.url_of(build), **GO})
    await bridge.call_back(created)
    assert (await bridge.ended(created))["state"] == "resolved"
    assert kinds(jenkins) == ["input.proceeded"]


@pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE])
@pytest.mark.parametrize("inputs", [["Go"], ["Go", "Next"]], ids=["the build ends", "the build goes on"])
async def test_jenkins_case_03_a_lost_answer_ends_resolved(
    jenkins: JenkinsEmulator, bridge: JenkinsBridge, kind: FaultKind, inputs: list[str]
) -> None:
    """Applied or not, the wait ends resolved and the input has one answer: the coordinator remembers the attempt."""
    build = jenkins.start_build("job/app", inputs=inputs)
    jenkins.fault(kind, method="POST")
    created = await bridge.register({"build_url": jenkins.url_of(build), **GO})
    await bridge.call_back(created)
    assert (await bridge.ended(created))["state"] == "resolved"
    assert kinds(jenkins) == ["input.proceeded"]


async def test_a_form_with_files_fills_the_parameters(jenkins: JenkinsEmulator, bridge: JenkinsBridge) -> None:
    """What curl -F posts arrives in the pipeline: fields, a text file, bytes, and what the form field `json` says."""
    declared = (
        Parameter(name="VERSION"),
        Parameter(name="LOG", type="text"),
        Parameter(name="CORE", type="base64File"),
        Parameter(name="NOTES", type="text"),
        Parameter(name="REPORT", type="text"),
        Parameter(name="PAYLOAD", type="text"),
        Parameter(name="MISSING"),
    )
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=declared)])
    created = await bridge.register({"build_url": "https://jenkins.example.com/job/app/1/", "input_id": "go"})
    form = aiohttp.FormData()
    form.add_field("json", '{"parameter":[{"name":"NOTES","value":"from json"},{"name":"REPORT","file":"file0"}]}')
    form.add_field("file0", "täxt".encode(), filename="report.txt")
    form.add_field("VERSION", "1.2")
    form.add_field("NOTES", "from the field")
    form.add_field("LOG", b"line 1\nline 2\n", filename="log.txt")
    form.add_field("CORE", b"\xff\x00\x01\r\n", filename="core")
    assert (await bridge.call_back(created, data=form)).status == 202
    assert (await bridge.ended(created))["state"] == "resolved"
    got = build.returned[0].answer.returned
    payload = got.pop("PAYLOAD")
    assert got == {
        "VERSION": "1.2",
        "LOG": "line 1\nline 2\n",
        "CORE": "/wABDQo=",
        "NOTES": "from json",
        "REPORT": "täxt",
    }
    assert payload.startswith('{"json":"{')
    assert payload.endswith('"VERSION":"1.2","NOTES":"from the field"}')


async def test_bytes_for_a_text_parameter_are_refused(jenkins: JenkinsEmulator, bridge: JenkinsBridge) -> None:
    """The wait ends undeliverable with the parameter's name, and the input stays."""
    build = jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=(Parameter(name="LOG", type="text"),))])
    created = await bridge.register({"build_url": jenkins.url_of(build), **GO})
    form = aiohttp.FormData()
    form.add_field("LOG", b"\xff\xfe", filename="log.txt")
    await bridge.call_back(created, data=form)
    shown = await bridge.ended(created)
    assert (shown["state"], shown["reason"]) == ("undeliverable", "refused")
    assert shown["timeline"][-1]["note"] == "parameter LOG: the file is not UTF-8 text"
    assert len(build.pending) == 1


async def test_a_deadline_aborts_the_input(jenkins: JenkinsEmulator, bridge: JenkinsBridge) -> None:
    """Nobody calls back: at the end of the wait the input is aborted."""
    build = jenkins.start_build("job/app", inputs=["Go"])
    created = await bridge.register({"build_url": jenkins.url_of(build), **GO}, timeout="1s")
    shown = await bridge.ended(created)
    assert (shown["outcome"], shown["state"]) == ("timed_out", "resolved")
    assert (kinds(jenkins), build.result) == (["input.aborted"], "ABORTED")


@pytest.mark.parametrize(
    ("address", "pointer"),
    [
        ({"build_url": "https://elsewhere.example/job/app/1/", "input_id": "Go"}, "/address/build_url"),
        ({"build_url": "https://jenkins.example.com/job/app/", "input_id": "Go"}, "/address/build_url"),
        ({"build_url": "https://jenkins.example.com/job/app/1/", "input_id": "a b"}, "/address/input_id"),
        (
            {
                "build_url": "https://jenkins.example.com/job/app/1/",
                "input_id": "Go",
                "parameters": {"VERSION": "body.["},
            },
            "/address/parameters/VERSION",
        ),
    ],
)
async def test_a_wrong_address_is_422_with_a_pointer(
    bridge: JenkinsBridge, address: dict[str, Any], pointer: str
) -> None:
    """Nothing is opened, and the field is named."""
    answer = await bridge.register(address)
    assert answer.status == 422
    assert [error["pointer"] for error in answer.body["errors"]] == [pointer]


async def test_one_place_has_one_wait_however_it_is_spelt(jenkins: JenkinsEmulator, bridge: JenkinsBridge) -> None:
    """Another name of the Jenkins, another escape, the id in lower case: the same address."""
    jenkins.start_build("job/app", inputs=[Input(id="Go", held=True)])
    first = await bridge.register({"build_url": f"{jenkins.url}/job/app/1/", "input_id": "Go"})
    second = await bridge.register({"build_url": "https://jenkins.example.com/job/%61pp/1", "input_id": "go"})
    assert (first.status, second.status) == (201, 409)
    assert second.body["wait"] == first.body["id"]
