"""compose/: every file, command, option, variable, secret and port named there is one that the project has, and the line runs so."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import AsyncExitStack
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from yarl import URL

from bridge.cli import app
from bridge.config import Config, Role, load_config
from bridge.core.errors import ConfigError
from bridge.ops.health import HealthCalls
from tests.support.processes import free_port

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "compose"
MOUNTED_SECRETS = "/run/secrets/"
MOUNTED_CONFIG = "/etc/bridge/bridge.toml"
READY_S = 60.0

COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
WHOLE_LINE = ("ingress", "coordinator", "worker-jenkins-prod")

each_of_ours = pytest.mark.parametrize("name", OURS)
each_service = pytest.mark.parametrize("name", SERVICES)


def instruction(word: str) -> list[str]:
    """Return the arguments of every *word* in the Dockerfile, continuation lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.split(None, 1)[1] for line in joined.splitlines() if line.startswith(f"{word} ")]


def option(command: list[str], name: str) -> str | None:
    """Return what follows *name* in *command*."""
    return command[command.index(name) + 1] if name in command else None


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """Return the variables that a service is started with when the person who starts it sets none."""
    return {name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for name, value in service["environment"].items()}


def make_secrets(folder: Path) -> None:
    environ = {**os.environ, "JENKINS_TOKEN": "token-of-a-jenkins-user"}
    subprocess.run([str(FOLDER / "make-secrets"), str(folder)], env=environ, check=True, timeout=30)  # noqa: S603 - our own script


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files that the page of commands makes."""
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    make_secrets(folder)
    yield folder
    folder.chmod(0o700)


def write_config(folder: Path, mounted: Path) -> Path:
    """Write the config as a container sees it, with its secrets in *mounted*."""
    path = folder / "bridge.toml"
    path.write_text((FOLDER / "bridge.toml").read_text().replace(MOUNTED_SECRETS, f"{mounted}/"))
    return path


def load_as(service: dict[str, Any], path: Path) -> Config:
    """Load *path* as the service's command would."""
    command = service["command"]
    target = option(command, "--target")
    return load_config(
        path,
        environ=environment_of(service),
        roles=[Role(option(command, "--role") or "")],
        targets=[target] if target else None,
    )


# --- secrets and config -----------------------------------------------------------------------------------------------


def test_secrets_are_made_once_and_all(secrets: Path) -> None:
    """The script makes every file that compose names, readable inside the containers, and a second run changes none."""
    named = {FOLDER / secret["file"] for secret in COMPOSE["secrets"].values()}
    assert {path.name for path in named} <= {path.name for path in secrets.iterdir()}
    assert {path.parent for path in named} == {FOLDER / "secrets"}
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o444}
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    make_secrets(secrets)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before


def test_secrets_are_kept_out_of_git_and_image(secrets: Path) -> None:
    """A secret's file is ignored by git and stays out of the build's context."""
    ignored = (FOLDER / ".gitignore").read_text().split()
    assert f"{secrets.name}/" in ignored
    assert not is_in_context("compose/secrets/broker-url")


@each_of_ours
def test_each_service_has_the_secrets_that_it_reads(name: str, secrets: Path, tmp_path: Path) -> None:
    """The config loads with the secrets that the service is given, and without any one of them it does not."""
    service = SERVICES[name]
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    path = write_config(tmp_path, mounted)
    for secret in service["secrets"]:
        shutil.copy(secrets / secret, mounted / secret)
    load_as(service, path)
    for secret in service["secrets"]:
        (mounted / secret).unlink()
        with pytest.raises(ConfigError):
            load_as(service, path)
        shutil.copy(secrets / secret, mounted / secret)


@each_of_ours
def test_variables_take_effect(name: str, secrets: Path, tmp_path: Path) -> None:
    """Each variable that a service is given overrides a key."""
    service = SERVICES[name]
    environ = {
        "BRIDGE_PUBLIC_URL": "https://bridge.example.net",
        "BRIDGE_TARGETS__JENKINS_PROD__BASE_URL": "https://ci.example.net/",
    }
    assert set(service["environment"]) == set(environ)
    config = load_as({**service, "environment": environ}, write_config(tmp_path, secrets))
    assert config.public_url == "https://bridge.example.net"
    assert str(config.targets["jenkins-prod"].model_dump()["base_url"]) == "https://ci.example.net/"


def test_every_role_and_target_runs() -> None:
    """The services together run each role that the example's config has use for, and a worker for each target."""
    commands = [SERVICES[name]["command"] for name in OURS]
    assert {option(command, "--role") for command in commands} == {role.value for role in Role} - {"agent", "poller"}
    targets = tomllib.loads((FOLDER / "bridge.toml").read_text())["targets"]
    assert {option(command, "--target") for command in commands} - {None} == set(targets)


def test_urls_name_services_that_can_be_reached(secrets: Path) -> None:
    """Broker and store URLs hold the servers' own names, users, passwords and databases, on networks that are shared."""
    broker = URL((secrets / "broker-url").read_text().strip())
    store = URL((secrets / "store-url").read_text().strip())
    wanted = SERVICES["postgres"]["environment"]
    assert (store.user, store.path) == (wanted["POSTGRES_USER"], f"/{wanted['POSTGRES_DB']}")
    assert store.password == (secrets / "postgres-password").read_text().strip()
    assert wanted["POSTGRES_PASSWORD_FILE"] == f"{MOUNTED_SECRETS}postgres-password"
    user = (secrets / "rabbitmq-user").read_text()
    assert user == f"default_user = {broker.user}\ndefault_pass = {broker.password}\n"
    metrics = URL(tomllib.loads((FOLDER / "bridge.toml").read_text())["broker"]["metrics_url"])
    assert metrics.host == broker.host
    for name in OURS:
        networks = set(SERVICES[name]["networks"])
        assert networks & set(SERVICES[broker.host or ""]["networks"])
        assert bool(networks & set(SERVICES[store.host or ""]["networks"])) == (
            "store-url" in SERVICES[name]["secrets"]
        )


@each_service
def test_what_a_service_names_is_declared(name: str) -> None:
    """Secrets, networks, named volumes and mounted files exist."""
    service = SERVICES[name]
    given = [secret if isinstance(secret, str) else secret["source"] for secret in service["secrets"]]
    assert set(given) <= set(COMPOSE["secrets"])
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    for volume in service["volumes"]:
        source = volume.partition(":")[0]
        assert (FOLDER / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]


@each_service
def test_services_are_confined(name: str) -> None:
    """Nobody is root, nothing but volumes and /tmp is written, only this machine is listened on, and all come back."""
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    for port in service.get("ports", []):
        assert name in ("ingress", "coordinator")
        assert port.startswith("127.0.0.1:")


# --- ports, health, image ---------------------------------------------------------------------------------------------


def test_ports_are_the_one_that_is_listened_on(secrets: Path, tmp_path: Path) -> None:
    """The published port, the image's port, both health checks and the default public URL agree with the config."""
    config = load_as(SERVICES["ingress"], write_config(tmp_path, secrets))
    assert config.http.host == "0.0.0.0"  # noqa: S104 - inside a container
    port = str(config.http.port)
    published = {name: SERVICES[name]["ports"][0].split(":") for name in OURS if "ports" in SERVICES[name]}
    assert {parts[2] for parts in published.values()} == {port}
    assert instruction("EXPOSE") == [port]
    assert URL(config.public_url).port == int(published["ingress"][1])
    for url in [health_url(SERVICES[name]["healthcheck"]["test"]) for name in OURS] + [health_url(image_health())]:
        assert url.port == int(port)


def health_url(test: list[str]) -> URL:
    found = re.search(r"http://[^']+", test[-1])
    assert found
    return URL(found[0])


def image_health() -> list[str]:
    written = instruction("HEALTHCHECK")[0]
    words: list[str] = json.loads(written[written.index("[") :])
    return words


def test_health_checks_ask_paths_that_there_are() -> None:
    """The image asks whether the process is alive, compose whether it is ready; both are routes of every role."""

    async def nothing() -> Any: ...

    paths = {route.path for route in HealthCalls(nothing, nothing).routes()}
    assert health_url(image_health()).path == "/healthz"
    assert {health_url(SERVICES[name]["healthcheck"]["test"]).path for name in OURS} == {"/readyz"}
    assert paths >= {"/healthz", "/readyz"}
    assert {SERVICES[name]["healthcheck"]["test"][1] for name in OURS} == {image_health()[0]}


def is_in_context(path: str) -> bool:
    """Return True when the build sees *path*: the last line that matches it or a folder above it counts."""
    rules = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    is_seen = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        above = [path, *map(str, Path(path).parents)]
        if rule and not rule.startswith("#") and any(fnmatch(name, pattern) for name in above if name != "."):
            is_seen = rule.startswith("!")
    return is_seen


def test_dockerfile_copies_files_that_there_are() -> None:
    """What it copies exists, is in the build's context, and is all that building the package needs."""
    copied = [word for line in instruction("COPY") if "--from" not in line for word in line.split()[:-1]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert needed | {"requirements.lock"} <= set(copied)
    assert [path for path in copied if not (ROOT / path).exists() or not is_in_context(path)] == []
    assert {SERVICES[name]["build"]["dockerfile"] for name in OURS} == {"compose/Dockerfile"}
    assert {(FOLDER / SERVICES[name]["build"]["context"]).resolve() for name in OURS} == {ROOT}


def test_dockerfile_builds_with_locked_tools() -> None:
    """Each build tool that it takes out of the lock stands there."""
    found = re.search(r"\^\(([a-z|-]+)\)==", DOCKERFILE)
    assert found
    locked = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE)
    assert [tool for tool in found[1].split("|") if tool not in locked] == []


def test_dockerfile_runs_our_command_as_nobody() -> None:
    """The entry point is the project's command, the default is one of its own, and the user is compose's."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert json.loads(instruction("ENTRYPOINT")[0])[0] in scripts
    commands = {command.name for command in app.registered_commands}
    assert set(json.loads(instruction("CMD")[0])) <= commands
    assert instruction("USER") == [SERVICES[OURS[0]]["user"]]


# --- the line ---------------------------------------------------------------------------------------------------------


class Container:
    """A service as a process of this machine: its own command, variables, secrets and health check, on a port of ours."""

    def __init__(self, name: str, folder: Path, secrets: Path) -> None:
        self._service = SERVICES[name]
        self._folder = folder / name
        self._secrets = secrets
        self._process: asyncio.subprocess.Process | None = None
        self.port = free_port()

    async def start(self, urls: dict[str, str]) -> None:
        """Start it. urls: what stands in URL secrets instead of the names of services."""
        self._folder.mkdir()
        mounted = self._folder / "secrets"
        mounted.mkdir()
        for secret in self._service["secrets"]:
            (mounted / secret).write_text(urls.get(secret) or (self._secrets / secret).read_text())
        path = write_config(self._folder, mounted)
        command = [word.replace(MOUNTED_CONFIG, str(path)) for word in self._service["command"]]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
        with (self._folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).with_name(json.loads(instruction("ENTRYPOINT")[0])[0])),
                *command,
                *("--listen", f"127.0.0.1:{self.port}"),
                env={**kept, **environment_of(self._service)},
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )

    async def healthy(self) -> None:
        """Wait until the service's own health check says so."""
        _, _, *arguments = self._service["healthcheck"]["test"]
        asked = [argument.replace(":8080/", f":{self.port}/") for argument in arguments]
        async with asyncio.timeout(READY_S):
            while await self._fails(asked):
                assert self._process is not None
                assert self._process.returncode is None, (self._folder / "log").read_text()[-2000:]

    async def _fails(self, arguments: list[str]) -> bool:
        check = await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=asyncio.subprocess.DEVNULL)
        return bool(await check.wait())

    async def end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(self._process.wait(), READY_S) == 0


async def test_the_line_runs_as_compose_starts_it(
    secrets: Path, tmp_path: Path, vhost_url: str, database_url: str
) -> None:
    """Each service's command and health check work: ingress refuses a forgery, the API shows a worker at its queue."""
    urls = {"broker-url": vhost_url, "store-url": database_url}
    line = {name: Container(name, tmp_path, secrets) for name in WHOLE_LINE}
    assert set(line) == set(OURS)
    async with AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        for container in line.values():
            stack.push_async_callback(container.end)
            await container.start(urls)
        async with asyncio.TaskGroup() as group:
            for container in line.values():
                group.create_task(container.healthy())
        hook = f"http://127.0.0.1:{line['ingress'].port}/hooks/github-main"
        async with session.post(hook, json={}) as answer:
            assert answer.status == 401
        token = (secrets / "operator-token").read_text().strip()
        api = f"http://127.0.0.1:{line['coordinator'].port}/v1/queues"
        async with session.get(api, headers={"Authorization": f"Bearer {token}"}) as answer:
            queues = {queue["name"]: queue["consumers"] for queue in (await answer.json())["items"]}
        assert queues["bridge.target.jenkins-prod"] == 1
