"""A private PostgreSQL server on a loopback port, with fsync on, ended by its own id."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.support.processes import LOOPBACK, Child, Guardian, ServerError, free_port, wait_until

_START_TIMEOUT_S = 30.0
_USER = "bridge"


def find_postgres() -> Path | None:
    """Return the folder of the installed PostgreSQL's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


class PostgresNode:
    """One server in a directory of its own. Committed data survive `restart()` and `kill9()` with `start()`."""

    def __init__(self) -> None:
        programs = find_postgres()
        if programs is None:
            raise ServerError("postgresql is not installed")
        self._programs = programs
        self._port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="bridge-pg-"))
        self._data = self._directory / "data"
        self._guardian = Guardian(self._directory)
        self._server: Child | None = None
        self._initialise()

    @property
    def url(self) -> str:
        return f"postgresql://{_USER}@{LOOPBACK}:{self._port}/postgres"

    @property
    def port(self) -> int:
        return self._port

    @property
    def is_running(self) -> bool:
        return self._server is not None and self._server.is_alive

    def start(self) -> None:
        """Start the server and wait until it takes connections.

        Raises:
            ServerError: it ended, or took too long.
        """
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self._port),
            "unix_socket_directories": str(self._directory),
            "fsync": "on",
            "max_connections": "200",
            "timezone": "UTC",
        }
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        self._server = Child(
            [*_as_other_than_root(), *command],
            log=self._directory / "server.log",
            guardian=self._guardian,
            env={**os.environ, "LANG": "C.UTF-8"},
            cwd=self._directory,
        )
        wait_until(self._takes_connections, self._server, timeout_s=_START_TIMEOUT_S)

    def stop(self) -> None:
        """Stop in order, ending every session; its data stay."""
        if self._server is not None:
            self._server.end(signal.SIGINT, timeout_s=20)
            self._server = None

    def kill9(self) -> None:
        """Kill the server and its sessions as a power cut would."""
        if self._server is not None:
            self._server.kill()
            self._server = None

    def restart(self) -> None:
        """Stop in order, or take a killed server, and start again with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and remove the data."""
        try:
            self.stop()
        finally:
            self._guardian.farewell()
            shutil.rmtree(self._directory, ignore_errors=True)

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
        command = [str(self._programs / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self._port)]
        return subprocess.run(command, check=False, timeout=10).returncode == 0  # noqa: S603 - our own words

    def _initialise(self) -> None:
        prefix = _as_other_than_root()
        if prefix:
            account = pwd.getpwnam("postgres")
            os.chown(self._directory, account.pw_uid, account.pw_gid)
        self._directory.chmod(0o755)
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", _USER, "-E", "UTF8", "--locale=C.UTF-8"]
        command += ["--auth=trust", "--no-sync", "--no-instructions"]
        done = subprocess.run(  # noqa: S603 - our own words
            [*prefix, *command], cwd=self._directory, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            self.close()
            raise ServerError(f"initdb: {done.stdout}{done.stderr}")


def _as_other_than_root() -> list[str]:
    """PostgreSQL refuses root, so there it runs as the account that its package made."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
