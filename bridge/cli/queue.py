"""`bridge queue`: list."""

from bridge.cli.api import Api, path
from bridge.cli.options import DEFAULT_URL, Json, Url, group
from bridge.cli.output import age, say, table

app = group("Queues: what is on its way.")


@app.callback()
def _group() -> None:
    """Keep `list` a command of its own, though it is the only one."""


@app.command("list")
def list_(*, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List every queue with its figures."""
    answer = Api(url).get(path("queues"))
    if as_json:
        say(answer.text)
        return
    table(
        ("queue", "ready", "unacked", "oldest", "consumers"),
        (
            (
                queue["name"],
                _figure(queue["ready"]),
                _figure(queue["unacked"]),
                age(queue["oldest_age_s"]),
                _figure(queue["consumers"]),
            )
            for queue in answer.json()["items"]
        ),
        nothing="no queues",
    )


def _figure(value: int | None) -> str:
    return "?" if value is None else str(value)
