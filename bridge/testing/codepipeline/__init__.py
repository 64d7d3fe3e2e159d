"""AWS CodePipeline as a job worker sees it: jobs, third-party jobs, approvals, in memory and on loopback."""

from bridge.testing.codepipeline.emulator import CodepipelineEmulator
from bridge.testing.codepipeline.knobs import Knobs
from bridge.testing.codepipeline.spec import (
    ActionSpec,
    ActionType,
    ActionTypeId,
    Artifact,
    Credential,
    PipelineSpec,
    StageSpec,
)
from bridge.testing.codepipeline.state import (
    ActionExecution,
    ActionStatus,
    ExecutionStatus,
    Job,
    JobState,
    PipelineExecution,
)

__all__ = [
    "ActionExecution",
    "ActionSpec",
    "ActionStatus",
    "ActionType",
    "ActionTypeId",
    "Artifact",
    "CodepipelineEmulator",
    "Credential",
    "ExecutionStatus",
    "Job",
    "JobState",
    "Knobs",
    "PipelineExecution",
    "PipelineSpec",
    "StageSpec",
]
