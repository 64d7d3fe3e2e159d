"""Takes AWS CodePipeline's jobs, starts the remote's work for them, and holds them until its webhook decides.

This module is the settings alone, so that every role reads the config without the database. Stations of a job:

    polling.py (or the API's hand-over) ─▶ caring.py: record, acknowledge, open a wait, start, put with a token ─▶ finishing.py
"""

from bridge.agents.codepipeline.settings import CodepipelineAgentSettings

SETTINGS = CodepipelineAgentSettings

__all__ = ["SETTINGS", "CodepipelineAgentSettings"]
