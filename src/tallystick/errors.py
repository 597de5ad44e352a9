"""Every error that can reach a caller, in one hierarchy.

An invocation passes ``bytes -> body -> input -> prediction -> bytes``; an error's class says where it
stopped and what follows from it:

* the request failed (``InvalidInput``, ``ModelFailed``): this caller is told, nobody else is touched;
* the place is busy or away (``TooManyRequests``, ``TemporarilyUnavailable``): try again after ``retry_after_s``;
* the config cannot work (``DeploymentFailed``): the version that serves goes on serving.

`message` is written for the caller and is sent as it is: no path, no stack trace, no secret, no payload.
The codes are those that databricks-sdk and MLflow map to exceptions of their own; other codes would reach
an MLflow user as a 500.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class TallystickError(Exception):
    """Base of all errors with a public text. Not raised itself."""

    error_code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s

    def to_body(self) -> dict[str, Any]:
        """Return the JSON object that clients parse: `error_code` and `message`, never `error` or `detail`."""
        return {"error_code": self.error_code, "message": without_retry_phrases(self.message)}


class BadRequest(TallystickError):
    """The bytes are not a request: malformed JSON, no or two input keys, a wrong content type."""

    error_code, status = "BAD_REQUEST", 400


class InvalidParameter(TallystickError):
    """A field of a control request, or an invocation as a whole, is not acceptable."""

    error_code, status = "INVALID_PARAMETER_VALUE", 400


class PayloadTooLarge(InvalidParameter):
    """Larger than the server takes. 413 with a code that keeps MLflow's client from sending it again."""

    status = 413


class InvalidState(TallystickError):
    """The request is fine, the endpoint is not in a state for it (stopped, never deployed)."""

    error_code, status = "INVALID_PARAMETER_VALUE", 400


class Unauthenticated(TallystickError):
    """No token, or one that is unknown, revoked or expired."""

    error_code, status = "UNAUTHENTICATED", 401


class PermissionDenied(TallystickError):
    """The caller is known and may see the object, but not do this."""

    error_code, status = "PERMISSION_DENIED", 403


class NotFound(TallystickError):
    """There is no such object, or the caller may not know that there is."""

    error_code, status = "RESOURCE_DOES_NOT_EXIST", 404


class EndpointNotFound(NotFound):
    """As NotFound, with the code that an invocation of an unknown endpoint gets."""

    error_code = "ENDPOINT_NOT_FOUND"


class AlreadyExists(TallystickError):
    """The name is taken."""

    error_code, status = "RESOURCE_ALREADY_EXISTS", 409


class Conflict(TallystickError):
    """Another change of the same object is under way."""

    error_code, status = "RESOURCE_CONFLICT", 409


class TooManyRequests(TallystickError):
    """A limit was met; the message names it."""

    error_code, status, retryable = "REQUEST_LIMIT_EXCEEDED", 429, True


class ModelFailed(TallystickError):
    """The model's own code raised. 400 by the contract: 5xx is kept for faults of the platform."""

    error_code, status = "BAD_REQUEST", 400


class InternalError(TallystickError):
    """A fault of ours; the log has the rest under the request id."""


class DamagedTable(TallystickError):
    """A table of records is there, and cannot be read."""


class NotImplementedHere(TallystickError):
    """Part of the Databricks API that this server leaves out."""

    error_code, status = "NOT_IMPLEMENTED", 501


class TemporarilyUnavailable(TallystickError):
    """Nothing is wrong with the request; the part that answers it is starting, restarting or stopping."""

    error_code, status, retryable = "TEMPORARILY_UNAVAILABLE", 503, True


class DeadlineExceeded(TallystickError):
    """The invocation took longer than it may."""

    error_code, status = "DEADLINE_EXCEEDED", 504


class DeploymentFailed(TallystickError):
    """A served entity could not be brought up. Shown in its deployment state and build log."""

    error_code, status = "INVALID_STATE", 400


@dataclass(frozen=True, slots=True)
class Violation:
    """One reason why an input does not fit a signature.

    `where` is a path into the request as the caller wrote it (``dataframe_records[3].age``); `problem` says
    what was there by kind and what would be right, and repeats at most a short piece of the value.
    """

    where: str
    problem: str


class InvalidInput(InvalidParameter):
    """The input does not fit the model's signature. Carries every violation, not only the first."""

    # What a person can read; the count of the rest is given instead of the rest.
    shown: ClassVar[int] = 20

    def __init__(self, summary: str, violations: Sequence[Violation] = ()) -> None:
        self.violations = tuple(violations)
        lines = [f"{v.where}: {v.problem}" for v in self.violations[: self.shown]]
        rest = len(self.violations) - len(lines)
        if rest:
            lines.append(f"and {rest} more")
        super().__init__(summary + (": " + "; ".join(lines) if lines else ""))


# databricks-sdk sends a request again when an error text holds one of these, even for a 400 (its
# `_BaseClient._is_retryable`). A model's exception may hold anything, so they are broken up, visibly.
_RETRY_PHRASES = (
    "Unexpected error",
    "ClusterNotReadyException",
    "Unknown worker environment",
    "does not have any associated worker environments",
    "There is no worker environment with id",
    "UnknownWorkerEnvironmentException",
    "Please try again later or try a faster operation.",
    "RPC token bucket limit has been exceeded",
)


def without_retry_phrases(text: str) -> str:
    """Return `text` with the phrases that make databricks-sdk retry put in lower case.

    >>> without_retry_phrases("ValueError: Unexpected error in tokenizer")
    'ValueError: unexpected error in tokenizer'
    """
    for phrase in _RETRY_PHRASES:
        # The client compares case-sensitively; all-lower-case phrases get a hyphen instead.
        text = text.replace(phrase, phrase.lower() if phrase != phrase.lower() else phrase.replace(" ", "-"))
    return text
