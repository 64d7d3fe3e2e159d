"""`bridge wait`: register, list, show, cancel."""

from typing import Annotated, Any

import typer

from bridge.cli.api import Api, path
from bridge.cli.options import DEFAULT_URL, Cursor, Json, Limit, Url, group, pairs, read_object
from bridge.cli.output import details, dump, relative, say, table

app = group("Waits: what pipelines wait for.")


@app.command()
def register(
    *,
    target: Annotated[str | None, typer.Option(help="The configured CI server to resume.")] = None,
    address: Annotated[
        list[str] | None, typer.Option(help="What waits there: KEY=VALUE, again for each; a JSON object; or @file.")
    ] = None,
    timeout: Annotated[str | None, typer.Option(help="90s, 15m, 8h, 7d, or seconds.")] = None,
    expect: Annotated[
        list[str] | None, typer.Option(help='An event that counts: {"source": …, "keys": {…}}; again for each.')
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE to find it by; again for each.")] = None,
    request: Annotated[str | None, typer.Option(help="The whole request as JSON or @file; options go over it.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again gives the same wait.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print the callback URL alone.")] = False,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Register a wait and print its callback URL, which is shown here and nowhere else."""
    body = read_object(request, "--request") if request else {}
    body |= {name: value for name, value in (("target", target), ("timeout", _seconds(timeout))) if value is not None}
    if address:
        body["address"] = _address(address)
    if expect:
        body["expects"] = [read_object(text, "--expect") for text in expect]
    if label:
        body["labels"] = pairs(label, "--label")
    for name in ("target", "address", "timeout"):
        if name not in body:
            raise typer.BadParameter("is required", param_hint=f"--{name}")
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    if plain:
        headers["Accept"] = "text/plain"
    answer = Api(url).send("POST", path("waits"), body, headers=headers)
    if plain or as_json:
        say(answer.text.strip())
        return
    made = answer.json()
    details({"wait": made["id"], "callback URL": made["callback_url"], "ends": relative(made["expires_at"])})


def _seconds(text: str | None) -> int | str | None:
    return int(text) if text and text.isascii() and text.isdigit() else text


def _address(texts: list[str]) -> dict[str, Any]:
    if len(texts) == 1 and texts[0][:1] in ("{", "@"):
        return read_object(texts[0], "--address")
    return dict(pairs(texts, "--address"))


@app.command("list")
def list_(
    *,
    state: Annotated[str | None, typer.Option(help="open, resolving, resolved, undeliverable or cancelled.")] = None,
    target: Annotated[str | None, typer.Option(help="Of this target.")] = None,
    label: Annotated[str | None, typer.Option(help="KEY:VALUE that it was registered with.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List waits, newest first."""
    answer = Api(url).get(path("waits"), state=state, target=target, label=label, limit=limit, cursor=cursor)
    if as_json:
        say(answer.text)
        return
    page = answer.json()
    table(
        ("wait", "state", "outcome", "target", "opened", "ends", "reason"),
        (
            (
                wait["id"],
                wait["state"],
                wait["outcome"],
                wait["target"],
                relative(wait["created_at"]),
                relative(wait["expires_at"]),
                wait["reason"],
            )
            for wait in page["items"]
        ),
        nothing="no waits",
    )
    more(page)


def more(page: dict[str, Any]) -> None:
    """Tell that a list goes on."""
    if page.get("next_cursor"):
        say(f"more: --cursor {page['next_cursor']}")


@app.command()
def show(wait: str, *, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Show one wait and its life so far."""
    answer = Api(url).get(path("waits", wait))
    if as_json:
        say(answer.text)
        return
    seen = answer.json()
    progress = seen["progress"]
    details(
        {
            "wait": seen["id"],
            "state": seen["state"],
            "outcome": seen["outcome"],
            "reason": seen["reason"],
            "target": seen["target"],
            "address": _flat(seen["address"]),
            "labels": _flat(seen["labels"]),
            "opened": relative(seen["created_at"]),
            "ends": relative(seen["expires_at"]),
            "decided": relative(seen["decided_at"]),
            "progress": " ".join(
                str(part) for part in (_percent(progress["percent"]), progress["message"], progress["url"]) if part
            ),
        }
    )
    table(
        ("when", "what", "event", "attempt", "ending", "note"),
        (
            (
                relative(entry["at"]),
                entry["kind"],
                entry.get("event"),
                entry.get("attempt"),
                entry.get("ending"),
                entry.get("note"),
            )
            for entry in seen["timeline"]
        ),
        nothing="nothing happened yet",
    )


def _percent(value: int | None) -> str:
    return "" if value is None else f"{value} %"


def _flat(values: dict[str, Any]) -> str:
    return "  ".join(f"{key}={value}" for key, value in values.items())


@app.command()
def cancel(wait: str, *, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Take an open wait back; it then resumes nothing."""
    Api(url).send("DELETE", path("waits", wait))
    if as_json:
        dump({"id": wait, "state": "cancelled"})
    else:
        say(f"cancelled {wait}")
