"""PostgreSQL's errors as ours."""

import asyncpg
import pytest

from mainstay.errors import ConfigurationError, DatabaseError
from shared.postgres.errors import translate


class TestTranslate:
    @pytest.mark.parametrize(
        "error",
        [
            asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
            asyncpg.DiskFullError("could not extend file"),
            asyncpg.TooManyConnectionsError("too many clients"),
            asyncpg.InvalidCachedStatementError("cached statement plan is invalid"),
            TimeoutError(),
            ConnectionResetError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_what_passes_is_transient(self, error: Exception) -> None:
        """A failover, a full disk, a migration under a prepared statement: no fault of ours."""
        assert isinstance(translate(error), DatabaseError)

    def test_a_right_that_is_lacking(self) -> None:
        """The operators are told to grant it."""
        error = asyncpg.InsufficientPrivilegeError("permission denied for table jobs")

        assert isinstance(translate(error), ConfigurationError)

    @pytest.mark.parametrize(
        "error",
        [
            asyncpg.UniqueViolationError("duplicate key"),
            asyncpg.InsufficientPrivilegeError("new row violates row-level security policy"),
        ],
        ids=["duplicate", "another tenant's row"],
    )
    def test_what_only_the_store_can_name(self, error: Exception) -> None:
        """It is left as it is."""
        assert translate(error) is None
