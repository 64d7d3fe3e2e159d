"""The agent's pure parts: tokens, jobs as they are handed out, the start's answer, which file is which artifact."""

from datetime import timedelta
from typing import Any

import pytest

from bridge.agents.codepipeline.artifacts import content_of, matched
from bridge.agents.codepipeline.job import Job, read_token, token_of
from bridge.agents.codepipeline.settings import CodepipelineAgentSettings
from bridge.agents.codepipeline.starting import NotStarted, Started, judge, remote_id
from bridge.consumers.codepipeline.artifacts import Artifact
from bridge.core.event import File
from bridge.core.outcome import Later
from bridge.core.request import Reply
from tests.support.fakes import FakeClock

WORK = "0123456789abcdef" * 2


def test_a_token_names_its_work_and_generation() -> None:
    """What was put comes back as it was, within CodePipeline's limit."""
    token = token_of(WORK, 7)
    assert read_token(token) == (WORK, 7)
    assert len(token_of(WORK, 999_999_999)) <= 2048


@pytest.mark.parametrize("text", ["", "theirs", f"bridge:{WORK}", f"bridge:{WORK}:", f"bridge:{WORK}:1\n", f"bridge:{WORK.upper()}:1", f"bridge:{WORK}:-1", f"bridge:{WORK}:1234567890"])  # fmt: skip
def test_another_token_is_not_ours(text: str) -> None:
    """Nothing that only resembles one."""
    assert read_token(text) is None


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"data": None},
        {"data": {"pipelineContext": [], "actionConfiguration": "x"}},
        {"id": 5, "nonce": 7, "data": []},
    ],
)
def test_every_member_of_a_job_is_optional(given: dict[str, Any]) -> None:
    """What is missing, or of another type, is nothing; the job's own id is its key then."""
    job = Job.read(given, job_id="j1")
    assert (job.key, job.token, job.nonce, dict(job.context)) == ("job:j1", None, None, {})


def test_a_job_shows_no_secret() -> None:
    """Configuration and credentials are in no repr."""
    data = {
        "actionConfiguration": {"configuration": {"Password": "hunter2"}},
        "artifactCredentials": {"secretAccessKey": "hunter2"},
        "pipelineContext": {"pipelineName": "demo", "action": {"name": "Wait", "actionExecutionId": "ae1"}},
    }
    job = Job.read({"id": "j1", "nonce": "3", "accountId": "111122223333", "data": data})
    assert job.key == "ae1"
    assert "hunter2" not in repr(job)
    assert job.configuration == {"Password": "hunter2"}


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        (b'{"id": "run-1"}', "id", "run-1"),
        (b'{"id": 42}', "id", "42"),
        (b'{"run": {"key": " a "}}', "run.key", "a"),
        (b'{"id": true}', "id", ""),
        (b'{"id": {}}', "id", ""),
        (b"<html>", "id", ""),
        (b"", "id", ""),
        (b'{"id": 1}', "length(id)", ""),
    ],
)
def test_the_remotes_id(body: bytes, path: str, expected: str) -> None:
    """A text or a number at the configured place, else none."""
    assert remote_id(Reply(200, {}, body).json(), path) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, "started"), (202, "started"), (301, "ConfigurationError"), (400, "ConfigurationError"), (401, "PermissionError"),
     (403, "PermissionError"), (404, "ConfigurationError"), (408, "later"), (409, "later"), (425, "later"), (429, "later"),
     (500, "later"), (503, "later")],
)  # fmt: skip
def test_what_the_starts_answer_means(status: int, expected: str) -> None:
    """Started, failed for good, or to be asked again."""
    try:
        found = judge(Reply(status, {}, b"{}"), "id", now=FakeClock())
    except Later:
        assert expected == "later"
        return
    assert expected == ("started" if isinstance(found, Started) else found.type)
    assert not isinstance(found, NotStarted) or str(status) in found.message


@pytest.mark.parametrize(
    ("owner", "given", "minutes"),
    [
        ("Custom", {}, 45),
        ("ThirdParty", {"job_timeout": "2h"}, 90),
        ("AWS", {}, 15),
        ("AWS", {"job_timeout": "10m"}, 7.5),
    ],
)
def test_a_job_is_renewed_at_three_quarters_of_its_time(owner: str, given: dict[str, Any], minutes: float) -> None:
    """An hour where nothing is said; for Lambda twenty minutes."""
    kind = {"category": "Invoke", "owner": "AWS", "provider": "Lambda"} if owner == "AWS" else {"category": "Test", "owner": owner, "provider": "P"}  # fmt: skip
    section = {"kind": "codepipeline", "target": "t", "action_type": kind, "start": {"url": "https://r.example.com/"}}
    settings = CodepipelineAgentSettings.model_validate({**section, **given})
    assert settings.renew_after == timedelta(minutes=minutes)


def test_which_file_is_which_artifact() -> None:
    """By name; one for one under any name; nothing else."""
    one, two = Artifact("one", "b", "k1"), Artifact("two", "b", "k2")
    text, binary = File(size=1, content="ä"), File(size=2, content="/wA=", encoding="base64")
    assert list(matched({"x": text}, (one,))) == [(one, text)]
    assert list(matched({"two": text, "x": binary}, (one, two))) == [(two, text)]
    assert list(matched({"x": text}, (one, two))) == []
    assert list(matched({"x": text}, ())) == []
    assert (content_of(text), content_of(binary)) == ("ä".encode(), b"\xff\x00")
