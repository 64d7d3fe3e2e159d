"""Which build and input an address means, and which addresses are refused."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.config import load_config
from bridge.consumers.jenkins import Jenkins
from bridge.consumers.jenkins.address import JenkinsAddress, JenkinsSettings, normalise
from bridge.core.consumer import AddressError
from bridge.core.errors import ConfigError

BASE = "https://jenkins.internal:8443/ci"
SETTINGS = JenkinsSettings.model_validate(
    {
        "consumer": "jenkins",
        "base_url": BASE,
        "public_urls": ["https://Jenkins.example.com/", "https://ci.example.com/jenkins/"],
        "username": "bridge",
        "token": "t",
    }
)


def address(build_url: str = f"{BASE}/job/app/7/", **more: Any) -> JenkinsAddress:
    return JenkinsAddress.model_validate({"build_url": build_url, "input_id": "Go", **more})


@pytest.mark.parametrize(
    ("build_url", "run"),
    [
        (f"{BASE}/job/app/7/", "/job/app/7"),
        (f"{BASE}/job/app/7", "/job/app/7"),
        ("HTTPS://JENKINS.internal:8443/ci/job/app/7/", "/job/app/7"),
        ("https://jenkins.example.com/job/app/7/", "/job/app/7"),
        ("https://jenkins.example.com:443/job/app/7/", "/job/app/7"),
        ("https://ci.example.com/jenkins/job/app/7/", "/job/app/7"),
        (f"{BASE}/job/mb/job/feature%252Fx/12/", "/job/mb/job/feature%252Fx/12"),
        (f"{BASE}/job/mb/job/feature%252fx/12/", "/job/mb/job/feature%252fx/12"),
        (f"{BASE}/job/a%20b/job/gr%C3%B6%C3%9Fe/1/", "/job/a%20b/job/gr%C3%B6%C3%9Fe/1"),
        (f"{BASE}/job/job/job/7/8/", "/job/job/job/7/8"),
        (f"{BASE}/job/7/8/", "/job/7/8"),
    ],
)
def test_the_path_goes_out_byte_for_byte_below_base_url(build_url: str, run: str) -> None:
    """Whichever name of the Jenkins a BUILD_URL has, only its path counts, and no byte of that is changed."""
    assert address(build_url).place(SETTINGS).run == run


@pytest.mark.parametrize(
    "build_url",
    [
        "https://elsewhere.example/ci/job/app/7/",
        "http://jenkins.internal:8443/ci/job/app/7/",
        "https://jenkins.internal/ci/job/app/7/",
        "https://jenkins.internal:8443/cicd/job/app/7/",
        "https://jenkins.internal:8443/job/app/7/",
        "https://ci.example.com/job/app/7/",
        "https://jenkins.internal:8443@evil.example/ci/job/app/7/",
        "https://u:p@jenkins.internal:8443/ci/job/app/7/",
        "https://jenkins.internal:8443\\@evil.example/ci/job/app/7/",
        "https://jenkins.internal:x/ci/job/app/7/",
        "https://[::1/ci/job/app/7/",
        "//jenkins.internal:8443/ci/job/app/7/",
        "/job/app/7/",
        "job/app/7/",
        "ftp://jenkins.internal:8443/ci/job/app/7/",
        f" {BASE}/job/app/7/",
        f"{BASE}/job/app/7/\n",
        f"{BASE}/job/a\tpp/7/",
        f"{BASE}/job/größe/7/",
        f"{BASE}/job/app/",
        f"{BASE}/job/app/lastBuild/",
        f"{BASE}/job/app/0/",
        f"{BASE}/job/app/07/",
        f"{BASE}/job/app/7/console",
        f"{BASE}/job/app//7/",
        f"{BASE}/job//7/",
        f"{BASE}/job/app/7//",
        f"{BASE}/view/all/job/app/7/",
        f"{BASE}/7/",
        f"{BASE}/job/app/%37/",
        f"{BASE}/job/../7/",
        f"{BASE}/job/./7/",
        f"{BASE}/job/%2e%2E/7/",
        f"{BASE}/job/x/job/../../../other/job/app/7/",
        f"{BASE}/job/a;b/7/",
        f"{BASE}/job/app/7/;x",
        f"{BASE}/job/app/7/?x=1",
        f"{BASE}/job/app/7/?",
        f"{BASE}/job/app/7/#x",
        f"{BASE}/job/app/7/#",
        f"{BASE}/job/mb/job/feature%2Fx/7/",
        f"{BASE}/job/%zz/7/",
        f"{BASE}/job/%ff/7/",
        f"{BASE}/job/a%00b/7/",
        f"{BASE}/job/a%0Ab/7/",
        f"{BASE}/job/a{{b}}/7/",
    ],
)
def test_a_url_that_is_elsewhere_or_no_build_is_refused(build_url: str) -> None:
    """The pointer names the field; nothing is guessed, and the credential never goes to another host or path."""
    with pytest.raises(AddressError) as caught:
        address(build_url).place(SETTINGS)
    assert caught.value.pointer == "/build_url"
    assert "evil" not in caught.value.detail


def test_canonical_is_one_text_for_one_place() -> None:
    """Host, escapes and a lower first letter are spellings of one place; a branch's escaped slash is kept apart."""
    one = address(f"{BASE}/job/mb/job/a%252Fb%20c/7/", input_id="deploy").canonical(SETTINGS)
    assert one == '["/job/mb/job/a%2Fb c/7","Deploy"]'
    other = address("https://jenkins.example.com/job/mb/job/%61%252Fb%20c/7", input_id="Deploy", repeats=True)
    assert other.canonical(SETTINGS) == one
    assert address(f"{BASE}/job/mb/job/a%252Fb%20c/8/", input_id="deploy").canonical(SETTINGS) != one
    assert address(f"{BASE}/job/mb/job/a%252Fb%20c/7/", input_id="dEploy").canonical(SETTINGS) != one
    with pytest.raises(AddressError):
        address("https://elsewhere.example/job/app/7/").canonical(SETTINGS)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("deploy-prod", "Deploy-prod"),
        ("Deploy", "Deploy"),
        ("ef95dd", "Ef95dd"),
        ("9a", "9a"),
        ("-a", "-a"),
        ("_x", "_x"),
        ("z", "Z"),
        ("a", "A"),
    ],
)
def test_only_a_first_letter_is_raised(given: str, expected: str) -> None:
    """The id is made as Jenkins makes it, which it does not do for its callers."""
    assert normalise(given) == expected


def test_the_id_is_escaped_in_the_path() -> None:
    """What an id may hold and a path may not read differently is percent-encoded."""
    place = address(input_id="a$(b)+c:d=@!*,.~-_").place(SETTINGS)
    assert place.verb("abort") == "/job/app/7/input/A%24%28b%29%2Bc%3Ad%3D%40%21%2A%2C.~-_/abort"


@pytest.mark.parametrize("input_id", ["", ".", "..", "a b", "a/b", "a;b", "a%62", "ä", "a\n", "a?", "x" * 256])
def test_an_id_that_no_input_can_have_is_refused(input_id: str) -> None:
    """A build that reaches an input of such an id fails there, so nothing could ever be answered."""
    with pytest.raises(ValidationError) as caught:
        address(input_id=input_id)
    assert caught.value.errors()[0]["loc"] == ("input_id",)


@pytest.mark.parametrize("expression", ["body.[", "'", "body.`{", "(" * 900])
def test_an_expression_that_cannot_be_read_is_refused_by_its_name(expression: str) -> None:
    """The registration fails, not the answer hours later; the text does not repeat what was sent."""
    given = address(parameters={"VERSION": "body.version", "NOTES-1": expression})
    with pytest.raises(AddressError) as caught:
        given.canonical(SETTINGS)
    assert (caught.value.pointer, caught.value.detail) == ("/parameters/NOTES-1", "expected a JMESPath expression")


def test_a_name_that_is_none_is_not_repeated() -> None:
    """A pointer holds nothing that could not be a parameter's name."""
    with pytest.raises(AddressError) as caught:
        address(parameters={"<b>": "("}).canonical(SETTINGS)
    assert caught.value.pointer == "/parameters"


@pytest.mark.parametrize("expression", ["", "x" * 1001, 7, None])
def test_an_expression_is_a_short_text(expression: Any) -> None:
    """Nothing else goes into an address."""
    with pytest.raises(ValidationError) as caught:
        address(parameters={"NOTES": expression})
    assert caught.value.errors()[0]["loc"] == ("parameters", "NOTES")


def test_only_the_two_ways_of_failing_are_taken() -> None:
    """Abort is the default; another word is refused."""
    assert address().on_failure == "abort"
    assert address(on_failure="proceed").on_failure == "proceed"
    with pytest.raises(ValidationError):
        address(on_failure="cancel")


@pytest.mark.parametrize(
    "url", ["https://j.example/?x=1", "https://j.example/#x", "https://u:p@j.example/", "ftp://j.example/", "j.example"]
)
@pytest.mark.parametrize("field", ["base_url", "public_urls"])
def test_a_target_is_a_plain_url(field: str, url: str) -> None:
    """Credentials, query and fragment have no place in where a Jenkins is."""
    given = {"consumer": "jenkins", "base_url": BASE, "username": "bridge", "token": "t"}
    with pytest.raises(ValidationError) as caught:
        JenkinsSettings.model_validate({**given, field: [url] if field == "public_urls" else url})
    assert caught.value.errors()[0]["loc"][0] == field


def test_the_default_timeout_is_longer_than_jenkins_blocks() -> None:
    """Jenkins may block for 60 s while it loads a build."""
    assert SETTINGS.timeout.total_seconds() == 75


@pytest.mark.parametrize(
    "secrets",
    ["", 'token_env = "T"\npassword_env = "P"', 'token_env = "T"\npassword_file = "p"'],
    ids=["none", "both", "two"],
)
def test_a_target_names_a_token_or_a_password(tmp_path: Path, secrets: str) -> None:
    """The config's error stands at the key to be added or removed."""
    (tmp_path / "p").write_text("p")
    config = tmp_path / "bridge.toml"
    config.write_text(
        f'[targets.ci]\nconsumer = "jenkins"\nbase_url = "http://j.example/"\nusername = "bridge"\n{secrets}\n'
    )
    with pytest.raises(ConfigError) as refused:
        load_config(config, environ={"T": "t", "P": "p"})
    expected = "targets.ci.token_env: expected one of token_env (an API token) and password_env, and not both"
    assert expected in refused.value.problems


@pytest.mark.parametrize(("secrets", "keeps"), [({"token": "t"}, False), ({"password": "p"}, True)])
def test_only_a_password_keeps_a_session(secrets: dict[str, str], *, keeps: bool) -> None:
    """With an API token a cookie could only do harm."""
    given = {"consumer": "jenkins", "base_url": BASE, "username": "bridge", **secrets}
    settings = JenkinsSettings.model_validate(given)
    assert Jenkins.keeps_cookies(settings) is keeps
    assert settings.secret.get_secret_value() in secrets.values()
