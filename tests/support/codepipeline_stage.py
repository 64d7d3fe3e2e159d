"""What the tests of the CodePipeline cases share: an emulator, boto3 as a client of it, and the worker; or a whole bridge."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bridge.core.event import EventData, Outcome
from bridge.core.ports import Broker
from bridge.sealing import Sealing
from bridge.testing.codepipeline import CodepipelineEmulator
from tests.support.bridge_process import TOKEN
from tests.support.codepipeline_boto3 import REGION, Boto, boto
from tests.support.in_process import Bridge, bridge
from tests.support.worker_rig import WorkerRig, worker_rig

NEGATIVE = (Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT)
GET, SUCCESS, FAILURE = "GetJobDetails", "PutJobSuccessResult", "PutJobFailureResult"
SEALING = Sealing([("a", b"k" * 32)])
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret"}


def endpoints(url: str, region: str = REGION) -> dict[str, str]:
    """Return the settings that lead a target to the emulator at *url*."""
    return {
        "region": region,
        "endpoint_url": url,
        "sts_endpoint_url": f"{url}/sts/",
        "s3_endpoint_url": f"{url}/s3",
    }


def toml(settings: Mapping[str, str]) -> str:
    return "".join(f'{name} = "{value}"\n' for name, value in settings.items())


@dataclass
class Stage:
    """A CodePipeline, boto3 as a client of it, and the worker that puts results."""

    codepipeline: CodepipelineEmulator
    aws: Boto
    rig: WorkerRig

    async def hold(self, pipeline: str = "demo", **fields: Any) -> str:
        """Start an execution, take its job as a job worker does, and return the job's id."""
        self.codepipeline.start_execution(pipeline, **fields)
        job = await self.aws.take()
        return str(job["id"])

    async def send(
        self, job_id: str, outcome: Outcome = Outcome.SUCCEEDED, *, body: Any = None, summary: str = "", **more: Any
    ) -> None:
        await self.rig.send({"job_id": job_id}, outcome, data=EventData(summary=summary, body=body), **more)

    async def ending(self, wait: str = "w1") -> str:
        return (await self.rig.final(wait)).ending

    @property
    def calls(self) -> list[str]:
        """Return the operations that the worker asked for, without those of boto3."""
        return [operation for operation, _, _ in self.traffic]

    @property
    def traffic(self) -> list[tuple[str, dict[str, Any], int | None]]:
        """Return operation, members and status of each call of the worker."""
        return [
            (entry.headers["x-amz-target"].partition(".")[2], orjson.loads(entry.body), entry.status)
            for entry in self.codepipeline.log
            if entry.headers["user-agent"].startswith("callback-bridge/")
        ]

    def members(self, operation: str) -> dict[str, Any]:
        """Return what the one call of *operation* sent."""
        (sent,) = [members for name, members, _ in self.traffic if name == operation]
        return sent

    @property
    def effects(self) -> list[tuple[str, str]]:
        return [(effect.kind, effect.subject) for effect in self.codepipeline.effects]


@asynccontextmanager
async def stage(
    settings: Mapping[str, Any] = KEYS, *, broker: Broker | None = None, **knobs: Any
) -> AsyncIterator[Stage]:
    codepipeline = CodepipelineEmulator(**knobs)
    async with (
        codepipeline.serve() as url,
        boto(url) as aws,
        worker_rig("codepipeline", {**endpoints(url), **settings}, broker=broker, unseal=SEALING.open) as rig,
    ):
        yield Stage(codepipeline, aws, rig)


@asynccontextmanager
async def line(
    folder: Path, *, more: str = "", broker: str = "memory"
) -> AsyncIterator[tuple[Bridge, CodepipelineEmulator, Boto]]:
    """Run a whole bridge with CodePipeline as a target; its key is in files. more: further sections; broker: `memory` or `sqlite`."""
    (folder / "key-id").write_text(KEYS["access_key_id"])
    (folder / "key").write_text(KEYS["secret_access_key"])
    codepipeline = CodepipelineEmulator()
    async with codepipeline.serve() as url, boto(url) as aws:
        target = (
            f'[targets.aws]\nconsumer = "codepipeline"\n{toml(endpoints(url))}'
            'access_key_id_file = "key-id"\nsecret_access_key_file = "key"\n'
        )
        queue = "memory:" if broker == "memory" else f"sqlite:///{folder}/broker.db"
        async with bridge(folder, broker=queue, more=target + more) as made:
            yield made, codepipeline, aws


def puts(codepipeline: CodepipelineEmulator) -> list[str]:
    targets = [entry.headers.get("x-amz-target", "") for entry in codepipeline.log]
    return [target for target in targets if "Put" in target]


async def told(made: Bridge, path: str, word: str) -> None:
    """Wait until what the API answers at *path* holds *word*."""
    async with asyncio.timeout(10):
        while True:
            if word in str((await made.api.call("GET", path))[1]):
                return
            await asyncio.sleep(0.02)


def files_with(folder: Path, text: str) -> list[str]:
    """Return the names of the files that hold *text*: the store's, the config."""
    return [path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def page(made: Bridge, path: str) -> str:
    """Return the text at *path*, as whoever may read everything gets it."""
    async with made.session.get(f"{made.url}{path}", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        return await response.text()
