"""What the service shows, as the JSON of the wire. Times are numbers: seconds since 1970."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from bridge.testing.codepipeline.jobs import Jobs
from bridge.testing.codepipeline.spec import ActionSpec, Artifact, Credential, Kind, StageSpec, fill_url
from bridge.testing.codepipeline.state import ActionExecution, ExecutionStatus, Job, Pipeline, PipelineExecution
from bridge.testing.codepipeline.world import World

JsonObject = dict[str, Any]

ARTIFACT_CREDENTIALS = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class ArtifactKey:
    """A key of the artifact store, and the buckets that it opens."""

    credential: Credential
    buckets: frozenset[str]


class Views:
    """Renders the model. `credentials`: what was issued for the artifact store, by access key id."""

    def __init__(self, world: World, jobs: Jobs) -> None:
        self._world = world
        self._jobs = jobs
        self.credentials: dict[str, ArtifactKey] = {}

    def job_data(self, job: Job) -> JsonObject:
        """Return the `data` of a custom or third-party job, secrets of the configuration in clear."""
        action = job.action
        data: JsonObject = {
            "actionTypeId": action.spec.action_type.id.model_dump(),
            "actionConfiguration": {"configuration": dict(action.spec.configuration)},
            "pipelineContext": self._context(action),
            **self._artifacts(action),
        }
        return self._completed(data, job)

    def lambda_event(self, job: Job) -> JsonObject:
        """Return the event that the function is invoked with: no actionTypeId, no pipelineContext."""
        data: JsonObject = {
            "actionConfiguration": {"configuration": dict(job.action.spec.configuration)},
            **self._artifacts(job.action),
        }
        data = self._completed(data, job)
        return {"CodePipeline.job": {"id": job.id, "accountId": job.action.account_id, "data": data}}

    def pipeline_state(self, pipeline: Pipeline) -> JsonObject:
        """Return the answer of GetPipelineState."""
        return {
            "pipelineName": pipeline.spec.name,
            "pipelineVersion": pipeline.version,
            "stageStates": [self._stage_state(pipeline, stage) for stage in pipeline.spec.stages],
            "created": seconds(pipeline.created_at),
            "updated": seconds(pipeline.updated_at),
        }

    def action_detail(self, action: ActionExecution) -> JsonObject:
        """Return one entry of ListActionExecutions."""
        spec = action.spec
        result: JsonObject = {
            "externalExecutionId": action.external_execution_id,
            "externalExecutionSummary": action.summary,
            "externalExecutionUrl": self._execution_url(action),
            "errorDetails": error_details(action),
        }
        if action.approval is not None and action.execution.spec.mode == "PARALLEL":
            result["externalExecutionId"] = action.token
        return without_none(
            {
                "pipelineExecutionId": action.execution.id,
                "actionExecutionId": action.id,
                "pipelineVersion": action.execution.version,
                "stageName": action.stage_name,
                "actionName": action.name,
                "startTime": seconds(action.started_at),
                "lastUpdateTime": seconds(action.updated_at),
                "updatedBy": action.updated_by,
                "status": action.status,
                "input": {
                    "actionTypeId": spec.action_type.id.model_dump(),
                    "configuration": dict(spec.configuration),
                    "resolvedConfiguration": dict(spec.configuration),
                    "region": self._world.region,
                    "inputArtifacts": [_artifact_detail(action, artifact) for artifact in spec.input_artifacts],
                },
                "output": {
                    "outputArtifacts": [_artifact_detail(action, artifact) for artifact in spec.output_artifacts],
                    "executionResult": without_none(result),
                    "outputVariables": dict(action.output_variables),
                },
            }
        )

    def approval_message(self, action: ActionExecution) -> JsonObject:
        """Return the JSON in the `Message` of the notification for an approval; raises LookupError for other actions."""
        if action.approval is None:
            raise LookupError(f"action {action.name} is no approval")
        pipeline, region = action.execution.spec.name, self._world.region
        console = f"https://console.aws.amazon.com/codepipeline/home?region={region}#/view/{quote(pipeline)}"
        return {
            "region": region,
            "consoleLink": console,
            "approval": {
                "pipelineName": pipeline,
                "stageName": action.stage_name,
                "actionName": action.name,
                "token": action.approval.token,
                "expires": f"{action.approval.expires_at:%Y-%m-%dT%H:%MZ}",
                "externalEntityLink": action.spec.external_entity_link,
                "approvalReviewLink": f"{console}/{quote(action.stage_name)}/{quote(action.name)}/approve/"
                + action.approval.token,
                "customData": action.spec.custom_data,
            },
        }

    def _context(self, action: ActionExecution) -> JsonObject:
        execution = action.execution
        context: JsonObject = {
            "pipelineName": execution.spec.name,
            "stage": {"name": action.stage_name},
            "action": {"name": action.name, "actionExecutionId": action.id},
        }
        if action.kind is not Kind.THIRD_PARTY:
            context["pipelineArn"] = (
                f"arn:aws:codepipeline:{self._world.region}:{action.account_id}:{execution.spec.name}"
            )
            context["pipelineExecutionId"] = execution.id
        return context

    def _artifacts(self, action: ActionExecution) -> JsonObject:
        spec = action.spec
        data: JsonObject = {
            "inputArtifacts": [_artifact(action, artifact) for artifact in spec.input_artifacts],
            "outputArtifacts": [_artifact(action, artifact) for artifact in spec.output_artifacts],
        }
        rule = self._world.knobs.artifact_credentials
        if rule == "always" or (rule == "with-artifacts" and (spec.input_artifacts or spec.output_artifacts)):
            data["artifactCredentials"] = self._issue_credentials(spec)
        if spec.encryption_key is not None:
            data["encryptionKey"] = {"id": spec.encryption_key, "type": "KMS"}
        return data

    def _issue_credentials(self, spec: ActionSpec) -> JsonObject:
        """Return keys for the buckets of the action's artifacts, good for a quarter of an hour."""
        number = len(self.credentials) + 1
        access_key = f"ASIAARTIFACT{number:08d}"
        credential = Credential(
            secret=f"artifact-secret-{number}",
            session_token=f"artifact-session-{number}",
            expires_at=self._world.now() + ARTIFACT_CREDENTIALS,
        )
        buckets = frozenset(artifact.bucket for artifact in (*spec.input_artifacts, *spec.output_artifacts))
        self.credentials[access_key] = ArtifactKey(credential, buckets)
        return {
            "accessKeyId": access_key,
            "secretAccessKey": credential.secret,
            "sessionToken": credential.session_token,
        }

    def _completed(self, data: JsonObject, job: Job) -> JsonObject:
        if job.continuation_token is not None:
            data["continuationToken"] = job.continuation_token
        return {name: value for name, value in data.items() if name not in self._world.knobs.omit_data}

    def _stage_state(self, pipeline: Pipeline, stage: StageSpec) -> JsonObject:
        latest = _latest_in(pipeline, stage)
        return without_none(
            {
                "stageName": stage.name,
                "inboundTransitionState": {"enabled": True},
                "actionStates": [self._action_state(pipeline, stage, spec) for spec in stage.actions],
                "latestExecution": None
                if latest is None
                else {"pipelineExecutionId": latest.id, "status": _stage_status(latest, stage)},
            }
        )

    def _action_state(self, pipeline: Pipeline, stage: StageSpec, spec: ActionSpec) -> JsonObject:
        actions = [
            action
            for execution in pipeline.executions
            for action in execution.actions
            if (action.stage_name, action.name) == (stage.name, spec.name)
        ]
        latest = max(actions, key=lambda action: action.number, default=None)
        is_parallel_approval = spec.action_type.kind is Kind.APPROVAL and pipeline.spec.mode == "PARALLEL"
        if is_parallel_approval and self._world.knobs.parallel_state == "hidden":
            latest = None
        registered = self._jobs.types.get(spec.action_type.key)
        return without_none(
            {
                "actionName": spec.name,
                "currentRevision": None if latest is None else _revision(latest),
                "latestExecution": None if latest is None else self._action_execution(latest),
                "entityUrl": registered and fill_url(registered.entity_url_template, spec.configuration),
            }
        )

    def _action_execution(self, action: ActionExecution) -> JsonObject:
        shows_token = action.is_open and action.execution.spec.mode != "PARALLEL"
        return without_none(
            {
                "actionExecutionId": action.id,
                "status": action.status,
                "summary": action.summary,
                "lastStatusChange": seconds(action.updated_at),
                "token": action.token if shows_token else None,
                "lastUpdatedBy": action.updated_by,
                "externalExecutionId": action.external_execution_id,
                "externalExecutionUrl": self._execution_url(action),
                "percentComplete": action.percent_complete,
                "errorDetails": error_details(action),
            }
        )

    def _execution_url(self, action: ActionExecution) -> str | None:
        registered = self._jobs.types.get(action.spec.action_type.key)
        if registered is None:
            return None
        return fill_url(registered.execution_url_template, action.spec.configuration, action.external_execution_id)


def seconds(moment: datetime) -> float:
    return round(moment.timestamp(), 3)


def without_none(value: JsonObject) -> JsonObject:
    """Drop the members that have no value: the service leaves them out."""
    return {name: member for name, member in value.items() if member is not None}


def _object_key(action: ActionExecution, artifact: Artifact) -> str:
    return artifact.key or f"{action.execution.spec.name}/{artifact.name}/{action.execution.id[:7]}"


def _artifact(action: ActionExecution, artifact: Artifact) -> JsonObject:
    location = {"bucketName": artifact.bucket, "objectKey": _object_key(action, artifact)}
    return without_none(
        {"name": artifact.name, "revision": artifact.revision, "location": {"type": "S3", "s3Location": location}}
    )


def _artifact_detail(action: ActionExecution, artifact: Artifact) -> JsonObject:
    return {"name": artifact.name, "s3location": {"bucket": artifact.bucket, "key": _object_key(action, artifact)}}


def error_details(action: ActionExecution) -> JsonObject | None:
    """Return `{code, message}` of a failed action."""
    if action.error_code is None:
        return None
    return {"code": action.error_code, "message": action.error_message}


def _revision(action: ActionExecution) -> JsonObject | None:
    revision = action.current_revision
    if revision is None:
        return None
    return {
        "revisionId": revision["revision"],
        "revisionChangeId": revision["changeIdentifier"],
        "created": revision.get("created", seconds(action.updated_at)),
    }


def _latest_in(pipeline: Pipeline, stage: StageSpec) -> PipelineExecution | None:
    names = ((execution, {action.stage_name for action in execution.actions}) for execution in pipeline.executions)
    return max(
        (execution for execution, stages in names if stage.name in stages),
        key=lambda execution: max(a.number for a in execution.actions if a.stage_name == stage.name),
        default=None,
    )


def _stage_status(execution: PipelineExecution, stage: StageSpec) -> str:
    """Return the status of a stage that *execution* has entered: its own, or Succeeded once it has left."""
    if execution.spec.stages[execution.stage].name != stage.name:
        return "Succeeded"
    if execution.status is ExecutionStatus.SUPERSEDED:  # no status of a stage
        return "Stopped"
    return execution.status
