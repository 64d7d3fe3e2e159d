"""What to try next with curl: commands that work as they stand while the demo's bridge runs."""

from collections.abc import Sequence
from typing import NamedTuple

from bridge.demo.setting import JENKINS_TOKEN, JENKINS_USER
from bridge.demo.stage import Stage
from bridge.testing.jenkins import Input, Parameter

JOB = "job/try-it"


class Try(NamedTuple):
    """A command line for a shell, and what it does."""

    why: str
    command: str


def prepare(stage: Stage) -> str:
    """Start a build that waits for whoever tries; return its URL."""
    waiting = Input(id="answer", parameters=(Parameter(name="ANSWER"),))
    return stage.jenkins.url_of(stage.jenkins.start_build(JOB, inputs=[waiting]))


def commands(url: str, token: str, build_url: str) -> Sequence[Try]:
    """Return the commands in the order in which they are tried. url, token: of the bridge's API; build_url: as of prepare()."""
    get = 'curl -sS -H "Authorization: Bearer $TOKEN"'
    return (
        Try("where the bridge is, and a token for its API", f"BRIDGE={url} TOKEN={token}"),
        Try(
            "a build waits at an input: open a wait for it; the answer is its callback URL",
            f"CALLBACK=$({get} -H 'Accept: text/plain' \\\n"
            """  -d '{"target": "jenkins", "timeout": "1h", "address": {"input_id": "answer",\n"""
            f"""       "build_url": "{build_url}"}}}}' $BRIDGE/v1/waits)""",
        ),
        Try("how far is the remote?", 'curl -sS -X POST "$CALLBACK/progress?percent=50&message=half"'),
        Try("what waits", f'{get} "$BRIDGE/v1/waits?state=open"'),
        Try("what is on its way", f"{get} $BRIDGE/v1/queues"),
        Try(
            "the remote calls back: it needs the URL and nothing else",
            """curl -sS -d '{"ANSWER": "42"}' "$CALLBACK\"""",
        ),
        Try(
            "what became of the build",
            f"curl -sS -u {JENKINS_USER}:{JENKINS_TOKEN} '{build_url}api/json?tree=building,result'",
        ),
    )
