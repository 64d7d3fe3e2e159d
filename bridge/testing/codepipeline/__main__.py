"""The emulator as a process: prints its base URL first, serves until it is ended."""

from bridge.testing.codepipeline import CodepipelineEmulator
from bridge.testing.emulator import main

main(CodepipelineEmulator)
