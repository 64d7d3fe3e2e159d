"""The switches: what differs between installations and versions, and every point the contract page only infers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Switches(BaseModel):
    """How this Jenkins is installed. Each default is what the contract page says of a current one."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    version: str = "2.541"

    pipeline_rest_api: bool = True
    """Off: the plugin behind `wfapi/` is not installed."""
    input_listing: bool = True
    """Off: an input plugin before 466, whose executions are not in `api/json`."""
    submitter_on_empty: bool = True
    """Off: an input plugin before 532, whose proceedEmpty returns null with a `submitterParameter` too."""
    ids_checked: bool = True
    """Off: an input plugin before 456, which takes any explicit id."""
    unsafe_files: bool = False
    """On: the escape hatch `supportUnsafeParameters` for core `file` parameters."""
    submitter_case_sensitive: bool = False
    console_redirect: Literal["absolute", "relative"] = "absolute"
    """Of `submit`; relative: an input plugin before 2023-08."""
    settle_s: float = 0.0
    """How long an answered input is still found, as one already given."""
    unknown_boolean: Literal["false", "error"] = "false"
    missing_json_status: Literal[400, 500] = 400
    wfapi_missing_json_status: Literal[400, 500] = 400
    wfapi_get_status: Literal[405, 500] = 500

    csrf: bool = True
    crumb_field: str = "Jenkins-Crumb"
    crumb_with_client_ip: bool = False
    """On: a core before 2.543 without proxy compatibility."""
    session_idle_s: float = 1800.0
    session_beats_basic: bool = True
    """A session's cookie in which the same user is logged in hides the API token, so that a crumb is demanded."""
    who_am_i_open: bool = False
    """On: `whoAmI` answers an anonymous caller too."""
    strips_authorization: bool = False
    """On: a proxy in front keeps the Authorization header to itself, so that everybody is anonymous."""
    json_error_pages: bool = True
    """The container's own errors are JSON for `Accept: application/json`."""

    internal_url: str | None = None
    """Scheme and host that `Location` names, unless X-Forwarded-Host does; None: those of the request."""

    quiet_period_s: float = 0.0
    left_without_build_s: float = 0.0
    """How long an item that left the queue has no `executable` yet."""
    queue_keep_s: float = 300.0
    queue_survives_restart: bool = True
    """Waiting items only; those that left are always forgotten."""
    executors_busy: bool = False

    loading_block_s: float = 60.0
    """How long a call waits for the executions of a build that are still loading, before its 500."""
    lose_answers: int = 0
    """This many answers are taken with 200 and lost in a crash right after."""
