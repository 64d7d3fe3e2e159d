"""Jobs: made, handed out, acknowledged, timed out. What a result does to one stands in results.py."""

import hmac
from collections.abc import Callable
from datetime import datetime, timedelta

from bridge.testing.codepipeline.errors import invalid_client_token, invalid_nonce, job_not_found
from bridge.testing.codepipeline.spec import ActionType, Kind, type_key
from bridge.testing.codepipeline.state import ActionExecution, ActionStatus, Caller, Job, JobState
from bridge.testing.codepipeline.world import World

Finish = Callable[[ActionExecution, ActionStatus, datetime], None]


class Jobs:
    """Owns every job and what may be done with it before its result."""

    def __init__(self, world: World, finish: Finish) -> None:
        self._world = world
        self._finish = finish
        self._jobs: dict[str, Job] = {}
        self._open: dict[type_key, dict[str, Job]] = {}
        self.types: dict[type_key, ActionType] = {}
        """Action types registered in this Region."""
        self.client_tokens: dict[str, str] = {}
        """Third-party connections: clientId to clientToken."""
        self.invocations: list[Job] = []
        """Lambda jobs in the order in which the function was invoked with them."""

    def open(self, action: ActionExecution, at: datetime) -> None:
        """Make the first job of *action* and start the clock of the action."""
        self._make(action, None, at, at)
        limit = self._action_timeout_s(action)
        if limit is not None:
            self._world.agenda.add(at + timedelta(seconds=limit), lambda when: self._time_out_action(action, when))

    def follow_up(self, action: ActionExecution, continuation_token: str, at: datetime) -> None:
        """Make the job that carries *continuation_token*; it can be had after the delay."""
        delay = timedelta(seconds=self._world.knobs.follow_up_delay_s)
        self._make(action, continuation_token, at, at + delay)

    def close(self, job: Job, state: JobState, at: datetime) -> None:
        """End *job*: it is never handed out again."""
        job.state, job.closed_at = state, at
        self._open.get(job.action.spec.action_type.key, {}).pop(job.id, None)

    def close_of(self, action: ActionExecution, at: datetime) -> None:
        """End the open job of an abandoned action."""
        if action.jobs and not action.job.state.is_final:
            self.close(action.job, JobState.FAILED, at)

    def find(self, job_id: str, *kinds: Kind) -> Job:
        """Return a job of one of *kinds*; raises JobNotFoundException, also for one finished too long ago."""
        job = self._jobs.get(job_id)
        if job is None or job.action.kind not in kinds:
            raise job_not_found(job_id)
        if self._is_forgotten(job):
            raise job_not_found(job_id)
        return job

    def find_own(self, caller: Caller, job_id: str) -> Job:
        """Return a custom or Lambda job of the caller's account; raises JobNotFoundException."""
        job = self.find(job_id, Kind.CUSTOM, Kind.LAMBDA)
        if job.action.account_id != caller.account_id:
            raise job_not_found(job_id)
        return job

    def find_third_party(self, job_id: str, client_token: str) -> Job:
        """Return a third-party job; raises JobNotFoundException, InvalidClientTokenException."""
        job = self.find(job_id, Kind.THIRD_PARTY)
        expected = self.client_tokens.get(job.action.spec.client_id or "", "")
        if not expected or not hmac.compare_digest(expected.encode(), client_token.encode()):
            raise invalid_client_token()
        return job

    def is_custom(self, job_id: str) -> bool:
        return job_id in self._jobs and self._jobs[job_id].action.kind is not Kind.THIRD_PARTY

    def poll(self, key: type_key, limit: int | None, wanted: Callable[[Job], bool]) -> list[Job]:
        """Hand out at most *limit* jobs of a type, oldest first; each is dispatched, without a nonce yet."""
        now = self._world.now()
        found: list[Job] = []
        for job in self._open.get(key, {}).values():
            if len(found) == (limit or self._world.knobs.default_batch_size):
                break
            if wanted(job) and self._is_visible(job, now):
                found.append(job)
        for job in found:
            job.dispatched_at = now
            if job.state is JobState.QUEUED:
                job.state = JobState.DISPATCHED
        return found

    def issue_nonce(self, job: Job, *, again: bool = False) -> str:
        """Return a nonce for *job*. *again*: one that acknowledges a job that was acknowledged before."""
        if self._world.knobs.nonce == "per-job" and job.nonces:
            return job.nonces[0]
        nonce = self._world.ids.nonce()
        job.nonces.append(nonce)
        if again:
            job.reissued.add(nonce)
        return nonce

    def acknowledge(self, job: Job, nonce: str) -> JobState:
        """Give *job* to whoever sent *nonce*, and return its state; raises InvalidNonceException.

        A job that has ended stays so: its state tells the caller to do nothing.
        """
        if nonce not in job.nonces or not self._may_win(job, nonce):
            raise invalid_nonce()
        if not job.state.is_final:
            job.state = JobState.IN_PROGRESS
            job.winners.append(nonce)
        return job.state

    def _is_forgotten(self, job: Job) -> bool:
        limit = self._world.knobs.finished_known_s
        if limit is None or job.closed_at is None:
            return False
        return self._world.now() > job.closed_at + timedelta(seconds=limit)

    def _may_win(self, job: Job, nonce: str) -> bool:
        if nonce in job.winners:
            return self._world.knobs.repeat_acknowledge == "status"
        if job.winners:
            return nonce in job.reissued
        return self._world.knobs.older_nonces_win or nonce == job.nonces[-1]

    def _is_visible(self, job: Job, now: datetime) -> bool:
        knobs = self._world.knobs
        if job.state is JobState.CREATED:
            return False
        if job.state is JobState.QUEUED:
            return True
        if job.state is JobState.IN_PROGRESS and not knobs.redeliver_acknowledged:
            return False
        if job.state is JobState.DISPATCHED and knobs.same_job_to_two_polls:
            return True
        if knobs.visibility_s is None or job.dispatched_at is None:
            return False
        return now >= job.dispatched_at + timedelta(seconds=knobs.visibility_s)

    def _make(self, action: ActionExecution, token: str | None, at: datetime, available_at: datetime) -> None:
        job = Job(self._new_id(action.kind), action, token, at)
        self._jobs[job.id] = job
        action.jobs.append(job)
        if available_at <= at:
            self._queue(job, at)
        else:
            self._world.agenda.add(available_at, lambda when: self._queue(job, when))

    def _queue(self, job: Job, at: datetime) -> None:
        if job.state is not JobState.CREATED:
            return  # abandoned or timed out during the delay
        if job.action.kind is Kind.LAMBDA:
            job.state, job.dispatched_at = JobState.DISPATCHED, at
            self.invocations.append(job)
        else:
            job.state = JobState.QUEUED
            self._open.setdefault(job.action.spec.action_type.key, {})[job.id] = job
        limit = self._job_timeout_s(job.action)
        if limit is not None:
            self._world.agenda.add(at + timedelta(seconds=limit), lambda when: self._time_out(job, when))

    def _new_id(self, kind: Kind) -> str:
        if kind is Kind.THIRD_PARTY and self._world.knobs.third_party_id == "base64":
            return self._world.ids.long_text()
        return self._world.ids.uuid()

    def _action_timeout_s(self, action: ActionExecution) -> float | None:
        knobs = self._world.knobs
        match action.kind:
            case Kind.CUSTOM:
                return action.spec.timeout_s or knobs.custom_action_timeout_s
            case Kind.LAMBDA:
                return action.spec.timeout_s or knobs.lambda_action_timeout_s
            case _:  # a third-party action may have any number of jobs, each with its own limit
                return None

    def _job_timeout_s(self, action: ActionExecution) -> float | None:
        knobs = self._world.knobs
        match action.kind:
            case Kind.THIRD_PARTY:
                registered = self.types.get(action.spec.action_type.key)
                own = None if registered is None else registered.job_timeout_s
                return action.spec.timeout_s or own or knobs.third_party_job_timeout_s
            case Kind.LAMBDA:
                return knobs.lambda_reply_timeout_s
            case _:
                return None

    def _time_out_action(self, action: ActionExecution, at: datetime) -> None:
        if action.is_open:
            self._time_out(action.job, at)

    def _time_out(self, job: Job, at: datetime) -> None:
        if job.state.is_final:
            return
        self.close(job, JobState.TIMED_OUT, at)
        job.action.error_code, job.action.error_message = "TimedOut", "The action did not end in its time"
        self._finish(job.action, ActionStatus.FAILED, at)
