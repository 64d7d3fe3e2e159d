"""A private RabbitMQ node on loopback ports: no service, no root wrapper, its own epmd, ended by its own id."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.processes import LOOPBACK, Child, Guardian, ServerError, answers, free_port, wait_until

MANAGEMENT_OFFSET = 10_000
METRICS_OFFSET = 10_020
"""RabbitMQ's own defaults stand in the same distance: 5672, 15672, 15692."""
_DIST, _EPMD, _CTL = 4_000, 6_000, 8_000
_OFFSETS = (0, MANAGEMENT_OFFSET, METRICS_OFFSET, _DIST, _EPMD)
_START_TIMEOUT_S = 60.0

_CONFIG = """\
listeners.tcp.default = {host}:{port}
management.tcp.ip = {host}
management.tcp.port = {management}
prometheus.tcp.ip = {host}
prometheus.tcp.port = {metrics}
disk_free_limit.absolute = 64MB
"""


def find_rabbitmq() -> Path | None:
    """Return the folder of the installed RabbitMQ's own scripts, or None."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return found[-1].parent if found and shutil.which("epmd") else None


class RabbitmqNode:
    """One node in a directory of its own. Durable data survives `restart()` and `kill9()` with `start()`."""

    def __init__(self) -> None:
        scripts = find_rabbitmq()
        if scripts is None:
            raise ServerError("rabbitmq-server is not installed")
        self._scripts = scripts
        self._port = free_port(_OFFSETS)
        self._directory = Path(tempfile.mkdtemp(prefix="bridge-rabbitmq-"))
        self._guardian = Guardian(self._directory)
        self._epmd: Child | None = None
        self._server: Child | None = None
        self._prepare()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{LOOPBACK}:{self._port}/"

    @property
    def port(self) -> int:
        return self._port

    @property
    def metrics_url(self) -> str:
        return f"http://{LOOPBACK}:{self._port + METRICS_OFFSET}"

    @property
    def management_url(self) -> str:
        return f"http://guest:guest@{LOOPBACK}:{self._port + MANAGEMENT_OFFSET}"

    @property
    def is_running(self) -> bool:
        return self._server is not None and self._server.is_alive

    def start(self) -> None:
        """Start the node and wait until it takes connections.

        Raises:
            ServerError: it ended, or took more than a minute.
        """
        if self._epmd is None:
            epmd = shutil.which("epmd") or "epmd"
            command = [epmd, "-address", LOOPBACK, "-port", str(self._port + _EPMD)]
            self._epmd = self._spawn(command, "epmd.log")
            wait_until(lambda: answers(self._port + _EPMD), self._epmd, timeout_s=10)
        self._server = self._spawn([str(self._scripts / "rabbitmq-server")], "server.log")
        wait_until(self._takes_connections, self._server, timeout_s=_START_TIMEOUT_S)

    def stop(self) -> None:
        """Stop the node in order; its data stay."""
        if self._server is not None:
            with suppress(OSError, ValueError):  # no pid file: it never came up
                os.kill(self._pid(), signal.SIGTERM)
            self._server.end(0, timeout_s=30)
            self._server = None

    def kill9(self) -> None:
        """Kill the node as a power cut would."""
        if self._server is not None:
            with suppress(OSError, ValueError):
                os.kill(self._pid(), signal.SIGKILL)
            self._server.end(0, timeout_s=10)
            self._server = None

    def restart(self) -> None:
        """Stop in order, or take a killed node, and start again with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End everything and remove the data."""
        try:
            self.kill9()  # the data go anyway, and an orderly stop takes six seconds
            if self._epmd is not None:
                self._epmd.end(signal.SIGTERM, timeout_s=5)
        finally:
            self._guardian.farewell()
            shutil.rmtree(self._directory, ignore_errors=True)

    def set_memory_alarm(self, is_on: bool) -> None:  # noqa: FBT001 - reads as a switch
        """Raise or clear the memory alarm, which blocks every publishing connection."""
        watermark = ("absolute", "1MB") if is_on else ("0.4",)
        self.ctl("set_vm_memory_high_watermark", *watermark)

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on this node and return its output.

        Raises:
            ServerError: with what it said.
        """
        command = [str(self._scripts / "rabbitmqctl"), *arguments]
        done = subprocess.run(command, env=self._env(), capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - our own words
        if done.returncode:
            raise ServerError(f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _takes_connections(self) -> bool:
        return all(answers(self._port + offset) for offset in (0, MANAGEMENT_OFFSET, METRICS_OFFSET))

    def _pid(self) -> int:
        return int((self._directory / "pid").read_text())

    def _spawn(self, command: list[str], log: str) -> Child:
        return Child(command, log=self._directory / log, guardian=self._guardian, env=self._env(), cwd=self._directory)

    def _prepare(self) -> None:
        home = self._directory
        for name in ("mnesia", "log", "gen"):
            (home / name).mkdir()
        (home / "rabbitmq-env.conf").touch()  # empty: keeps /etc/rabbitmq out
        (home / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_prometheus].\n")
        cookie = home / ".erlang.cookie"
        cookie.write_text("bridge-tests")
        cookie.chmod(0o400)
        config = _CONFIG.format(
            host=LOOPBACK,
            port=self._port,
            management=self._port + MANAGEMENT_OFFSET,
            metrics=self._port + METRICS_OFFSET,
        )
        (home / "rabbitmq.conf").write_text(config)

    def _env(self) -> dict[str, str]:
        home, loopback_only = str(self._directory), "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._port + _EPMD),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": f"n{self._port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._port + _DIST),
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_PID_FILE": f"{home}/pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{home}/rabbitmq-env.conf",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{home}/gen",
            "RABBITMQ_FEATURE_FLAGS_FILE": f"{home}/mnesia/feature_flags",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback_only,
            "RABBITMQ_CTL_ERL_ARGS": loopback_only,
            "RABBITMQ_CTL_DIST_PORT_MIN": str(self._port + _CTL),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(self._port + _CTL + 10),
        }
