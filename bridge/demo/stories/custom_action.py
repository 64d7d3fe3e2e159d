"""A CodePipeline custom-action job waits for a load test: it hears of progress, then the result, or a failure with its type.

    job worker: PollForJobs, AcknowledgeJob, POST /v1/waits {job_id}, then the load test is started with the callback URL

The load test needs no AWS credential: its JSON fields `summary external_execution_id output_variables failure_type` become
the job's result.
"""

import json
from collections.abc import Sequence
from typing import Any

from aiobotocore.session import get_session

from bridge.demo.promises import Promise
from bridge.demo.setting import AWS_KEY_ID, AWS_REGION, AWS_SECRET
from bridge.demo.stage import Stage, Wait
from bridge.testing.codepipeline import PipelineExecution

ABOUT = (
    "A job of a custom action waits for a load test, which reports its progress, then its result: "
    "summary, execution id and output variables reach the pipeline."
)
ABOUT_FAILURE = "The same with a load test that fails: the job fails with the type and the words of the remote."

ACTION_TYPE = {"category": "Test", "owner": "Custom", "provider": "LoadTest", "version": "1"}
PROGRESS = '{"percent": 40, "message": "160 of 400 users"}'
SUCCESS = """\
{"summary": "p95 182 ms at 400 users",
 "external_execution_id": "run-4711",
 "output_variables": {"P95_MS": "182", "USERS": "400"}}"""
FAILURE = """\
{"summary": "there is no test plan named soak",
 "external_execution_id": "run-4712",
 "failure_type": "ConfigurationError"}"""


async def play_success(stage: Stage) -> Sequence[Promise]:
    execution, wait = await _start(stage, "release")
    await stage.pass_time()
    await stage.curl("load test", "-d", PROGRESS, f"{wait.callback_url}/progress")
    await stage.until(lambda: wait.seen["progress"]["percent"] is not None, "the progress on the wait")
    shown = wait.seen["progress"]
    stage.say("bridge", f"GET /v1/waits/{wait.id[:6]}… shows {shown['percent']} %: {shown['message']}")

    await stage.pass_time()
    await stage.curl("load test", "-d", SUCCESS, wait.callback_url)
    await stage.until_over(wait)
    result = json.loads(SUCCESS)
    return [
        _promise(
            execution,
            wait,
            outcome="succeeded",
            result="succeeded, with summary, id and variables",
            kind="job.succeeded",
            detail={
                "summary": result["summary"],
                "externalExecutionId": result["external_execution_id"],
                "outputVariables": result["output_variables"],
            },
            end="Succeeded",
        )
    ]


async def play_failure(stage: Stage) -> Sequence[Promise]:
    execution, wait = await _start(stage, "hotfix")
    await stage.pass_time()
    await stage.curl("load test", "-d", FAILURE, f"{wait.callback_url}/failed")
    await stage.until_over(wait)
    result = json.loads(FAILURE)
    return [
        _promise(
            execution,
            wait,
            outcome="failed",
            result="failed, ConfigurationError",
            kind="job.failed",
            detail={
                "failureType": result["failure_type"],
                "failureMessage": result["summary"],
                "externalExecutionId": result["external_execution_id"],
            },
            end="Failed",
        )
    ]


async def _start(stage: Stage, pipeline: str) -> tuple[PipelineExecution, Wait]:
    """Start *pipeline*, and do what its job worker does: take the job, open a wait for it."""
    action_type = "/".join(ACTION_TYPE.values())
    execution = stage.codepipeline.start_execution(pipeline, "LoadTest", action_type=action_type)
    job_id = await _take_job(stage)
    stage.say("CodePipeline", f"pipeline {pipeline}: action LoadTest has a job; its worker acknowledges it")
    wait = await stage.open_wait("codepipeline", {"job_id": job_id}, timeout="2h")
    stage.say("CodePipeline", "the worker opens a wait for the job, and starts the load test with the callback URL")
    return execution, wait


async def _take_job(stage: Stage) -> str:
    """Poll and acknowledge as any job worker of a custom action; return the job's id."""
    async with get_session().create_client(
        "codepipeline",
        region_name=AWS_REGION,
        endpoint_url=stage.codepipeline.base_url,
        aws_access_key_id=AWS_KEY_ID,
        aws_secret_access_key=AWS_SECRET,
    ) as client:
        [job] = (await client.poll_for_jobs(actionTypeId=ACTION_TYPE, maxBatchSize=1))["jobs"]
        await client.acknowledge_job(jobId=job["id"], nonce=job["nonce"])
        return str(job["id"])


def _promise(execution: PipelineExecution, wait: Wait, **more: Any) -> Promise:
    return Promise(
        pipeline=f"CodePipeline {execution.spec.name}",
        wait=wait.id,
        subjects=frozenset(job.id for job in execution.action.jobs),
        ended=lambda: str(execution.status),
        **more,
    )
