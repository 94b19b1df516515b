"""The error tree: every kind has its codes and sentences, and the drawing shows it."""

import re

import grpc
import pytest

from mainstay import errors
from mainstay.errors import MainstayError, error_types
from tests.unit.sdk.example_errors import example

# Written out once more, so that a change of a code is a change of this table too.
DOCUMENTED = {
    "DatabaseError": ("UNAVAILABLE", 503, True),
    "CacheError": ("UNAVAILABLE", 503, True),
    "RateLimitError": ("RESOURCE_EXHAUSTED", 429, True),
    "RateLimitStoreError": ("UNAVAILABLE", 503, True),
    "JobQueueError": ("UNAVAILABLE", 503, True),
    "QueueFullError": ("RESOURCE_EXHAUSTED", 429, True),
    "ExternalApiError": ("UNAVAILABLE", 503, True),
    "ExternalApiRefusedError": ("INTERNAL", 500, False),
    "AiApiRefusedError": ("INTERNAL", 500, False),
    "AiContentError": ("FAILED_PRECONDITION", 400, False),
    "StorageFullError": ("RESOURCE_EXHAUSTED", 429, False),
    "StorageDamagedError": ("DATA_LOSS", 500, False),
    "AiApiError": ("UNAVAILABLE", 503, True),
    "AiQuotaError": ("RESOURCE_EXHAUSTED", 429, False),
    "FeatureGateError": ("FAILED_PRECONDITION", 400, False),
    "PlanLimitError": ("RESOURCE_EXHAUSTED", 429, False),
    "QuotaError": ("RESOURCE_EXHAUSTED", 429, False),
    "PreconditionError": ("FAILED_PRECONDITION", 400, False),
    "ValidationError": ("INVALID_ARGUMENT", 400, False),
    "AuthenticationError": ("UNAUTHENTICATED", 401, False),
    "AuthorizationError": ("PERMISSION_DENIED", 403, False),
    "StorageError": ("UNAVAILABLE", 503, True),
    "NotFoundError": ("NOT_FOUND", 404, False),
    "ConflictError": ("ABORTED", 409, False),
    "AlreadyExistsError": ("ALREADY_EXISTS", 409, False),
    "DeadlineError": ("DEADLINE_EXCEEDED", 504, False),
    "CancelledError": ("CANCELLED", 499, False),
    "UnimplementedError": ("UNIMPLEMENTED", 501, False),
    "UnavailableError": ("UNAVAILABLE", 503, True),
    "ConfigurationError": ("INTERNAL", 500, False),
    "InternalError": ("INTERNAL", 500, False),
    "UnknownError": ("UNKNOWN", 500, False),
}
DRAWN_LINE = re.compile(r"[├└]── (\w+) +(\w+) +(\d+)  \S")


class TestTheTable:
    def test_every_kind_has_its_codes(self) -> None:
        """What each kind travels as, and whether a repetition may help."""
        found = {
            kind.__name__: (kind.code.name, kind.http_status, kind.transient)
            for kind in error_types()
        }

        assert found == DOCUMENTED

    def test_the_drawing_shows_every_kind(self) -> None:
        """The tree at the top of the module names each kind with its codes."""
        drawn = {
            name: (code, int(status))
            for name, code, status in DRAWN_LINE.findall(errors.__doc__ or "")
        }

        assert {name: row[:2] for name, row in DOCUMENTED.items()} == drawn

    @pytest.mark.parametrize("kind", error_types())
    def test_every_kind_speaks_for_itself(self, kind: type[MainstayError]) -> None:
        """A constant for machines, a sentence for users, a way out; no two share a meaning."""
        assert re.fullmatch(r"[A-Z][A-Z_]+", kind.default_reason)
        assert re.fullmatch(r"[A-Z].+\.", kind.user_message)
        assert re.fullmatch(r"[A-Z].+\.", kind.recovery)
        assert kind.__doc__

    def test_reasons_are_unique(self) -> None:
        """A default reason leads to one kind."""
        reasons = [kind.default_reason for kind in error_types()]

        assert sorted(set(reasons)) == sorted(reasons)

    def test_http_follows_grpc(self) -> None:
        """Two kinds with one gRPC status have one HTTP status."""
        by_code: dict[grpc.StatusCode, set[int]] = {}
        for kind in error_types():
            by_code.setdefault(kind.code, set()).add(kind.http_status)

        assert dict.fromkeys(by_code, 1) == {code: len(by_code[code]) for code in by_code}


class TestAnError:
    @pytest.mark.parametrize("kind", error_types())
    def test_reads_well(self, kind: type[MainstayError]) -> None:
        """Its text is the message; its repr names the kind and the reason."""
        error = example(kind)

        assert str(error) == "what happened"
        assert repr(error) == f"{kind.__name__}('what happened', reason='EXAMPLE_REASON')"

    def test_takes_the_reason_of_its_kind(self) -> None:
        """Without a reason of its own it has the default, no metadata, no delay."""
        error = errors.CacheError("gone")

        assert (error.reason, error.metadata, error.retry_after, error.request_id) == (
            "CACHE_UNAVAILABLE",
            {},
            None,
            "",
        )
