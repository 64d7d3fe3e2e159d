"""Ingress beside the handler that a user would write in twenty minutes: signed 1 KiB JSON, 50 connections, 202 after the confirm."""

import asyncio
import hashlib
import hmac
import tempfile
from pathlib import Path

import orjson

from bridge.brokers.rabbitmq import RabbitmqBroker
from scripts.benches.common import ROOT, Section, median, rabbitmq, say, spawn
from tests.support.bridge_process import SECRET, BridgeProcess, Setup
from tests.support.load import Measured, closed_loop, connect, request
from tests.support.processes import free_port
from tests.support.servers import drop_vhost, fresh_vhost

NAIVE = ROOT.parent / "shared/bench/naive.py"
CONNECTIONS = 50
RUNS = 5


def body() -> bytes:
    """Return a review webhook of 1 KiB in GitHub's form."""
    review = {"id": 7, "state": "approved", "commit_id": "a" * 40, "submitted_at": "2026-11-01T10:00:00Z", "body": ""}
    document = {
        "action": "submitted",
        "review": review,
        "pull_request": {"number": 12, "head": {"sha": "a" * 40, "ref": "feature"}, "title": "A change"},
        "repository": {"full_name": "acme/app", "private": True},
        "sender": {"login": "ana"},
    }
    review["body"] = "x" * (1024 - len(orjson.dumps(document)))
    return orjson.dumps(document)


def prepared(url: str, secret: str) -> bytes:
    """Return the signed request."""
    digest = hmac.new(secret.encode(), body(), hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "pull_request_review",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-Hub-Signature-256": f"sha256={digest}",
    }
    return request(url, body=body(), headers=headers)


async def _purge(url: str, queue: str) -> None:
    from aiormq import connect as amqp  # noqa: PLC0415 - the driver itself, for this one call

    connection = await amqp(url)
    channel = await connection.channel()
    await channel.queue_purge(queue)
    await connection.close()


async def _listening(url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                (await connect(url)).close()
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return


async def measure(*, seconds: float, runs: int = RUNS) -> Section:
    """Run both in turn, *runs* times; return the table."""
    if not NAIVE.exists():
        raise SystemExit("ingress: the naive handler is not there: expected shared/bench/naive.py beside the checkout")
    with rabbitmq() as server, tempfile.TemporaryDirectory() as folder:
        vhost = fresh_vhost(server)
        try:
            return await _alternate(vhost, Path(folder), seconds=seconds, runs=runs)
        finally:
            drop_vhost(vhost)


async def _alternate(amqp_url: str, folder: Path, *, seconds: float, runs: int) -> Section:
    broker = RabbitmqBroker(amqp_url)
    await broker.start()
    await broker.declare([])
    setup = Setup(folder, amqp_url, f"sqlite:///{folder}/unused.db")
    setup.write()
    ours = BridgeProcess(setup, roles=["ingress"])
    await ours.start()
    await ours.ready()
    await broker.close()
    port = free_port()
    arguments = (str(NAIVE), "--port", str(port), "--amqp", amqp_url, "--secret", SECRET)
    naive = await spawn(*arguments, log=folder / "naive.log")
    naive_url = f"http://127.0.0.1:{port}/hook"
    await _listening(naive_url)
    places = {
        "bridge": (f"{setup.url}/hooks/hub", "bridge.events.v1"),
        "naive": (naive_url, "naive.events"),
    }
    seen: dict[str, list[Measured]] = {name: [] for name in places}
    try:
        for number in range(runs + 1):
            for name, (url, queue) in places.items():
                length = seconds if number else 1.0  # the first round warms up
                run = await closed_loop(url, prepared(url, SECRET), connections=CONNECTIONS, seconds=length)
                await _purge(amqp_url, queue)
                if number:
                    seen[name].append(run)
                    say(
                        f"  {name:7} {run.per_s:8.0f}/s  p50 {run.percentile_ms(50):6.2f} ms  p99 {run.percentile_ms(99):6.2f} ms  others {run.others}"
                    )
    finally:
        await ours.stop()
        naive.terminate()
        await naive.wait()
    return _section(seen)


def _section(seen: dict[str, list[Measured]]) -> Section:
    rate = {name: median([run.per_s for run in runs]) for name, runs in seen.items()}
    p50 = {name: median([run.percentile_ms(50) for run in runs]) for name, runs in seen.items()}
    p99 = {name: median([run.percentile_ms(99) for run in runs]) for name, runs in seen.items()}
    ratio = rate["bridge"] / rate["naive"]
    say(f"ingress: {ratio:.2f} x naive, p99 {p99['bridge']:.2f} ms against {p99['naive']:.2f} ms")
    head = ("", "requests/s", "p50 ms", "p99 ms")
    rows = [(name, f"{rate[name]:.0f}", f"{p50[name]:.2f}", f"{p99[name]:.2f}") for name in seen]
    text = (
        f"Signed 1 KiB JSON, {CONNECTIONS} connections, 202 after the broker's confirm, quorum queue, one process; load generator and broker "
        f"on the same machine; medians of {len(seen['naive'])} alternating runs. **{ratio:.2f} x** the naive handler (bar: 2.0)."
    )
    return Section("ingress", text, [head, *rows])
