"""What the service refuses, with the code that a client classifies it by.

Contract: HTTP 400 and `{"__type": "<code>", "message": "…"}`, for modelled errors and throttling alike.
"""


class ServiceError(Exception):
    """An answer other than 200. `code`: the shape name of the error; `text`: for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class CredentialError(ServiceError):
    """The caller was not believed; the status of these is an open question, so it is a knob."""


def invalid(text: str) -> ServiceError:
    return ServiceError("ValidationException", text)


def job_not_found(job_id: str) -> ServiceError:
    return ServiceError("JobNotFoundException", f"Job {job_id} was not found")


def invalid_job_state(job_id: str, state: str) -> ServiceError:
    return ServiceError("InvalidJobStateException", f"Job {job_id} is in the state {state}")


def invalid_nonce() -> ServiceError:
    return ServiceError("InvalidNonceException", "The nonce was specified in an invalid format or is not current")


def invalid_approval_token() -> ServiceError:
    return ServiceError(
        "InvalidApprovalTokenException", "The approval request already received a response or has expired"
    )


def invalid_client_token() -> ServiceError:
    return ServiceError("InvalidClientTokenException", "The client token was specified in an invalid format")


def action_type_not_found(key: tuple[str, str, str, str]) -> ServiceError:
    category, owner, provider, version = key
    return ServiceError(
        "ActionTypeNotFoundException",
        f"ActionType (Category: '{category}', Owner: '{owner}', Provider: '{provider}', Version: '{version}')"
        " is not available",
    )
