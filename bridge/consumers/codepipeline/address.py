"""CodepipelineAddress: the job that waits."""

import re
from typing import Annotated, Any, Self

from pydantic import Field, WithJsonSchema, model_validator

from bridge.core.consumer import Address, AddressError, NotSupported

_JOB_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OTHERS = ("client_id", "approval", "work")
"""Other things that wait on CodePipeline; each is told from a mistake."""
_LATER = "not in this version"

JobId = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{_JOB_ID.pattern}$"})]


class CodepipelineAddress(Address):
    """One job of a custom action or of a Lambda function, acknowledged by whoever took it before the remote system is called."""

    job_id: JobId | None = Field(default=None, description="as CodePipeline gave it: a UUID in lower case")
    client_id: Any = Field(default=None, description=_LATER)
    approval: Any = Field(default=None, description=_LATER)
    work: Any = Field(default=None, description=_LATER)

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        if self.job_id is None and all(getattr(self, name) is None for name in _OTHERS):
            raise ValueError("job_id is needed")
        return self

    def canonical(self, settings: Any) -> str:  # noqa: ARG002 - the port's shape
        """Return the job's id.

        Raises:
            NotSupported: it is another kind of place.
            AddressError: it is no job's id.
        """
        for name in _OTHERS:
            if getattr(self, name) is not None:
                raise NotSupported(f"/{name}", "is not supported by this version")
        if self.job_id is None or not _JOB_ID.fullmatch(self.job_id):  # with client_id it has another form
            raise AddressError("/job_id", "expected a UUID in lower case")
        return self.job_id
