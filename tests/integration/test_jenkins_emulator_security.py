"""The Jenkins emulator: the order of its filters, users, permissions, crumbs, sessions (sections 0, 1.4 and 3)."""

from collections.abc import AsyncIterator
from http.cookies import SimpleCookie

import pytest
import pytest_asyncio

from bridge.testing import fixtures
from bridge.testing.jenkins import Input, JenkinsEmulator
from tests.support.jenkins_client import PASSWORD, TOKEN, Answered, RawClient, raw_client

jenkins = fixtures.jenkins

SECRET = "t"  # noqa: S105 - of an emulator

GO = "/job/app/1/input/Go"
NO_CRUMB = "No valid crumb was included in the request"
READ = frozenset({"Overall/Read", "Job/Read"})


@pytest_asyncio.fixture
async def client(jenkins: JenkinsEmulator) -> AsyncIterator[RawClient]:
    async with raw_client(jenkins) as opened:
        yield opened


async def crumb_and_cookie(client: RawClient, auth: tuple[str, str] | None = PASSWORD) -> dict[str, str]:
    """Return the headers that carry a fresh crumb and its session."""
    answer = await client.get("/crumbIssuer/api/json", auth=auth)
    (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
    return {answer.json["crumbRequestField"]: answer.json["crumb"], "Cookie": f"{cookie.key}={cookie.value}"}


def is_crumb_refusal(answer: Answered) -> bool:
    return answer.status == 403 and NO_CRUMB in answer.text and "X-Jenkins" not in answer.headers


# ---- the order of the filters


@pytest.mark.parametrize("auth", [TOKEN, ("bridge", "wrong"), None])
async def test_a_semicolon_is_400_before_anything_else(
    jenkins: JenkinsEmulator, client: RawClient, auth: tuple[str, str] | None
) -> None:
    """Neither start-up nor credentials are looked at."""
    jenkins.hold("starting")
    answer = await client.post("/job/a;b/1/input/Go/proceed", auth=auth)
    assert answer.status == 400
    assert "Semicolons are not allowed in the request URI" in answer.text


@pytest.mark.parametrize(("phase", "words"), [("starting", "getting ready to work"), ("restarting", "is restarting")])
async def test_start_up_is_503_for_everything(
    jenkins: JenkinsEmulator, client: RawClient, phase: str, words: str
) -> None:
    """Every path, method and credential gets the page, without Retry-After and without X-Jenkins."""
    jenkins.start_build("job/app", inputs=["Go"])
    jenkins.hold(phase)
    for answer in (
        await client.get("/nothing"),
        await client.post(f"{GO}/proceedEmpty", auth=("bridge", "wrong")),
        await client.get("/api/json", auth=None),
    ):
        assert answer.status == 503
        assert words in answer.text
        assert answer.headers["Cache-Control"] == "no-cache,no-store,must-revalidate"
        assert "Retry-After" not in answer.headers
        assert "X-Jenkins" not in answer.headers
    jenkins.hold("up")
    assert (await client.post(f"{GO}/proceedEmpty")).status == 200


async def test_a_restart_by_requests_and_by_time(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """So many requests, or so long, get 503; then the answer arrives once."""
    jenkins.start_build("job/app", inputs=["Go", "Next"])
    jenkins.restart(requests=2)
    statuses = [(await client.post(f"{GO}/proceedEmpty")).status for _ in range(3)]
    assert statuses == [503, 503, 200]
    jenkins.restart(for_s=0.1)
    assert (await client.get("/api/json")).status == 503
    await jenkins.until(lambda: jenkins.world.phase == "up")
    assert (await client.get("/api/json")).status == 200


@pytest.mark.parametrize("auth", [("bridge", "wrong"), ("nobody", "jenkins-token"), ("bridge", "")])
async def test_wrong_credentials_are_401(jenkins: JenkinsEmulator, client: RawClient, auth: tuple[str, str]) -> None:
    """Also for a GET, and with the challenge."""
    jenkins.start_build("job/app", inputs=["Go"])
    for answer in (await client.post(f"{GO}/proceedEmpty", auth=auth), await client.get("/api/json", auth=auth)):
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="Jenkins"')
        assert "X-Jenkins" not in answer.headers


@pytest.mark.parametrize("value", ["Basic %%%", "Basic", "Basic bm9jb2xvbg=="])
async def test_malformed_basic_is_401(client: RawClient, value: str) -> None:
    """Bad Base64, none at all, and no colon."""
    assert (await client.get("/api/json", auth=None, headers={"Authorization": value})).status == 401


async def test_a_bearer_token_is_anonymous(client: RawClient) -> None:
    """Another scheme than Basic is ignored."""
    answer = await client.get("/api/json", auth=None, headers={"Authorization": "Bearer jenkins-token"})
    assert answer.status == 403
    assert answer.headers["X-You-Are-Authenticated-As"] == "anonymous"


async def test_anonymous_gets_403_and_never_a_redirect(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A POST is refused for its crumb, a GET with the page that asks for a login."""
    jenkins.start_build("job/app", inputs=["Go"])
    assert is_crumb_refusal(await client.post(f"{GO}/proceedEmpty", auth=None))
    answer = await client.get(f"{GO}/proceedEmpty", auth=None)
    assert answer.status == 403
    assert "Authentication required" in answer.text
    assert "/login?from=%2Fjob%2Fapp%2F1%2Finput%2FGo%2FproceedEmpty" in answer.text
    assert answer.headers["X-Required-Permission"] == "hudson.model.Overall.Read"
    assert "X-Permission-Implied-By" in answer.headers
    assert "X-Jenkins" in answer.headers
    bare = await client.get("/api/json", auth=None, headers={"X-Requested-With": "XMLHttpRequest"})
    assert (bare.status, bare.text) == (403, "")


async def test_an_anonymous_crumb_does_not_replace_overall_read(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """With a valid anonymous crumb the POST comes to the permission, and fails there."""
    jenkins.add_user("anonymous", permissions={"Overall/Read"})
    headers = await crumb_and_cookie(client, auth=None)
    jenkins.add_user("anonymous", permissions=set())
    answer = await client.post(f"{GO}/proceedEmpty", auth=None, headers=headers)
    assert answer.status == 403
    assert "Authentication required" in answer.text


async def test_a_user_without_overall_read_is_denied(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """403 with the same headers, and the words Access Denied."""
    jenkins.add_user("eve", token=SECRET, permissions=set())
    answer = await client.get("/api/json", auth=("eve", SECRET))
    assert answer.status == 403
    assert "Access Denied" in answer.text
    assert answer.headers["X-You-Are-Authenticated-As"] == "eve"


async def test_a_job_without_read_is_404_and_with_discover_403(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Permission may look like absence."""
    jenkins.start_build("job/app", inputs=["Go"])
    jenkins.add_user("blind", token=SECRET, permissions={"Overall/Read", "Job/Build"})
    jenkins.add_user("guest", token=SECRET, permissions={"Overall/Read", "Job/Discover"})
    jenkins.add_user("apart", token=SECRET, jobs={"app": frozenset()})
    for name, status in (("blind", 404), ("guest", 403), ("apart", 404)):
        assert (await client.get("/job/app/api/json", auth=(name, SECRET))).status == status
        assert (await client.post(f"{GO}/proceedEmpty", auth=(name, SECRET))).status == status
    assert (await client.get("/job/none/api/json")).is_stapler_404
    assert (await client.get("/job/app/api/json", auth=("blind", SECRET))).is_stapler_404


async def test_the_containers_errors_are_json_when_asked(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The switch turns the inferred JSON shape off."""
    headers = {"Accept": "application/json"}
    answer = await client.post("/x", auth=None, headers=headers)
    assert answer.json == {"url": "/x", "status": "403", "message": NO_CRUMB, "servlet": "Stapler"}
    jenkins.switches.json_error_pages = False
    assert (await client.post("/x", auth=None, headers=headers)).text.startswith("<html>")


async def test_who_am_i_names_the_user(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """It answers JSON with X-Jenkins, the name and whether it is nobody."""
    answer = await client.get("/whoAmI/api/json")
    assert answer.headers["X-Jenkins"] == jenkins.switches.version
    assert (answer.json["name"], answer.json["anonymous"], answer.json["authenticated"]) == ("bridge", False, True)
    assert (await client.get("/whoAmI/api/json", auth=None)).status == 403
    jenkins.switches.who_am_i_open = True
    assert (await client.get("/whoAmI/api/json", auth=None)).json["name"] == "anonymous"


# ---- who may answer


@pytest.mark.parametrize(
    ("submitter", "name", "proceed_error", "abort_error"),
    [
        ("alice, bob", "alice", None, None),
        ("alice,BOB", "bob", None, None),
        (" alice , bob ", "bob", None, None),
        ("ops", "carol", None, None),
        ("alice", "carol", "You need to be alice to submit this.",
         "You need to be 'alice' (or have Job/Cancel permissions) to cancel this."),
        ("alice", "canceller", "You need to be alice to submit this.", None),
        ("alice", "builder", "You need to be alice to submit this.",
         "You need to be 'alice' (or have Job/Cancel permissions) to cancel this."),
        ("alice", "root", None, None),
        (None, "builder", None, None),
        (None, "root", None, None),
        (None, "canceller", "You need to have Job/Build permissions to submit this.", None),
        (None, "alice", "You need to have Job/Build permissions to submit this.",
         "You need to have Job/Cancel permissions to cancel this."),
    ],
)  # fmt: skip
async def test_who_may_proceed_and_abort(
    jenkins: JenkinsEmulator,
    client: RawClient,
    *,
    submitter: str | None,
    name: str,
    proceed_error: str | None,
    abort_error: str | None,
) -> None:
    """A refusal is 400 with its text in X-Error; listed users need no further permission."""
    for user, extra in (("alice", ()), ("bob", ()), ("carol", ()), ("builder", ("Job/Build",)), ("canceller", ("Job/Cancel",)), ("root", ("Overall/Administer",))):  # fmt: skip
        groups = ["Ops"] if user == "carol" else []
        jenkins.add_user(user, token=SECRET, groups=groups, permissions=READ | set(extra))
    for number, (verb, error) in enumerate((("proceedEmpty", proceed_error), ("abort", abort_error)), start=1):
        build = jenkins.start_build("job/app", inputs=[Input(id="Go", submitter=submitter)])
        answer = await client.post(f"/job/app/{number}/input/Go/{verb}", auth=(name, SECRET))
        assert (answer.status, answer.headers.get("X-Error")) == ((200, None) if error is None else (400, error))
        assert build.building == (error is not None)
        assert error is None or "X-Jenkins" in answer.headers


async def test_submitters_may_be_compared_exactly(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A realm may be case-sensitive."""
    jenkins.switches.submitter_case_sensitive = True
    jenkins.start_build("job/app", inputs=[Input(id="Go", submitter="BRIDGE")])
    assert (await client.post(f"{GO}/proceedEmpty")).status == 400


async def test_permission_comes_before_the_form(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """A user who may not submit learns so even with a broken or no form."""
    jenkins.start_build("job/app", inputs=[Input(id="Go", submitter="alice")])
    assert (await client.post(f"{GO}/proceed")).headers["X-Error"] == "You need to be alice to submit this."


async def test_the_error_text_is_in_the_page_and_escaped(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The Failure page repeats the message."""
    jenkins.start_build("job/app", inputs=[Input(id="Go", submitter="a<b")])
    assert (
        "<h1>Error</h1><p>You need to be a&lt;b to submit this.</p>" in (await client.post(f"{GO}/proceedEmpty")).text
    )


# ---- crumbs and sessions


async def test_a_token_needs_no_crumb_and_a_password_does(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The crumb and its session's cookie together let a password in; either alone does not."""
    jenkins.start_build("job/app", inputs=["Go", "Next"])
    assert (await client.post(f"{GO}/proceedEmpty", auth=TOKEN)).status == 200
    path = "/job/app/1/input/Next/proceedEmpty"
    assert is_crumb_refusal(await client.post(path, auth=PASSWORD))
    headers = await crumb_and_cookie(client)
    for missing in headers:
        partial = {name: value for name, value in headers.items() if name != missing}
        assert is_crumb_refusal(await client.post(path, auth=PASSWORD, headers=partial))
    assert is_crumb_refusal(await client.post(path, auth=PASSWORD, headers={**headers, "Jenkins-Crumb": "0" * 64}))
    assert (await client.post(path, auth=PASSWORD, headers=headers)).status == 200


async def test_the_crumb_issuers_answer(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Class, 64 hex digits, the field's name; a cookie named at random only when there is no session yet."""
    answer = await client.get("/crumbIssuer/api/json", auth=PASSWORD)
    assert answer.json["_class"] == "hudson.security.csrf.DefaultCrumbIssuer"
    assert len(bytes.fromhex(answer.json["crumb"])) == 32
    assert answer.json["crumbRequestField"] == "Jenkins-Crumb"
    (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
    assert cookie.key == jenkins.world.security.cookie_name
    assert cookie.key.startswith("JSESSIONID.")
    assert (cookie["path"], cookie["httponly"]) == ("/", True)
    again = await client.get("/crumbIssuer/api/json", auth=PASSWORD, headers={"Cookie": f"{cookie.key}={cookie.value}"})
    assert "Set-Cookie" not in again.headers
    assert again.json["crumb"] == answer.json["crumb"]
    assert (await client.get("/crumbIssuer/api/json?jsonp=x", auth=PASSWORD)).status == 403
    assert (await client.get("/crumbIssuer/api/json", auth=None)).status == 403


async def test_a_crumb_is_stale_after_restart_expiry_and_for_others(
    jenkins: JenkinsEmulator, client: RawClient
) -> None:
    """It is bound to the process, the session and the user."""
    jenkins.start_build("job/app", inputs=["Go"])
    jenkins.add_user("alice", password=SECRET)
    path = f"{GO}/proceedEmpty"
    headers = await crumb_and_cookie(client)
    assert is_crumb_refusal(await client.post(path, auth=("alice", SECRET), headers=headers))
    other = await crumb_and_cookie(client)
    mixed = {**headers, "Cookie": other["Cookie"]}
    assert is_crumb_refusal(await client.post(path, auth=PASSWORD, headers=mixed))
    cookie_name = jenkins.world.security.cookie_name
    jenkins.restart()
    assert jenkins.world.security.cookie_name != cookie_name
    assert is_crumb_refusal(await client.post(path, auth=PASSWORD, headers=headers))
    headers = await crumb_and_cookie(client)
    jenkins.switches.session_idle_s = -1
    assert is_crumb_refusal(await client.post(path, auth=PASSWORD, headers=headers))
    jenkins.switches.session_idle_s = 1800
    assert (await client.post(path, auth=PASSWORD, headers=await crumb_and_cookie(client))).status == 200


async def test_a_crumb_counts_as_parameter_but_not_in_multipart(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Query and form are seen by the filter, the parts of a multipart body are not."""
    jenkins.start_build("job/app", inputs=["A", "B", "C"])
    headers = await crumb_and_cookie(client)
    crumb = headers.pop("Jenkins-Crumb")
    multipart = f'--x\r\nContent-Disposition: form-data; name="Jenkins-Crumb"\r\n\r\n{crumb}\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    path = "/job/app/1/input/A/proceedEmpty"
    assert is_crumb_refusal(await client.post(path, auth=PASSWORD, headers={**headers, **kind}, body=multipart))
    assert (await client.post(f"{path}?Jenkins-Crumb={crumb}", auth=PASSWORD, headers=headers)).status == 200
    path = path.replace("/A/", "/B/")
    assert (await client.post(path, auth=PASSWORD, headers=headers, form={"Jenkins-Crumb": crumb})).status == 200
    path, headers = path.replace("/B/", "/C/"), {**headers, **kind, "Jenkins-Crumb": crumb}
    assert (await client.post(path, auth=PASSWORD, headers=headers, body=multipart)).status == 200


async def test_without_csrf_there_is_no_issuer_and_no_check(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """CSRF protection off: the issuer is 404, a password is enough."""
    jenkins.switches.csrf = False
    jenkins.start_build("job/app", inputs=["Go"])
    assert (await client.get("/crumbIssuer/api/json", auth=PASSWORD)).status == 404
    assert (await client.post(f"{GO}/proceedEmpty", auth=PASSWORD)).status == 200


async def test_the_crumbs_field_can_be_renamed(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """The name that the issuer gives is the one that counts."""
    jenkins.switches.crumb_field = "X-Crumb"
    jenkins.start_build("job/app", inputs=["Go"])
    headers = await crumb_and_cookie(client)
    assert "X-Crumb" in headers
    assert (await client.post(f"{GO}/proceedEmpty", auth=PASSWORD, headers=headers)).status == 200


async def test_an_old_core_binds_the_crumb_to_the_address(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """Another client address makes it stale; a current core does not care."""
    jenkins.start_build("job/app", inputs=["Go"])
    headers = {**await crumb_and_cookie(client), "X-Forwarded-For": "203.0.113.9"}
    jenkins.switches.crumb_with_client_ip = True
    old = {**await crumb_and_cookie(client), "X-Forwarded-For": "203.0.113.9"}
    assert is_crumb_refusal(await client.post(f"{GO}/proceedEmpty", auth=PASSWORD, headers=old))
    jenkins.switches.crumb_with_client_ip = False
    assert (await client.post(f"{GO}/proceedEmpty", auth=PASSWORD, headers=headers)).status == 200


async def test_a_logged_in_cookie_hides_the_token(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """With a session of the same user a crumb is demanded despite the token; the switch turns that off."""
    jenkins.start_build("job/app", inputs=["Go"])
    ((name, value),) = jenkins.log_in("bridge").items()
    headers = {"Cookie": f"{name}={value}"}
    assert is_crumb_refusal(await client.post(f"{GO}/proceedEmpty", auth=TOKEN, headers=headers))
    assert (await client.get("/whoAmI/api/json", auth=None, headers=headers)).json["name"] == "bridge"
    jenkins.switches.session_beats_basic = False
    assert (await client.post(f"{GO}/proceedEmpty", auth=TOKEN, headers=headers)).status == 200


async def test_the_session_header_changes_with_each_start(jenkins: JenkinsEmulator, client: RawClient) -> None:
    """X-Jenkins-Session is a restart detector."""
    before = (await client.get("/api/json")).headers["X-Jenkins-Session"]
    assert (await client.get("/nothing")).headers["X-Jenkins-Session"] == before
    jenkins.restart()
    assert (await client.get("/api/json")).headers["X-Jenkins-Session"] != before
