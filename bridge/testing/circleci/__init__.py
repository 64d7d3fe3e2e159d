"""An emulator of CircleCI: API v2 and outbound webhooks, written from the documented contract.

In a test's own process:

    circleci = CircleciEmulator(hold_delay_s=0.1)
    async with circleci.serve() as url:
        pipeline = circleci.start_pipeline(
            project="gh/acme/app",
            workflows=[{"name": "build", "jobs": [{"name": "wait", "type": "approval"}]}],
        )
        job = pipeline.workflow("build").job("wait")
        await circleci.wait_until(lambda: job.status == "success")

As a process of its own: `python -m bridge.testing.circleci --port 0`; the calls are listed in `control.py`.

    specs     configs as data                  engine    what makes workflows move
    knobs     every switch                     world     projects, users, pipelines
    model     statuses and what follows        gate      tokens, limits, error bodies
    agenda    what happens by itself           api, approving, triggering, views, paging   the endpoints
    payloads, webhooks   what is sent          control   steering over HTTP
"""

from bridge.testing.circleci.emulator import BOT, HUMAN, PROJECT_TOKEN, READ_TOKEN, TOKEN, CircleciEmulator
from bridge.testing.circleci.knobs import Knobs
from bridge.testing.circleci.specs import JobSpec, PipelineSpec, ProjectSpec, WorkflowSpec

__all__ = [
    "BOT",
    "HUMAN",
    "PROJECT_TOKEN",
    "READ_TOKEN",
    "TOKEN",
    "CircleciEmulator",
    "JobSpec",
    "Knobs",
    "PipelineSpec",
    "ProjectSpec",
    "WorkflowSpec",
]
