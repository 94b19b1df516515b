"""How PostgreSQL's programs are told where a database is."""

import pytest

from cli.backup.errors import BackupError
from cli.backup.target import Target


class TestTarget:
    @pytest.mark.parametrize(
        ("url", "shown", "password"),
        [
            (
                "postgresql://me:p%40ss%3A@db:5432/x?sslmode=require",
                "postgresql://me@db:5432/x?sslmode=require",
                "p@ss:",
            ),
            ("postgresql://me@a:1,b:2/x", "postgresql://me@a:1,b:2/x", None),
            ("postgres://db/x?password=secret", "postgres://db/x", "secret"),
            (
                "postgresql:///x?host=/run/a b&user=me",
                "postgresql:///x?host=%2Frun%2Fa%20b&user=me",
                None,
            ),
        ],
    )
    def test_keeps_the_password_out_of_the_arguments(
        self, url: str, shown: str, password: str | None
    ) -> None:
        """It goes into the environment, as it was before it was escaped."""
        target = Target.of(url)

        assert (url, shown) == (target.url, target.shown)
        assert password == target.environment.get("PGPASSWORD")

    def test_sees_all_tenants(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With what somebody set beside."""
        monkeypatch.setenv("PGOPTIONS", "-c work_mem=1GB")
        options = Target.of("postgresql://db/x").environment["PGOPTIONS"]

        assert options.startswith("-c work_mem=1GB -c mainstay.tenant=* ")

    def test_refuses_a_secret_that_would_be_shown(self) -> None:
        """There is no variable for the password of a key."""
        with pytest.raises(BackupError, match="sslpassword"):
            Target.of("postgresql://db/x?sslkey=k&sslpassword=secret")
