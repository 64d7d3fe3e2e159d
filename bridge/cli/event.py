"""`bridge event`: list, show, send."""

from typing import Annotated, Any

import typer

from bridge.cli.api import Api, path
from bridge.cli.options import DEFAULT_URL, Cursor, Json, Limit, Url, group, pairs, read_json
from bridge.cli.output import details, relative, say, table
from bridge.cli.wait import more

app = group("Events: what remote systems said.")


@app.command("list")
def list_(
    *,
    source: Annotated[str | None, typer.Option(help="Of this source.")] = None,
    verdict: Annotated[str | None, typer.Option(help="resumed, progress, duplicate, late, early, no_match, …")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List events, newest first."""
    answer = Api(url).get(path("events"), source=source, verdict=verdict, limit=limit, cursor=cursor)
    if as_json:
        say(answer.text)
        return
    page = answer.json()
    table(
        ("event", "source", "type", "outcome", "verdict", "came", "summary"),
        (
            (
                event["id"],
                event["source"],
                event["type"],
                event["data"]["outcome"],
                event["verdict"],
                relative(event["time"]),
                event["data"]["summary"],
            )
            for event in page["items"]
        ),
        nothing="no events",
    )
    more(page)


@app.command()
def show(event: str, *, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Show one event, and what it decided."""
    answer = Api(url).get(path("events", event))
    if as_json:
        say(answer.text)
        return
    seen = answer.json()
    data = seen["data"]
    details(
        {
            "event": seen["id"],
            "source": seen["source"],
            "type": seen["type"],
            "came": relative(seen["time"]),
            "outcome": data["outcome"],
            "verdict": seen["verdict"],
            "keys": "  ".join(f"{key}={value}" for key, value in data["keys"].items()),
            "summary": data["summary"],
            "link": data["url"],
            "body": data.get("body"),
        }
    )
    table(
        ("wait", "verdict"),
        ((each["wait"], each["verdict"]) for each in seen.get("verdicts", ())),
        nothing="it is for no wait so far",
    )


@app.command()
def send(
    *,
    source: Annotated[str, typer.Option(help="The configured source to speak for.")],
    type_: Annotated[str, typer.Option("--type", help="Words with dots between them.")],
    outcome: Annotated[str, typer.Option(help="succeeded, failed, cancelled, progress or none.")] = "none",
    key: Annotated[list[str] | None, typer.Option(help="KEY=VALUE that a wait expects it by; again for each.")] = None,
    summary: Annotated[str | None, typer.Option(help="One line for people.")] = None,
    link: Annotated[str | None, typer.Option(help="An http(s) URL to show.")] = None,
    percent: Annotated[int | None, typer.Option(min=0, max=100, help="With progress.")] = None,
    body: Annotated[str | None, typer.Option(help="JSON, or @file with JSON.")] = None,
    event_id: Annotated[
        str | None, typer.Option("--id", help="Your own id: a second event with it counts once.")
    ] = None,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Send an event in the name of a source, as when its own was lost."""
    data: dict[str, Any] = {"outcome": outcome, "keys": pairs(key, "--key")}
    optional = {"summary": summary, "url": link, "percent": percent}
    data |= {name: value for name, value in optional.items() if value is not None}
    if body is not None:
        data["body"] = read_json(body, "--body")
    event: dict[str, Any] = {"source": source, "type": type_, "data": data}
    if event_id:
        event["id"] = event_id
    answer = Api(url).send("POST", path("events"), event)
    say(answer.text if as_json else f"accepted as {answer.json()['event']}")
