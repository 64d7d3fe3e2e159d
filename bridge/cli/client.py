"""`bridge client`: set and drop the tokens of platforms' third-party clients."""

import sys
from typing import Annotated

import typer

from bridge.cli.api import Api, path
from bridge.cli.options import DEFAULT_URL, Json, Url, group, read_bytes
from bridge.cli.output import done

STDIN = "-"

app = group("Third-party clients of a platform: whose token its calls need.")
TokenFile = Annotated[str, typer.Option("--token-file", help="The file that holds it; `-`: standard input.")]


@app.command("set")
def set_(
    client: str,
    *,
    token_file: TokenFile = STDIN,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Set a client's token, from standard input or a file; no argument and no call ever shows it."""
    Api(url).send("PUT", path("third-party-clients", client), {"token": _token(token_file)})
    done({"client": client, "set": True}, f"set the token of {client}", as_json=as_json)


@app.command()
def drop(client: str, *, as_json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Forget a client's token; what is sent for it from now on is refused."""
    Api(url).send("DELETE", path("third-party-clients", client))
    done({"client": client, "dropped": True}, f"dropped the token of {client}", as_json=as_json)


def _token(name: str) -> str:
    """Read the token; on a terminal it is asked for and not shown. One line end at its end does not count."""
    if name == STDIN and sys.stdin.isatty():
        return str(typer.prompt("token", hide_input=True))
    try:
        text = read_bytes(name, "--token-file").decode()
    except UnicodeDecodeError:
        raise typer.BadParameter("expected UTF-8 text", param_hint="--token-file") from None
    token = text.removesuffix("\n").removesuffix("\r")
    if not token:
        raise typer.BadParameter("is empty", param_hint="--token-file")
    return token
