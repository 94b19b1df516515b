"""`mainstay backup` and `mainstay restore`: what they refuse, and what is left when they fail."""

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import asyncpg
import pytest

from cli.backup.contents import SCHEMAS, Table, check_everything_is_seen, connected
from cli.backup.errors import BackupError
from cli.backup.programs import Programs
from cli.backup.script import has_ledger, wanted
from cli.backup.target import Target
from cli.embedded.postgres import ROLE, postgres_binaries
from shared.postgres.pool import Postgres
from tests.integration.backup.conftest import Mainstay, Wrap, contents

# Keeps what it was given for the test to read, then does it.
RECORD = 'printf "%s\\n" "$@" >> "{0}/said"; env >> "{0}/environment"; exec "$REAL" "$@"'
PATIENCE = 20.0


@pytest.fixture
async def saved(mainstay: Mainstay, filled_url: str, tmp_path: Path) -> Path:
    """Make a backup."""
    file = tmp_path / "saved.dump"
    result = await mainstay(filled_url, "backup", "--output", file)
    assert 0 == result.exit_code, result.output
    return file


async def change(url: str) -> dict[str, tuple[int, str]]:
    """Make the contents of a database differ from its backup, and return them."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET mainstay.tenant = '*'")
    await connection.execute("DELETE FROM jobs.signals")
    await connection.execute("CREATE TABLE jobs.of_a_newer_version (id int)")
    await connection.close()
    return await contents(url)


def read_until(file: Path, wanted: str) -> None:
    """Read what is written to a pipe up to a line."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if line == wanted:
                return


def dumps(directory: Path) -> list[Path]:
    """Return the backups in a directory, half ones too."""
    return [*directory.glob("*.dump*")]


class TestBackup:
    async def test_is_told_with_its_rows(
        self, mainstay: Mainstay, filled_url: str, tmp_path: Path
    ) -> None:
        """Partitions added up, what is empty left out, and where the file is."""
        result = await mainstay(filled_url, "backup")
        lines = [line.split() for line in result.output.splitlines()]
        (file,) = dumps(tmp_path)

        assert ["jobs.history", "4"] in lines
        assert not [line for line in lines if line[0] == "jobs.queue"]
        assert f"saved {file.name}" in result.output
        assert 0o600 == stat.S_IMODE(file.stat().st_mode)

    async def test_is_of_one_moment(
        self, mainstay: Mainstay, migrated_url: str, other_postgres_url: str, tmp_path: Path
    ) -> None:
        """What is written meanwhile is in it as a whole transaction, or not at all."""
        writer = await asyncpg.connect(migrated_url)
        await writer.execute("SET mainstay.tenant = '*'")
        written = asyncio.Event()

        async def write() -> None:
            number = 0
            while True:
                number += 1
                # One table is read early and one late.
                await writer.execute(
                    "BEGIN; INSERT INTO cache.statistics_batches VALUES (gen_random_uuid()); "
                    "INSERT INTO telemetry.performance_metrics VALUES (date_trunc('minute', now()),"
                    f"'s', 'i', 'rpc', '{number}', 1, 0, 1, 1, 1, 1, 1, 1); COMMIT"
                )
                written.set()

        writing = asyncio.create_task(write())
        await asyncio.wait_for(written.wait(), PATIENCE)
        made = await mainstay(migrated_url, "backup", "--output", tmp_path / "x.dump")
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await writer.close(timeout=PATIENCE)
        restored = await mainstay(other_postgres_url, "restore", tmp_path / "x.dump")
        connection = await asyncpg.connect(other_postgres_url)
        batches = await connection.fetchval("SELECT count(*) FROM cache.statistics_batches")
        rows = await connection.fetchval("SELECT count(*) FROM telemetry.performance_metrics")
        await connection.close()

        assert (0, 0) == (made.exit_code, restored.exit_code), made.output + restored.output
        assert 0 < batches == rows

    async def test_shows_no_password(
        self, mainstay: Mainstay, filled_url: str, wrap: Wrap, tmp_path: Path
    ) -> None:
        """Arguments of programs are everybody's to read; their environment is not."""
        wrap("pg_dump", RECORD.format(tmp_path))
        url = filled_url.replace("mainstay@", "mainstay:s%40cret@")
        result = await mainstay(url, "backup")

        assert 0 == result.exit_code, result.output
        assert "PGPASSWORD=s@cret" in (tmp_path / "environment").read_text()
        for text in (result.output, (tmp_path / "said").read_text()):
            assert "cret" not in text

    async def test_leaves_the_tables_of_others_out(
        self, mainstay: Mainstay, filled_url: str, other_postgres_url: str, tmp_path: Path
    ) -> None:
        """The ledger stands in the schema public, where other programs have theirs."""
        connection = await asyncpg.connect(filled_url)
        await connection.execute('CREATE TABLE public."My.own ""table" (secret text)')
        await connection.execute(
            'INSERT INTO public."My.own ""table" VALUES (repeat(\'treasure\', 1))'
        )
        await connection.execute("CREATE FUNCTION public.mine() RETURNS int RETURN 1")
        await connection.close()
        made = await mainstay(filled_url, "backup", "--output", tmp_path / "x.dump")
        restored = await mainstay(other_postgres_url, "restore", tmp_path / "x.dump")
        connection = await asyncpg.connect(other_postgres_url)
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname='public'")
        functions = await connection.fetch(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
        await connection.close()

        assert (0, 0) == (made.exit_code, restored.exit_code), made.output + restored.output
        assert (["mainstay_migrations"], []) == ([row[0] for row in tables], functions)
        assert b"My.own" not in (tmp_path / "x.dump").read_bytes()

    async def test_names_a_file_that_cannot_be_written(
        self, mainstay: Mainstay, filled_url: str
    ) -> None:
        """And does not blame PostgreSQL for it."""
        result = await mainstay(filled_url, "backup", "--output", "nowhere/x.dump")

        assert (1, "error: nowhere/x.dump.part cannot be written: No such file or directory") == (
            result.exit_code,
            result.output.strip(),
        )

    async def test_sees_all_rows_with_options_in_the_url(
        self, mainstay: Mainstay, filled_url: str
    ) -> None:
        """They hold beside those that let it see the rows of all tenants."""
        result = await mainstay(f"{filled_url}?options=-c%20work_mem%3D8MB", "backup")

        assert 0 == result.exit_code, result.output

    async def test_needs_something_to_save(
        self, mainstay: Mainstay, postgres_url: str, tmp_path: Path
    ) -> None:
        """An empty backup of a wrong database would be found out too late."""
        result = await mainstay(postgres_url, "backup")

        assert 1 == result.exit_code
        assert "nothing of Mainstay in this database" in result.output
        assert [] == dumps(tmp_path)

    async def test_overwrites_nothing(
        self, mainstay: Mainstay, filled_url: str, tmp_path: Path
    ) -> None:
        """The backup of yesterday stays."""
        (tmp_path / "x.dump").write_text("yesterday's")
        result = await mainstay(filled_url, "backup", "--output", "x.dump")

        assert (2, "yesterday's") == (result.exit_code, (tmp_path / "x.dump").read_text())
        assert "error: x.dump exists" in result.output

    async def test_needs_programs_that_are_not_older(
        self, mainstay: Mainstay, filled_url: str, wrap: Wrap
    ) -> None:
        """An old pg_dump does not know what a newer server has; the message says where to look."""
        directory = wrap("psql", "")
        (directory / "pg_dump").unlink()
        (directory / "pg_dump").write_text('#!/bin/sh\necho "pg_dump (PostgreSQL) 9.6.1"\n')
        (directory / "pg_dump").chmod(stat.S_IRWXU)
        result = await mainstay(filled_url, "backup")

        assert 1 == result.exit_code
        assert f"{directory}: version 9" in result.output
        assert "MAINSTAY_PG_BIN" in result.output

    @pytest.mark.parametrize(
        ("program", "script", "why"),
        [
            ("pg_dump", 'echo "pg_dump: error: disk full" >&2; exit 1', "disk full"),
            # Says that all is well, and has lost the end.
            (
                "pg_dump",
                '"$REAL" --schema=ratelimit "$@" --exclude-table-data="jobs.*"',
                "rows of jobs.",
            ),
        ],
    )
    async def test_leaves_no_file_when_it_fails(
        self,
        mainstay: Mainstay,
        filled_url: str,
        wrap: Wrap,
        tmp_path: Path,
        program: str,
        script: str,
        why: str,
    ) -> None:
        """Half a backup is worse than none."""
        wrap(program, script)
        result = await mainstay(filled_url, "backup")

        assert 1 == result.exit_code
        assert why in result.output
        assert [] == dumps(tmp_path)


class TestRestore:
    async def test_replaces_only_when_told_to(
        self, mainstay: Mainstay, filled_url: str, saved: Path
    ) -> None:
        """What is there is named first; then it goes, with what came after the backup."""
        before = await contents(filled_url)
        await change(filled_url)
        refused = await mainstay(filled_url, "restore", saved)
        replaced = await mainstay(filled_url, "restore", saved, "--replace")

        assert 2 == refused.exit_code
        assert "give --replace" in refused.output
        assert (0, before) == (replaced.exit_code, await contents(filled_url)), replaced.output

    @pytest.mark.parametrize("name", ["mainstay", "mainstay telemetry"])
    async def test_waits_for_no_service(
        self, mainstay: Mainstay, filled_url: str, saved: Path, name: str
    ) -> None:
        """One that runs would go on with what it remembers: it has to be stopped first."""
        before = await change(filled_url)
        service = Postgres(filled_url, session_settings={"application_name": name})
        await service.start()
        refused = await mainstay(filled_url, "restore", saved, "--replace")
        await service.close()

        assert 1 == refused.exit_code
        assert "stop all replicas" in refused.output
        assert before == await contents(filled_url)

    @pytest.mark.parametrize(
        ("program", "script", "why"),
        [
            # The end is missing, and nobody says so.
            ("pg_restore", '"$REAL" "$@" | sed "/Type: CONSTRAINT/,\\$d"', "ends before its end"),
            (
                "pg_restore",
                '"$REAL" "$@" | sed "/Type: CONSTRAINT/,\\$d"; exit 1',
                "pg_restore failed",
            ),
            # A row is lost on the way into the database.
            ("psql", 'grep -v openai | "$REAL" "$@"', "ai_api_usage did not get the 1 rows"),
            ("psql", 'head -c 100000 >/dev/null; echo "psql: error: gone" >&2; exit 3', "gone"),
        ],
    )
    async def test_changes_nothing_when_it_fails(
        self,
        mainstay: Mainstay,
        filled_url: str,
        saved: Path,
        wrap: Wrap,
        program: str,
        script: str,
        why: str,
    ) -> None:
        """It is one transaction, --replace included."""
        before = await change(filled_url)
        listing = 'for a in "$@"; do [ "$a" = --list ] && exec "$REAL" "$@"; done; '
        wrap(program, (listing if program == "pg_restore" else "") + script)
        result = await mainstay(filled_url, "restore", saved, "--replace")

        assert (1, before) == (result.exit_code, await contents(filled_url)), result.output
        assert why in result.output

    async def test_changes_nothing_when_it_is_killed(
        self, filled_url: str, saved: Path, wrap: Wrap, tmp_path: Path
    ) -> None:
        """Without a chance to say so: psql takes the end of its input for no commit."""
        before = await change(filled_url)
        listing = 'for a in "$@"; do [ "$a" = --list ] && exec "$REAL" "$@"; done; '
        passed = tmp_path / "passed"
        os.mkfifo(passed)
        wrap(
            "pg_restore",
            f'{listing}"$REAL" "$@" | sed "/Type: CONSTRAINT/,\\$d"; echo "-- half"; cat',
        )
        wrap("psql", f'tee {passed} | "$REAL" "$@"')
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", "restore", saved, "--replace"),
            env={**os.environ, "MAINSTAY_POSTGRES_URL": filled_url},
        )
        async with asyncio.timeout(PATIENCE):
            await asyncio.to_thread(read_until, passed, "-- half\n")
        process.send_signal(signal.SIGKILL)
        await process.wait()

        # Waits for the locks of the transaction, if it is still there.
        assert before == await asyncio.wait_for(contents(filled_url), PATIENCE)

    async def test_wants_a_backup_of_mainstay(
        self, mainstay: Mainstay, postgres_url: str, tmp_path: Path
    ) -> None:
        """And says what else it was given."""
        (tmp_path / "notes.txt").write_text("no backup")
        missing = await mainstay(postgres_url, "restore", "missing.dump")
        other = await mainstay(postgres_url, "restore", "notes.txt")

        assert (2, 1) == (missing.exit_code, other.exit_code)
        assert "missing.dump is no file" in missing.output
        assert "pg_restore failed" in other.output

    @pytest.mark.parametrize("command", [["backup"], ["restore", "x.dump"]])
    async def test_tells_in_one_line_that_nobody_answers(
        self, mainstay: Mainstay, tmp_path: Path, command: list[str]
    ) -> None:
        """Without the password."""
        (tmp_path / "x.dump").touch()
        result = await mainstay("postgresql://mainstay:secret@127.0.0.1:1/x", *command)

        assert (1, 1) == (result.exit_code, len(result.output.splitlines()))
        assert "secret" not in result.output


class TestRole:
    @pytest.mark.parametrize(("role", "restored"), [(ROLE, 1), ("somebody", 0)])
    async def test_restores_what_it_may_grant(
        self, mainstay: Mainstay, filled_url: str, tmp_path: Path, role: str, restored: int
    ) -> None:
        """Of tables to come only the role that makes them can, and another may not even exist."""
        connection = await asyncpg.connect(filled_url)
        await connection.execute(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA jobs GRANT SELECT ON TABLES TO PUBLIC"
        )
        await connection.close()
        await mainstay(filled_url, "backup", "--output", tmp_path / "x.dump")
        programs = Programs(directory=postgres_binaries(), version=18)
        listing = await programs.output("pg_restore", "--list", str(tmp_path / "x.dump"))
        entries = wanted(listing, SCHEMAS, role)

        assert restored == sum("DEFAULT ACL" in entry for entry in entries)
        assert has_ledger(entries)

    async def test_that_would_not_see_all_is_refused(self, filled_url: str) -> None:
        """Partitions have no policies: to all but their owner they are silently empty."""
        own = Table(name="jobs.jobs", whole="jobs.jobs", owned=True)
        foreign = Table(name="jobs.history_default", whole="jobs.history", owned=False)
        async with connected(Target.of(filled_url)) as connection:
            await check_everything_is_seen(connection, [own])
            with pytest.raises(BackupError, match="history_default is another's") as caught:
                await check_everything_is_seen(connection, [own, foreign])

        assert "connect as the role that migrates" in str(caught.value)
