"""The stories, in the order in which they are told. A story plays on a stage and returns what its pipelines are owed."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from bridge.demo.promises import Promise
from bridge.demo.stage import Stage
from bridge.demo.stories import approval_chain, custom_action, farm, no_answer, review


class Story(NamedTuple):
    """title, about: for people. play: raises DemoError where something does not happen."""

    title: str
    about: str
    play: Callable[[Stage], Awaitable[Sequence[Promise]]]


STORIES = (
    Story("Jenkins: a test farm answers", farm.ABOUT, farm.play),
    Story("CircleCI: pipeline A waits for pipeline B", approval_chain.ABOUT, approval_chain.play_success),
    Story("CircleCI: pipeline B fails", approval_chain.ABOUT_FAILURE, approval_chain.play_failure),
    Story("CodePipeline: progress, then a result", custom_action.ABOUT, custom_action.play_success),
    Story("CodePipeline: a failure with its type", custom_action.ABOUT_FAILURE, custom_action.play_failure),
    Story("GitHub: a review answers a build", review.ABOUT, review.play),
    Story("Nobody calls back", no_answer.ABOUT, no_answer.play),
)
