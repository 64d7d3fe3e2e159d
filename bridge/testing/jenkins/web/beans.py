"""What `api/json` shows of the model.

Contract: sections 2 to 4 of the Jenkins page. Times are milliseconds since 1970, durations milliseconds.
"""

from typing import Any

from bridge.testing.jenkins.model.accounts import User
from bridge.testing.jenkins.model.builds import Build
from bridge.testing.jenkins.model.inputs import InputExecution
from bridge.testing.jenkins.model.jobs import Job, Names, path_of
from bridge.testing.jenkins.model.script import Input, Parameter, ParameterType
from bridge.testing.jenkins.model.waiting import QueueItem
from bridge.testing.jenkins.model.world import World
from bridge.testing.jenkins.web.export import Bean

_INPUT = "org.jenkinsci.plugins.workflow.support.steps.input"
_JOB = "org.jenkinsci.plugins.workflow.job"
_DEFINITIONS = {
    ParameterType.STRING: "hudson.model.StringParameterDefinition",
    ParameterType.TEXT: "hudson.model.TextParameterDefinition",
    ParameterType.BOOLEAN: "hudson.model.BooleanParameterDefinition",
    ParameterType.CHOICE: "hudson.model.ChoiceParameterDefinition",
    ParameterType.PASSWORD: "hudson.model.PasswordParameterDefinition",
    ParameterType.CREDENTIALS: "com.cloudbees.plugins.credentials.CredentialsParameterDefinition",
    ParameterType.RUN: "hudson.model.RunParameterDefinition",
    ParameterType.FILE: "hudson.model.FileParameterDefinition",
    ParameterType.BASE64_FILE: "io.jenkins.plugins.file_parameters.Base64FileParameterDefinition",
    ParameterType.STASHED_FILE: "io.jenkins.plugins.file_parameters.StashedFileParameterDefinition",
}


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def short_type(parameter: Parameter) -> str:
    """Return the definition's short class name: `ChoiceParameterDefinition`."""
    return _DEFINITIONS[parameter.type].rpartition(".")[2]


def root_bean(world: World, user: User, root_url: str) -> Bean:
    top = sorted({names[:1] for names in world.jobs})
    visible = [names for names in top if user.may("Job/Read", "/".join(names))]
    return Bean(
        "hudson.model.Hudson",
        {
            "mode": "NORMAL",
            "nodeDescription": "the Jenkins controller's built-in node",
            "jobs": lambda: [item_bean(world, names, root_url) for names in visible],
            "quietingDown": world.is_quieting_down,
            "url": f"{root_url}/",
            "useCrumbs": world.switches.csrf,
            "useSecurity": True,
        },
    )


def item_bean(world: World, names: Names, root_url: str) -> Bean:
    job = world.jobs.get(names)
    return folder_bean(world, names, root_url) if job is None else job_bean(job, root_url)


def folder_bean(world: World, names: Names, root_url: str) -> Bean:
    depth = len(names)
    inside = sorted({each[: depth + 1] for each in world.jobs if each[:depth] == names and len(each) > depth})
    return Bean(
        "com.cloudbees.hudson.plugins.folder.Folder",
        {
            "name": names[-1],
            "fullName": "/".join(names),
            "url": f"{root_url}/{path_of(names)}/",
            "jobs": lambda: [item_bean(world, each, root_url) for each in inside],
        },
        prominent=frozenset({"name", "url"}),
    )


def job_bean(job: Job, root_url: str) -> Bean:
    newest_first = [job.builds[number] for number in sorted(job.builds, reverse=True)]
    return Bean(
        f"{_JOB}.WorkflowJob",
        {
            "name": job.names[-1],
            "fullName": job.full_name,
            "url": f"{root_url}/{job.path}/",
            "buildable": not job.spec.disabled,
            "disabled": job.spec.disabled,
            "nextBuildNumber": job.next_number,
            "builds": lambda: [run_bean(build, root_url) for build in newest_first],
            "lastBuild": lambda: run_bean(newest_first[0], root_url) if newest_first else None,
            "property": lambda: _job_properties(job),
        },
        prominent=frozenset({"name", "url"}),
    )


def _job_properties(job: Job) -> list[Bean]:
    if not job.spec.parameters:
        return []
    definitions = [definition_bean(parameter) for parameter in job.spec.parameters]
    return [Bean("hudson.model.ParametersDefinitionProperty", {"parameterDefinitions": definitions})]


def run_bean(build: Build, root_url: str) -> Bean:
    finished = build.finished_at
    return Bean(
        f"{_JOB}.WorkflowRun",
        {
            "actions": lambda: _actions(build),
            "building": build.building,
            "displayName": f"#{build.number}",
            "duration": 0 if finished is None else milliseconds(finished - build.started_at),
            "fullDisplayName": f"{build.job.replace('/', ' » ')} #{build.number}",
            "id": str(build.number),
            "inProgress": build.in_progress,
            "number": build.number,
            "queueId": build.queue_id,
            "result": build.result,
            "timestamp": milliseconds(build.started_at),
            "url": f"{root_url}/{build.path}/",
        },
        prominent=frozenset({"number", "url"}),
    )


def _actions(build: Build) -> list[Bean]:
    actions = [Bean("hudson.model.CauseAction", {"causes": [Bean("hudson.model.Cause$UserIdCause", {})]})]
    if build.parameters:
        values = [Bean(None, {"name": name, "value": value}) for name, value in build.parameters.items()]
        actions.append(Bean("hudson.model.ParametersAction", {"parameters": values}))
    actions.append(Bean(None, {}))  # an action that is not exported is an empty object
    if build.had_input:
        actions.append(_input_action(build))
    return actions


def _input_action(build: Build) -> Bean:
    if not build.switches.input_listing:
        return Bean(None, {})
    return Bean(
        f"{_INPUT}.InputAction",
        {
            "executions": lambda: [_execution(each) for each in build.listing()],
            "waitingForInput": lambda: bool(build.listing()),
        },
    )


def _execution(execution: InputExecution) -> Bean:
    return Bean(
        f"{_INPUT}.InputStepExecution",
        {
            "displayName": execution.display_name,
            "id": execution.id,
            "input": _input(execution.spec, execution.id),
            "settled": execution.is_settled,
        },
        inline=frozenset({"input"}),
    )


def _input(spec: Input, id_: str) -> Bean:
    return Bean(
        f"{_INPUT}.InputStep",
        {
            "cancel": spec.cancel,
            "id": id_,
            "message": spec.message,
            "ok": spec.ok,
            "parameters": [definition_bean(parameter) for parameter in spec.parameters],
            "submitter": spec.submitter,
            "submitterParameter": spec.submitter_parameter,
        },
        inline=frozenset({"parameters"}),
    )


def definition_bean(parameter: Parameter) -> Bean:
    properties: dict[str, Any] = {
        "description": parameter.description,
        "name": parameter.name,
        "type": short_type(parameter),
    }
    if parameter.type is ParameterType.CHOICE:
        properties["choices"] = list(parameter.choices)
    elif parameter.type is not ParameterType.PASSWORD and parameter.default is not None:
        default = {"name": parameter.name, "value": parameter.default}
        properties["defaultParameterValue"] = Bean(None, default)
    return Bean(_DEFINITIONS[parameter.type], properties)


def queue_item_bean(item: QueueItem, root_url: str) -> Bean:
    task = {"name": item.job.names[-1], "url": f"{root_url}/{item.job.path}/"}
    properties: dict[str, Any] = {
        "blocked": item.state.value == "BlockedItem",
        "buildable": item.state.value == "BuildableItem",
        "id": item.id,
        "inQueueSince": milliseconds(item.since),
        "params": "".join(f"\n{name}={value}" for name, value in item.parameters.items()),
        "stuck": False,
        "task": Bean(f"{_JOB}.WorkflowJob", task, prominent=frozenset(task)),
        "url": f"queue/item/{item.id}/",
        "why": item.why,
    }
    if item.is_left:
        properties["cancelled"] = item.is_cancelled
        properties["executable"] = _executable(item, root_url)
    return Bean(f"hudson.model.Queue${item.state.value}", properties)


def _executable(item: QueueItem, root_url: str) -> Bean | None:
    if item.build is None:
        return None
    shown = {"number": item.build.number, "url": f"{root_url}/{item.build.path}/"}
    return Bean(f"{_JOB}.WorkflowRun", shown, prominent=frozenset(shown))


def queue_bean(items: list[QueueItem], root_url: str) -> Bean:
    return Bean("hudson.model.Queue", {"items": [queue_item_bean(each, root_url) for each in items]})


def who_am_i_bean(user: User) -> Bean:
    return Bean(
        "hudson.security.WhoAmI",
        {
            "anonymous": user.is_anonymous,
            "authenticated": not user.is_anonymous,
            "authorities": [] if user.is_anonymous else ["authenticated", *user.groups],
            "details": None,
            "name": user.name,
        },
    )


def crumb_bean(field: str, crumb: str) -> Bean:
    return Bean("hudson.security.csrf.DefaultCrumbIssuer", {"crumb": crumb, "crumbRequestField": field})
