"""Switches for what no page of AWS settles: each can be set when the emulator is made, and while it runs.

A duration that starts a timer (a timeout, the follow-up delay) holds for what starts after the change.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

DAY_S = 24 * 60 * 60.0

Seconds = Annotated[float, Field(ge=0)]


class Knobs(BaseModel):
    """Every open question of the contract and every inference in it, with the answer the emulator gives."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Handing out and acknowledging.
    default_batch_size: Annotated[int, Field(ge=1)] = 1
    """Jobs in the answer of a poll without maxBatchSize."""
    visibility_s: Seconds | None = 60.0
    """A job handed out and not acknowledged is handed out again after this time; None: never."""
    same_job_to_two_polls: bool = False
    """A job handed out and not acknowledged is in the answer of every poll."""
    redeliver_acknowledged: bool = False
    """An acknowledged job is handed out again after `visibility_s`, with a nonce that acknowledges it once more."""
    nonce: Literal["per-dispatch", "per-job"] = "per-dispatch"
    """Whether each handing out of a job has a nonce of its own (a third-party job: each reading of its details)."""
    older_nonces_win: bool = True
    """Whether a nonce can acknowledge after the job was handed out again with another one."""
    repeat_acknowledge: Literal["invalid-nonce", "status"] = "invalid-nonce"
    """The answer to a second Acknowledge with the nonce that won."""
    query_param: Literal["documented", "filter"] = "documented"
    """documented: required for a type with a queryable property, refused for one without. filter: neither."""
    third_party_id: Literal["base64", "uuid"] = "base64"
    """The form of a third-party job's id."""
    artifact_credentials: Literal["always", "with-artifacts", "never"] = "always"
    """When the data of a job holds credentials of the artifact store."""
    omit_data: tuple[str, ...] = ()
    """Members left out of every job's data: all of them are optional in the service model."""
    artifacts_need_kms: bool = True
    """The artifact store takes an object only with SSE-KMS, as the policy of a bucket that CodePipeline made asks for."""

    # Results.
    put_before_acknowledge: bool = False
    """Whether a result is taken for a job that nobody acknowledged. A Lambda job never needs it."""
    hundred_percent: Literal["continues", "completes", "refused"] = "continues"
    """What 100 % together with a continuation token means."""
    follow_up_delay_s: Seconds = 0.0
    """From a result with a continuation token to the job that carries it."""
    finished_known_s: Seconds | None = None
    """How long the id of a finished job is known: JobNotFoundException afterwards; None: for ever."""
    repeated_approval: Literal["ApprovalAlreadyCompletedException", "InvalidApprovalTokenException"] = (
        "ApprovalAlreadyCompletedException"
    )
    """The answer to a second result for one approval."""
    parallel_state: Literal["without-token", "hidden"] = "without-token"
    """How the state of a PARALLEL pipeline shows an approval that waits: without its token, or not at all."""

    # Timeouts.
    custom_action_timeout_s: Seconds = DAY_S
    third_party_job_timeout_s: Seconds = 3600.0
    """Per job; an action may have many. An action type's own `job_timeout_s` comes first."""
    lambda_action_timeout_s: Seconds = DAY_S
    lambda_reply_timeout_s: Seconds = 20 * 60.0
    """Per job: each result with a continuation token starts it anew."""
    approval_timeout_s: Seconds = 7 * DAY_S

    # Wire.
    verify_signatures: bool = True
    """Off: every request is taken as the default credential's, signed or not."""
    denied_operations: tuple[str, ...] = ()
    """Operations answered with AccessDeniedException."""
    credential_error_status: Literal[400, 403] = 400
    error_namespace: str = ""
    """Put before the code in `__type`, followed by `#`."""
    error_text_key: Literal["message", "Message"] = "message"

    def changed(self, **changes: object) -> "Knobs":
        """Return knobs with *changes*; raises pydantic's ValidationError for an unknown one or a bad value."""
        return Knobs.model_validate(self.model_dump() | changes)
