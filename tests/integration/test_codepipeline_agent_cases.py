"""The cases of the CodePipeline contract that the agent sees, by number, against the emulator over HTTP."""

from pathlib import Path

from tests.support.codepipeline_agent import stage


async def test_codepipeline_case_01_a_held_job_gets_its_result_once(tmp_path: Path) -> None:
    """Job A starts the remote's work and links it, job B is held; the webhook puts one final result on B."""
    async with stage(tmp_path) as one, one.bridge() as bridge:
        execution = one.begin(configuration={"Project": "demo", "Secret": "s3cret"})
        job = await one.held(execution)
        assert one.names() == ["AcknowledgeJob", "PutJobSuccessResult", "AcknowledgeJob"]
        (run,) = one.remote.runs.values()
        assert run["configuration"] == {"Project": "demo"}
        assert execution.action.external_execution_id == "run-1"
        await one.answer(bridge, summary="3 of 3 passed", output_variables={"Runs": "3"})
        await one.until(lambda: execution.status == "Succeeded")
        assert one.effects[-1] == ("job.succeeded", job)
        assert one.names()[3:] == ["PutJobSuccessResult"]
        _, members = one.operations()[-1]
        assert members == {
            "jobId": job,
            "executionDetails": {
                "summary": "3 of 3 passed",
                "percentComplete": 100,
                "externalExecutionId": "run-1",
            },
            "outputVariables": {"Runs": "3"},
        }
