"""The CodePipeline emulator as Python object and command: it makes and steers executions, and holds the parts together."""

import argparse
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

from bridge.testing.codepipeline.clock import Clock, utc_now
from bridge.testing.codepipeline.control import Control
from bridge.testing.codepipeline.knobs import Knobs
from bridge.testing.codepipeline.operations import Operations
from bridge.testing.codepipeline.s3 import S3, StoredObject
from bridge.testing.codepipeline.service import Service
from bridge.testing.codepipeline.spec import (
    APPROVAL,
    CUSTOM,
    LAMBDA,
    THIRD_PARTY,
    ActionSpec,
    ActionType,
    ActionTypeId,
    Credential,
    PipelineSpec,
    StageSpec,
    parse_action_type,
)
from bridge.testing.codepipeline.state import ActionExecution, Job, PipelineExecution
from bridge.testing.codepipeline.sts import PATH as STS_PATH
from bridge.testing.codepipeline.sts import Role, Sts
from bridge.testing.codepipeline.views import JsonObject, Views
from bridge.testing.codepipeline.wire import CONTENT_TYPE, TARGET, Wire
from bridge.testing.codepipeline.world import Ids, World
from bridge.testing.emulator import Emulator, Fault, FaultKind

AnyActionType = ActionTypeId | str | dict[str, Any]


class CodepipelineEmulator(Emulator):
    """AWS CodePipeline as a job worker sees it, in one Region."""

    name = "codepipeline"

    def __init__(
        self,
        *,
        region: str = "eu-west-1",
        access_key: str = "AKIDEXAMPLE",
        secret: str = "secret",  # noqa: S107 - a dummy that clients of the emulator sign with
        account_id: str = "111122223333",
        action_types: Iterable[AnyActionType] = (CUSTOM, THIRD_PARTY, "Test/Custom/LoadTest/1"),
        clients: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] = utc_now,
        seed: int | None = None,
        **knobs: Any,
    ) -> None:
        """`clients`: third-party clientId to clientToken. `clock`: the time that advance() is added to. `knobs`: see Knobs."""
        super().__init__()
        self.region = region
        self.credentials = {access_key: Credential(secret=secret)}
        world = World(region, account_id, Clock(clock), Knobs(**knobs), Ids(random.Random(seed)), self.effect)  # noqa: S311
        self.service = Service(world)
        self.views = Views(world, self.service.jobs)
        operations = Operations(self.service, self.views)
        self._wire = Wire(world, operations, self.credentials, access_key)
        self._s3 = S3(world, self.views.credentials)
        self._sts = Sts(world, self._wire.identify, self.set_credential)
        self._control = Control(self)
        for action_type in (*action_types, APPROVAL, LAMBDA):
            self.register_action_type(action_type)
        for client_id, client_token in (clients or {}).items():
            self.connect_client(client_id, client_token)

    # Knobs, time, who may call.

    @property
    def knobs(self) -> Knobs:
        return self.service.world.knobs

    def set_knobs(self, **changes: Any) -> Knobs:
        """Change switches while it runs; raises pydantic's ValidationError."""
        self.service.world.knobs = self.knobs.changed(**changes)
        return self.knobs

    @property
    def now(self) -> datetime:
        """The emulator's time."""
        return self.service.world.now()

    def advance(self, seconds: float) -> datetime:
        """Go forward in time, let everything due happen, and return the new time."""
        self.service.world.clock.advance(seconds)
        self.service.world.settle()
        return self.now

    def set_credential(self, access_key: str, credential: Credential | None = None, **fields: Any) -> Credential:
        """Add or replace a key that may sign: `secret`, `session_token`, `expires_at`, `account_id`, `principal`."""
        self.credentials[access_key] = credential or Credential(**fields)
        return self.credentials[access_key]

    def add_role(self, role: str | Role, **fields: Any) -> Role:
        """Make a role that may be entered: its ARN, and `external_id`, `trusts`, `expires_after_s`."""
        made = role if isinstance(role, Role) else Role.model_validate({"arn": role, **fields})
        self._sts.roles[made.arn] = made
        return made

    def expire_credential(self, access_key: str) -> None:
        """Answer ExpiredTokenException to this key from now on; raises LookupError."""
        if access_key not in self.credentials:
            raise LookupError(f"no access key {access_key}")
        self.credentials[access_key] = self.credentials[access_key].model_copy(update={"expires_at": self.now})

    def register_action_type(self, action_type: AnyActionType, **fields: Any) -> ActionType:
        """Make an action type available, or change its `queryable`, URL templates, `job_timeout_s`, `polling_accounts`."""
        parsed = parse_action_type(action_type)
        registered = ActionType.model_validate(parsed.model_dump() | fields)
        self.service.register(registered)
        return registered

    def connect_client(self, client_id: str, client_token: str) -> None:
        """Set the token of a third-party connection; a second call rotates it."""
        self.service.jobs.client_tokens[client_id] = client_token

    # Executions.

    def define_pipeline(self, pipeline: PipelineSpec) -> PipelineSpec:
        """Make a pipeline without starting it."""
        return self.service.pipelines.define(pipeline).spec

    def start_execution(
        self,
        pipeline: str | PipelineSpec = "demo",
        action: str | ActionSpec | None = None,
        *,
        stage: str | None = None,
        mode: str | None = None,
        account_id: str | None = None,
        client_token: str | None = None,
        **fields: Any,
    ) -> PipelineExecution:
        """Start a pipeline and return its execution, which changes as it runs.

        A whole PipelineSpec; the name alone of one defined or started before, which runs again; or a name and one action,
        which make a pipeline of one stage (`Build`; mode SUPERSEDED). `fields`: those of ActionSpec, such as `action_type="Approval/AWS/Manual/1"`, `configuration`,
        `client_id`. Raises ValueError or LookupError for what cannot be started.
        """
        if isinstance(pipeline, PipelineSpec):
            return self.service.start(pipeline)
        known = self.service.pipelines.known(account_id or self.service.world.account_id, pipeline)
        if known is not None and not fields and (action, stage, mode, client_token) == (None, None, None, None):
            return self.service.start(known.spec)
        spec = action if isinstance(action, ActionSpec) else _action_spec(action, fields)
        if spec.client_id is not None and client_token is not None:
            self.connect_client(spec.client_id, client_token)
        stages = (StageSpec(name=stage or "Build", actions=(spec,)),)
        pipeline_fields = {"name": pipeline, "mode": mode or "SUPERSEDED", "stages": stages, "account_id": account_id}
        return self.service.start(PipelineSpec.model_validate(pipeline_fields))

    @property
    def executions(self) -> list[PipelineExecution]:
        """All executions as of now, oldest first."""
        self.service.world.settle()
        return self.service.pipelines.executions

    def execution(self, execution_id: str) -> PipelineExecution:
        """Return an execution as of now; raises LookupError."""
        self.service.world.settle()
        return self.service.pipelines.execution(execution_id)

    def action(self, action_execution_id: str) -> ActionExecution:
        """Return an action as of now; raises LookupError."""
        self.service.world.settle()
        return self.service.action(action_execution_id)

    def stop_execution(self, execution_id: str, *, abandon: bool = True) -> PipelineExecution:
        """Stop an execution: abandon its open actions, or wait for them; raises LookupError."""
        execution = self.execution(execution_id)
        self.service.pipelines.stop(execution, abandon=abandon, at=self.now)
        return execution

    @property
    def invocations(self) -> list[Job]:
        """Lambda jobs in the order in which their function was invoked."""
        self.service.world.settle()
        return list(self.service.jobs.invocations)

    def lambda_event(self, job: Job) -> JsonObject:
        """Return the event that a Lambda function gets for *job*."""
        return self.views.lambda_event(job)

    def approval_message(self, action: ActionExecution) -> JsonObject:
        """Return the JSON in the SNS `Message` for an approval; raises LookupError for another action."""
        return self.views.approval_message(action)

    # Artifacts.

    @property
    def objects(self) -> dict[tuple[str, str], StoredObject]:
        """The artifact store: bucket and key to object; a test may put its own in."""
        return self._s3.objects

    # Faults.

    def fault_subject(self, request: web.Request) -> str:
        """Return path and target, so that a fault's `path` can name an operation: `AcknowledgeJob$`."""
        return f"{request.raw_path} {request.headers.get('X-Amz-Target', '')}"

    def fail(
        self, code: str, *, operation: str = "", times: int = 1, skip: int = 0, status: int = 400, text: str = ""
    ) -> Fault:
        """Answer the next calls (of *operation*) with an error of the service, without effect.

        `ThrottlingException` with "Rate exceeded" is 400 like the modelled errors.
        """
        text = text or ("Rate exceeded" if code == "ThrottlingException" else code)
        return self.fault(
            FaultKind.STATUS,
            path=rf" {TARGET.replace('.', '[.]')}{operation}$" if operation else ".*",
            times=times,
            skip=skip,
            status=status,
            headers={"Content-Type": CONTENT_TYPE},
            body=orjson.dumps(self._wire.error_body(code, text)).decode(),
        )

    # Wire.

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/", self._wire.post), web.post(STS_PATH, self._sts.post), *self._s3.routes()]

    def control_routes(self) -> list[web.RouteDef]:
        return self._control.routes()

    # Command line.

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--region", default="eu-west-1", help="Region that requests must be signed for")
        parser.add_argument("--access-key", default="AKIDEXAMPLE", help="access key id that may sign")
        parser.add_argument("--secret", default="secret", help="its secret access key")
        parser.add_argument("--account", default="111122223333", help="account of the pipelines")
        parser.add_argument(
            "--action-type", action="append", default=[], type=_action_type, help="one more, as Build/Custom/Bridge/1"
        )
        example = '{"follow_up_delay_s": 30}'
        parser.add_argument("--knobs", default=Knobs(), type=_knobs, help=f"switches as JSON, such as {example}")

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> "CodepipelineEmulator":
        emulator = cls(
            region=arguments.region,
            access_key=arguments.access_key,
            secret=arguments.secret,
            account_id=arguments.account,
            **arguments.knobs.model_dump(),
        )
        for action_type in arguments.action_type:
            emulator.register_action_type(action_type)
        return emulator


def _action_spec(name: str | None, fields: Mapping[str, Any]) -> ActionSpec:
    named = {} if name is None else {"name": name}
    return ActionSpec.model_validate(named | dict(fields))


def _action_type(text: str) -> ActionType:
    try:
        return parse_action_type(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _knobs(text: str) -> Knobs:
    try:
        return Knobs.model_validate_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
