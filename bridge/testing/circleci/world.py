"""The whole platform as data: projects, users, pipelines; every change goes through here, with the time given."""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from bridge.testing.circleci.agenda import Agenda
from bridge.testing.circleci.engine import Engine, Fact
from bridge.testing.circleci.knobs import Knobs
from bridge.testing.circleci.model import Job, Pipeline, Project, User, Workflow, api_slug, fixed_id, new_id
from bridge.testing.circleci.specs import PipelineError, PipelineSpec, ProjectSpec, WorkflowSpec


class Unknown(LookupError):
    """Nothing has that id; `entity` names what was looked for."""

    def __init__(self, entity: str) -> None:
        super().__init__(f"{entity} not found")
        self.entity = entity


class ContinueRefused(Exception):
    """A continuation that is not made. `knob`: the switch that holds the status answered."""

    def __init__(self, knob: str, message: str) -> None:
        super().__init__(message)
        self.knob = knob


class World:
    """Everything there is. Call advance() with the time before each look or change."""

    def __init__(self, knobs: Knobs, now: datetime, tell: Callable[[Fact], None]) -> None:
        self.knobs = knobs
        self.agenda = Agenda(now)
        self.engine = Engine(self.agenda, knobs, tell)
        self.projects: dict[str, Project] = {}
        self.pipelines: dict[str, Pipeline] = {}
        self.users: dict[str, User] = {}
        self._tell = tell

    @property
    def now(self) -> datetime:
        return self.agenda.now

    def advance(self, now: datetime) -> None:
        """Let everything happen that is due at *now*."""
        self.agenda.run(now)

    # --- who and where

    def user(self, login: str) -> User:
        """Return the user of that login; a new login makes a new user, always under the same id."""
        known = next((user for user in self.users.values() if user.login == login), None)
        if known is None:
            known = User(fixed_id("user", login), login, login.replace("-", " ").title())
            self.users[known.id] = known
        return known

    def add_project(self, spec: ProjectSpec) -> Project:
        """Add a project or change what a known one runs."""
        slug = api_slug(spec.slug)
        if slug.count("/") != 2:  # noqa: PLR2004 - provider/organization/project
            raise ValueError(f"a project slug has three parts: {slug}")
        spec = spec.model_copy(update={"slug": slug})
        project = self.projects.setdefault(slug, Project(spec))
        project.spec = spec
        return project

    # --- find

    def project(self, slug: str) -> Project:
        project = self.projects.get(api_slug(slug))
        if project is None:
            raise Unknown("Project")
        return project

    def pipeline(self, identifier: str) -> Pipeline:
        pipeline = self.pipelines.get(identifier)
        if pipeline is None:
            raise Unknown("Pipeline")
        return pipeline

    def workflow(self, identifier: str) -> Workflow:
        workflow = self.engine.workflows.get(identifier)
        if workflow is None:
            raise Unknown("Workflow")
        return workflow

    def job(self, identifier: str) -> tuple[Workflow, Job]:
        found = self.engine.jobs.get(identifier)
        if found is None:
            raise Unknown("Job")
        return found

    def job_by_number(self, project: Project, number: int) -> tuple[Workflow, Job]:
        for pipeline in project.pipelines:
            for workflow in pipeline.workflows:
                for job in workflow.jobs:
                    if job.number == number:
                        return workflow, job
        raise Unknown("Job")

    # --- start

    def start_pipeline(self, spec: PipelineSpec) -> Pipeline:
        """Start a pipeline; its workflows appear after `pipeline_appear_delay_s`."""
        slug = api_slug(spec.project)
        project = self.projects.get(slug) or self.add_project(ProjectSpec(slug=slug))
        pipeline = self._new_pipeline(project, spec)
        project.pipelines.append(pipeline)
        self.pipelines[pipeline.id] = pipeline
        self._tell(Fact("pipeline.created", pipeline.id, self.now, detail={"project": project.slug, "by": spec.by}))
        if not spec.errors:
            self._appear_later(pipeline, spec.workflows, state="setup" if spec.is_setup else "created")
        return pipeline

    def _new_pipeline(self, project: Project, spec: PipelineSpec) -> Pipeline:
        waiting = "setup-pending" if spec.is_setup else "pending"
        return Pipeline(
            id=new_id(),
            number=len(project.pipelines) + 1,
            project=project,
            created_at=self.now,
            updated_at=self.now,
            started_by=self.user(spec.by),
            trigger_type=spec.trigger_type,
            state="errored" if spec.errors else waiting,
            errors=list(spec.errors),
            parameters=dict(spec.parameters),
            branch=None if spec.tag else spec.branch,
            tag=spec.tag,
            continuation=list(spec.continuation),
            continuation_key=secrets.token_urlsafe(32),
        )

    def _appear_later(self, pipeline: Pipeline, workflows: Sequence[WorkflowSpec], *, state: str) -> None:
        def appear() -> None:
            pipeline.state, pipeline.updated_at = state, self.now
            for workflow in workflows:
                self.engine.start(pipeline, workflow, pipeline.started_by)

        if self.knobs.pipeline_appear_delay_s:
            self.agenda.after(self.knobs.pipeline_appear_delay_s, appear)
        else:
            appear()

    def trigger(self, project: Project, spec: PipelineSpec) -> Pipeline:
        """Start a pipeline of *project* with the project's own config; undeclared parameters end it as `errored`."""
        undeclared = sorted(set(spec.parameters) - set(project.spec.parameters))
        errors = [PipelineError(type="config", message=f"Unexpected argument(s): {', '.join(undeclared)}")]
        return self.start_pipeline(
            spec.model_copy(update={"workflows": project.spec.workflows, "errors": errors if undeclared else []})
        )

    # --- continue

    def continue_pipeline(
        self, key: str, workflows: Sequence[WorkflowSpec] | None, parameters: dict[str, Any]
    ) -> Pipeline:
        """Continue the setup pipeline of *key*, once, within `continuation_key_hours`.

        workflows: None: those that the pipeline was started with.

        Raises:
            ContinueRefused: unknown, expired or used key, not in setup, or conflicting parameters.
        """
        pipeline = next((one for one in self.pipelines.values() if one.continuation_key == key), None)
        if pipeline is None:
            raise ContinueRefused("on_continue_unknown_key", "Continuation key not found.")
        self._check_continue(pipeline, parameters)
        pipeline.is_continued = True
        pipeline.parameters |= parameters
        self._tell(Fact("pipeline.continued", pipeline.id, self.now, detail={"parameters": dict(parameters)}))
        self._appear_later(pipeline, pipeline.continuation if workflows is None else workflows, state="created")
        return pipeline

    def _check_continue(self, pipeline: Pipeline, parameters: dict[str, Any]) -> None:
        if pipeline.is_continued:
            raise ContinueRefused("on_continue_twice", "Pipeline has already been continued.")
        if self.now - pipeline.created_at >= timedelta(hours=self.knobs.continuation_key_hours):
            raise ContinueRefused("on_continue_expired", "Continuation key has expired. Please run a new pipeline.")
        if pipeline.state != "setup":
            raise ContinueRefused("on_continue_not_in_setup", "Pipeline is not in setup state.")
        if set(parameters) & set(pipeline.parameters):
            raise ContinueRefused("on_continue_conflict", "Conflicting pipeline parameters.")
