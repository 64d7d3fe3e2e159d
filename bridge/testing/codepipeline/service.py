"""The parts of the model put together, with the rule that time is settled before anything is asked."""

from collections.abc import Mapping
from datetime import datetime

from bridge.testing.codepipeline.approvals import Approvals
from bridge.testing.codepipeline.errors import ServiceError, action_type_not_found, invalid, job_not_found
from bridge.testing.codepipeline.jobs import Jobs
from bridge.testing.codepipeline.pipelines import Pipelines
from bridge.testing.codepipeline.results import Results
from bridge.testing.codepipeline.spec import ActionType, Kind, PipelineSpec, type_key
from bridge.testing.codepipeline.state import ActionExecution, ActionStatus, Caller, Job, PipelineExecution
from bridge.testing.codepipeline.world import World


class Service:
    """One Region's CodePipeline, without wire and without I/O."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs = Jobs(world, self._finish)
        self.pipelines = Pipelines(world, self._open, self.jobs.close_of)
        self.results = Results(world, self.jobs, self._finish)
        self.approvals = Approvals(world, self.pipelines)

    def register(self, action_type: ActionType) -> None:
        """Make an action type available, or change it."""
        self.jobs.types[action_type.key] = action_type

    def start(self, spec: PipelineSpec) -> PipelineExecution:
        """Define *spec* and start it; raises LookupError for a client that is not connected."""
        self.world.settle()
        for action in (action for stage in spec.stages for action in stage.actions):
            if action.client_id is not None and action.client_id not in self.jobs.client_tokens:
                raise LookupError(f"no client token is registered for client {action.client_id}")
            if action.action_type.key not in self.jobs.types:
                self.register(ActionType(**action.action_type.model_dump()))
        return self.pipelines.start(self.pipelines.define(spec))

    def poll(self, caller: Caller, key: type_key, limit: int | None, query: Mapping[str, str]) -> list[tuple[Job, str]]:
        """Hand out custom jobs of the caller's account, each with a nonce.

        Raises ValidationException and ActionTypeNotFoundException.
        """
        if key[1] != "Custom":
            raise invalid("PollForJobs is valid only for action types with Custom in the owner field")
        registered = self._registered(key)
        if self.world.knobs.query_param == "documented":
            _refuse_query(registered, query)

        def is_wanted(job: Job) -> bool:
            configuration = job.action.spec.configuration
            is_own = job.action.account_id == caller.account_id
            return is_own and all(configuration.get(name) == value for name, value in query.items())

        found = self.jobs.poll(key, limit, is_wanted)
        return [(job, self.jobs.issue_nonce(job, again=bool(job.winners))) for job in found]

    def poll_third_party(self, caller: Caller, key: type_key, limit: int | None) -> list[Job]:
        """Hand out third-party jobs of any account.

        Raises ValidationException, ActionTypeNotFoundException and, for a caller who may not poll, AccessDeniedException.
        """
        if key[1] != "ThirdParty":
            raise invalid("PollForThirdPartyJobs is valid only for action types with ThirdParty in the owner field")
        accounts = self._registered(key).polling_accounts
        if accounts and caller.account_id not in accounts:
            raise ServiceError("AccessDeniedException", f"{caller.arn} may not poll for this action type")
        return self.jobs.poll(key, limit, lambda _job: True)

    def third_party_details(self, job_id: str, client_token: str) -> tuple[Job, str]:
        """Return a job with a nonce for it.

        Raises InvalidJobException for a job of another kind, JobNotFoundException, InvalidClientTokenException.
        """
        if self.jobs.is_custom(job_id):
            raise ServiceError("InvalidJobException", "The job is not one of a third-party action")
        job = self.jobs.find_third_party(job_id, client_token)
        return job, self.jobs.issue_nonce(job, again=bool(job.winners) and self.world.knobs.redeliver_acknowledged)

    def find_to_acknowledge(self, caller: Caller, job_id: str) -> Job:
        """Return a custom job; raises JobNotFoundException, also for a Lambda job: those are not acknowledged."""
        job = self.jobs.find_own(caller, job_id)
        if job.action.kind is Kind.LAMBDA:
            raise job_not_found(job_id)
        return job

    def action(self, action_execution_id: str) -> ActionExecution:
        """Raises LookupError."""
        for execution in self.pipelines.executions:
            for action in execution.actions:
                if action.id == action_execution_id:
                    return action
        raise LookupError(f"no action execution {action_execution_id}")

    def _registered(self, key: type_key) -> ActionType:
        found = self.jobs.types.get(key)
        if found is None:
            raise action_type_not_found(key)
        return found

    def _open(self, action: ActionExecution, at: datetime) -> None:
        if action.kind is Kind.APPROVAL:
            self.approvals.open(action, at)
        else:
            self.jobs.open(action, at)

    def _finish(self, action: ActionExecution, status: ActionStatus, at: datetime) -> None:
        self.pipelines.finish(action, status, at)


def _refuse_query(action_type: ActionType, query: Mapping[str, str]) -> None:
    wanted: set[str] = set() if action_type.queryable is None else {action_type.queryable}
    if set(query) != wanted:
        names = ", ".join(sorted(wanted)) or "no property"
        raise invalid(f"queryParam must name the queryable property of the action type: {names}")
