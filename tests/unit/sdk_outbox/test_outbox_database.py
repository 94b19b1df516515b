"""What asyncpg raises leaves the outbox as an error of ours."""

import asyncpg
import pytest
from asyncpg import exceptions

from mainstay.errors import DatabaseError
from mainstay.outbox.database import translated


class TestLostConnection:
    @pytest.mark.parametrize(
        "error",
        [
            exceptions.ConnectionDoesNotExistError("connection was closed"),
            exceptions.AdminShutdownError("terminating connection"),
            asyncpg.InterfaceError("connection is closed"),
            asyncpg.InternalClientError("another operation is in progress"),
            ConnectionResetError("reset by peer"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_is_a_database_that_is_away(self, error: Exception) -> None:
        """However asyncpg meets it: a relay waits and connects again."""
        with (
            pytest.raises(DatabaseError, match="cannot be used now"),
            translated("mainstay_outbox"),
        ):
            raise error
