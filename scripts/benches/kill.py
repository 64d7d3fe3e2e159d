"""kill -9 of the whole bridge, 20 times, under 40 webhooks/s, on each broker."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from scripts.benches.common import Section, postgres, rabbitmq, say
from tests.support.bridge_process import Setup, line_of
from tests.support.campaign import JENKINS_SECTION, Result, jenkins_process, run
from tests.support.servers import drop_database, drop_vhost, fresh_database, fresh_vhost


async def measure(*, kills: int, per_s: float = 40) -> Section:
    """Run the campaign on SQLite, then on RabbitMQ and PostgreSQL."""
    rows = [("broker", "kills", "webhooks acknowledged", "lost", "second effects", "unresolved")]
    for is_local in (True, False):
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            result = await _campaign(Path(name), stack, is_local=is_local, kills=kills, per_s=per_s)
        broker = "SQLite" if is_local else "RabbitMQ"
        rows.append(
            (
                broker,
                *(
                    str(n)
                    for n in (
                        kills,
                        result.acknowledged,
                        len(result.missing),
                        len(result.twice),
                        len(result.unresolved),
                    )
                ),
            )
        )
        say(
            f"  {broker}: {result.acknowledged} acknowledged, lost {result.missing}, twice {result.twice}, unresolved {result.unresolved}"
        )
    text = f"kill -9 of every process at once, {kills} times at random moments, under {per_s:.0f} webhooks/s, each sent until acknowledged, half of them once more."
    return Section("kill -9", text, rows)


async def _campaign(folder: Path, stack: ExitStack, *, is_local: bool, kills: int, per_s: float) -> Result:
    url = f"sqlite:///{folder}/bridge.db"
    broker, store = url, url
    roles: list[list[str]] = [[]]
    if not is_local:
        broker = fresh_vhost(stack.enter_context(rabbitmq()))
        store = fresh_database(stack.enter_context(postgres()))
        stack.callback(drop_database, store)
        stack.callback(drop_vhost, broker)
        roles = [["ingress", "coordinator"], ["worker"], ["coordinator", "worker"]]
    async with jenkins_process(folder) as jenkins:
        setup = Setup(
            folder, broker, store, JENKINS_SECTION.format(url=jenkins), {"TEST_JENKINS_TOKEN": "jenkins-token"}
        )
        setup.write()
        processes = line_of(setup, roles)
        return await run(setup, processes, jenkins, kills=kills, per_s=per_s)
