"""What is told to the coordinator about an attempt: report_of() is a pure table; Redaction keeps secrets out of it."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, SecretStr

from bridge.core.outcome import NOT_REACHED, Ack, DeadLetter, Ending, InDoubt, Settlement, Unmarked
from bridge.core.resolution import Progressed, Report, Resolution
from bridge.core.sealed import redacted, secrets_of
from bridge.worker.trail import Trail, fingerprint

MAX_NOTE = 500


class Redaction:
    """Cuts a text to MAX_NOTE characters and takes the secrets of sections and addresses out of it."""

    def __init__(self, *holders: BaseModel | Sequence[SecretStr]) -> None:
        self._secrets = {secret for holder in holders for secret in secrets_of(holder)}

    def __call__(self, text: str) -> str:
        text = redacted(text, self._secrets)
        text = "".join(character if character.isprintable() else " " for character in text)
        return text if len(text) <= MAX_NOTE else text[: MAX_NOTE - 1] + "…"


def report_of(
    resolution: Resolution, ending: Ending, settlement: Settlement, *, trail: Trail, note: str, now: datetime
) -> Report | None:
    """Return what the coordinator is told; None when nothing new happened since the last report.

    note: the ending's reason, redacted.
    """
    match settlement:
        case Ack():
            result = _acked(ending)
        case DeadLetter():
            result = Progressed.UNDELIVERABLE
        case _:
            if trail.last == fingerprint(ending):
                return None
            result = Progressed.ATTEMPT
    reason = settlement.reason if isinstance(settlement, DeadLetter) else ""
    return Report(
        wait=resolution.wait,
        target=resolution.target,
        dispatch=resolution.dispatch,
        result=result,
        ending="" if reason == NOT_REACHED else ending.slug,
        reason=reason,
        note=note,
        attempt=trail.attempt,
        at=now,
    )


def _acked(ending: Ending) -> Progressed:
    match ending:
        case InDoubt():
            return Progressed.DOUBTFUL
        case Unmarked():
            return Progressed.MARK
        case _:
            return Progressed.RESOLVED


def announcement(resolution: Resolution, *, trail: Trail, now: datetime) -> Report:
    """Return "about to be sent": an attempt without an ending, which the coordinator remembers (rule 9)."""
    return Report(
        wait=resolution.wait,
        target=resolution.target,
        dispatch=resolution.dispatch,
        result=Progressed.ATTEMPT,
        attempt=trail.attempt,
        at=now,
    )
