"""The hand-over of Lambda jobs: the function posts its job's id and returns; an agent goes on from the record.

Contract: POST /v1/agents/{agent}/jobs  {job_id, account_id?, region?, continuation_token?}  (role register, the agent's target)
          202 {work}: recorded, once for each job however often it comes; 404: no such agent, or one that polls;
          422: another Region, or a token that is not ours; 503: not recorded, hand it over again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from bridge.agents.codepipeline.claims import Claims
from bridge.agents.codepipeline.job import Job, read_token
from bridge.agents.codepipeline.settings import CodepipelineAgentSettings
from bridge.agents.codepipeline.taking import Busy, NotOurs, Taking
from bridge.config import Config
from bridge.consumers.codepipeline import CodepipelineSettings
from bridge.coordinator.api.access import Clients, Role
from bridge.coordinator.api.wire import answer, guarded, not_found, read_body, read_model
from bridge.coordinator.errors import Rejected
from bridge.coordinator.store.engine import Database
from bridge.coordinator.store.works import Acknowledged
from bridge.core.api import HandOverRequest, WorkAccepted
from bridge.core.ports import Clock
from bridge.core.problem import FieldError, Problem, Slug


@dataclass(frozen=True, slots=True)
class _Agent:
    target: str
    region: str
    taking: Taking


class HandOver:
    """The handler, for every agent of the config whose jobs are Lambda's."""

    def __init__(self, config: Config, db: Database, clients: Clients, *, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._claims = Claims(db, clock=clock)
        self._agents = dict(self._of(config))

    def _of(self, config: Config) -> Mapping[str, _Agent]:
        found = {}
        for name, agent in config.agents.items():
            target = config.targets[agent.target]
            if not isinstance(agent, CodepipelineAgentSettings) or not isinstance(target, CodepipelineSettings):
                continue
            if agent.is_lambda:
                taking = Taking(
                    name, agent.target, claims=self._claims, clock=self._clock, acknowledged=Acknowledged.YES
                )
                found[name] = _Agent(agent.target, target.region, taking)
        return found

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/agents/{agent}/jobs", guarded(self.take))]

    async def take(self, request: web.Request) -> web.Response:
        client = self._clients.of(request, Role.REGISTER)
        agent = self._agents.get(request.match_info["agent"])
        if agent is None or not client.sees_target(agent.target):
            raise not_found()
        given = read_model(HandOverRequest, await read_body(request))
        if given.region not in (None, agent.region):
            raise _invalid("/region", f"expected {agent.region}: jobs belong to one Region")
        context = {"account_id": given.account_id} if given.account_id else {}
        return answer(
            WorkAccepted(
                work=await self._record(agent, Job(given.job_id, token=given.continuation_token, context=context))
            ),
            status=HTTPStatus.ACCEPTED,
        )

    async def _record(self, agent: _Agent, job: Job) -> str:
        """Return the work that *job* belongs to; once this returned, the job is on record."""
        try:
            taken = await agent.taking.take(job)
        except NotOurs:
            raise _invalid("/continuation_token", "is not of a work of this agent") from None
        except Busy:
            raise Rejected(Problem.of(Slug.UNAVAILABLE, "The work is being changed at the moment")) from None
        if taken is not None:
            await self._claims.let_go(taken.claim, due_at=self._clock.now())
            return taken.claim.work.id
        if job.token is not None and (named := read_token(job.token)):
            return named[0]
        known = await self._claims.find_by_key(agent.target, job.key)
        if known is None:  # another copy of the same hand-over is being recorded this very moment
            raise Rejected(Problem.of(Slug.UNAVAILABLE, "The job is being recorded at the moment"))
        return known.id


def _invalid(pointer: str, detail: str) -> Rejected:
    error = FieldError(pointer=pointer, detail=detail)
    return Rejected(Problem.of(Slug.INVALID, "The request is not valid", errors=[error]))
