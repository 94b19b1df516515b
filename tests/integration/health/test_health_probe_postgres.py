"""The probes of PostgreSQL: whether it takes writes, and how far its standbys are behind."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from cli.embedded.postgres import ROLE, PostgresServer
from services.health.probe_postgres import PostgresProbe, ReplicationProbe
from tests.integration.health.asking import answer, complaint


class TestPostgresProbe:
    async def test_answers(self, postgres_url: str) -> None:
        """SELECT 1 over a connection that is kept."""
        probe = PostgresProbe(postgres_url)
        await probe.ask("request-1")
        await probe.ask("request-2")
        await probe.close()

    async def test_no_such_database(self, postgres_url: str) -> None:
        """The server is there and says no: the kind of error is public, its text is not."""
        probe = PostgresProbe(f"{postgres_url}_missing")

        assert await complaint(probe) == "Answered with InvalidCatalogNameError."

    async def test_a_wrong_url_names_the_setting(self) -> None:
        """Nobody has to guess why no server is ever reached."""
        probe = PostgresProbe("mysql://127.0.0.1/mainstay")

        assert await complaint(probe) == "Cannot be asked: MAINSTAY_POSTGRES_URL is not valid."

    async def test_stop_and_restart(self, private_postgres: PostgresServer) -> None:
        """A stopped server fails the kept connection and a new one; once back, it passes."""
        probe = PostgresProbe(private_postgres.url)
        await probe.ask("request-1")
        # Not killed: its children would answer on until they notice.
        await private_postgres.stop()
        await complaint(probe)

        assert await complaint(probe) == "Refused or closed the connection."

        await private_postgres.start()
        await probe.ask("request-4")
        await probe.close()


class TestWrites:
    async def test_read_only(self, postgres_url: str) -> None:
        """A database that an operator has set to read only answers queries as before."""
        name = postgres_url.rpartition("/")[2]
        connection = await asyncpg.connect(postgres_url)
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        probe = PostgresProbe(postgres_url)
        message = await complaint(probe)
        await connection.close()
        await probe.close()

        assert message == "Takes no writes: it is set to read only."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A primary and its standby."""

    primary: PostgresServer
    standby: PostgresServer


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Start a primary, whose role may replicate and watch, and a standby of it."""
    primary = PostgresServer(tmp_path / "primary", fsync=False)
    standby = PostgresServer(tmp_path / "standby", fsync=False)
    async with AsyncExitStack() as servers:
        await servers.enter_async_context(primary)
        await primary.stop()
        with (primary.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host replication {ROLE} 127.0.0.1/32 trust\n")
        rights = primary.directory / "rights.sql"
        rights.write_text(f"ALTER ROLE {ROLE} REPLICATION;\nGRANT pg_monitor TO {ROLE};\n")
        await primary._run("postgres", primary.data, ["--single", "postgres"], source=rights)
        copy_cluster(primary, standby)
        await primary.start()
        await servers.enter_async_context(standby)
        yield Pair(primary=primary, standby=standby)


def copy_cluster(primary: PostgresServer, standby: PostgresServer) -> None:
    """Make the cluster of a stopped primary that of a standby."""
    shutil.copytree(primary.data, standby.data, copy_function=shutil.copy2)
    (standby.data / "standby.signal").touch()
    with (standby.data / "postgresql.auto.conf").open("a") as settings:
        address = f"host=127.0.0.1 port={primary.port} user={ROLE}"
        settings.write(f"primary_conninfo = '{address}'\n")
    owner = primary.data.stat()
    for path in (standby.data, *standby.data.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    standby.data.chmod(0o700)


async def until_streaming(primary: PostgresServer) -> None:
    """Wait until the standby has all there is."""
    connection = await asyncpg.connect(primary.url)
    async with asyncio.timeout(30):
        while not await connection.fetchval(  # noqa: ASYNC110 - it tells nobody when it is done
            "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
        ):
            await asyncio.sleep(0.05)
    await connection.close()


class TestReplication:
    async def test_a_standby_is_no_primary(self, pair: Pair) -> None:
        """It answers, takes no writes, and its own standbys say nothing about the primary's."""
        database = PostgresProbe(pair.standby.url)
        replication = ReplicationProbe(pair.standby.url, max_lag=30)
        messages = {await complaint(database), await complaint(replication)}
        await database.close()
        await replication.close()

        assert messages == {"Is a standby: it takes no writes."}

    async def test_a_standby_falls_silent_comes_back_and_leaves(self, pair: Pair) -> None:
        """PostgreSQL's own measure stands still meanwhile; the positions of the log tell."""
        await until_streaming(pair.primary)
        now = [100.0]
        probe = ReplicationProbe(pair.primary.url, max_lag=30, monotonic=lambda: now[0])
        in_step = await answer(probe)
        primary = await asyncpg.connect(pair.primary.url)
        await primary.execute("CREATE TABLE written (id integer)")
        await until_streaming(pair.primary)
        pair.standby.pause()
        await primary.execute("INSERT INTO written VALUES (1)")
        first = await answer(probe)
        now[0] += 31.0
        later = await answer(probe)
        pair.standby.resume()
        await until_streaming(pair.primary)
        then = await answer(probe)
        await pair.standby.stop()
        async with asyncio.timeout(20):
            while not (alone := await answer(probe)):
                pass
        await primary.close()
        await probe.close()

        assert ("", "", "") == (in_step, first, then)
        assert later == "A standby is 31 s behind; 30 s are allowed."
        assert alone == "No standby is connected."

    async def test_a_role_that_may_not_look(self, pair: Pair) -> None:
        """It is told what is missing, and the lag is not taken for zero."""
        await until_streaming(pair.primary)
        await pair.primary.stop()
        rights = pair.primary.directory / "rights.sql"
        rights.write_text(f"REVOKE pg_monitor FROM {ROLE};\n")
        await pair.primary._run(
            "postgres", pair.primary.data, ["--single", "postgres"], source=rights
        )
        await pair.primary.start()
        probe = ReplicationProbe(pair.primary.url, max_lag=30)
        async with asyncio.timeout(30):
            while (message := await answer(probe)) == "No standby is connected.":
                pass
        await probe.close()

        assert message == (
            "The lag cannot be seen: grant pg_monitor to the role of MAINSTAY_POSTGRES_URL."
        )
