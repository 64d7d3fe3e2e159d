"""The documents against the code: what they name exists, what they show parses, what they list is complete."""

import base64
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from bridge.cli import app
from bridge.config.kinds import source_kind
from bridge.config.loader import load_config
from bridge.coordinator.api.openapi import openapi_document
from bridge.coordinator.expecting import required_keys
from bridge.core.api import RegisterRequest, unsupported
from bridge.core.consumer import load_consumer
from bridge.core.event import Event
from bridge.ops import metrics

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
EXAMPLES = {"bridge/sources/acme.py", "bridge/consumers/acme.py", "acme_ci.bridge:Acme"}
"""Files that a reader is told to make."""
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. Indented ones, in lists, are told without their indentation."""

    language: str
    text: str


def blocks(path: Path) -> list[Block]:
    found = re.findall(r"^( *)```(\w+)\n(.*?)^\1```$", path.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(language, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)) for indent, language, text in found]


def prose(path: Path) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


# --- names ------------------------------------------------------------------------------------------------------------


@every_document
def test_every_relative_link_resolves(path: Path) -> None:
    """A link to a file of ours names one that is there."""
    links = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    local = [link.partition("#")[0] for link in links if "://" not in link]
    assert [link for link in local if link and not (path.parent / link).exists()] == []


@every_document
def test_every_file_and_test_that_is_named_exists(path: Path) -> None:
    """`bridge/….py`, `tests/….py::test_…` and their like are there, by that name."""
    named = re.findall(r"`((?:bridge|tests|scripts|schemas|compose)/[\w/.-]+?\.\w+)(?:::(\w+))?`", prose(path))
    for name, test in named:
        if name in EXAMPLES:
            continue
        assert (ROOT / name).is_file(), name
        if test:
            assert f"def {test}(" in (ROOT / name).read_text(), f"{name}::{test}"


def test_the_life_of_an_event_names_its_files() -> None:
    """Each step of that page has a file, and all stations are passed."""
    named = re.findall(r"`(bridge/[\w/]+\.py)`", (ROOT / "docs/explanation/life-of-one-event.md").read_text())
    stations = {name.split("/")[1] for name in named}
    assert stations >= {"ingress", "sources", "brokers", "coordinator", "core", "worker", "consumers"}


# --- commands ---------------------------------------------------------------------------------------------------------


def command_lines(path: Path) -> Iterator[str]:
    """Yield the lines of shell blocks, with their continuations, and the commands in the prose."""
    for block in blocks(path):
        if block.language == "bash":
            yield from block.text.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`((?:bridge|scripts/\w+) ?[^`]*)`", prose(path))


def words_of(line: str) -> list[str]:
    """Return the words of the first command in *line*; a shell's own syntax is passed over."""
    try:
        words = shlex.split(re.sub(r"^\w+=\$\(", "", line.strip()), comments=True)
    except ValueError:  # the quotes of a body that goes on in the next line
        words = line.split()
    return words


@every_document
def test_every_command_names_what_exists(path: Path) -> None:
    """Commands, subcommands, options, scripts and modules of the documents are those of the code."""
    for line in command_lines(path):
        match words_of(line):
            case ["bridge", *words] if words and not words[0].startswith("<"):
                check_bridge(words, line)
            case [str(script), *options] if re.fullmatch(r"scripts/\w+", script):
                text = (ROOT / script).read_text()
                assert [word for word in options if word.startswith("--") and word not in text] == [], line
            case ["python", "-m", module, *_]:
                assert find_spec(module), line
            case _:
                pass


def check_bridge(words: list[str], line: str) -> None:
    command: Any = typer.main.get_command(app)
    path: list[str] = []
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, line
        command = command.commands[words[0]]
        path.append(words.pop(0))
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert [word for word in words if word.startswith("-") and word not in known] == [], line
    if path:
        assert CliRunner().invoke(app, [*path, "--help"]).exit_code == 0, line


def commands(command: Any, words: tuple[str, ...] = ("bridge",)) -> Iterator[tuple[str, set[str]]]:
    """Yield every command below *command*, a click command or group, with its options."""
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from commands(below, (*words, name))
        return
    options = {name for parameter in command.params if parameter.param_type_name == "option" for name in parameter.opts}
    yield " ".join(words), options - {"--help", "-h"}


def test_the_command_line_reference_is_complete() -> None:
    """Every command is described with every option, and none that does not exist."""
    text = (ROOT / "docs/reference/cli.md").read_text()
    described = {}
    for section in text.split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        name = re.sub(r" [A-Z]+", "", heading.strip("`"))
        rows = re.findall(r"^\| ((?:`-[^`]*` ?)+)\|", body, re.MULTILINE)
        described[name] = {option for row in rows for option in re.findall(r"`([^`]+)`", row)}
    assert described == dict(commands(typer.main.get_command(app)))


# --- references -------------------------------------------------------------------------------------------------------


def test_the_metrics_reference_is_complete() -> None:
    """Every metric of ours is listed with its kind and labels, and none that does not exist."""
    text = (ROOT / "docs/reference/metrics.md").read_text()
    listed = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(r"^\| `(bridge_\w+)` \| (\w+) \| ([^|]*)\|", text, re.MULTILINE)
    }
    exported: dict[str, tuple[str, tuple[str, ...]]] = {}
    for one in metrics.REGISTRY._collector_to_names:
        name, kind = getattr(one, "_name", ""), getattr(one, "_type", "")
        if name.startswith("bridge_"):
            exported[f"{name}_total" if kind == "counter" else name] = (kind, one._labelnames)  # type: ignore[attr-defined]  # not in the base
    assert listed == exported


def test_the_alarms_name_metrics_that_exist() -> None:
    """Every metric in a query of the documents is one that is exported."""
    text = (ROOT / "docs/reference/metrics.md").read_text()
    page = metrics.render().decode()
    for name in set(re.findall(r"\bbridge_\w+", text)):
        family = re.sub(r"_(total|count|bucket|sum)$", "", name)
        assert f"# HELP {family}" in page, name


def test_the_api_reference_is_complete() -> None:
    """The calls of the page are those of the OpenAPI document, each with its role."""
    text = (ROOT / "docs/reference/http-api.md").read_text()
    listed = re.findall(r"^\| `([A-Z]+) (/v1\S*)` \| (\w+) \|", text, re.MULTILINE)
    served = [
        (method.upper(), path, call["description"].split("`")[1])
        for path, calls in json.loads(openapi_document())["paths"].items()
        for method, call in calls.items()
    ]
    assert sorted(listed) == sorted(served)


# --- what is shown ----------------------------------------------------------------------------------------------------


@every_document
def test_every_block_parses(path: Path) -> None:
    """JSON, TOML and YAML of the documents can be read."""
    for block in blocks(path):
        match block.language:
            case "json":
                json.loads(block.text)
            case "toml":
                tomllib.loads(block.text)
            case "yaml":
                yaml.safe_load(block.text)


@every_document
def test_every_config_is_accepted(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section that is shown loads, with what the rest of a config needs added."""
    (tmp_path / "acme_ci").mkdir()
    (tmp_path / "acme_ci/bridge.py").write_bytes((ROOT / "tests/support/acme/acme_ci.py").read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    for number, block in enumerate(block for block in blocks(path) if block.language == "toml"):
        names = set(re.findall(r'env = "(\w+)"|"(\w+_SECRET\w*)"', block.text))
        environ = {name: value_of(name) for pair in names for name in pair if name}
        file = tmp_path / f"{number}.toml"
        rest = "" if "[callbacks]" in block.text else '\n[callbacks]\nkeys = [{ id = "k", env = "KEY" }]\n'
        file.write_text(block.text + rest)
        load_config(file, environ={"KEY": "k" * 32, **environ})


def value_of(name: str) -> str:
    """Return a secret that fits the variable *name*, and no other one's."""
    if name == "FARM_WEBHOOK_SECRET":
        return "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    if name.endswith("_URL"):
        return "amqp://rabbit/" if "AMQP" in name else "postgresql://db/bridge"
    return name.lower().ljust(40, "-")


def registrations(path: Path) -> list[dict[str, Any]]:
    """Return the bodies of `POST /v1/waits` in a document, wherever they stand, with a pipeline's variables filled in."""
    text = path.read_text()
    for variable, value in (
        ("BUILD_URL", "https://jenkins.example.com/job/app/17/"),
        ("CIRCLE_WORKFLOW_ID", "5c19c6a4-6d6a-4f3b-9b57-0a2d9b3f9f0e"),
        ("job", "11111111-abcd-1111-abcd-111111abcdef"),
    ):
        text = re.sub(rf"\$\{{(?:env\.)?{variable}\}}|\${variable}\b", value, text)
    places = re.finditer(r'\{\s*"target":', text)
    return [json.JSONDecoder().raw_decode(text, place.start())[0] for place in places]


SETTINGS: dict[str, dict[str, Any]] = {
    "jenkins": {"base_url": "https://jenkins.example.com/", "public_urls": ["http://127.0.0.1:8090/"]}
    | {"username": "bridge", "token": "t"},
    "circleci": {"base_url": "https://circleci.com", "token": "t"},
    "codepipeline": {"region": "eu-west-1"},
}
KINDS = {"github-main": "github", "farm": "standard-webhooks", "circleci-b": "circleci"}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("README.md", 3),
        ("docs/tutorial.md", 1),
        ("docs/reference/http-api.md", 1),
        ("docs/how-to/receive-a-new-sender.md", 1),
        ("docs/how-to/circleci-target.md", 3),
    ],
)
def test_every_registration_is_accepted(name: str, count: int) -> None:
    """What a reader pastes into a pipeline is a valid request with a valid address and valid expectations."""
    found = registrations(ROOT / name)
    assert len(found) == count
    for body in found:
        request = RegisterRequest.model_validate(body)
        assert unsupported(request) == ()
        platform = request.target.partition("-")[0]
        consumer = load_consumer(platform)
        settings = consumer.settings_type.model_validate({"consumer": platform, **SETTINGS[platform]})
        assert consumer.address_type.model_validate(request.address).canonical(settings)
        for expected in request.expects:
            assert required_keys(source_kind(KINDS[expected.source]), expected.type) <= set(expected.keys)


def test_the_example_of_an_event_is_one() -> None:
    """The event on its reference page can be parsed, and says what it is said to say."""
    shown = [block for block in blocks(ROOT / "docs/reference/events.md") if block.language == "json"]
    event = Event.parse(shown[0].text.encode())
    assert event.data.model_fields_set == set(type(event.data).model_fields)


def test_one_sentence_a_line() -> None:
    """Prose of the README and the tutorial has no line with two sentences, lists and tables aside."""
    for path in (ROOT / "README.md", ROOT / "docs/tutorial.md"):
        lines = [line for line in prose(path).splitlines() if not line.startswith(("|", "-", "  "))]
        assert [line for line in lines if re.search(r"[a-z`)]\. [A-Z]", line)] == []
