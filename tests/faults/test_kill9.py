"""The whole bridge killed by -9 at random moments under load; `scripts/bench kill` does it twenty times on each broker."""

from pathlib import Path

import pytest

from tests.support.bridge_process import Setup, line_of
from tests.support.campaign import JENKINS_SECTION, Result, jenkins_process, run

KILLS = 3
PER_S = 40


async def campaign(folder: Path, broker: str, store: str, *roles: list[str]) -> Result:
    async with jenkins_process(folder) as jenkins:
        secrets = {"TEST_JENKINS_TOKEN": "jenkins-token"}
        setup = Setup(folder, broker, store, JENKINS_SECTION.format(url=jenkins), secrets)
        setup.write()
        processes = line_of(setup, roles)
        return await run(setup, processes, jenkins, kills=KILLS, per_s=PER_S)


def check(result: Result) -> None:
    assert result.acknowledged > KILLS * PER_S
    assert (result.missing, result.twice, result.unresolved) == ([], [], [])


@pytest.mark.timeout(240)
async def test_kill9_loses_nothing_and_repeats_nothing_on_sqlite(tmp_path: Path) -> None:
    """One process on one file: what was answered 2xx reaches its build once."""
    url = f"sqlite:///{tmp_path}/bridge.db"
    check(await campaign(tmp_path, url, url, []))


@pytest.mark.timeout(240)
async def test_kill9_loses_nothing_and_repeats_nothing_on_rabbitmq(
    tmp_path: Path, vhost_url: str, database_url: str
) -> None:
    """All processes of a RabbitMQ and PostgreSQL line at once."""
    check(await campaign(tmp_path, vhost_url, database_url, ["ingress", "coordinator"], ["worker"]))
