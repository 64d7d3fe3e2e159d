"""`bridge target`: list, pause, resume."""

from bridge.cli.api import Api, path
from bridge.cli.options import DEFAULT_URL, Json, Url, group
from bridge.cli.output import dump, say, table

app = group("Targets: the CI servers that are resumed.")


@app.command("list")
def list_(*, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the configured targets."""
    answer = Api(url).get(path("targets"))
    if as_json:
        say(answer.text)
        return
    table(
        ("target", "consumer", "URL", "state", "open", "resolving", "undeliverable"),
        (
            (
                target["name"],
                target["consumer"],
                target.get("base_url"),
                "paused" if target["paused"] else "active",
                *(target["waits"].get(state, 0) for state in ("open", "resolving", "undeliverable")),
            )
            for target in answer.json()["items"]
        ),
        nothing="no targets",
    )


@app.command()
def pause(target: str, *, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Let its workers take nothing new; what is decided waits in its queue."""
    _switch(target, "pause", "paused", url, as_json=as_json)


@app.command()
def resume(target: str, *, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Let its workers go on."""
    _switch(target, "resume", "active", url, as_json=as_json)


def _switch(target: str, verb: str, state: str, url: str, *, as_json: bool) -> None:
    Api(url).send("POST", path("targets", target, verb))
    if as_json:
        dump({"name": target, "paused": verb == "pause"})
    else:
        say(f"{target} is {state}")
