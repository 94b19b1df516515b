"""Sentry, if the application uses it: nothing is imported or set up for it."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def tagged(tags: Mapping[str, str]) -> Iterator[None]:
    """Put tags on whatever is reported within the block."""
    sentry = _initialized()
    if sentry is None:
        yield
        return
    with sentry.isolation_scope() as scope:
        for name, value in tags.items():
            scope.set_tag(name, value)
        yield


def report(error: Exception) -> None:
    """Report an error that no one had a name for."""
    sentry = _initialized()
    if sentry is not None:
        sentry.capture_exception(error)


def _initialized() -> Any:
    """Return the package if the application imported and initialized it; from version 2 on."""
    sentry: Any = sys.modules.get("sentry_sdk")
    # Another may have that name, or be in the middle of its import: no request may fail for it.
    if not (hasattr(sentry, "is_initialized") and hasattr(sentry, "isolation_scope")):
        return None
    return sentry if sentry.is_initialized() else None
