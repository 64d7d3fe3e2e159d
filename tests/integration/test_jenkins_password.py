"""Who we are to Jenkins: a password with its crumb and session, an API token without either, and nobody."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.core.event import EventData, Outcome
from bridge.testing.emulator import FaultKind, LoggedRequest
from bridge.testing.jenkins import Input, Parameter
from tests.support.fakes import eventually
from tests.support.jenkins_client import raw_client
from tests.support.jenkins_stage import Stage, stage

PASSWORD = {"token": None, "password": "jenkins-password"}
ISSUER = "/crumbIssuer/api/json"
CRUMB_LOST = {"status": 403, "body": "<title>Error 403 No valid crumb was included in the request</title>"}
RUN = "/job/app/1"


@pytest.fixture
async def jenkins() -> AsyncIterator[Stage]:
    async with stage(settings=PASSWORD) as one:
        yield one


def issued(one: Stage) -> list[LoggedRequest]:
    return [entry for entry in one.jenkins.log if entry.path.endswith(ISSUER)]


async def answer(one: Stage, wait: str = "w1", **more: Any) -> str:
    """Start a build, answer it, and return how that ended."""
    build = one.jenkins.start_build("job/app", inputs=["Go"])
    await one.send(build, wait=wait, **more)
    return await one.ending(wait)


async def test_jenkins_case_13_a_crumb_is_fetched_once_and_kept_with_its_session(jenkins: Stage) -> None:
    """One crumb serves all answers; the cookie that came with it goes along, to a host that is an IP address too."""
    for number in range(3):
        assert await answer(jenkins, f"w{number}") == "done"
    (entry,) = issued(jenkins)
    assert "cookie" not in entry.headers
    assert len({post.headers["jenkins-crumb"] for post in jenkins.posts}) == 1
    assert all(post.headers["cookie"].startswith("JSESSIONID.") for post in jenkins.posts)
    assert [post.status for post in jenkins.posts] == [200] * 3
    first = [call for call in jenkins.calls if "/job/app/1/" in call or ISSUER in call]
    assert first == [
        f"GET {RUN}/api/json",
        f"GET {ISSUER}",
        f"POST {RUN}/input/Go/proceedEmpty",
        f"GET {RUN}/api/json",
    ]


@pytest.mark.parametrize("ends", ["restart", "idle"])
@pytest.mark.parametrize("with_ip", [False, True], ids=["core from 2.543", "core before"])
async def test_jenkins_case_13_a_stale_crumb_is_replaced_once(ends: str, *, with_ip: bool) -> None:
    """After a restart, or the session's end, the 403 costs one crumb more; the answer arrives once."""
    async with stage(settings=PASSWORD, crumb_with_client_ip=with_ip) as one:
        assert await answer(one, "w1") == "done"
        if ends == "restart":
            one.jenkins.restart()
        else:
            one.jenkins.world.security.sessions.clear()
        assert await answer(one, "w2") == "done"
        assert [post.status for post in one.posts] == [200, 403, 200]
        assert len(issued(one)) == 2
        assert one.answers == ["proceeded job/app/1/input/Go", "proceeded job/app/2/input/Go"]


@pytest.mark.parametrize("json_pages", [False, True])
async def test_jenkins_case_13_concurrent_answers_share_one_crumb(*, json_pages: bool) -> None:
    """Eight at once fetch one crumb; when it is stale for all of them, one more."""
    async with stage(settings=PASSWORD, json_error_pages=json_pages) as one:
        for batch in ("a", "b"):
            builds = [one.jenkins.start_build("job/app", inputs=["Go"]) for _ in range(8)]
            one.jenkins.restart()
            for build in builds:
                await one.send(build, wait=f"{batch}{build.number}")
            for build in builds:
                assert await one.ending(f"{batch}{build.number}") == "done"
        assert len(issued(one)) == 2
        assert len(one.answers) == 16


async def test_jenkins_case_13_a_crumb_that_never_holds_is_no_loop(jenkins: Stage) -> None:
    """Refused with the new crumb too: the attempt ends there, says why, and the resolution is kept until it works."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.fault(FaultKind.STATUS, method="POST", times=4, **CRUMB_LOST)
    await jenkins.send(build)
    assert await jenkins.ending() == "done"
    told = [report.note for report in jenkins.rig.reports if report.ending == "later"]
    assert told == ["Jenkins refuses the crumb that it has just given: does its session stick?"]
    assert [post.status for post in jenkins.posts] == [403, 403, 403, 403, 200]
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]
    assert jenkins.rig.dead == []


async def test_jenkins_case_13_a_crumb_that_never_holds_is_an_alarm(jenkins: Stage) -> None:
    """Attempt after attempt refused: the breaker opens, which is the operators' alarm, and nothing dead-letters."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.fault(FaultKind.STATUS, method="POST", times=10, **CRUMB_LOST)
    await jenkins.send(build)
    await eventually(lambda: "GET /whoAmI/api/json" in jenkins.calls)
    assert len(jenkins.posts) == 10
    assert await jenkins.ending() == "done"
    assert jenkins.rig.dead == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": FaultKind.STATUS, "status": 503},
        {"kind": FaultKind.STATUS, "status": 500},
        {"kind": FaultKind.RESET_BEFORE, "times": 2},  # a GET may be repeated below us
        {"kind": FaultKind.HTML, "status": 200},
        {"kind": FaultKind.STATUS, "status": 302, "headers": {"Location": "https://sso.example/"}},
        {
            "kind": FaultKind.STATUS,
            "status": 200,
            "body": '{"crumb": "a\\r\\nb", "crumbRequestField": "Jenkins-Crumb"}',
        },
    ],
    ids=["503", "500", "reset", "login page", "redirect", "no header"],
)
@pytest.mark.parametrize("repeats", [False, True])
async def test_jenkins_case_13_a_crumb_that_cannot_be_fetched_leaves_no_doubt(
    jenkins: Stage, fault: dict[str, Any], *, repeats: bool
) -> None:
    """Nothing was sent yet: it is tried again, also where an answer may be sent only once."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    jenkins.jenkins.fault(**fault, path=ISSUER)
    await jenkins.send(build, repeats=repeats, sent={"is_cleared": repeats})
    assert await jenkins.ending() == "done"
    assert jenkins.answers == ["proceeded job/app/1/input/Go"]


async def test_jenkins_case_13_the_crumb_of_a_file_is_a_header(jenkins: Stage) -> None:
    """Among the parts of a multipart form the crumb would not be seen; a renamed field is honoured."""
    jenkins.jenkins.set_switches({"crumb_field": "X-Crumb"})
    declared = (Parameter(name="CORE", type="base64File"),)
    build = jenkins.jenkins.start_build("job/app", inputs=[Input(id="Go", parameters=declared)])
    files = {"CORE": {"filename": "core", "size": 2, "content": "/wA=", "encoding": "base64"}}
    await jenkins.send(build, data=EventData.model_validate({"files": files}))
    assert await jenkins.ending() == "done"
    assert build.returned[0].answer.returned == "/wA="
    assert "x-crumb" in jenkins.posts[0].headers


async def test_jenkins_case_13_a_wrong_password_keeps_the_resolution() -> None:
    """401: one try, health calls, and no crumb; with the right one it is answered."""
    async with stage(settings=PASSWORD) as one:
        build = one.jenkins.start_build("job/app", inputs=["Go"])
        one.jenkins.add_user("bridge", password="changed")  # noqa: S106 - of an emulator
        await one.send(build)
        await eventually(lambda: one.rig.worker.status.is_breaker_open)
        await eventually(lambda: one.calls.count("GET /whoAmI/api/json") >= 3)
        assert (one.calls.count(f"GET {RUN}/api/json"), issued(one)) == (1, [])
        one.jenkins.add_user("bridge", password="jenkins-password")  # noqa: S106 - of an emulator
        assert await one.ending() == "done"


async def test_jenkins_case_14_without_protection_no_crumb_is_sent() -> None:
    """The issuer is 404, which is asked once; when the protection comes back, the 403 fetches a crumb."""
    async with stage(settings=PASSWORD, csrf=False) as one:
        assert await answer(one, "w1") == "done"
        assert await answer(one, "w2") == "done"
        assert [entry.status for entry in issued(one)] == [404]
        assert not any("jenkins-crumb" in post.headers for post in one.posts)
        one.jenkins.set_switches({"csrf": True})
        assert await answer(one, "w3") == "done"
        assert [post.status for post in one.posts] == [200, 200, 403, 200]


@pytest.mark.parametrize("hides", [True, False])
async def test_jenkins_case_15_a_proxys_cookie_does_not_hide_the_token(*, hides: bool) -> None:
    """Whether a logged-in session beats the token or not: none is ever kept, and no crumb is fetched."""
    async with stage(session_beats_basic=hides) as one:
        cookie = "; ".join(f"{name}={value}" for name, value in one.jenkins.log_in("bridge").items())
        async with raw_client(one.jenkins) as person:
            with_cookie = await person.post("/job/app/1/input/Go/proceedEmpty", headers={"Cookie": cookie})
        assert with_cookie.status == (403 if hides else 404)
        one.jenkins.log.clear()
        one.jenkins.fault(FaultKind.STATUS, status=503, headers={"Set-Cookie": cookie})
        assert await answer(one) == "done"
        assert issued(one) == []
        assert not any("cookie" in entry.headers for entry in one.jenkins.log)


async def test_jenkins_case_15_a_password_given_as_token_is_told() -> None:
    """Reads work with it and answers do not: nothing dead-letters, and the note names the mistake."""
    async with stage(settings={"token": "jenkins-password"}) as one:
        build = one.jenkins.start_build("job/app", inputs=["Go"])
        await one.send(build)
        await eventually(lambda: "later" in one.rig.told())
        note = next(report.note for report in one.rig.reports if report.ending == "later")
        assert note == "Jenkins asks for a crumb, so it takes `token` for a password: expected an API token"
        assert (one.rig.dead, one.answers) == ([], [])


@pytest.mark.parametrize("open_to_all", [False, True])
@pytest.mark.parametrize("settings", [{}, PASSWORD], ids=["token", "password"])
async def test_jenkins_case_34_anonymous_is_our_credentials_fault(
    settings: dict[str, Any], *, open_to_all: bool
) -> None:
    """A proxy swallows the header: 403 without a redirect to follow; the resolution is kept until we are somebody."""
    async with stage(settings=settings, strips_authorization=True, who_am_i_open=open_to_all) as one:
        build = one.jenkins.start_build("job/app", inputs=["Go"])
        async with raw_client(one.jenkins) as nobody:
            posted = await nobody.post(f"{RUN}/input/Go/proceedEmpty")
            got = await nobody.get(f"{RUN}/api/json")
        assert (posted.status, "No valid crumb was included in the request" in posted.text) == (403, True)
        assert (got.status, "Authentication required" in got.text) == (403, True)
        assert not any("Location" in answered.headers for answered in (posted, got))
        one.jenkins.log.clear()
        await one.send(build)
        await eventually(lambda: one.rig.worker.status.is_breaker_open)
        assert (one.posts, one.rig.dead) == ([], [])
        assert not any("/login" in call for call in one.calls)
        one.jenkins.set_switches({"strips_authorization": False})
        assert await one.ending() == "done"


async def test_jenkins_case_34_outcomes_of_every_kind_go_with_a_password(jenkins: Stage) -> None:
    """An abort takes the crumb as an answer does."""
    build = jenkins.jenkins.start_build("job/app", inputs=["Go"])
    await jenkins.send(build, Outcome.FAILED)
    assert await jenkins.ending() == "done"
    assert build.result == "ABORTED"
