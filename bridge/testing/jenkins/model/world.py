"""One Jenkins: its jobs, builds, queue, accounts and switches, and whether it is up."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bridge.testing.jenkins.model.accounts import Security, User, default_users
from bridge.testing.jenkins.model.agenda import Agenda
from bridge.testing.jenkins.model.builds import Build, Record
from bridge.testing.jenkins.model.frames import earliest
from bridge.testing.jenkins.model.inputs import Answer, InputExecution
from bridge.testing.jenkins.model.jobs import Job, JobSpec, Names, names_of, path_of
from bridge.testing.jenkins.model.program import Program
from bridge.testing.jenkins.model.script import Script, Step
from bridge.testing.jenkins.model.switches import Switches
from bridge.testing.jenkins.model.waiting import ItemState, Queue, QueueItem


class Phase(StrEnum):
    UP = "up"
    STARTING = "starting"
    RESTARTING = "restarting"


@dataclass(frozen=True)
class Triggered:
    """What a trigger did. `item`: None when a decision handler refused; `is_merged`: the item was there before."""

    item: QueueItem | None
    is_merged: bool = False


@dataclass(eq=False)
class World:
    """All state. advance() must follow each change; time is what `clock` says, in seconds since 1970."""

    record: Record
    clock: Callable[[], float]
    switches: Switches = field(default_factory=Switches)
    security: Security = field(default_factory=lambda: Security(default_users()))
    jobs: dict[Names, Job] = field(default_factory=dict)
    queue: Queue = field(default_factory=Queue)
    agenda: Agenda = field(default_factory=Agenda)
    is_quieting_down: bool = False
    phase: Phase = Phase.UP
    up_at: float | None = None
    requests_until_up: int | None = None
    advanced_at: float = 0.0
    session: str = ""
    """`X-Jenkins-Session`: changes at each start."""

    def __post_init__(self) -> None:
        self.session = secrets.token_hex(4)

    # ---- jobs and builds

    def add_job(self, spec: JobSpec) -> Job:
        """Add a job, or configure an existing one anew."""
        names = names_of(spec.name)
        job = self.jobs.setdefault(names, Job(names, spec))
        job.spec = spec
        return job

    def job(self, name: str) -> Job:
        """Return the job of this path or full name; one that is missing is made, without configuration."""
        names = names_of(name)
        return self.jobs.get(names) or self.add_job(JobSpec(name=path_of(names)))

    def is_folder(self, names: Names) -> bool:
        return any(len(each) > len(names) and each[: len(names)] == names for each in self.jobs)

    def builds(self) -> Iterator[Build]:
        for job in list(self.jobs.values()):
            yield from list(job.builds.values())

    def build(self, job: str, number: int) -> Build | None:
        known = self.jobs.get(names_of(job))
        return known.builds.get(number) if known else None

    def run_exists(self, run: str) -> bool:
        """Say whether there is a run of this name: `team/app#12`."""
        job, _, number = run.rpartition("#")
        known = self.jobs.get(tuple(job.split("/")))
        return known is not None and number.isascii() and number.isdigit() and int(number) in known.builds

    def delete(self, build: Build) -> None:
        """Delete a build; it does nothing any more."""
        build.is_deleted = True
        self.job(build.path.rpartition("/")[0]).builds.pop(build.number, None)

    def start(
        self, job: Job, script: Script | Sequence[Step], parameters: dict[str, Any], queue_id: int | None = None
    ) -> Build:
        """Start a build of *job* now."""
        number = job.next_number
        job.next_number += 1
        build = Build(
            job=job.full_name,
            path=f"{job.path}/{number}",
            number=number,
            queue_id=self.queue.new_id() if queue_id is None else queue_id,
            started_at=self.clock(),
            program=Program.of(tuple(script)),
            record=self.record,
            touch=self.agenda.touch,
            switches=self.switches,
            parameters=parameters,
        )
        job.builds[number] = build
        self.agenda.touch(build)
        self.record("build.started", build.path, queue_id=build.queue_id, parameters=parameters)
        return build

    def answer(self, build: Build, execution: InputExecution, answer: Answer) -> None:
        """Answer an input; with the switch `lose_answers` a crash follows at once and takes the answer."""
        build.answer(execution, answer, self.clock())
        if self.switches.lose_answers > 0:
            self.switches.lose_answers -= 1
            build.lose_answer()
            self.restart()

    # ---- the queue

    def trigger(self, job: Job, parameters: dict[str, Any], quiet_s: float | None) -> Triggered:
        """Put *job* into the queue."""
        if job.spec.refuses:
            return Triggered(None)
        twin = self.queue.twin(job, parameters)
        if twin is not None:
            return Triggered(twin, is_merged=True)
        quiet = self.switches.quiet_period_s if quiet_s is None else quiet_s
        item = self.queue.add(job, parameters, self.clock(), quiet)
        self.record("queue.entered", job.path, queue_id=item.id, parameters=parameters)
        return Triggered(item)

    def cancel(self, item: QueueItem) -> None:
        self.queue.leave(item, self.clock(), is_cancelled=True)
        self.record("queue.cancelled", item.job.path, queue_id=item.id)

    # ---- up and down

    def restart(self, *, for_s: float = 0.0, requests: int = 0) -> None:
        """Restart: sessions, crumbs and left queue items are gone, builds stay where they are.

        It answers 503 for *for_s* seconds, and then for what is left of the next *requests* requests.
        """
        self.session = secrets.token_hex(4)
        self.security.renew()
        self.queue.restart(keeps_waiting=self.switches.queue_survives_restart)
        self.is_quieting_down = False
        if for_s or requests:
            self.phase = Phase.RESTARTING
            self.up_at = self.clock() + for_s
            self.requests_until_up = requests

    def crash(self, *, lose_answers: bool, for_s: float = 0.0, requests: int = 0) -> None:
        """Restart without warning; with *lose_answers* each build is back before its newest answer."""
        if lose_answers:
            for build in self.builds():
                build.lose_answer()
        self.restart(for_s=for_s, requests=requests)

    def hold(self, phase: Phase) -> None:
        """Stay in *phase* until the next call."""
        self.phase, self.up_at, self.requests_until_up = phase, None, None

    def phase_for_request(self) -> Phase:
        """Return the phase that a request which has just arrived meets; it counts when it is not served."""
        met = self.phase
        if met is not Phase.UP and self.requests_until_up:
            self.requests_until_up -= 1
            self._come_up()
        return met

    def _come_up(self) -> None:
        if self.up_at is not None and not self.requests_until_up and self.clock() >= self.up_at:
            self.hold(Phase.UP)

    # ---- time

    def advance(self) -> None:
        """Do everything that is due."""
        now = self.advanced_at = self.clock()
        self._come_up()
        if self.phase is not Phase.UP:
            return
        for item in self.queue.waiting():
            self._advance_item(item, now)
        for item in list(self.queue.open.values()):
            self._start_build(item, now)
        self.queue.forget(now, self.switches.queue_keep_s)
        for build in self.agenda.take_due(now):
            self._run(build, now)

    def _run(self, build: Build, now: float) -> None:
        """Run a build as far as it goes; while Jenkins quiets down only answered inputs go away."""
        build.clear_settled(now)
        if self.is_quieting_down:
            self.agenda.touch(build)
        else:
            build.advance(now)
            self.agenda.sleep(build)

    def _advance_item(self, item: QueueItem, now: float) -> None:
        if now < item.until:
            return
        if item.job.spec.blocked:
            item.wait(ItemState.BLOCKED, item.job.spec.blocked)
        elif self.is_quieting_down:
            item.wait(ItemState.BUILDABLE, "Jenkins is about to shut down")
        elif self.switches.executors_busy:
            item.wait(ItemState.BUILDABLE, "Waiting for next available executor")
        else:
            self.queue.leave(item, now)

    def _start_build(self, item: QueueItem, now: float) -> None:
        is_due = item.left_at is not None and now >= item.left_at + self.switches.left_without_build_s
        if is_due:
            item.build = self.start(item.job, item.job.spec.script, item.parameters, item.id)
            self.queue.close(item)

    def due(self) -> float | None:
        """Return when time alone next changes something that the last advance() found not due."""
        moments: list[float | None] = [self.agenda.due(), self.up_at]
        for item in self.queue.open.values():
            moments.append(item.until if not item.is_left else None)
            if item.left_at is not None:
                moments.append(item.left_at + self.switches.left_without_build_s)
        return earliest(moment for moment in moments if moment is not None and moment > self.advanced_at)

    # ---- accounts

    def add_user(self, user: User) -> None:
        """Add an account, or replace it; the one named `anonymous` is nobody's."""
        if user.is_anonymous:
            self.security.anonymous = user
        else:
            self.security.users[user.name] = user
