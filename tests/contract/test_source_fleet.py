"""What every source promises, run on each file in bridge/sources by itself. A new file is found; WAIVED is kept to shrink."""

import base64
import inspect
import json
from contextlib import suppress
from time import process_time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.core.body import parse_json
from bridge.core.errors import IntakeError
from bridge.core.event import Event, Outcome
from bridge.core.inbound import SecretSettings
from bridge.core.request import RawRequest, VerifiedRequest
from bridge.core.settings import SourceSettings
from bridge.core.source import Source
from bridge.sources import load_source_kind, source_kinds
from tests.support.senders import JSON, NOW, circleci, github, raw, standard, with_body, with_headers

KINDS = source_kinds()

SECRETS = {"standard-webhooks": "whsec_" + base64.b64encode(b"fleet" * 6).decode()}
"""Where a kind wants a secret of a certain shape."""

SETTINGS: dict[str, dict[str, Any]] = {"sns": {"topics": ["arn:aws:sns:eu-west-1:111122223333:fleet"]}}
"""Of a kind that shares no secret with its sender."""

SIGNED = {
    "circleci": lambda body, secret: circleci(body, secret=secret),
    "github": lambda body, secret: github(body, "push", secret=secret),
    "standard-webhooks": lambda body, secret: standard(body, secret=secret),
}
"""How a sender of that kind signs a body; a kind that is not here is tested without one."""

_SHARES_NONE = (
    "SNS signs with Amazon's key: no secret is shared, and there is no unsigned SNS (tests/unit/sources/test_sns.py)"
)

WAIVED: dict[tuple[str, str], str] = {
    ("sns", "test_it_has_a_secret_or_does_not_start"): _SHARES_NONE,
    ("sns", "test_an_unsigned_one_is_known_by_its_path_alone"): _SHARES_NONE,
}
"""(kind, test) and the reason why it does not hold there."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    reason = WAIVED.get((name, request.function.__name__))
    if reason:
        pytest.skip(reason)
    return name


def secret_of(kind: str) -> str:
    return SECRETS.get(kind, "fleet-secret-of-24-chars")


def make(kind: str, **more: Any) -> Source[Any]:
    cls = load_source_kind(kind)
    given = SETTINGS.get(kind, {"secret": secret_of(kind)})
    return cls("fleet", cls.settings_type.model_validate({"kind": kind, **given, **more}))


def test_its_file_tells_the_contract_and_the_source(kind: str) -> None:
    """Whoever changes it knows what it is held against."""
    module = inspect.getmodule(load_source_kind(kind))
    assert module is not None
    text = module.__doc__ or ""
    assert "Contract:" in text
    assert "Source:" in text


def test_its_settings_are_frozen_closed_and_described(kind: str) -> None:
    """A key it does not know is an error, and each one it knows is explained."""
    model = load_source_kind(kind).settings_type
    assert issubclass(model, SourceSettings)
    assert (model.model_config.get("extra"), model.model_config.get("frozen")) == ("forbid", True)
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_it_has_a_secret_or_does_not_start(kind: str) -> None:
    """Without one, with an empty one, and unsigned without one for the path."""
    model = load_source_kind(kind).settings_type
    assert issubclass(model, SecretSettings)
    for given_settings in ({}, {"secret": ""}, {"unsigned": True}):
        with pytest.raises(ValueError, match="secret_env"):
            model.model_validate({"kind": kind, **given_settings})


def test_an_unsigned_one_is_known_by_its_path_alone(kind: str) -> None:
    """Signatures are not looked at, so there is no falling back from one to the other."""
    source = make(kind, unsigned=True, secret="path-secret")  # noqa: S106 - of this test only
    assert source.verify(raw(path="/hooks/fleet/path-secret"), now=NOW)
    for path in ("/hooks/fleet", "/hooks/fleet/", "/hooks/fleet/path-secre"):
        with pytest.raises(IntakeError):
            source.verify(signed(kind, b"{}", path=path), now=NOW)
    with pytest.raises(IntakeError):
        make(kind).verify(raw(path=f"/hooks/fleet/{secret_of(kind)}"), now=NOW)


def signed(kind: str, body: bytes, *, path: str = "/hooks/fleet") -> RawRequest:
    made = SIGNED[kind](body, secret_of(kind)) if kind in SIGNED else raw(body, JSON)
    return RawRequest("POST", path, "", made.headers, made.body, NOW)


def test_every_header_of_a_proof_counts_once(kind: str) -> None:
    """Take any header that the proof needs away, double it or change a letter: refused, and never a crash."""
    request = signed(kind, b"{}")
    source = make(kind)
    needed = [name for name, _ in request.headers if not passes(source, without_header(request, name))]
    assert needed or kind not in SIGNED
    for name in needed:
        value = request.header(name) or ""
        rest = without_header(request, name).headers
        for values in ([value, value], ["", value], [value[:-1]], [value + "x"], ["\xff" + value], [""]):
            changed = with_headers(request, [*rest, *((name, item) for item in values)])
            assert not passes(source, changed), (name, values)


def without_header(request: RawRequest, name: str) -> RawRequest:
    return with_headers(request, [header for header in request.headers if header[0] != name])


def passes(source: Source[Any], request: RawRequest) -> bool:
    try:
        return isinstance(source.verify(request, now=NOW), VerifiedRequest)
    except IntakeError:
        return False


def test_its_proof_is_over_the_exact_bytes(kind: str) -> None:
    """One byte more, less or other is another body."""
    request = signed(kind, b'{"a": 1}')
    source = make(kind)
    assert passes(source, request) or kind not in SIGNED
    for body in (b'{"a": 1}\n', b'{"a": 1', b'{"a":1}', b'{"a": 2}', b"", b'{"a": \\u0031}'):
        assert not passes(source, with_body(request, body))


def test_a_refusal_tells_no_secret_and_no_byte_of_the_request(kind: str) -> None:
    """Its text goes to logs and answers."""
    source = make(kind)
    for request in (
        raw(b"S3CRET", JSON, headers=[("authorization", "S3CRET")]),
        with_body(signed(kind, b"{}"), b"S3CRET"),
        signed(kind, b"S3CRET"),
        signed(kind, b'{"type":["S3CRET"],"S3CRET":1}'),
    ):
        told = refusal(source, request)
        assert "S3CRET" not in told
        assert secret_of(kind) not in told


def refusal(source: Source[Any], request: RawRequest) -> str:
    """Return what a refusal says, empty where there is none."""
    try:
        source.normalise(source.verify(request, now=NOW))
    except IntakeError as exc:
        return str(exc)
    return ""


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_WORDS = [
    "type",
    "data",
    "id",
    "action",
    "workflow",
    "job",
    "pipeline",
    "project",
    "review",
    "state",
    "outcome",
    "percent",
]
_bodies = st.dictionaries(st.sampled_from(_WORDS) | st.text(max_size=8), _values, max_size=8)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=_bodies | _values, data=st.data())
def test_any_json_becomes_events_or_an_intake_error(kind: str, body: Any, data: st.DataObject) -> None:
    """Nothing that is authentic makes a source crash, and each event survives its message."""
    source = make(kind)
    request = VerifiedRequest(signed(kind, dump(body)))
    if data.draw(st.booleans()):
        name = data.draw(
            st.sampled_from(["check_run", "pull_request_review", "deployment_status", "status", "issue_comment"])
        )
        request = VerifiedRequest(
            with_headers(
                request.raw, [*without_header(request.raw, "x-github-event").headers, ("x-github-event", name)]
            )
        )
    try:
        events = source.normalise(request)
    except IntakeError:
        return
    for event in events:
        check(event, source)


def dump(body: Any) -> bytes:
    """Return *body* as JSON, with integers beyond 64 bits, which orjson does not write."""
    return json.dumps(body).encode()


def check(event: Event, source: Source[Any]) -> None:
    """Assert what holds for every event of every source."""
    assert event.source == source.name
    assert event.time == NOW
    assert event.data.outcome is not Outcome.TIMED_OUT
    assert all(isinstance(value, str) for value in event.data.keys.values())
    assert all(0 < len(item.encode()) <= 300 for item in event.data.dedupe)
    assert len(event.routing_key.encode()) <= 255
    assert Event.parse(event.serialise()) == event
    assert "\\u0000" not in event.data.model_dump_json(exclude={"body"})


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    body=st.binary(max_size=64),
    content_type=st.sampled_from([JSON, "application/x-www-form-urlencoded", "text/plain", ""]),
)
def test_any_bytes_become_events_or_an_intake_error(kind: str, body: bytes, content_type: str) -> None:
    """Nothing but what the port names is ever raised."""
    source = make(kind)
    request = signed(kind, body)
    typed = with_headers(request, [*without_header(request, "content-type").headers, ("content-type", content_type)])
    try:
        events = source.normalise(VerifiedRequest(typed))
    except IntakeError:
        return
    for event in events:
        check(event, source)


def test_its_work_does_not_grow_faster_than_the_body(kind: str) -> None:
    """A long body of the dearest sort is read or refused in linear time: no pattern or loop goes back over it."""
    source = make(kind)
    for unit in (b"[", b'{"a":', b'"\\u003a",', b"9", b" ", b'{"a":1},', b"\\", b"%", b"a&"):
        request = VerifiedRequest(signed(kind, unit * (500_000 // len(unit))))
        began = process_time()
        with suppress(IntakeError):
            source.normalise(request)
        assert process_time() - began < 5.0


def test_parse_json_is_what_every_kind_uses(kind: str) -> None:
    """One parser for every stage: no file brings its own."""
    module = inspect.getmodule(load_source_kind(kind))
    assert getattr(module, "parse_json", None) is parse_json
    text = inspect.getsource(module) if module else ""
    assert "orjson" not in text
    assert "import json" not in text
