"""`mainstay migrate` on a database that does not let it."""

import asyncio

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from cli.embedded.postgres import APP_ROLE
from cli.main import app


async def migrate(*options: str) -> Result:
    """Run the command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["migrate", *options])


class TestMigrateThatCannot:
    async def test_tells_a_missing_right_in_one_line(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The exit status is 1 and nobody has to read a traceback."""
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("REVOKE CREATE ON SCHEMA public FROM pg_database_owner, PUBLIC")
        await connection.close()
        monkeypatch.setenv("MAINSTAY_POSTGRES_URL", postgres_url)
        result = await migrate()
        lines = result.output.splitlines()

        assert result.exit_code == 1
        assert [line for line in lines if "permission denied" in line] == lines
        assert len(lines) == 1

    @pytest.mark.parametrize("place", ["127.0.0.1:1", "nobody.invalid:5432"])
    async def test_tells_that_nobody_answers_in_one_line(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same for a database that cannot be reached."""
        monkeypatch.setenv("MAINSTAY_POSTGRES_URL", f"postgresql://mainstay:secret@{place}/x")
        result = await migrate()

        assert result.exit_code == 1
        assert len(result.output.splitlines()) == 1
        assert "secret" not in result.output


class TestRole:
    async def test_gets_its_rights(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of what was just made; the last line says so."""
        monkeypatch.setenv("MAINSTAY_POSTGRES_URL", postgres_url)
        result = await migrate("--role", APP_ROLE)
        connection = await asyncpg.connect(postgres_url)
        may = await connection.fetchval(
            "SELECT has_table_privilege($1, 'jobs.jobs', 'SELECT')", APP_ROLE
        )
        await connection.close()

        assert (0, True) == (result.exit_code, may)
        assert f"role {APP_ROLE}" in result.output.splitlines()[-1]

    @pytest.mark.parametrize(
        ("role", "way_out"), [("nobody_there", "CREATE ROLE"), ("postgres", "NOSUPERUSER")]
    )
    async def test_that_would_not_be_bound_is_refused_in_one_line(
        self, postgres_url: str, role: str, way_out: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The migrations are applied all the same: they are good for other roles."""
        monkeypatch.setenv("MAINSTAY_POSTGRES_URL", postgres_url)
        result = await migrate("--role", role)

        assert result.exit_code == 1
        assert way_out in result.output.splitlines()[-1]
