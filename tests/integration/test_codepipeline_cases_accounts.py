"""The cases of the CodePipeline contract about roles, accounts and Regions, by number, against the emulator over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.core.outcome import Health
from bridge.testing.codepipeline import CodepipelineEmulator
from tests.support.codepipeline_boto3 import boto
from tests.support.codepipeline_stage import KEYS, SUCCESS, Stage, endpoints, stage, toml
from tests.support.fakes import eventually
from tests.support.in_process import Bridge, bridge, local

OURS = "111122223333"
ROLE = "arn:aws:iam::222233334444:role/ci/bridge"
ROLES = {"X": ROLE, "Y": "arn:aws:iam::333344445555:role/bridge"}
ROLE_KEYS = {**KEYS, "role_arn": ROLE, "external_id": "tenant-7"}


def account(role_arn: str) -> str:
    return role_arn.split(":")[4]


async def hold(emulator: CodepipelineEmulator, account_id: str, pipeline: str) -> str:
    """Start an execution in *account_id*, take its job as that account's job worker does, and return the job's id."""
    key = f"AKID{account_id}"
    emulator.set_credential(key, secret="theirs", account_id=account_id)  # noqa: S106 - a dummy
    emulator.start_execution(pipeline, account_id=account_id)
    async with boto(emulator.base_url, access_key=key, signing_key="theirs", region=emulator.region) as aws:
        return str((await aws.take())["id"])


def entered(emulator: CodepipelineEmulator) -> list[str]:
    """Return the roles that were entered, in order."""
    return [effect.subject for effect in emulator.effects if effect.kind == "role.assumed"]


def ended(emulator: CodepipelineEmulator) -> list[str]:
    """Return the jobs that a success ended, in order."""
    return [effect.subject for effect in emulator.effects if effect.kind == "job.succeeded"]


def signers(emulator: CodepipelineEmulator) -> list[str]:
    """Return the account whose keys signed each call of the bridge to CodePipeline."""
    calls = [entry for entry in emulator.log if entry.headers["user-agent"].startswith("callback-bridge/")]
    keys = [entry.headers["authorization"].partition("Credential=")[2].partition("/")[0] for entry in calls]
    return [emulator.credentials[key].account_id or OURS for key in keys]


# --- 30: a role's keys


@asynccontextmanager
async def other_account(role: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Stage]:
    """A stage whose target enters the role of another account."""
    async with stage({**ROLE_KEYS, **settings}) as one:
        one.codepipeline.add_role(ROLE, **{"external_id": "tenant-7", "trusts": OURS, **(role or {})})
        yield one


async def test_codepipeline_case_30_a_role_that_is_revoked_is_entered_again() -> None:
    """ExpiredToken before its time: the role is entered once more and the same call repeated; no job fails."""
    async with other_account() as one:
        first, second = [await hold(one.codepipeline, account(ROLE), name) for name in ("first", "second")]
        await one.send(first, wait="first")
        assert await one.ending("first") == "done"
        (issued,) = [key for key in one.codepipeline.credentials if key.startswith("ASIAROLE")]
        one.codepipeline.expire_credential(issued)
        await one.send(second, wait="second")
        assert await one.ending("second") == "done"
        assert [status for _, _, status in one.traffic] == [200, 400, 200]
        assert one.calls == [SUCCESS] * 3
        assert entered(one.codepipeline) == [ROLE, ROLE]
        assert one.rig.told("second") == ["done"]


async def test_codepipeline_case_30_a_role_is_entered_again_before_its_keys_expire() -> None:
    """Keys with two minutes left are not used for a call: the next one finds fresh ones, and AWS refuses nothing."""
    async with other_account({"expires_after_s": 120}) as one:
        for name in ("first", "second"):
            await one.send(await hold(one.codepipeline, account(ROLE), name), wait=name)
            assert await one.ending(name) == "done"
        assert [status for _, _, status in one.traffic] == [200, 200]
        assert entered(one.codepipeline) == [ROLE, ROLE]


async def test_codepipeline_case_30_a_role_that_lasts_is_entered_once() -> None:
    """With an hour left the keys are used again."""
    async with other_account() as one:
        for name in ("first", "second", "third"):
            await one.send(await hold(one.codepipeline, account(ROLE), name), wait=name)
            assert await one.ending(name) == "done"
        assert entered(one.codepipeline) == [ROLE]


@pytest.mark.parametrize("wrong", [{"external_id": "another"}, {"trusts": "999999999999"}], ids=str)
async def test_codepipeline_case_30_a_role_that_does_not_trust_us_is_parked(
    wrong: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """A role that may not be entered opens the breaker and sends no Put; it goes on when the trust is mended."""
    caplog.set_level("DEBUG")
    async with other_account(wrong) as one:
        job = await hold(one.codepipeline, account(ROLE), "demo")
        caplog.clear()
        with structlog.testing.capture_logs() as logs:
            await one.send(job)
            await eventually(lambda: one.rig.worker.status.is_breaker_open)
            assert one.rig.worker.status.health == Health.CREDENTIAL
            assert one.calls == []
            one.codepipeline.add_role(ROLE, external_id="tenant-7", trusts=OURS)
            assert await one.ending() == "done"
        assert "role-secret" not in f"{logs} {caplog.text}"
        assert KEYS["access_key_id"] not in f"{logs}"


# --- 31: accounts and Regions


@dataclass
class World:
    """A bridge with three targets: accounts X and Y in one Region, and our own account in another."""

    made: Bridge
    ireland: CodepipelineEmulator
    virginia: CodepipelineEmulator

    async def finish(self, target: str, job: str, state: str = "resolved") -> None:
        """Register a wait for *job* and call it back; it must come into *state*."""
        wait = await self.made.api.register(target, {"job_id": job})
        assert await self.made.post(local(self.made, wait["callback_url"])) == 202
        await self.made.api.wait_until(wait["id"], state)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    (folder / "key-id").write_text(KEYS["access_key_id"])
    (folder / "key").write_text(KEYS["secret_access_key"])
    ireland, virginia = CodepipelineEmulator(), CodepipelineEmulator(region="us-east-1")
    for role in ROLES.values():
        ireland.add_role(role, trusts=OURS)
    async with ireland.serve() as here, virginia.serve() as there:
        sections = {
            "x": {**endpoints(here), "role_arn": ROLES["X"]},
            "y": {**endpoints(here), "role_arn": ROLES["Y"]},
            "z": endpoints(there, region="us-east-1"),
        }
        keys = 'consumer = "codepipeline"\naccess_key_id_file = "key-id"\nsecret_access_key_file = "key"\n'
        more = "".join(f"[targets.{name}]\n{keys}{toml(section)}" for name, section in sections.items())
        async with bridge(folder, more=more) as made:
            yield World(made, ireland, virginia)


async def test_codepipeline_case_31_each_put_goes_through_its_own_region_and_role(tmp_path: Path) -> None:
    """Jobs in three accounts and two Regions: each Put is signed by its own role for its own Region, at its own host."""
    async with world(tmp_path) as all_of:
        x = [await hold(all_of.ireland, account(ROLES["X"]), f"x{number}") for number in range(3)]
        y = [await hold(all_of.ireland, account(ROLES["Y"]), f"y{number}") for number in range(3)]
        z = [await hold(all_of.virginia, OURS, f"z{number}") for number in range(3)]
        for jobs in zip(x, y, z, strict=True):
            for target, job in zip("xyz", jobs, strict=True):
                await all_of.finish(target, job)
        assert ended(all_of.ireland) == [job for pair in zip(x, y, strict=True) for job in pair]
        assert ended(all_of.virginia) == z
        assert signers(all_of.ireland) == [account(ROLES["X"]), account(ROLES["Y"])] * 3
        assert signers(all_of.virginia) == [OURS] * 3
        assert entered(all_of.ireland) == [ROLES["X"], ROLES["Y"]]
        assert entered(all_of.virginia) == []
        scopes = {entry.headers["authorization"].split("/")[2] for entry in all_of.virginia.log if entry.path == "/"}
        assert scopes == {"us-east-1"}


async def test_codepipeline_case_31_a_crossed_id_ends_nothing(tmp_path: Path) -> None:
    """A job named at the wrong account's or Region's target is gone there, and untouched where it is."""
    async with world(tmp_path) as all_of:
        job = await hold(all_of.ireland, account(ROLES["X"]), "demo")
        for target in "yz":
            await all_of.finish(target, job, "undeliverable")
        assert ended(all_of.ireland) == []
        assert all_of.ireland.executions[0].status == "InProgress"
        await all_of.finish("x", job)


async def test_codepipeline_case_31_a_dead_region_slows_no_other(tmp_path: Path) -> None:
    """While one Region fails, jobs of the other are ended, and its own as soon as it is back."""
    async with world(tmp_path) as all_of:
        x = await hold(all_of.ireland, account(ROLES["X"]), "x")
        z = await hold(all_of.virginia, OURS, "z")
        all_of.ireland.fail("InternalFailure", status=500, times=3, operation=SUCCESS)
        wait = await all_of.made.api.register("x", {"job_id": x})
        assert await all_of.made.post(local(all_of.made, wait["callback_url"])) == 202
        await all_of.finish("z", z)
        await all_of.made.api.wait_until(wait["id"], "resolved")
        assert ended(all_of.ireland) == [x]
