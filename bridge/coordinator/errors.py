"""What the coordinator refuses, as it is answered."""

from bridge.core.problem import Problem


class Rejected(Exception):
    """A request that cannot be granted; carries the problem to answer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem
