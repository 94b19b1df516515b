"""Schema changes: in order, once, forwards, also when two replicas start at the same moment."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mainstay.errors import ConfigurationError, DatabaseError
from shared.postgres.migrations import Migrations

FIRST = "CREATE TABLE things (id int PRIMARY KEY, step text)"
SECOND = "INSERT INTO things VALUES (1, 'second')"
THIRD = "UPDATE things SET step = 'third'"


class Folder:
    """A package with migrations that a test writes."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.migrations = Migrations(service="things", package=name)
        self._sql = root / name / "sql" / "migrations"
        self._sql.mkdir(parents=True)
        (root / name / "__init__.py").touch()

    def write(self, **files: str) -> None:
        """Put files into the folder; `_` stands before each number."""
        for name, sql in files.items():
            (self._sql / f"{name.removeprefix('_')}.sql").write_text(sql)

    def note(self, name: str) -> None:
        """Put something there that is no migration."""
        (self._sql / name).write_text("not SQL")


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Folder:
    monkeypatch.syspath_prepend(tmp_path)
    return Folder(tmp_path, f"migrations_of_{abs(hash(request.node.name))}")


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


async def ledger(database: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await database.fetch(
        "SELECT service, version, name FROM mainstay_migrations ORDER BY service, version"
    )
    return [tuple(row) for row in rows]


class TestApplying:
    async def test_in_the_order_of_their_numbers(
        self, folder: Folder, postgres_url: str, database: asyncpg.Connection
    ) -> None:
        """Whatever order the file system has; each is written down."""
        folder.write(_0010_last=THIRD, _0002_row=SECOND, _0001_table=FIRST)
        applied = await folder.migrations.apply(postgres_url)

        assert applied == ["0001_table", "0002_row", "0010_last"]
        assert await database.fetchval("SELECT step FROM things") == "third"
        assert await ledger(database) == [
            ("things", 1, "0001_table"),
            ("things", 2, "0002_row"),
            ("things", 10, "0010_last"),
        ]

    async def test_once(self, folder: Folder, postgres_url: str) -> None:
        """The second time there is nothing to do, and only what is new the third time."""
        folder.write(_0001_table=FIRST)
        first = await folder.migrations.apply(postgres_url)
        second = await folder.migrations.apply(postgres_url)
        folder.write(_0002_row=SECOND)
        third = await folder.migrations.apply(postgres_url)

        assert (first, second, third) == (["0001_table"], [], ["0002_row"])

    async def test_what_is_no_migration_is_left_alone(
        self, folder: Folder, postgres_url: str
    ) -> None:
        """Notes and drafts may lie beside them."""
        folder.write(_0001_table=FIRST)
        folder.note("README.md")
        folder.note("0002_draft.sql.txt")

        assert await folder.migrations.apply(postgres_url) == ["0001_table"]

    async def test_services_have_numbers_of_their_own(
        self, folder: Folder, postgres_url: str, database: asyncpg.Connection
    ) -> None:
        """Two services in one database both have a first migration."""
        folder.write(_0001_table=FIRST)
        await folder.migrations.apply(postgres_url)
        folder.write(_0001_table="CREATE TABLE others (id int)")
        other = Migrations(service="others", package=folder.migrations.package)

        assert await other.apply(postgres_url) == ["0001_table"]
        assert [row[0] for row in await ledger(database)] == ["others", "things"]

    async def test_an_older_replica_meets_a_newer_schema(
        self, folder: Folder, postgres_url: str
    ) -> None:
        """During a rolling update that is normal: what it does not know it leaves alone."""
        folder.write(_0001_table=FIRST, _0002_row=SECOND)
        await folder.migrations.apply(postgres_url)
        (folder._sql / "0002_row.sql").unlink()

        assert await folder.migrations.apply(postgres_url) == []


class TestTwoAtOnce:
    async def test_in_one_process(
        self, folder: Folder, postgres_url: str, database: asyncpg.Connection
    ) -> None:
        """Ten replicas in a race: one applies, the others wait and find nothing to do."""
        slow = f"{FIRST}; SELECT pg_sleep(0.2)"
        folder.write(_0001_table=slow, _0002_row=SECOND)
        applied = await asyncio.gather(*(folder.migrations.apply(postgres_url) for _ in range(10)))

        assert sorted(applied) == [[]] * 9 + [["0001_table", "0002_row"]]
        assert await database.fetchval("SELECT count(*) FROM things") == 1

    async def test_as_processes(
        self, folder: Folder, postgres_url: str, database: asyncpg.Connection
    ) -> None:
        """Two real processes that start together."""
        folder.write(_0001_table=f"{FIRST}; SELECT pg_sleep(0.3)", _0002_row=SECOND)
        program = (
            "import asyncio, sys; sys.path.insert(0, sys.argv[1]);"
            "from shared.postgres.migrations import Migrations;"
            "migrations = Migrations(service='things', package=sys.argv[2]);"
            "print(asyncio.run(migrations.apply(sys.argv[3])))"
        )
        arguments = (str(folder.root), folder.migrations.package, postgres_url)
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, *arguments, stdout=asyncio.subprocess.PIPE
            )
            for _ in range(2)
        ]
        outputs = [(await process.communicate())[0].decode() for process in processes]

        assert [process.returncode for process in processes] == [0, 0]
        assert sorted(output.splitlines()[-1] for output in outputs) == [
            "['0001_table', '0002_row']",
            "[]",
        ]
        assert await database.fetchval("SELECT count(*) FROM things") == 1


class TestVerifying:
    async def test_a_database_that_is_behind(self, folder: Folder, postgres_url: str) -> None:
        """A service that must not migrate says what is missing, and who can help."""
        folder.write(_0001_table=FIRST)
        await folder.migrations.apply(postgres_url)
        folder.write(_0001_table=FIRST, _0002_row=SECOND)

        with pytest.raises(ConfigurationError, match=r"0002_row; run `mainstay migrate`"):
            await folder.migrations.verify(postgres_url)

    async def test_a_database_that_was_never_migrated(
        self, folder: Folder, postgres_url: str
    ) -> None:
        """It lacks all of them."""
        folder.write(_0001_table=FIRST)

        with pytest.raises(ConfigurationError, match="lacks migrations of things: 0001_table"):
            await folder.migrations.verify(postgres_url)

    async def test_one_that_is_up_to_date(self, folder: Folder, postgres_url: str) -> None:
        """Then there is nothing to say."""
        folder.write(_0001_table=FIRST)
        await folder.migrations.apply(postgres_url)

        await folder.migrations.verify(postgres_url)


class TestRefusing:
    async def test_a_file_that_was_changed(self, folder: Folder, postgres_url: str) -> None:
        """What was applied is history: the error names the file and the way out."""
        folder.write(_0001_table=FIRST)
        await folder.migrations.apply(postgres_url)
        folder.write(_0001_table=f"{FIRST} -- changed", _0002_row=SECOND)

        with pytest.raises(ConfigurationError, match="0001_table of things differs"):
            await folder.migrations.apply(postgres_url)

    async def test_two_files_with_one_number(self, folder: Folder, postgres_url: str) -> None:
        """Two branches met: neither is applied, and both are named."""
        folder.write(_0001_table=FIRST, _0002_row=SECOND, _0002_other=THIRD)

        with pytest.raises(ConfigurationError, match="0002_other and 0002_row"):
            await folder.migrations.apply(postgres_url)

    async def test_a_name_without_a_place_in_the_order(
        self, folder: Folder, postgres_url: str
    ) -> None:
        """It would be passed over in silence."""
        folder.note("2_row.sql")

        with pytest.raises(ConfigurationError, match=r"2_row\.sql of things"):
            await folder.migrations.apply(postgres_url)

    async def test_a_file_that_fails(
        self, folder: Folder, postgres_url: str, database: asyncpg.Connection
    ) -> None:
        """It leaves nothing of itself; what came before stays, and the next try goes on there."""
        folder.write(_0001_table=FIRST, _0002_row=f"{SECOND}; SELECT 1/0")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await folder.migrations.apply(postgres_url)
        half_way = await ledger(database)
        rows = await database.fetchval("SELECT count(*) FROM things")
        folder.write(_0002_row=SECOND)

        assert (half_way, rows) == ([("things", 1, "0001_table")], 0)
        assert await folder.migrations.apply(postgres_url) == ["0002_row"]

    async def test_a_file_that_cannot_be_written_down(
        self, folder: Folder, postgres_url: str, database: asyncpg.Connection
    ) -> None:
        """A change and its entry in the ledger are one transaction: no change without an entry."""
        refuse = "ALTER TABLE mainstay_migrations ADD CHECK (version < 2)"
        folder.write(_0001_table=FIRST, _0002_row=f"{SECOND}; {refuse}")
        with pytest.raises(asyncpg.CheckViolationError):
            await folder.migrations.apply(postgres_url)

        assert await database.fetchval("SELECT count(*) FROM things") == 0

    async def test_a_lock_that_is_not_let_go(
        self,
        folder: Folder,
        postgres_url: str,
        database: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Whoever waits too long for another replica is told to try again."""
        monkeypatch.setattr("shared.postgres.migrations.LOCK_TIMEOUT", "100ms")
        folder.write(_0001_table=FIRST)
        await database.execute("SELECT pg_advisory_lock($1)", 0x6D61_696E)

        with pytest.raises(DatabaseError):
            await folder.migrations.apply(postgres_url)
