"""`bridge dead`: list, show, replay, drop."""

import json

from bridge.cli.api import Api, path
from bridge.cli.options import DEFAULT_URL, Cursor, Json, Limit, Url, group
from bridge.cli.output import details, done, relative, say, table
from bridge.cli.wait import more

app = group("Dead letters: what could not be delivered, and why.")


@app.command("list")
def list_(*, limit: Limit = None, cursor: Cursor = None, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List dead letters, newest first."""
    answer = Api(url).get(path("dead-letters"), limit=limit, cursor=cursor)
    if as_json:
        say(answer.text)
        return
    page = answer.json()
    table(
        ("dead letter", "queue", "reason", "wait", "attempts", "died"),
        (
            (
                letter["id"],
                letter["queue"],
                letter["reason"],
                letter.get("wait"),
                letter["attempt"],
                relative(letter["dead_at"]),
            )
            for letter in page["items"]
        ),
        nothing="no dead letters",
    )
    more(page)


@app.command()
def show(letter: str, *, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Show one dead letter with its message."""
    answer = Api(url).get(path("dead-letters", letter))
    if as_json:
        say(answer.text)
        return
    seen = answer.json()
    body = seen.pop("body", None)
    died = relative(seen.pop("dead_at"))
    details({"dead letter": seen.pop("id"), **seen, "died": died})
    if body is not None:
        details({"message": body if isinstance(body, str) else json.dumps(body)})


@app.command()
def replay(letter: str, *, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Send it again, under a new dispatch and with a new window."""
    Api(url).send("POST", path("dead-letters", letter, "replay"))
    done({"id": letter, "replayed": True}, f"replayed {letter}", as_json=as_json)


@app.command()
def drop(letter: str, *, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Forget it."""
    Api(url).send("DELETE", path("dead-letters", letter))
    done({"id": letter, "dropped": True}, f"dropped {letter}", as_json=as_json)
