"""Starting a pipeline: what is sent, and what the answers mean. Pure, so that whoever starts one keeps the state.

Contract: POST /api/v2/project/{slug}/pipeline        {branch | tag, parameters}; 201 {id, number, state, created_at}
          POST /api/v2/project/{slug}/pipeline/run    {definition_id, checkout, config, parameters}; 201 as above,
                                                      200 {message}: nothing was triggered (a commit that skips CI)
          GET  /api/v2/project/{slug}/pipeline        200 {items: [Pipeline], next_page_token}, newest first
          404 also for a parameter that is not declared, and to a token that sees nothing
Source:   OpenAPI 3.0.3 "CircleCI API v2" (2025-02); CircleCI documentation, "Pipeline values and parameters" (2026-08);
          the 200 as handled by CircleCI-Public/circleci-cli (2026-08)

Law: there is no idempotency key. The moment of the start is stored before it is sent; one whose answer was lost is looked
for (listing, seen_in) until conclude() says that it was made, or that it was not and may be sent again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

from bridge.consumers.circleci.address import MAX_PARAMETERS, MAX_VALUE, Id, Name, ParameterName
from bridge.consumers.circleci.listing import LAG, Pipeline, items_of, parse
from bridge.consumers.circleci.reading import JSON
from bridge.core.outcome import CredentialRefused, Ending, Later, NotYet, Refused
from bridge.core.request import Call, Reply, segment

SETTLED = timedelta(seconds=30)
"""What was sent and is not listed after this was not made: a call's time-out, and more than lists lag."""

_OF_OTHERS = frozenset({"webhook", "schedule", "scheduled_pipeline"})

Value = StrictBool | StrictInt | Annotated[StrictStr, Field(max_length=MAX_VALUE)]


class Start(BaseModel):
    """A pipeline to start. With `definition_id` by `pipeline/run`, the only way for a project of a GitHub App."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: Annotated[str, Field(pattern=r"^[a-z]+/[^/\s]+/[^/\s]+$")]
    branch: Name | None = None
    tag: Name | None = None
    definition_id: Id | None = None
    parameters: Annotated[dict[ParameterName, Value], Field(max_length=MAX_PARAMETERS)] = {}

    @model_validator(mode="after")
    def _is_one_revision(self) -> Self:
        if self.branch is not None and self.tag is not None:
            raise ValueError("branch and tag exclude each other")
        return self

    @property
    def path(self) -> str:
        """The project's path; its slashes stay, or `pipeline/run` is not found."""
        return "/api/v2/project/" + "/".join(segment(part) for part in self.project.split("/"))

    @property
    def reference(self) -> dict[str, str]:
        given = {"branch": self.branch, "tag": self.tag}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Started:
    """A pipeline that runs, or will."""

    id: str
    number: int | None = None


def plan_start(start: Start) -> Call:
    """Return the one call that starts a pipeline."""
    body: dict[str, Any] = {"parameters": start.parameters} if start.parameters else {}
    if start.definition_id is None:
        return Call.post(f"{start.path}/pipeline", json={**body, **start.reference}, headers=JSON)
    reference = {"config": start.reference, "checkout": start.reference} if start.reference else {}
    body |= {"definition_id": start.definition_id, **reference}
    return Call.post(f"{start.path}/pipeline/run", json=body, headers=JSON)


def judge_start(reply: Reply) -> Started | Ending:
    """Say what the answer to plan_start() means; no answer, 5xx and a proxy's page are doubts: look first.

    Raises:
        CredentialRefused: also for 404: only the health call tells a bad token from what does not exist.
    """
    body = reply.json()
    match reply.status:
        case HTTPStatus.CREATED if isinstance(body, dict) and isinstance(body.get("id"), str):
            number = body.get("number")
            return Started(body["id"], number if isinstance(number, int) else None)
        case HTTPStatus.OK if isinstance(body, dict) and "message" in body:
            return Refused("CircleCI took the call and triggered no pipeline")
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN | HTTPStatus.NOT_FOUND as status:
            raise CredentialRefused(status)
        case status if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return Refused(f"CircleCI answered {status} to the start of a pipeline")
        case status:
            return Later(f"not CircleCI's answer ({status})", is_doubtful=True)


def listing(start: Start, page_token: str = "") -> Call:
    """Return the call that lists the project's pipelines, newest first."""
    query = {"page-token": page_token} if page_token else {}
    return Call.get(f"{start.path}/pipeline", query=query, headers=JSON)


def seen_in(
    page: dict[str, Any], start: Start, *, since: datetime, login: str, known: Collection[str] = ()
) -> tuple[Sequence[Started], str]:
    """Return the pipelines of *page* that a lost start may have made, and the token of the next page worth reading.

    since: when it was sent. login: of our token's user, by `/me`. known: ids of pipelines that were started otherwise.

    Raises:
        Later: it is no list of pipelines.
    """
    listed = [parse(Pipeline, item) for item in items_of(page)]
    young = [one for one in listed if one.created_at >= since - LAG]
    found = [Started(one.id, one.number) for one in young if one.id not in known and _fits(one, start, login)]
    is_read = len(young) < len(listed)
    return found, "" if is_read else str(page.get("next_page_token") or "")


def _fits(one: Pipeline, start: Start, login: str) -> bool:
    is_ours = one.trigger.type not in _OF_OTHERS and one.trigger.login == login
    return is_ours and all((one.vcs or {}).get(name, value) == value for name, value in start.reference.items())


def conclude(found: Sequence[Started], *, since: datetime, now: datetime) -> Started | Ending | None:
    """Say what became of a lost start; None: it was not made, and may be sent again."""
    if len(found) > 1:
        return Refused(f"{len(found)} pipelines may be the one whose start was not answered")
    if found:
        return found[0]
    return NotYet("the start of a pipeline was not answered, and none is listed") if now - since < SETTLED else None
