"""What docs/aws gives to an account: templates, input of the CLI, policies and a function, each held against what reads it."""

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml
from botocore.session import get_session
from botocore.validate import ParamValidator

from bridge.testing.codepipeline import CodepipelineEmulator
from tests.support.bridge_process import TOKEN
from tests.support.codepipeline_agent import agent_section
from tests.support.codepipeline_agent import stage as agent_stage
from tests.support.codepipeline_stage import stage

AWS = Path(__file__).parents[2] / "docs" / "aws"
MODEL = get_session().get_service_model("codepipeline")
OPERATIONS = frozenset(MODEL.operation_names)
TEMPLATES = sorted(path.name for path in AWS.glob("*.yaml"))
PARTS = {
    "policy-worker.json": "Worker",
    "policy-agent.json": "Agent",
    "policy-third-party.json": "ThirdParty",
    "policy-approver.json": "Approver",
}
EXAMPLES = {"AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": "111122223333"}


class _Tagged(yaml.SafeLoader):
    """Reads CloudFormation's short forms: `!Sub text` as {"Fn::Sub": text}."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        raise TypeError(suffix)
    return {f"Fn::{suffix}": value}


_Tagged.add_multi_constructor("!", _short_form)


def template(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.load((AWS / name).read_text(), Loader=_Tagged)  # noqa: S506 - inherits from the safe one
    return read


def resolved(value: Any, given: Mapping[str, str]) -> Any:
    """Return *value* with parameters and pseudo parameters in the place of `!Ref` and `!Sub`."""
    match value:
        case {"Fn::Sub": str() as text}:
            return re.sub(r"\$\{([A-Za-z:]+)\}", lambda found: given[found[1]], text)
        case {"Fn::Ref": str() as name}:
            return given[name]
        case dict():
            return {key: resolved(item, given) for key, item in value.items()}
        case list():
            return [resolved(item, given) for item in value]
        case _:
            return value


def defaults(read: Mapping[str, Any]) -> dict[str, str]:
    return {**EXAMPLES, **{name: str(one.get("Default", "")) for name, one in read["Parameters"].items()}}


def policy(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((AWS / name).read_text())
    return read


def operations(name: str) -> set[str]:
    """Return the operations of CodePipeline that a policy allows."""
    found: set[str] = set()
    for statement in policy(name)["Statement"]:
        actions = statement["Action"]
        found |= {
            action.removeprefix("codepipeline:") for action in ([actions] if isinstance(actions, str) else actions)
        }
    return found


# --- CloudFormation


def lint(*paths: Path) -> subprocess.CompletedProcess[str]:
    """Run cfn-lint with its hints about the resources of IAM actions; the network is not asked."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--include-checks", "I", "--", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own files


def test_templates_are_right() -> None:
    """cfn-lint finds nothing to say: resource types, properties, parameters, names of IAM actions."""
    done = lint(*(AWS / name for name in TEMPLATES))
    assert (done.returncode, done.stdout) == (0, "")


WRONG = {
    "action-type.yaml": ("Category: !Ref Category", "Category: Lunch"),
    "policies.yaml": ("codepipeline:PutApprovalResult", "codepipeline:PutApproval"),
    "approvals.yaml": ("Protocol: https", "Protokoll: https"),
    "hand-over.yaml": ("Role: !GetAtt Role.Arn", "Role: !GetAtt Role.ARN"),
}


def test_a_template_that_is_wrong_is_found(tmp_path: Path) -> None:
    """The check is one that can fail: it has something to say of each."""
    for name, (old, new) in WRONG.items():
        text = (AWS / name).read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new))
    said = lint(*tmp_path.iterdir()).stdout
    assert [name for name in WRONG if str(tmp_path / name) in said] == list(WRONG)


def test_a_policy_names_resources_that_its_actions_take(tmp_path: Path) -> None:
    """The files have whole ARNs, which cfn-lint holds against each action; another kind of resource would be found."""
    right = [as_template(tmp_path / name, policy(name)) for name in PARTS]
    done = lint(*right)
    assert (done.returncode, done.stdout) == (0, "")
    others = {name: misdirected(policy(name)) for name in PARTS}
    wrong = [as_template(tmp_path / f"wrong-{name}", text) for name, text in others.items() if text != policy(name)]
    said = lint(*wrong).stdout
    assert [path for path in wrong if str(path) in said] == wrong != []


def as_template(path: Path, document: dict[str, Any]) -> Path:
    """Write a template at *path* with the policy *document* alone."""
    policies = {"Policy": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}}
    path.write_text(json.dumps({"Resources": policies}))
    return path


def misdirected(document: dict[str, Any]) -> dict[str, Any]:
    """Return a policy whose narrow statements name a bucket."""
    bucket = "arn:aws:s3:::bucket"
    statements = [one if one["Resource"] == "*" else {**one, "Resource": bucket} for one in document["Statement"]]
    return {**document, "Statement": statements}


# --- input of the CLI


def faults(shape: Any, value: Any, place: str = "") -> Iterator[str]:
    """Yield what AWS would refuse although botocore sends it: lengths, patterns, choices, bounds."""
    limits = shape.metadata
    if shape.type_name == "structure":
        for name, item in value.items():
            yield from faults(shape.members[name], item, f"{place}.{name}")
    elif shape.type_name == "list":
        if len(value) > limits.get("max", len(value)):
            yield f"{place}: too many"
        for item in value:
            yield from faults(shape.member, item, f"{place}[]")
    elif shape.type_name == "string":
        is_long = not limits.get("min", 0) <= len(value) <= limits.get("max", len(value))
        is_odd = "pattern" in limits and not re.fullmatch(limits["pattern"], value)
        if is_long or is_odd or value not in limits.get("enum", [value]):
            yield f"{place}: {value}"
    elif shape.type_name == "integer" and not limits.get("min", value) <= value <= limits.get("max", value):
        yield f"{place}: {value}"


def test_the_cli_input_is_what_the_service_takes() -> None:
    """Shapes and required members by botocore's own validator; limits, patterns and choices by its model."""
    shape = MODEL.operation_model("CreateCustomActionType").input_shape
    given = policy("create-custom-action-type.json")
    assert not ParamValidator().validate(given, shape).has_errors()
    assert list(faults(shape, given)) == []
    assert list(faults(shape, given | {"category": "Lunch", "provider": "x" * 36})) != []


def test_template_and_cli_input_make_the_same_action_type() -> None:
    """Whoever takes the one or the other gets the same."""
    read = template("action-type.yaml")
    made = resolved(read["Resources"]["ActionType"]["Properties"], defaults(read))

    def lowered(value: Any) -> Any:
        if isinstance(value, dict):
            return {key[0].lower() + key[1:]: lowered(item) for key, item in value.items()}
        return [lowered(item) for item in value] if isinstance(value, list) else value

    assert lowered(made) == policy("create-custom-action-type.json")


# --- policies: no more than is used, and enough


@pytest.mark.parametrize("name", PARTS)
def test_template_and_file_allow_the_same(name: str) -> None:
    """Each policy stands twice and says one thing; each action exists."""
    read = template("policies.yaml")
    made = resolved(read["Resources"][PARTS[name]]["Properties"]["PolicyDocument"], defaults(read))
    assert made == policy(name)
    assert operations(name) <= OPERATIONS


@pytest.mark.parametrize("name", PARTS)
def test_only_what_knows_no_resource_is_allowed_on_all(name: str) -> None:
    """`*` stands where AWS knows no narrower resource, as the service's authorization reference says."""
    narrow = {"PollForJobs", "PutApprovalResult", "GetPipelineState", "ListActionExecutions"}
    for statement in policy(name)["Statement"]:
        actions = statement["Action"]
        named = {action.partition(":")[2] for action in ([actions] if isinstance(actions, str) else actions)}
        assert (statement["Resource"] == "*") is not bool(named & narrow)
        assert statement["Effect"] == "Allow"


def denied(*names: str) -> tuple[str, ...]:
    return tuple(sorted(OPERATIONS - set().union(*map(operations, names))))


async def test_the_worker_s_policy_is_enough() -> None:
    """A job succeeds, one fails, one is in doubt, and health is up with nothing else allowed."""
    async with stage() as one:
        jobs = [await one.hold(name) for name in ("a", "b", "c")]
        one.codepipeline.set_knobs(denied_operations=denied("policy-worker.json"))
        await one.send(jobs[0], wait="a")
        await one.send(jobs[1], "failed", wait="b")  # type: ignore[arg-type] # the word of the outcome
        await one.send(jobs[2], wait="c", is_resent=True)
        assert [await one.ending(wait) for wait in "abc"] == ["done"] * 3
        assert await one.rig.consumer.health() == "up"


async def test_the_approver_s_policy_is_enough() -> None:
    """An approval is found, answered, looked for in doubt, and health is up with nothing else allowed."""
    async with stage(denied_operations=denied("policy-approver.json")) as one:
        one.codepipeline.start_execution("release", "Approve", stage="Gate", action_type="Approval/AWS/Manual/1")
        address = {"approval": {"pipeline": "release", "stage": "Gate", "action": "Approve"}}
        await one.rig.send(address)
        assert await one.ending() == "done"
        await one.rig.send(address, is_resent=True, wait="w1", dispatch=2)
        assert await one.rig.consumer.health() == "up"
        assert set(one.calls) - {"GetJobDetails"} <= operations("policy-approver.json")


# --- the function


def function(monkeypatch: pytest.MonkeyPatch, url: str, *, agent: str = "lambda", token: str = TOKEN) -> ModuleType:
    """Load the function as Lambda does: with its variables, and a Secrets Manager that has the token."""
    boto = ModuleType("boto3")
    secrets = SimpleNamespace(get_secret_value=lambda SecretId: {"SecretString": token if SecretId == "arn" else ""})  # noqa: N803 - AWS's spelling
    boto.client = lambda service: {"secretsmanager": secrets}[service]  # type: ignore[attr-defined] # a stand-in
    monkeypatch.setitem(sys.modules, "boto3", boto)
    names = {"BRIDGE_URL": url, "BRIDGE_AGENT": agent, "BRIDGE_TOKEN_SECRET": "arn", "AWS_REGION": "eu-west-1"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("hand_over", AWS / "hand_over.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_the_function_hands_its_job_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invoked as CodePipeline invokes it, twice for one job and once more with the token: one run, one result."""
    sections = agent_section("{remote}", name="lambda", action_type="Invoke/AWS/Lambda/1")
    async with agent_stage(tmp_path, agents=sections) as one, one.bridge() as bridge:
        hand_over = function(monkeypatch, bridge.url)
        execution = one.begin(
            action_type="Invoke/AWS/Lambda/1", configuration={"FunctionName": "f", "UserParameters": "x"}
        )
        for _ in range(2):
            await asyncio.to_thread(hand_over.handler, event(one.aws, 0), None)
        await one.until(lambda: len(one.aws.invocations) == 2)
        await asyncio.to_thread(hand_over.handler, event(one.aws, 1), None)
        await one.answer(bridge)
        await one.until(lambda: execution.status == "Succeeded")
        assert one.remote.starts == 1


async def test_a_function_that_is_not_heard_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token, or an agent that is not there: Lambda has to see a fault, or the job would hang."""
    sections = agent_section("{remote}", name="lambda", action_type="Invoke/AWS/Lambda/1")
    async with agent_stage(tmp_path, agents=sections) as one, one.bridge() as bridge:
        one.begin(action_type="Invoke/AWS/Lambda/1", configuration={"FunctionName": "f"})
        for wrong in ({"token": "another"}, {"agent": "nosuch"}):
            hand_over = function(monkeypatch, bridge.url, **wrong)
            with pytest.raises(HTTPError):
                await asyncio.to_thread(hand_over.handler, event(one.aws, 0), None)
        assert one.remote.starts == 0


async def test_a_login_page_is_no_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 of whatever stands before the bridge is a fault too."""
    emulator = CodepipelineEmulator()
    emulator.fault("html", status=200, path="/v1/agents/")
    emulator.start_execution(action_type="Invoke/AWS/Lambda/1", configuration={"FunctionName": "f"})
    async with emulator.serve() as url:
        hand_over = function(monkeypatch, url)
        with pytest.raises(RuntimeError, match="200"):
            await asyncio.to_thread(hand_over.handler, event(emulator, 0), None)


def event(aws: CodepipelineEmulator, number: int) -> dict[str, Any]:
    """Return what Lambda hands to the function, with the job's credentials in it."""
    made = aws.lambda_event(aws.invocations[number])
    assert "artifactCredentials" in made["CodePipeline.job"]["data"]
    return made


def test_the_function_names_no_secret() -> None:
    """Its text has the token from Secrets Manager, and sends nothing of the job but ids."""
    text = (AWS / "hand_over.py").read_text()
    assert "artifactCredentials" not in text
    assert "actionConfiguration" not in text
    assert len(text.splitlines()) <= 30
    assert os.environ.get("BRIDGE_TOKEN_SECRET") is None
