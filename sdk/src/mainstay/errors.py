"""The errors of Mainstay: one tree for the services that raise and the callers that catch.

::

    MainstayError
    ├── DatabaseError            UNAVAILABLE          503  the database cannot be reached
    ├── CacheError               UNAVAILABLE          503  the store behind the cache is gone
    ├── RateLimitError           RESOURCE_EXHAUSTED   429  over a rate limit
    ├── RateLimitStoreError      UNAVAILABLE          503  the counters cannot be reached
    ├── JobQueueError            UNAVAILABLE          503  the queue cannot take or give jobs
    ├── QueueFullError           RESOURCE_EXHAUSTED   429  the queue has no room for more jobs
    ├── ExternalApiError         UNAVAILABLE          503  somebody else's API failed
    │   └── ExternalApiRefusedError  INTERNAL         500  it would refuse the same call again
    ├── AiApiError               UNAVAILABLE          503  an AI provider failed
    │   ├── AiApiRefusedError    INTERNAL             500  it would refuse the same call again
    │   └── AiContentError       FAILED_PRECONDITION  400  it refuses what the call is about
    ├── AiQuotaError             RESOURCE_EXHAUSTED   429  the AI budget is used up
    ├── FeatureGateError         FAILED_PRECONDITION  400  the plan lacks the feature
    ├── PlanLimitError           RESOURCE_EXHAUSTED   429  the plan's allowance is used up
    ├── QuotaError               RESOURCE_EXHAUSTED   429  a bound on what may be kept is reached
    ├── PreconditionError        FAILED_PRECONDITION  400  the thing is not in a state for this
    ├── ValidationError          INVALID_ARGUMENT     400  a field is wrong
    ├── AuthenticationError      UNAUTHENTICATED      401  who is calling is not known
    ├── AuthorizationError       PERMISSION_DENIED    403  the caller may not do this
    ├── StorageError             UNAVAILABLE          503  files cannot be read or written
    │   ├── StorageFullError     RESOURCE_EXHAUSTED   429  there is no room for them
    │   └── StorageDamagedError  DATA_LOSS            500  what was stored is not what is there
    ├── NotFoundError            NOT_FOUND            404  the thing does not exist
    ├── ConflictError            ABORTED              409  somebody else changed it first
    ├── AlreadyExistsError       ALREADY_EXISTS       409  the thing exists with other content
    ├── DeadlineError            DEADLINE_EXCEEDED    504  the caller's time ran out
    ├── CancelledError           CANCELLED            499  the caller went away
    ├── UnimplementedError       UNIMPLEMENTED        501  the method does not exist
    ├── UnavailableError         UNAVAILABLE          503  a service or what it needs is gone
    ├── ConfigurationError       INTERNAL             500  the operators must correct a setting
    ├── InternalError            INTERNAL             500  a fault of ours, with an error id
    └── UnknownError             UNKNOWN              500  not from Mainstay, such as a proxy

The gRPC and HTTP codes follow google.rpc.Code; how an error travels is in `mainstay.errors_wire`.
A class that is new to a caller arrives as the general one of its gRPC code. docs/errors.md has the
whole table.
"""

from collections.abc import Mapping
from typing import ClassVar, TypedDict, Unpack

import grpc


class Facts(TypedDict, total=False):
    """What every error can be raised with besides its message; see `MainstayError`."""

    reason: str | None
    metadata: Mapping[str, str] | None
    retry_after: float | None


class MainstayError(Exception):
    """An error with a name.

    Class attributes say what is true of every error of a kind; instances hold the facts of one.

    Attributes:
        code: The gRPC status it travels as.
        http_status: The HTTP status a web front should answer.
        reason: A constant for machines, unique within the domain `mainstay`.
        user_message: A sentence that may be shown to end users; contains no details.
        recovery: What the caller or the operator can do.
        transient: Whether the same call may succeed later without anybody changing anything.
        message: What happened, for developers: the thing, the reason, the way out.
        metadata: Facts as short strings, such as `{"dependency": "redis"}`.
        retry_after: Seconds to wait before a retry makes sense, if known.
        request_id: The call that failed; empty until the error has travelled.

    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    http_status: ClassVar[int] = 500
    default_reason: ClassVar[str] = "INTERNAL"
    user_message: ClassVar[str] = "Something went wrong on our side."
    recovery: ClassVar[str] = "Report the request id to the operators."
    transient: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after = retry_after
        self.request_id = ""

    def __repr__(self) -> str:
        """Show the kind, the reason and the call."""
        return f"{type(self).__name__}({self.message!r}, reason={self.reason!r})"


class DatabaseError(MainstayError):
    """PostgreSQL cannot be reached, or broke off what it was doing.

    Only what may succeed when it is tried again: a query that cannot is a fault of ours, and an
    InternalError under an error id, since its text quotes data.
    """

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    default_reason = "DATABASE_UNAVAILABLE"
    user_message = "The service is briefly unavailable. Please try again."
    recovery = "Retry with backoff; check PostgreSQL if it persists."
    transient = True


class CacheError(MainstayError):
    """The store behind the cache cannot be reached."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    default_reason = "CACHE_UNAVAILABLE"
    user_message = "The service is briefly slower than usual. Please try again."
    recovery = "Read from the source and go on; check Redis if it persists."
    transient = True


class RateLimitError(MainstayError):
    """A rate limit is used up."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    default_reason = "RATE_LIMITED"
    user_message = "Too many requests. Please wait a moment."
    recovery = "Wait for retry_after."
    transient = True


class RateLimitStoreError(MainstayError):
    """The counters of the rate limits cannot be reached."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    default_reason = "RATE_LIMIT_STORE_UNAVAILABLE"
    user_message = "The service is briefly unavailable. Please try again."
    recovery = "Decide whether to let the request pass; check Redis if it persists."
    transient = True


class JobQueueError(MainstayError):
    """The job queue cannot take or hand out jobs."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    default_reason = "JOB_QUEUE_UNAVAILABLE"
    user_message = "The task could not be started. Please try again."
    recovery = "Send the event again with the same idempotency key."
    transient = True


class QueueFullError(MainstayError):
    """The queue has no room for more jobs now; nothing of the call was accepted."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    default_reason = "QUEUE_FULL"
    user_message = "There is too much to do right now. Please try again later."
    recovery = "Wait for retry_after and send the same again."
    transient = True


class ExternalApiError(MainstayError):
    """An API outside the suite failed; `upstream` and `upstream_status` belong in the metadata."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    default_reason = "EXTERNAL_API_FAILED"
    user_message = "A partner service is not answering. Please try again."
    recovery = "Retry with backoff; check the status of the upstream."
    transient = True


class ExternalApiRefusedError(ExternalApiError):
    """An API outside the suite refused a call, and would refuse the same call again."""

    code = grpc.StatusCode.INTERNAL
    http_status = 500
    default_reason = "EXTERNAL_API_REFUSED"
    user_message = "A partner service could not do this."
    recovery = "Correct the call or its credentials; the metadata names the upstream's status."
    transient = False


class AiApiError(MainstayError):
    """An AI provider failed; `upstream` and `upstream_status` belong in the metadata."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    default_reason = "AI_API_FAILED"
    user_message = "The assistant is not answering. Please try again."
    recovery = "Retry with backoff or use another provider."
    transient = True


class AiApiRefusedError(AiApiError):
    """An AI provider refused a call, and would refuse the same call again."""

    code = grpc.StatusCode.INTERNAL
    http_status = 500
    default_reason = "AI_API_REFUSED"
    user_message = "The assistant could not do this."
    recovery = "Correct the call, its model or its credentials, or use another provider."
    transient = False


class AiContentError(AiApiError):
    """An AI provider refuses what a call is about, such as for its rules."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    http_status = 400
    default_reason = "AI_CONTENT_REFUSED"
    user_message = "The assistant does not answer this."
    recovery = "Change what is asked; the same content would be refused again."
    transient = False


class AiQuotaError(MainstayError):
    """The budget for AI calls is used up."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    default_reason = "AI_QUOTA_EXCEEDED"
    user_message = "The AI budget is used up."
    recovery = "Wait for retry_after; where there is none, ask for less or raise the budget."


class FeatureGateError(MainstayError):
    """The subject's plan does not include the feature."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    http_status = 400
    default_reason = "FEATURE_NOT_IN_PLAN"
    user_message = "This feature is not part of your plan."
    recovery = "Offer the plan named in the metadata."


class PlanLimitError(MainstayError):
    """The allowance of the subject's plan is used up."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    default_reason = "PLAN_LIMIT_EXCEEDED"
    user_message = "The allowance of your plan is used up."
    recovery = "Offer a larger plan."


class QuotaError(MainstayError):
    """What a tenant may keep is used up; `violations` names each quota with the way out.

    Waiting alone does not help: something has to go, or the quota has to be raised.
    """

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    default_reason = "QUOTA_EXCEEDED"
    user_message = "There is no room for more."
    recovery = "Remove something, or have the quota named in the details raised."

    def __init__(
        self, message: str, *, violations: Mapping[str, str], **facts: Unpack[Facts]
    ) -> None:
        super().__init__(message, **facts)
        self.violations = dict(violations)


class PreconditionError(MainstayError):
    """The thing exists, but is not in a state, or not of a kind, for what was asked."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    http_status = 400
    default_reason = "PRECONDITION_FAILED"
    user_message = "This is not possible right now."
    recovery = "Bring about what the message names, then call again."


class ValidationError(MainstayError):
    """One or more fields are wrong; `fields` names each with what would be right."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 400
    default_reason = "VALIDATION_FAILED"
    user_message = "Some of the input is not valid."
    recovery = "Correct the fields named in the details."

    def __init__(self, message: str, *, fields: Mapping[str, str], **facts: Unpack[Facts]) -> None:
        super().__init__(message, **facts)
        self.fields = dict(fields)


class AuthenticationError(MainstayError):
    """The caller did not prove who it is."""

    code = grpc.StatusCode.UNAUTHENTICATED
    http_status = 401
    default_reason = "UNAUTHENTICATED"
    user_message = "Please sign in again."
    recovery = "Send valid credentials."


class AuthorizationError(MainstayError):
    """The caller is known and may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED
    http_status = 403
    default_reason = "PERMISSION_DENIED"
    user_message = "You are not allowed to do this."
    recovery = "Ask for the scope named in the metadata."


class StorageError(MainstayError):
    """Files cannot be read or written."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    default_reason = "STORAGE_UNAVAILABLE"
    user_message = "The file could not be stored. Please try again."
    recovery = "Retry with backoff; check the disk if it persists."
    transient = True


class StorageFullError(StorageError):
    """There is no room for the file, on the disk or in the quota of who stores it."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    default_reason = "STORAGE_FULL"
    user_message = "There is no room for the file."
    recovery = "Remove files or enlarge the disk, then store it again."
    transient = False


class StorageDamagedError(StorageError):
    """What was stored is not what is there: cut short, or changed."""

    code = grpc.StatusCode.DATA_LOSS
    http_status = 500
    default_reason = "STORAGE_DAMAGED"
    user_message = "The file is damaged."
    recovery = "Restore it from a backup, or store it again."
    transient = False


class _ResourceError(MainstayError):
    """An error about one named thing."""

    def __init__(
        self,
        message: str,
        *,
        resource_type: str,
        resource_name: str,
        **facts: Unpack[Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.resource_type = resource_type
        self.resource_name = resource_name


class NotFoundError(_ResourceError):
    """The thing does not exist, or not for this tenant."""

    code = grpc.StatusCode.NOT_FOUND
    http_status = 404
    default_reason = "NOT_FOUND"
    user_message = "This does not exist."
    recovery = "Check the id and the tenant."


class ConflictError(MainstayError):
    """Somebody else changed the thing first."""

    code = grpc.StatusCode.ABORTED
    http_status = 409
    default_reason = "CONFLICT"
    user_message = "Somebody else changed this. Please reload."
    recovery = "Read again and repeat the change."


class AlreadyExistsError(_ResourceError):
    """The thing exists already, with other content."""

    code = grpc.StatusCode.ALREADY_EXISTS
    http_status = 409
    default_reason = "ALREADY_EXISTS"
    user_message = "This exists already."
    recovery = "Use another name or key, or read what exists."


class DeadlineError(MainstayError):
    """The caller's time, or the longest time the method may take, ran out."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = 504
    default_reason = "DEADLINE_EXCEEDED"
    user_message = "This took too long. Please try again."
    recovery = "Retry if repeating is safe; allow more time."


class CancelledError(MainstayError):
    """The caller went away before the answer."""

    code = grpc.StatusCode.CANCELLED
    http_status = 499
    default_reason = "CANCELLED"
    user_message = "The request was cancelled."
    recovery = "Call again if the answer is still wanted."


class UnimplementedError(MainstayError):
    """The service does not have the method."""

    code = grpc.StatusCode.UNIMPLEMENTED
    http_status = 501
    default_reason = "METHOD_NOT_FOUND"
    user_message = "This is not supported."
    recovery = "Check the method's name and the versions of client and service."


class UnavailableError(MainstayError):
    """A service, or something it depends on, cannot be reached or sheds load."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    default_reason = "UNAVAILABLE"
    user_message = "The service is briefly unavailable. Please try again."
    recovery = "Retry with backoff."
    transient = True


class ConfigurationError(MainstayError):
    """A setting or policy is missing or wrong."""

    code = grpc.StatusCode.INTERNAL
    http_status = 500
    default_reason = "CONFIGURATION_INVALID"
    user_message = "Something went wrong on our side."
    recovery = "Correct the setting named in the message and start again."


class InternalError(MainstayError):
    """Something unexpected; its text stays in the service's log under the error id."""

    default_reason = "INTERNAL"


class UnknownError(MainstayError):
    """A failure that did not come from Mainstay's error boundary, such as a proxy's."""

    code = grpc.StatusCode.UNKNOWN
    default_reason = "UNKNOWN"


def error_types() -> list[type[MainstayError]]:
    """Return every public kind of error, parents before children."""
    found: list[type[MainstayError]] = []
    pending: list[type[MainstayError]] = [MainstayError]
    while pending:
        kind = pending.pop(0)
        children = list(kind.__subclasses__())
        pending.extend(children)
        if kind is not MainstayError and not kind.__name__.startswith("_"):
            found.append(kind)
    return found
