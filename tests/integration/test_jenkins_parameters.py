"""What the pipeline gets: parameters of every kind, by the names that the input declares, against the emulator over HTTP."""

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.consumers.jenkins.parameters import MAX_FORM_BYTES
from bridge.core.event import EventData, Outcome
from bridge.core.resolution import Progressed
from bridge.testing.jenkins import Build, Input, Parameter
from bridge.testing.jenkins.model.parameters import STORED_DEFAULT
from tests.support.jenkins_client import PASSWORD, raw_client
from tests.support.jenkins_stage import Stage, stage

RUN = "/job/app/1"
GO = f"{RUN}/input/Go"
OUTCOMES = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT)


@pytest.fixture
async def jenkins() -> AsyncIterator[Stage]:
    async with stage() as one:
        yield one


def asking(one: Stage, *declared: Parameter, **more: Any) -> Build:
    return one.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=declared, **more)])


def returned(build: Build) -> Any:
    return build.returned[-1].answer.returned


async def got(one: Stage, declared: Parameter, value: Any) -> Any:
    """Return what the step gets for *value*, sent under the parameter's name."""
    build = asking(one, declared)
    await one.send(build, data=EventData(body={declared.name: value}))
    report = await one.final()
    assert report.ending == "done", report.note
    return returned(build)


TEXTS = [
    "",
    "null",
    "true",
    "[1, 2",
    "[1,2]",
    "{}",
    '{"a": [1, null]}',
    "{not json}",
    "'single'",
    '"double"',
    "“curly” «quotes»",
    "back\\slash \\n \\u0041",
    "two\nlines\r\nand a tab\t",
    "a+b=c&d=%41;100%",
    "ünï 漢字 🙂 \u2028",
    "<b>&amp;</b> ${env} $(id) `id`",
    "  white space  ",
    "/* */ // #",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["string", "text", "password"])
async def test_jenkins_case_05_a_text_arrives_as_it_was(jenkins: Stage, kind: str, text: str) -> None:
    """Also one that looks like JSON, or could be taken for a part of the form."""
    assert await got(jenkins, Parameter(name="P", type=kind), text) == text


@pytest.mark.parametrize(
    ("declared", "value", "expected"),
    [
        (Parameter(name="P"), 7, "7"),
        (Parameter(name="P"), {"ü": [1, None, True]}, '{"ü":[1,null,true]}'),
        (Parameter(name="P", trim=True), "  a ", "a"),
        (Parameter(name="P", type="boolean"), True, True),
        (Parameter(name="P", type="boolean"), "Yes", True),
        (Parameter(name="P", type="boolean"), "off", False),
        (Parameter(name="P", type="boolean"), 1, True),
        (Parameter(name="P", type="choice", choices=("dev", "7")), 7, "7"),
        (Parameter(name="P", type="choice", choices=("a b", "ü")), "ü", "ü"),
        (Parameter(name="P", type="password", default="stored"), STORED_DEFAULT, "stored"),
        (Parameter(name="P", type="credentials"), "deploy-key", "deploy-key"),
        (Parameter(name="P", type="credentials", default="mine", required=True), "", "mine"),
        (Parameter(name="P", type="run"), "tools/my job#1", "tools/my job#1"),
        (Parameter(name="P", type="base64File"), "täxt", b64encode("täxt".encode()).decode()),
    ],
)
async def test_jenkins_case_05_a_value_of_each_kind(
    jenkins: Stage, declared: Parameter, value: Any, expected: Any
) -> None:
    """In the form that its kind takes."""
    jenkins.jenkins.start_build("job/tools/job/my%20job", inputs=[])
    assert await got(jenkins, declared, value) == expected


@pytest.mark.parametrize("listing", [True, False], ids=["tree", "wfapi"])
@pytest.mark.parametrize("unknown", ["false", "error"])
@pytest.mark.parametrize(
    ("declared", "value", "told"),
    [
        (Parameter(name="P", type="boolean"), "maybe", "not a boolean"),
        (Parameter(name="P", type="boolean"), [True], "not a boolean"),
        (Parameter(name="P", type="choice", choices=("a", "b")), "A", "not one of its choices"),
        (Parameter(name="P", type="choice", choices=("a", "b")), "", "not one of its choices"),
        (Parameter(name="P", type="run"), "tools/7", "not a run such as folder/job#12"),
        (Parameter(name="P", type="run"), "#7", "not a run such as folder/job#12"),
        (Parameter(name="P", type="run"), {"a": "b#1"}, "not a run such as folder/job#12"),
        (Parameter(name="P", type="run"), "a\n#7", "not a run such as folder/job#12"),
        (Parameter(name="P", type="credentials"), {"username": "u"}, "not the id of a credential"),
        (Parameter(name="P", type="credentials"), "-----BEGIN\nKEY", "not the id of a credential"),
    ],
)
async def test_jenkins_case_07_a_value_that_does_not_fit_is_refused_without_a_post(
    declared: Parameter, value: Any, told: str, unknown: str, *, listing: bool
) -> None:
    """Checked against the listing, whichever there is; Jenkins might take it for something else, or not."""
    async with stage(unknown_boolean=unknown, input_listing=listing) as one:
        build = asking(one, declared)
        await one.send(build, data=EventData(body={"P": value}))
        report = await one.final()
        assert (report.reason, report.note) == ("refused", f"parameter P: {told}")
        assert one.posts == []
        assert len(build.pending) == 1


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_jenkins_case_05_the_map_has_the_same_keys_in_every_case(jenkins: Stage, outcome: Outcome) -> None:
    """Outcome, summary, url and data, whoever decided; a timer has no url and no data."""
    names = ("OUTCOME", "SUMMARY", "URL", "PAYLOAD")
    build = asking(jenkins, *(Parameter(name=name, type="text") for name in names))
    said = EventData(body={"passed": 12}, summary="12 of 12", url="https://farm.example/7")
    await jenkins.send(build, outcome, data=said, on_failure="proceed")
    assert await jenkins.ending() == "done"
    is_timer = outcome is Outcome.TIMED_OUT
    assert returned(build) == {
        "OUTCOME": outcome.value,
        "SUMMARY": "timed out" if is_timer else "12 of 12",
        "URL": "" if is_timer else "https://farm.example/7",
        "PAYLOAD": "" if is_timer else '{"passed":12}',
    }


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_jenkins_case_05_the_map_fits_into_one_parameter(jenkins: Stage, outcome: Outcome) -> None:
    """An expression makes one JSON text of it, for a pipeline that reads it with readJSON."""
    build = asking(jenkins, Parameter(name="RESULT", type="text"))
    result = {"RESULT": "{outcome: outcome, summary: summary, url: url, data: body}"}
    said = EventData(body={"passed": 12}, summary="12 of 12", url="https://farm.example/7")
    await jenkins.send(build, outcome, data=said, on_failure="proceed", parameters=result)
    assert await jenkins.ending() == "done"
    rest = '"summary":"12 of 12","url":"https://farm.example/7","data":{"passed":12}}'
    if outcome is Outcome.TIMED_OUT:
        rest = '"summary":"timed out","url":"","data":null}'
    assert returned(build) == f'{{"outcome":"{outcome.value}",{rest}'


async def test_jenkins_case_05_a_form_that_jenkins_would_not_read_is_refused(jenkins: Stage) -> None:
    """As long as the limit allows it arrives whole; one byte more is told with both numbers, and nothing is sent."""
    build = asking(jenkins, Parameter(name="P", type="text"))
    frame = len("json=%7B%22parameter%22%3A%5B%7B%22name%22%3A%22P%22%2C%22value%22%3A%22%22%7D%5D%7D")
    text = "x" * (MAX_FORM_BYTES - frame)
    await jenkins.send(build, data=EventData(body={"P": text + "x"}))
    report = await jenkins.final()
    told = f"the parameters make a form of {MAX_FORM_BYTES + 1} bytes; Jenkins reads {MAX_FORM_BYTES}"
    assert (report.reason, report.note) == ("refused", told)
    assert jenkins.posts == []
    await jenkins.send(build, wait="w2", data=EventData(body={"P": text}))
    assert await jenkins.ending("w2") == "done"
    assert (returned(build), len(jenkins.posts[0].body)) == (text, MAX_FORM_BYTES)


@pytest.mark.parametrize("submitter_parameter", [None, "WHO"])
@pytest.mark.parametrize("count", [0, 1, 2])
async def test_jenkins_case_24_a_bare_value_or_a_map(
    jenkins: Stage, count: int, submitter_parameter: str | None
) -> None:
    """One entry is the value itself; `submitterParameter` is an entry of its own and makes it a map."""
    sent = {f"P{number}": f"v{number}" for number in range(count)}
    declared = [Parameter(name=name) for name in ("P0", "P1")]
    build = asking(jenkins, *declared, submitter_parameter=submitter_parameter)
    await jenkins.send(build, data=EventData(body=sent))
    assert await jenkins.ending() == "done"
    entries = sent | ({"WHO": "bridge"} if submitter_parameter else {})
    bare = next(iter(entries.values()), None)
    assert returned(build) == (entries if len(entries) > 1 else bare)


@pytest.mark.parametrize("newer", [True, False], ids=["from 532", "before"])
async def test_jenkins_case_24_without_parameters_the_submitter_alone(*, newer: bool) -> None:
    """`proceedEmpty` returns the user's id, or null with an older plugin: it is done both ways."""
    async with stage(submitter_on_empty=newer) as one:
        build = asking(one, submitter_parameter="WHO")
        await one.send(build)
        assert await one.ending() == "done"
        assert returned(build) == ("bridge" if newer else None)


@pytest.mark.parametrize("status", [400, 500])
async def test_jenkins_case_25_only_a_form_field_is_read(status: int) -> None:
    """A JSON body, and a form without `json`, answer nothing; ours is always a form with it, or an empty verb."""
    async with stage(missing_json_status=status) as one:
        build = asking(one, Parameter(name="P"))
        async with raw_client(one.jenkins) as person:
            headers = {"Content-Type": "application/json"}
            bare = await person.post(f"{GO}/proceed", headers=headers, body='{"parameter":[{"name":"P","value":"v"}]}')
            other = await person.post(f"{GO}/proceed", form={"P": "v"})
        assert [bare.status, other.status] == [status] * 2
        if status == 400:
            assert "Nothing is submitted" in bare.text
            assert "This page expects a form submission" in other.text
        assert len(build.pending) == 1
        one.jenkins.log.clear()
        await one.send(build, data=EventData(body={"Q": "v"}))
        assert await one.ending() == "done"
        (post,) = one.posts
        assert post.headers["content-type"] == "application/x-www-form-urlencoded"
        assert post.body == "json=%7B%22parameter%22%3A%5B%5D%7D"


async def test_jenkins_case_30_a_part_and_an_inline_text_are_the_same(jenkins: Stage) -> None:
    """Whether the remote posted a file or a field of a form: the step gets the same Base64."""
    content = "täxt\r\n"
    declared = (Parameter(name="PART", type="base64File"), Parameter(name="INLINE", type="base64File"))
    build = asking(jenkins, *declared)
    files = {"PART": {"filename": "a.txt", "size": 7, "content": content}}
    await jenkins.send(build, data=EventData.model_validate({"body": {"INLINE": content}, "files": files}))
    assert await jenkins.ending() == "done"
    expected = b64encode(content.encode()).decode()
    assert returned(build) == {"PART": expected, "INLINE": expected}


async def test_jenkins_case_30_a_crumb_among_the_parts_is_not_seen(jenkins: Stage) -> None:
    """403 for it; what we send with a password has it as a header (test_jenkins_password.py)."""
    asking(jenkins, Parameter(name="PART", type="base64File"))
    async with raw_client(jenkins.jenkins) as person:
        issued = await person.get("/crumbIssuer/api/json", auth=PASSWORD)
        crumb = issued.json["crumb"]
        cookie = issued.headers["Set-Cookie"].partition(";")[0]
        part = f'--b\r\nContent-Disposition: form-data; name="Jenkins-Crumb"\r\n\r\n{crumb}\r\n--b--\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=b", "Cookie": cookie}
        inside = await person.post(f"{GO}/proceed", auth=PASSWORD, headers=headers, body=part)
        beside = await person.post(
            f"{GO}/proceed", auth=PASSWORD, headers={**headers, "Jenkins-Crumb": crumb}, body=part
        )
    assert (inside.status, "No valid crumb was included in the request" in inside.text) == (403, True)
    assert (beside.status, "This page expects a form submission" in beside.text) == (400, True)


@pytest.mark.parametrize("kind", ["file", "stashedFile"])
async def test_jenkins_case_35_a_file_parameter_fails_its_build(jenkins: Stage, kind: str) -> None:
    """Nothing is pending, so nothing is sent: the build is over, and it says as what."""
    build = asking(jenkins, Parameter(name="F", type=kind))
    await jenkins.send(build, data=EventData(body={"F": "v"}))
    report = await jenkins.final()
    assert (report.result, report.reason) == (Progressed.UNDELIVERABLE, "gone")
    assert report.note == "the build is over: FAILURE"
    assert (build.result, build.pending, jenkins.posts) == ("FAILURE", [], [])


@pytest.mark.parametrize("posted", ["file", "field"])
async def test_jenkins_case_35_a_file_parameter_that_is_allowed_gets_its_file(posted: str) -> None:
    """Where the administrator lifted the ban, the input waits for a part and gets one."""
    async with stage(unsafe_files=True) as one:
        build = asking(one, Parameter(name="F", type="file"))
        files = {"F": {"filename": "f.txt", "size": 1, "content": "v"}} if posted == "file" else {}
        body = {"F": "v"} if posted == "field" else None
        await one.send(build, data=EventData.model_validate({"body": body, "files": files}))
        assert await one.ending() == "done"
        assert returned(build) == "/var/jenkins_home/job/app/1/F"
