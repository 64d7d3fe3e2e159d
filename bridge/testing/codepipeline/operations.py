"""The thirteen operations: a checked request in, the answer's JSON out, None for an empty body."""

from collections.abc import Callable
from typing import Any

from bridge.testing.codepipeline.approvals import Answer
from bridge.testing.codepipeline.errors import ServiceError
from bridge.testing.codepipeline.results import Failure, Success
from bridge.testing.codepipeline.service import Service
from bridge.testing.codepipeline.spec import type_key
from bridge.testing.codepipeline.state import ActionExecution, Caller, Job, Pipeline
from bridge.testing.codepipeline.views import JsonObject, Views, seconds

_PAGE = 100


Handler = Callable[[Caller, JsonObject], JsonObject | None]


class Operations:
    """One method an operation. Each takes a request that has passed its shape's check, and raises ServiceError."""

    def __init__(self, service: Service, views: Views) -> None:
        self._service = service
        self._jobs = service.jobs
        self._results = service.results
        self._views = views
        self._handlers: dict[str, Handler] = {
            "PollForJobs": self._poll_for_jobs,
            "AcknowledgeJob": self._acknowledge_job,
            "GetJobDetails": self._get_job_details,
            "PutJobSuccessResult": self._put_job_success_result,
            "PutJobFailureResult": self._put_job_failure_result,
            "PollForThirdPartyJobs": self._poll_for_third_party_jobs,
            "GetThirdPartyJobDetails": self._get_third_party_job_details,
            "AcknowledgeThirdPartyJob": self._acknowledge_third_party_job,
            "PutThirdPartyJobSuccessResult": self._put_third_party_job_success_result,
            "PutThirdPartyJobFailureResult": self._put_third_party_job_failure_result,
            "PutApprovalResult": self._put_approval_result,
            "GetPipelineState": self._get_pipeline_state,
            "ListActionExecutions": self._list_action_executions,
        }

    def run(self, operation: str, caller: Caller, request: JsonObject) -> JsonObject | None:
        """Settle what time has brought, then do *operation*; raises ServiceError."""
        self._service.world.settle()
        return self._handlers[operation](caller, request)

    def _poll_for_jobs(self, caller: Caller, request: JsonObject) -> JsonObject:
        limit, query = request.get("maxBatchSize"), request.get("queryParam", {})
        found = self._service.poll(caller, _key(request), limit, query)
        return {"jobs": [self._details(job) | {"nonce": nonce} for job, nonce in found]}

    def _acknowledge_job(self, caller: Caller, request: JsonObject) -> JsonObject:
        job = self._service.find_to_acknowledge(caller, request["jobId"])
        return {"status": self._jobs.acknowledge(job, request["nonce"])}

    def _get_job_details(self, caller: Caller, request: JsonObject) -> JsonObject:
        return {"jobDetails": self._details(self._jobs.find_own(caller, request["jobId"]))}

    def _put_job_success_result(self, caller: Caller, request: JsonObject) -> None:
        self._results.succeed(self._jobs.find_own(caller, request["jobId"]), _success(request))

    def _put_job_failure_result(self, caller: Caller, request: JsonObject) -> None:
        self._results.fail(self._jobs.find_own(caller, request["jobId"]), _failure(request))

    def _poll_for_third_party_jobs(self, caller: Caller, request: JsonObject) -> JsonObject:
        found = self._service.poll_third_party(caller, _key(request), request.get("maxBatchSize"))
        return {"jobs": [{"clientId": job.action.spec.client_id, "jobId": job.id} for job in found]}

    def _get_third_party_job_details(self, _caller: Caller, request: JsonObject) -> JsonObject:
        job, nonce = self._service.third_party_details(request["jobId"], request["clientToken"])
        return {"jobDetails": {"id": job.id, "nonce": nonce, "data": self._views.job_data(job)}}

    def _acknowledge_third_party_job(self, _caller: Caller, request: JsonObject) -> JsonObject:
        return {"status": self._jobs.acknowledge(self._third_party(request), request["nonce"])}

    def _put_third_party_job_success_result(self, _caller: Caller, request: JsonObject) -> None:
        self._results.succeed(self._third_party(request), _success(request))

    def _put_third_party_job_failure_result(self, _caller: Caller, request: JsonObject) -> None:
        self._results.fail(self._third_party(request), _failure(request))

    def _get_pipeline_state(self, caller: Caller, request: JsonObject) -> JsonObject:
        return self._views.pipeline_state(self._service.pipelines.find(caller.account_id, request["name"]))

    def _put_approval_result(self, caller: Caller, request: JsonObject) -> JsonObject:
        answer = Answer(
            pipeline=request["pipelineName"],
            stage=request["stageName"],
            action=request["actionName"],
            token=request["token"],
            status=request["result"]["status"],
            summary=request["result"]["summary"],
        )
        approved_at = self._service.approvals.put(caller, answer)
        return {"approvedAt": seconds(approved_at)}

    def _list_action_executions(self, caller: Caller, request: JsonObject) -> JsonObject:
        pipeline = self._service.pipelines.find(caller.account_id, request["pipelineName"])
        found = _filtered(pipeline, request.get("filter", {}))
        start = _offset(request.get("nextToken"), len(found))
        end = start + request.get("maxResults", _PAGE)
        answer: JsonObject = {"actionExecutionDetails": [self._views.action_detail(one) for one in found[start:end]]}
        if end < len(found):
            answer["nextToken"] = f"{end}"
        return answer

    def _details(self, job: Job) -> JsonObject:
        return {"id": job.id, "accountId": job.action.account_id, "data": self._views.job_data(job)}

    def _third_party(self, request: JsonObject) -> Job:
        return self._jobs.find_third_party(request["jobId"], request["clientToken"])


def _filtered(pipeline: Pipeline, wanted: JsonObject) -> list[ActionExecution]:
    """Return actions, the newest first; raises PipelineExecutionNotFoundException."""
    latest = wanted.get("latestInPipelineExecution", {})
    execution_id = latest.get("pipelineExecutionId", wanted.get("pipelineExecutionId"))
    executions = [one for one in pipeline.executions if execution_id in (None, one.id)]
    if execution_id is not None and not executions:
        raise ServiceError("PipelineExecutionNotFoundException", f"No pipeline execution {execution_id}")
    return sorted((a for one in executions for a in one.actions), key=lambda action: action.number, reverse=True)


def _offset(token: str | None, total: int) -> int:
    if token is None:
        return 0
    if not token.isascii() or not token.isdigit() or not 0 < int(token) < total:
        raise ServiceError("InvalidNextTokenException", "The next token was specified in an invalid format")
    return int(token)


def _key(request: JsonObject) -> type_key:
    words: dict[str, Any] = request["actionTypeId"]
    return (words["category"], words["owner"], words["provider"], words["version"])


def _success(request: JsonObject) -> Success:
    details = request.get("executionDetails", {})
    return Success(
        continuation_token=request.get("continuationToken"),
        summary=details.get("summary"),
        external_execution_id=details.get("externalExecutionId"),
        percent_complete=details.get("percentComplete"),
        current_revision=request.get("currentRevision"),
        output_variables=request.get("outputVariables", {}),
    )


def _failure(request: JsonObject) -> Failure:
    details = request["failureDetails"]
    return Failure(details["type"], details["message"], details.get("externalExecutionId"))
