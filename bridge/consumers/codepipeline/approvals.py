"""Manual approvals: answered by their token, which stands in the notification, or in the pipeline's state.

Contract: GetPipelineState     {name}  stageStates[].actionStates[].latestExecution {status, token, summary, lastUpdatedBy}; the
                               token only while it waits, and never in a PARALLEL pipeline
          ListActionExecutions {pipelineName, maxResults, nextToken}  actionExecutionDetails[] {stageName, actionName, status,
                               updatedBy, output.executionResult {externalExecutionId: the token, externalExecutionSummary}}
          PutApprovalResult    {pipelineName, stageName, actionName, token, result {status, summary}}  {approvedAt}
               InvalidApprovalTokenException, ApprovalAlreadyCompletedException: answered, expired or superseded
Source:   AWS service model 2015-07-09; User Guide, "Manage approval actions" (2023-06).

Law: a token takes one answer. Each answer has the wait's id in its summary, and counts as ours only where status, author and
that id are ours: two errors mean "somebody answered", and neither says who. These permissions are given for single
pipelines, so a denial is this wait's affair and not the target's.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from bridge.consumers.codepipeline.address import Approval
from bridge.consumers.codepipeline.places import Ask
from bridge.consumers.codepipeline.results import cut, shown_summary
from bridge.core.outcome import AlreadyDone, Done, Ending, Gone, Later, NotYet, Refused, Sight, Standing
from bridge.core.resolution import Resolution

PUT_APPROVAL = "PutApprovalResult"
GET_STATE = "GetPipelineState"
LIST_RUNS = "ListActionExecutions"
MAX_APPROVAL_SUMMARY = 512
PAGE = 100
MAX_PAGES = 5
"""Five hundred actions back: further than that, nothing waits or was answered by us a moment ago."""

_ANSWERED = frozenset({"InvalidApprovalTokenException", "ApprovalAlreadyCompletedException"})
_STATUS_OF = {"Approved": "Succeeded", "Rejected": "Failed"}
"""What an action shows after an answer."""
_NOT_REACHED = "the pipeline has not reached the approval"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What we answer. mark: the part of the summary that is ours alone."""

    status: str
    summary: str
    mark: str


@dataclass(frozen=True, slots=True)
class Run:
    """One time that the approval waits or waited, as AWS shows it; what it does not show is empty."""

    status: str
    token: str
    summary: str
    author: str

    @property
    def is_open(self) -> bool:
        return self.status == "InProgress"

    def is_of(self, verdict: Verdict, author: str) -> bool:
        """Return True where *verdict* was given here, by *author*; either of the two authors may be unknown."""
        is_own = not author or not self.author or self.author == author
        return is_own and self.status == _STATUS_OF[verdict.status] and verdict.mark in self.summary


def verdict_of(resolution: Resolution) -> Verdict:
    """Return the answer that *resolution* asks for: every outcome but `succeeded` rejects."""
    mark = f"[bridge {resolution.wait}]"
    fields = resolution.body if isinstance(resolution.body, Mapping) else {}
    text = cut(shown_summary(resolution, fields), MAX_APPROVAL_SUMMARY - len(mark) - 1)
    return Verdict("Approved" if resolution.succeeded else "Rejected", f"{text} {mark}", mark)


class ManualApproval:
    """One approval action, or that execution of it whose token is known."""

    def __init__(self, ask: Ask, approval: Approval, *, author: Callable[[], Awaitable[str]]) -> None:
        """author: tells our own ARN, empty where it is not known."""
        self._ask = ask
        self._approval = approval
        self._author = author

    async def look(self) -> Sight:
        """Keep what is and was there for resume(), which alone knows the mark of our answer: so it is always WAITING."""
        return Sight(Standing.WAITING, seen=[await self._latest(), *await self._history()])

    async def resume(self, resolution: Resolution, sight: Sight | None) -> Ending:
        """Answer, unless a run that was seen has our answer already."""
        verdict = verdict_of(resolution)
        if sight is not None and await self._is_given(verdict, sight.seen):
            return AlreadyDone("by us, in an earlier attempt")
        token = self._approval.token.get_secret_value() if self._approval.token else await self._open_token()
        answer = await self._ask(PUT_APPROVAL, self._members(token, verdict), is_put=True)
        if answer.code in _ANSWERED:
            return await self._answered(verdict)
        return Refused(f"AWS answered {answer.code}") if answer.code else Done()

    def _members(self, token: str, verdict: Verdict) -> Mapping[str, Any]:
        place = self._approval
        return {
            "pipelineName": place.pipeline,
            "stageName": place.stage,
            "actionName": place.action,
            "token": token,
            "result": {"status": verdict.status, "summary": verdict.summary},
        }

    async def _answered(self, verdict: Verdict) -> Ending:
        """Say what became of an approval that takes our token no longer."""
        latest = await self._latest()
        if await self._is_given(verdict, [latest]) or await self._is_given(verdict, await self._history()):
            return AlreadyDone("by us, in an earlier attempt")
        if latest.is_open and self._approval.token is None:  # one took the place of another between our two calls
            return NotYet("a newer execution has reached the approval")
        if latest.is_open or not latest.author:
            return Gone("the approval expired, or a newer execution took its place")
        return Gone(f"the approval was answered before us: {latest.status}, by {latest.author}")

    async def _is_given(self, verdict: Verdict, runs: Sequence[Run]) -> bool:
        marked = [run for run in runs if run.is_of(verdict, "")]
        if not marked:
            return False
        author = await self._author()
        return any(run.is_of(verdict, author) for run in marked)

    async def _open_token(self) -> str:
        """Return the token of what waits there now.

        Raises:
            NotYet: nothing does.
            Refused: several executions do, and the address does not say which.
        """
        latest = await self._latest()
        if latest.is_open and latest.token:
            return latest.token
        tokens = {run.token for run in await self._history() if run.is_open and run.token}
        if len(tokens) > 1:
            raise Refused("several executions wait at this approval: name the token of one")
        if not tokens:
            raise NotYet(_NOT_REACHED)
        return tokens.pop()

    async def _latest(self) -> Run:
        """Return the newest run that the pipeline's state shows; one of no status where none was there.

        Raises:
            Refused: there is no such pipeline, stage or action.
        """
        place = self._approval
        body = await self._read(GET_STATE, {"name": place.pipeline}, "stageStates")
        stage = _named(body["stageStates"], "stageName", place.stage)
        action = _named(_list(stage, "actionStates"), "actionName", place.action)
        if not action:
            raise Refused(f"the pipeline has no such {'action in this stage' if stage else 'stage'}")
        shown = _object(action, "latestExecution")
        return Run(*(_text(shown, name) for name in ("status", "token", "summary", "lastUpdatedBy")))

    async def _history(self) -> list[Run]:
        """Return the approval's runs among the pipeline's newest actions."""
        found: list[Run] = []
        asked: dict[str, Any] = {"pipelineName": self._approval.pipeline, "maxResults": PAGE}
        for _ in range(MAX_PAGES):
            body = await self._read(LIST_RUNS, asked, "actionExecutionDetails")
            found += self._runs(body["actionExecutionDetails"])
            if not body.get("nextToken"):
                break
            asked = {**asked, "nextToken": body["nextToken"]}
        return found

    def _runs(self, details: Any) -> Iterator[Run]:
        place = {"stageName": self._approval.stage, "actionName": self._approval.action}
        for detail in details:
            if isinstance(detail, dict) and place.items() <= detail.items():
                result = _object(_object(detail, "output"), "executionResult")
                yield Run(
                    _text(detail, "status"),
                    _text(result, "externalExecutionId"),
                    _text(result, "externalExecutionSummary"),
                    _text(detail, "updatedBy"),
                )

    async def _read(self, operation: str, members: Mapping[str, Any], wanted: str) -> Mapping[str, Any]:
        """Return the members of an answer that has the list *wanted*.

        Raises:
            Refused: AWS knows no such pipeline.
            Later: it is not an answer of CodePipeline.
        """
        answer = await self._ask(operation, members, is_put=False)
        if answer.code:
            raise Refused(f"AWS answered {answer.code}")
        if not isinstance(answer.body.get(wanted), list):
            raise Later(f"not an answer of AWS ({HTTPStatus.OK})")
        return answer.body


def _named(entries: Sequence[Any], key: str, name: str) -> Mapping[str, Any]:
    return next((entry for entry in entries if isinstance(entry, dict) and entry.get(key) == name), {})


def _list(entry: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = entry.get(name)
    return value if isinstance(value, list) else []


def _object(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""
