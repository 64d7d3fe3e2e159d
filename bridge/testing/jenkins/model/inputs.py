"""An input that was reached: its id, who may answer it, and what the step returns.

Contract: sections 1.1 to 1.4 of the Jenkins page; pipeline-input-step-plugin @ d2b888dfb50d
(InputStep, InputStepExecution), read 2026-07.
"""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from bridge.testing.jenkins.model.accounts import BUILD, CANCEL, User
from bridge.testing.jenkins.model.script import Input, ParameterType

ALREADY_GIVEN = "This input has been already given"
_LEGAL_ID = re.compile(r"[A-Za-z0-9\-._~!$()*+,:@=]+")
_SHOWN_CHARS = 32


@dataclass(frozen=True)
class Answer:
    """What an input step got. `values`: by parameter name as parsed; None when none were read. `returned`: to the pipeline."""

    verb: str
    user: str
    is_abort: bool = False
    values: dict[str, Any] | None = None
    returned: Any = None


@dataclass(eq=False)
class InputExecution:
    """One occurrence of an input in a build; `occurrence` counts from 1 among those of the same id."""

    spec: Input
    id: str
    occurrence: int
    answer: Answer | None = None
    removed_at: float | None = field(default=None, repr=False)
    """When an answered input leaves the list of pending ones."""

    @property
    def is_settled(self) -> bool:
        return self.answer is not None

    @property
    def display_name(self) -> str:
        message = self.spec.message
        return message if len(message) <= _SHOWN_CHARS else message[:_SHOWN_CHARS] + "..."


def input_id(spec: Input) -> str:
    """Return the id that stands in the URL: the given one or the MD5 of the message, its first letter in upper case."""
    raw = spec.id or hashlib.md5(spec.message.encode(), usedforsecurity=False).hexdigest()
    return normalise(raw)


def normalise(raw: str) -> str:
    return raw[:1].upper() + raw[1:] if "a" <= raw[:1] <= "z" else raw


def fails_the_build(spec: Input, *, ids_checked: bool, unsafe_files: bool) -> str | None:
    """Say why a build that reaches *spec* fails instead of waiting; None when it waits."""
    if ids_checked and spec.id and (spec.id in (".", "..") or not _LEGAL_ID.fullmatch(spec.id)):
        return "illegal input id"
    kinds = {parameter.type for parameter in spec.parameters}
    if ParameterType.STASHED_FILE in kinds:
        return "stashedFile cannot be used with input"
    if ParameterType.FILE in kinds and not unsafe_files:
        return "file parameters cannot be used with input"
    return None


def submit_refusal(execution: InputExecution, user: User, job: str, *, case_sensitive: bool) -> str | None:
    """Return the X-Error text with which a proceed is refused, before its parameters are read; None when it may go on."""
    if execution.is_settled:
        return ALREADY_GIVEN
    submitter = execution.spec.submitter
    if submitter:
        if may_submit(submitter, user, case_sensitive=case_sensitive):
            return None
        return f"You need to be {submitter} to submit this."
    if user.may(BUILD, job):
        return None
    return "You need to have Job/Build permissions to submit this."


def abort_refusal(execution: InputExecution, user: User, job: str, *, case_sensitive: bool) -> str | None:
    """Return the X-Error text with which an abort is refused; None when it may go on."""
    if execution.is_settled:
        return ALREADY_GIVEN
    if user.may(CANCEL, job):
        return None
    submitter = execution.spec.submitter
    if submitter:
        if may_submit(submitter, user, case_sensitive=case_sensitive):
            return None
        return f"You need to be '{submitter}' (or have Job/Cancel permissions) to cancel this."
    return None if user.may(BUILD, job) else "You need to have Job/Cancel permissions to cancel this."


def may_submit(submitter: str, user: User, *, case_sensitive: bool) -> bool:
    """Say whether *user* is listed, by name or group; administrators always are."""
    if user.is_administrator:
        return True
    listed = {name.strip() for name in submitter.split(",")}
    mine = {user.name, *user.groups}
    if case_sensitive:
        return not listed.isdisjoint(mine)
    return not {name.lower() for name in listed}.isdisjoint(name.lower() for name in mine)


def returned_by(values: dict[str, Any], spec: Input, user: str) -> Any:
    """Return what the step returns: None, the bare value of a single entry, or a map."""
    entries = dict(values)
    if spec.submitter_parameter:
        entries[spec.submitter_parameter] = user
    if not entries:
        return None
    return next(iter(entries.values())) if len(entries) == 1 else entries


def returned_by_empty(spec: Input, user: str, *, submitter_on_empty: bool) -> Any:
    """Return what the step returns after proceedEmpty: declared parameters and their defaults play no part."""
    return user if spec.submitter_parameter and submitter_on_empty else None
