"""CircleCI: approves, or cancels, an approval job that is on hold.

Contract: GET  /api/v2/workflow/{id}/job             200 {items: [Job], next_page_token}; ?page-token= for the next page
          GET  /api/v2/workflow/{id}                 200 Workflow
          GET  /api/v2/pipeline/{id}/workflow        200 {items: [Workflow], next_page_token}; [] until they are created
          GET  /api/v2/pipeline/{id}                 200 {state, …}; `errored`: it never gets a workflow
          POST /api/v2/workflow/{id}/approve/{approval_request_id}   202: accepted, not done yet
          POST /api/v2/jobs/{id}/cancel              200, also for an approval on hold
          POST /api/v2/workflow/{id}/cancel          202
          GET  /api/v2/me                            200; 401 for a bad token, to which all others say 404
          Any other status says little: the approval's own status decides.
Source:   OpenAPI 3.0.3 "CircleCI API v2" (2025-02); CircleCI documentation, "Using workflows" and "API developer's guide"
          (2026-08). What approve answers for a job that is not on hold is undocumented, and not relied on.

Law: every attempt begins with the list of jobs, so nothing is sent to what is not on hold; every POST is read back until
the approval has left its hold. An approval that the list shows on hold a moment after it was approved gets a second
approve at worst, which CircleCI does not apply.
"""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal

from pydantic import Field, HttpUrl, SecretStr, field_validator

from bridge.consumers.circleci.address import Action, CircleciAddress
from bridge.consumers.circleci.judging import (
    JSON,
    answered,
    candidates,
    judge,
    judge_sent,
    names,
    plan,
    select,
    unlisted,
)
from bridge.consumers.circleci.listing import Found, Job, P, Run, Workflow, items_of, parse
from bridge.core.consumer import Consumer, healthy
from bridge.core.errors import HttpFault
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
from bridge.core.request import Bearer, Call, TokenHeader, segment
from bridge.core.resolution import Resolution
from bridge.core.settings import TargetSettings

__all__ = ["Circleci", "CircleciAddress", "CircleciSettings"]

READ_BACK_S = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Waits between the looks after a POST: more than the effect takes and the lists lag."""
MAX_PAGES = 100

_ABSENT = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


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
    """Approves or cancels the approval job that a wait names."""

    auth = CircleciAuth()
    judges = frozenset({HTTPStatus.FORBIDDEN})  # after a POST: somebody may have approved meanwhile

    async def health(self) -> Health:
        """Ask CircleCI who we are."""
        reply = await self.http.send(Call.get("/api/v2/me", headers=JSON))
        if reply.is_success and not isinstance(reply.json(), dict):  # a proxy's page
            return Health.DOWN
        return healthy(reply)

    async def look_closely(self, address: CircleciAddress) -> Sight:
        """List the jobs.

        What they mean depends on the outcome (a canceled approval is gone for success and done for the others), so
        resume_seen() says it, and sends nothing to what is not on hold.
        """
        return Sight(Standing.WAITING, seen=await self._observe(address, with_ended=True))

    async def resume_seen(self, address: CircleciAddress, resolution: Resolution, sight: Sight | None) -> Ending:
        """Approve or cancel what is on hold, and read back what became of it."""
        runs: Sequence[Run] | None = sight.seen if sight else await self._observe(address)
        now, action = self.clock.now(), address.action(resolution)
        if runs is None:
            return unlisted(resolution, now)
        chosen = (answered(runs, address, action, resolution) if sight else None) or select(runs, address, now)
        if not isinstance(chosen, Found):
            return chosen
        return judge(chosen, action, now) or await self._apply(chosen, action)

    async def _apply(self, found: Found, action: Action) -> Ending:
        status = (await self.http.send(plan(found, action))).status
        waits_s = () if status == HTTPStatus.FORBIDDEN else READ_BACK_S
        try:
            after = await self._read_back(found, action, waits_s)
        except Later as later:  # the next attempt must know that something was sent
            raise Later(later.reason, later.after, is_doubtful=True, is_throttled=later.is_throttled) from None
        except (HttpFault, _Absent) as fault:
            raise Later(str(fault), is_doubtful=True) from None
        return judge_sent(after, action, status, self.clock.now())

    async def _read_back(self, found: Found, action: Action, waits_s: Sequence[float]) -> Found:
        """Return the approval once *action* has had its effect, or as it is after the last of *waits_s*."""
        after = found
        for wait_s in (0.0, *waits_s):
            await asyncio.sleep(wait_s)
            jobs = await self._jobs(found.workflow.id)
            after = next((Found(found.workflow, job) for job in jobs if job.id == found.job.id), found)
            if after.job.has_ended and await self._is_effective(after, action):
                break
        return after

    async def _is_effective(self, after: Found, action: Action) -> bool:
        """Return False while a workflow that is being canceled still stops its other jobs."""
        return action is not Action.CANCEL_WORKFLOW or (await self._workflow(after.workflow.id)).has_ended

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
        except _Absent:
            return None

    async def _run(self, workflow_id: str, approval: str) -> Run:
        run = Run(Workflow(id=workflow_id), await self._jobs(workflow_id))
        if any(found.job.is_on_hold or found.job.has_ended for found in run.approvals(approval)):
            return run  # one request; the workflow's own status would change nothing
        return Run(await self._workflow(workflow_id), run.jobs)

    async def _runs(self, address: CircleciAddress, *, with_ended: bool) -> list[Run]:
        pipeline = f"/pipeline/{segment(address.pipeline_id or '')}"
        listed = await self._list(Workflow, f"{pipeline}/workflow")
        active, ended = candidates(listed, address.workflow_name)
        if not active and not ended:
            if not listed and (await self._get(pipeline)).get("state") == "errored":
                raise Gone("the pipeline is errored, and has no workflow")
            raise NotYet(f"the pipeline has no such workflow yet; workflows seen: {names(one.name for one in listed)}")
        runs = [await self._with_jobs(workflow) for workflow in active]
        if with_ended or not any(run.approvals(address.approval) for run in runs):
            runs += [await self._with_jobs(workflow) for workflow in ended]
        return runs

    async def _with_jobs(self, workflow: Workflow) -> Run:
        try:
            return Run(workflow, await self._jobs(workflow.id))
        except _Absent:  # it was listed a moment ago
            raise NotYet("a workflow's jobs are not listed yet") from None

    async def _jobs(self, workflow_id: str) -> list[Job]:
        return await self._list(Job, f"/workflow/{segment(workflow_id)}/job")

    async def _workflow(self, workflow_id: str) -> Workflow:
        return parse(Workflow, await self._get(f"/workflow/{segment(workflow_id)}"))

    async def _list(self, kind: type[P], path: str) -> list[P]:
        """Return the items of all pages; a list that does not end is no reason to overlook something."""
        found: list[P] = []
        query: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = await self._get(path, query)
            found += [parse(kind, item) for item in items_of(page)]
            token = page.get("next_page_token")
            if not token:
                return found
            query = {"page-token": str(token)}
        raise Refused(f"the list of {kind.__name__.lower()}s has more than {MAX_PAGES} pages")

    async def _get(self, path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        """Return one JSON object.

        Raises:
            _Absent: 404 and the like, with a good token.
            CredentialRefused: 403; or 404, and the token is bad.
            Later: whatever is not CircleCI's answer.
        """
        reply = await self.http.send(Call.get(f"/api/v2{path}", query=query or {}, headers=JSON))
        if reply.status == HTTPStatus.FORBIDDEN:
            raise CredentialRefused(reply.status)
        if reply.status in _ABSENT and not query:
            await self._blame(reply.status)
        body = reply.json()
        if reply.status != HTTPStatus.OK or not isinstance(body, dict):
            raise Later(f"not CircleCI's answer ({reply.status})")
        return body

    async def _blame(self, status: int) -> None:
        """Tell what does not exist from a token that sees nothing: CircleCI answers 404 to both.

        Raises:
            _Absent, CredentialRefused, Later: always one.
        """
        match await self.health():
            case Health.UP:
                raise _Absent(f"CircleCI answered {status}, with a good token")
            case Health.CREDENTIAL:
                raise CredentialRefused(status)
            case Health.DOWN:
                raise Later(f"CircleCI answered {status}, and the health call failed")


class _Absent(Exception):
    """There is no such thing, or this token may not see it."""
