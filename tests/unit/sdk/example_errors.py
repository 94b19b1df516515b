"""One error of every kind, with everything an error can carry."""

from typing import Any

from mainstay.errors import (
    AlreadyExistsError,
    MainstayError,
    NotFoundError,
    QuotaError,
    ValidationError,
)


def example(kind: type[MainstayError], message: str = "what happened", **more: Any) -> Any:
    """Return an error of `kind`; `more` replaces or adds arguments of its constructor."""
    arguments: dict[str, Any] = {
        "reason": "EXAMPLE_REASON",
        "metadata": {"subject": "user-7"},
        "retry_after": 1.25,
    }
    if issubclass(kind, ValidationError):
        arguments["fields"] = {"key": "1 to 200 characters"}
    if issubclass(kind, QuotaError):
        arguments["violations"] = {"entries": "1,000 at most; delete some"}
    if issubclass(kind, NotFoundError | AlreadyExistsError):
        arguments |= {"resource_type": "job", "resource_name": "job-7"}
    return kind(message, **{**arguments, **more})
