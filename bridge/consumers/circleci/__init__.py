"""CircleCI: approves, or cancels, an approval job that is on hold; continues a setup pipeline.

Contract: GET  /api/v2/workflow/{id}/job             200 {items: [Job], next_page_token}; ?page-token= for the next page
          GET  /api/v2/workflow/{id}                 200 Workflow
          GET  /api/v2/pipeline/{id}/workflow        200 {items: [Workflow], next_page_token}; [] until they are created
          GET  /api/v2/pipeline/{id}                 200 {state, …}; `errored`: it never gets a workflow
          POST /api/v2/workflow/{id}/approve/{approval_request_id}   202: accepted, not done yet
          POST /api/v2/jobs/{id}/cancel              200, also for an approval on hold
          POST /api/v2/workflow/{id}/cancel          202
          POST /api/v2/pipeline/continue             200, by its key alone, once
          GET  /api/v2/me                            200; 401 for a bad token, to which all others say 404
          Any other status says little: the approval's own status decides.
Source:   OpenAPI 3.0.3 "CircleCI API v2" (2025-02); CircleCI documentation, "Using workflows" and "API developer's guide"
          (2026-08). What approve answers for a job that is not on hold is undocumented, and not relied on.

Law: every attempt begins with the list of jobs, so nothing is sent to what is not on hold; every POST is read back until
the approval has left its hold. An approval that the list shows on hold a moment after it was approved gets a second
approve at worst, which CircleCI does not apply. A continuation's key works once, so sending it again does no harm either.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal

from pydantic import Field, HttpUrl, SecretStr, field_validator

from bridge.consumers.circleci.address import Action, CircleciAddress
from bridge.consumers.circleci.continuing import judge_continue, plan_continue, standing_of
from bridge.consumers.circleci.judging import (
    answered,
    candidates,
    judge,
    judge_sent,
    names,
    plan,
    select,
    unlisted,
    unread,
)
from bridge.consumers.circleci.listing import Found, Run, Workflow
from bridge.consumers.circleci.pipelines import outcome_of, told
from bridge.consumers.circleci.quota import quota_of
from bridge.consumers.circleci.reading import JSON, Absent, Reader
from bridge.core.consumer import Consumer, healthy
from bridge.core.errors import HttpFault
from bridge.core.event import EventData
from bridge.core.outcome import (
    CredentialRefused,
    Ending,
    Gone,
    Health,
    Later,
    NotYet,
    Refused,
    Sight,
    Standing,
)
from bridge.core.ports import Clock, Http
from bridge.core.quota import Quota
from bridge.core.request import Bearer, Call, Reply, TokenHeader
from bridge.core.resolution import Resolution
from bridge.core.settings import TargetSettings

__all__ = ["Circleci", "CircleciAddress", "CircleciSettings"]

READ_BACK_S = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Waits between the looks after a POST: more than the effect takes and the lists lag."""


class CircleciSettings(TargetSettings):
    """CircleCI's cloud, or an installation of CircleCI server."""

    base_url: HttpUrl = Field(
        default=HttpUrl("https://circleci.com"),
        description="the host alone, of a CircleCI server its own; `/api/v2` is added",
    )
    token: SecretStr = Field(
        description="a personal API token, best of a machine user: one that may push to the project, and is in the security "
        "groups of the restricted contexts that the jobs after the approval use. Project tokens do not work; a token "
        "expires within a year"
    )
    auth: Literal["circle-token", "bearer"] = Field(
        default="circle-token",
        description="how the token is sent: as `Circle-Token`, which every version takes, or as `Authorization: Bearer`",
    )

    @field_validator("base_url")
    @classmethod
    def _is_a_host(cls, url: HttpUrl) -> HttpUrl:
        if url.path not in (None, "", "/") or url.query or url.fragment or url.username or url.password:
            raise ValueError("expected the host alone, such as https://circleci.com: /api/v2 is added")
        return url


class CircleciAuth:
    """The token in the header that `auth` names."""

    def headers(self, settings: Any) -> dict[str, str]:
        way = Bearer("token") if settings.auth == "bearer" else TokenHeader("Circle-Token", "token")
        return way.headers(settings)


class Circleci(Consumer[CircleciSettings, CircleciAddress]):
    """Approves or cancels the approval job that a wait names, or continues the setup pipeline."""

    auth = CircleciAuth()
    judges = frozenset({HTTPStatus.FORBIDDEN})  # after a POST: somebody may have approved meanwhile

    def __init__(self, settings: CircleciSettings, http: Http, *, clock: Clock | None = None) -> None:
        super().__init__(settings, http, clock=clock)
        self._reader = Reader(self.http, self.health)

    @staticmethod
    def quota(reply: Reply) -> Quota | None:
        return quota_of(reply)

    async def health(self) -> Health:
        """Ask CircleCI who we are."""
        reply = await self.http.send(Call.get("/api/v2/me", headers=JSON))
        if reply.is_success and not isinstance(reply.json(), dict):  # a proxy's page
            return Health.DOWN
        return healthy(reply)

    async def whole(self, name: str) -> EventData | None:
        """Return what the pipeline *name* came to: one request while it runs, two at its end or before its first workflow."""
        try:
            listed = await self._reader.workflows(name)
            if any(one.tag != "setup" for one in listed) and outcome_of(None, listed, self.clock.now()) is None:
                return None
            pipeline = await self._reader.pipeline(name)
        except Absent:
            raise NotYet("there is no such pipeline, or the token may not see it") from None
        outcome = outcome_of(pipeline.state, listed, self.clock.now())
        return told(name, pipeline, listed, outcome) if outcome else None

    async def look_closely(self, address: CircleciAddress) -> Sight:
        """List the jobs.

        What they mean depends on the outcome (a canceled approval is gone for success and done for the others), so
        resume_seen() says it, and sends nothing to what is not on hold. A setup pipeline says it by itself.
        """
        if address.continuation_key is not None:
            return Sight(await self._standing(address.pipeline_id))
        return Sight(Standing.WAITING, seen=await self._observe(address, with_ended=True))

    async def resume_seen(self, address: CircleciAddress, resolution: Resolution, sight: Sight | None) -> Ending:
        """Approve or cancel what is on hold, and read back what became of it; or continue the pipeline."""
        if address.continuation_key is not None:
            return await self._continue(address, resolution, is_in_doubt=sight is not None)
        runs: Sequence[Run] | None = sight.seen if sight else await self._observe(address)
        now, action = self.clock.now(), address.action(resolution)
        if runs is None:
            return unlisted(resolution, now)
        chosen = (answered(runs, address, action, resolution) if sight else None) or select(runs, address, now)
        if not isinstance(chosen, Found):
            return chosen
        return judge(chosen, action, now) or await self._apply(chosen, action, deliver_until=resolution.deliver_until)

    async def _standing(self, pipeline_id: str | None) -> Standing:
        """Say whether the pipeline was continued; where nobody can say, the key's own answer will."""
        try:
            return standing_of((await self._reader.pipeline(pipeline_id)).state) if pipeline_id else Standing.WAITING
        except Absent:
            return Standing.WAITING

    async def _continue(self, address: CircleciAddress, resolution: Resolution, *, is_in_doubt: bool) -> Ending:
        call = plan_continue(address, resolution)
        return judge_continue(await self.http.send(call), is_in_doubt=is_in_doubt)

    async def _apply(self, found: Found, action: Action, *, deliver_until: datetime) -> Ending:
        status = (await self.http.send(plan(found, action))).status
        waits_s = () if status == HTTPStatus.FORBIDDEN else READ_BACK_S
        try:
            after = await self._read_back(found, action, waits_s)
        except (Later, Refused, CredentialRefused, HttpFault, Absent) as fault:
            return unread(fault, action, status, is_last=self.clock.now() >= deliver_until)
        return judge_sent(after, action, status, self.clock.now())

    async def _read_back(self, found: Found, action: Action, waits_s: Sequence[float]) -> Found:
        """Return the approval once *action* has had its effect, or as it is after the last of *waits_s*."""
        after = found
        for wait_s in (0.0, *waits_s):
            await asyncio.sleep(wait_s)
            jobs = await self._reader.jobs(found.workflow.id)
            after = next((Found(found.workflow, job) for job in jobs if job.id == found.job.id), found)
            if after.job.has_ended and await self._is_effective(after, action):
                break
        return after

    async def _is_effective(self, after: Found, action: Action) -> bool:
        """Return False while a workflow that is being canceled still stops its other jobs."""
        return action is not Action.CANCEL_WORKFLOW or (await self._reader.workflow(after.workflow.id)).has_ended

    async def _observe(self, address: CircleciAddress, *, with_ended: bool = False) -> Sequence[Run] | None:
        """Return the workflows that *address* may mean, with their jobs; None: there is no such id for this token.

        with_ended: also those that have ended, when another one holds the approval.

        Raises:
            NotYet, Gone, Refused: whatever the outcome.
            Later, CredentialRefused, HttpFault: CircleCI did not answer.
        """
        try:
            if address.workflow_id is not None:
                return [await self._run(address.workflow_id, address.approval)]
            return await self._runs(address, with_ended=with_ended)
        except Absent:
            return None

    async def _run(self, workflow_id: str, approval: str | None) -> Run:
        run = Run(Workflow(id=workflow_id), await self._reader.jobs(workflow_id))
        if any(found.job.is_on_hold or found.job.has_ended for found in run.approvals(approval)):
            return run  # one request; the workflow's own status would change nothing
        return Run(await self._reader.workflow(workflow_id), run.jobs)

    async def _runs(self, address: CircleciAddress, *, with_ended: bool) -> list[Run]:
        pipeline_id = address.pipeline_id or ""
        listed = await self._reader.workflows(pipeline_id)
        active, ended = candidates(listed, address.workflow_name)
        if not active and not ended:
            if not listed and (await self._reader.pipeline(pipeline_id)).state == "errored":
                raise Gone("the pipeline is errored, and has no workflow")
            raise NotYet(f"the pipeline has no such workflow yet; workflows seen: {names(one.name for one in listed)}")
        runs = [await self._with_jobs(workflow) for workflow in active]
        if with_ended or not any(run.approvals(address.approval) for run in runs):
            runs += [await self._with_jobs(workflow) for workflow in ended]
        return runs

    async def _with_jobs(self, workflow: Workflow) -> Run:
        try:
            return Run(workflow, await self._reader.jobs(workflow.id))
        except Absent:  # it was listed a moment ago
            raise NotYet("a workflow's jobs are not listed yet") from None
