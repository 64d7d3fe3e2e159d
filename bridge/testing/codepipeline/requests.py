"""The input of every operation.

Source: AWS service model 2015-07-09 (limits, patterns, enumerations), compared with botocore's copy in the tests.
"""

from bridge.testing.codepipeline.shapes import Mapping, Moment, Shape, Struct, Text, Whole

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_WORD = r"[0-9A-Za-z_-]+"

_job_id = Text(pattern=_UUID)
_third_party_job_id = Text(1, 512)
_nonce = Text(1, 50)
_client_token = Text(1, 256)
_continuation_token = Text(1, 2048)
_name = Text(1, 100, r"[A-Za-z0-9.@\-_]+")
_revision = Text(1, 1500)
_execution_id = Text(1, 1500)


def _struct(required: str = "", **members: Shape) -> Struct:
    return Struct(members, frozenset(required.split()))


_action_type_id = _struct(
    "category owner provider version",
    category=Text(choices=("Source", "Build", "Deploy", "Test", "Invoke", "Approval", "Compute")),
    owner=Text(choices=("AWS", "ThirdParty", "Custom")),
    provider=Text(1, 35, _WORD),
    version=Text(1, 9, _WORD),
)
_current_revision = _struct(
    "revision changeIdentifier",
    revision=_revision,
    changeIdentifier=Text(1, 100),
    created=Moment(),
    revisionSummary=Text(1, 2048),
)
_execution_details = _struct(summary=Text(1, 2048), externalExecutionId=_execution_id, percentComplete=Whole(0, 100))
_failure_details = _struct(
    "type message",
    type=Text(
        choices=(
            "JobFailed",
            "ConfigurationError",
            "PermissionError",
            "RevisionOutOfSync",
            "RevisionUnavailable",
            "SystemUnavailable",
        )
    ),
    message=Text(1, 5000),
    externalExecutionId=_execution_id,
)

REQUESTS: dict[str, Struct] = {
    "PollForJobs": _struct(
        "actionTypeId",
        actionTypeId=_action_type_id,
        maxBatchSize=Whole(1),
        queryParam=Mapping(Text(1, 50), Text(1, 50, "[a-zA-Z0-9_-]+"), most=1),
    ),
    "AcknowledgeJob": _struct("jobId nonce", jobId=_job_id, nonce=_nonce),
    "GetJobDetails": _struct("jobId", jobId=_job_id),
    "PutJobSuccessResult": _struct(
        "jobId",
        jobId=_job_id,
        currentRevision=_current_revision,
        continuationToken=_continuation_token,
        executionDetails=_execution_details,
        outputVariables=Mapping(Text(pattern=r"[A-Za-z0-9@\-_]+"), Text()),
    ),
    "PutJobFailureResult": _struct("jobId failureDetails", jobId=_job_id, failureDetails=_failure_details),
    "PollForThirdPartyJobs": _struct("actionTypeId", actionTypeId=_action_type_id, maxBatchSize=Whole(1)),
    "GetThirdPartyJobDetails": _struct("jobId clientToken", jobId=_third_party_job_id, clientToken=_client_token),
    "AcknowledgeThirdPartyJob": _struct(
        "jobId nonce clientToken", jobId=_third_party_job_id, nonce=_nonce, clientToken=_client_token
    ),
    "PutThirdPartyJobSuccessResult": _struct(
        "jobId clientToken",
        jobId=_third_party_job_id,
        clientToken=_client_token,
        currentRevision=_current_revision,
        continuationToken=_continuation_token,
        executionDetails=_execution_details,
    ),
    "PutThirdPartyJobFailureResult": _struct(
        "jobId clientToken failureDetails",
        jobId=_third_party_job_id,
        clientToken=_client_token,
        failureDetails=_failure_details,
    ),
    "PutApprovalResult": _struct(
        "pipelineName stageName actionName result token",
        pipelineName=_name,
        stageName=_name,
        actionName=_name,
        result=_struct("summary status", summary=Text(0, 512), status=Text(choices=("Approved", "Rejected"))),
        token=Text(pattern=_UUID),
    ),
    "GetPipelineState": _struct("name", name=_name),
    "ListActionExecutions": _struct(
        "pipelineName",
        pipelineName=_name,
        filter=_struct(
            pipelineExecutionId=Text(pattern=_UUID),
            latestInPipelineExecution=_struct(
                "pipelineExecutionId startTimeRange",
                pipelineExecutionId=Text(pattern=_UUID),
                startTimeRange=Text(choices=("Latest", "All")),
            ),
        ),
        maxResults=Whole(1, 100),
        nextToken=Text(1, 2048),
    ),
}
