"""Real servers for every test: one Redis and one PostgreSQL per run, and private ones to break.

Set MAINSTAY_TEST_REDIS_URL or MAINSTAY_TEST_POSTGRES_URL to use servers that already run. The Redis
is emptied before every test; the PostgreSQL role needs CREATEDB and must not be a superuser.
"""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil
import pytest
import redis
import structlog
from hypothesis import settings

from cli.embedded.postgres import PostgresServer
from cli.embedded.redis import RedisServer
from cli.migrate import all_migrations
from shared.telemetry.call_lines import CallLines

# A busy machine makes no property false; that a test ends is what its own timeout is for.
settings.register_profile("mainstay", deadline=None)
settings.load_profile("mainstay")

T = TypeVar("T")

StartRedis = Callable[[], Awaitable[RedisServer]]
StartPostgres = Callable[[], Awaitable[PostgresServer]]

_database_numbers = count(1)


def _run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run in a loop of its own: session fixtures outlive the loop of every test."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a test sets up for the logs of the whole process."""
    root, configure = logging.getLogger(), structlog.configure
    level, handlers = root.level, list(root.handlers)

    def configure_for_now(**settings: Any) -> None:
        # A logger that is cached would keep these settings for all tests to come.
        configure(**{**settings, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_for_now)
    monkeypatch.setattr(CallLines, "installed", CallLines.installed)
    yield
    structlog.reset_defaults()
    root.setLevel(level)
    root.handlers = handlers


@pytest.fixture(scope="session")
def server_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Provide a directory for the data of servers, removed at the end."""
    directory = tmp_path_factory.mktemp("servers")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def session_redis_url(server_directory: Path) -> Iterator[str]:
    """Start the Redis of this run; tests use `redis_url`."""
    if given := os.environ.get("MAINSTAY_TEST_REDIS_URL"):
        yield given
        return
    server = RedisServer(server_directory / "redis")
    _run_apart(server.start())
    yield server.url
    _run_apart(server.stop())


@pytest.fixture(scope="session")
def session_postgres_url(server_directory: Path) -> Iterator[str]:
    """Start the PostgreSQL of this run; tests use `postgres_url`."""
    if given := os.environ.get("MAINSTAY_TEST_POSTGRES_URL"):
        yield given
        return
    server = PostgresServer(server_directory / "postgres", fsync=False, create_databases=True)
    _run_apart(server.start())
    yield server.url
    _run_apart(server.stop())


@pytest.fixture
def redis_url(session_redis_url: str) -> str:
    """Empty the Redis of this run for one test."""
    with redis.Redis.from_url(session_redis_url) as connection:
        connection.flushall()
    return session_redis_url


@pytest.fixture
async def postgres_url(session_postgres_url: str) -> AsyncIterator[str]:
    """Create an empty database for one test, owned by an ordinary role."""
    async with _database(session_postgres_url) as url:
        yield url


@pytest.fixture
async def other_postgres_url(session_postgres_url: str) -> AsyncIterator[str]:
    """Create a second one, for what is carried from one to another."""
    async with _database(session_postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(session_postgres_url: str) -> Iterator[str]:
    """Apply the migrations of all services once, to a database that others are copies of."""
    name = f"test_{os.getpid()}_migrated"
    url = _named(session_postgres_url, name)

    async def migrate() -> None:
        await _execute(session_postgres_url, f"DROP DATABASE IF EXISTS {name}")
        await _execute(session_postgres_url, f"CREATE DATABASE {name}")
        for migrations in all_migrations():
            await migrations.apply(url)

    _run_apart(migrate())
    yield name
    _run_apart(_execute(session_postgres_url, f"DROP DATABASE {name}"))


@pytest.fixture
async def migrated_url(session_postgres_url: str, migrated_template: str) -> AsyncIterator[str]:
    """Create a database for one test that the migrations of all services were applied to."""
    async with _database(session_postgres_url, template=migrated_template) as url:
        yield url


@asynccontextmanager
async def _database(
    session_postgres_url: str, *, template: str = "template1"
) -> AsyncIterator[str]:
    name = f"test_{os.getpid()}_{next(_database_numbers)}"
    # Copying files makes a database in half the time that writing it through the log takes.
    await _execute(
        session_postgres_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"
    )
    yield _named(session_postgres_url, name)
    # Not WITH (FORCE): that would have to end an autovacuum worker too, which is the superuser's. A
    # plain DROP waits for those.
    await _execute(
        session_postgres_url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        f"WHERE datname = '{name}' AND usename = current_user",
    )
    await _execute(session_postgres_url, f"DROP DATABASE {name}")


def _named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def start_redis(tmp_path: Path) -> AsyncIterator[StartRedis]:
    """Let a test start any number of Redis servers of its own."""
    numbers = count(1)
    async with AsyncExitStack() as servers:

        async def start() -> RedisServer:
            server = RedisServer(tmp_path / f"redis-{next(numbers)}", appendonly=True)
            return await servers.enter_async_context(server)

        yield start


@pytest.fixture
async def private_redis(start_redis: StartRedis) -> RedisServer:
    """Start a Redis that the test may kill, pause, stop and start again on the same port."""
    return await start_redis()


@pytest.fixture
async def start_postgres(tmp_path: Path) -> AsyncIterator[StartPostgres]:
    """Let a test start any number of PostgreSQL servers of its own."""
    numbers = count(1)
    async with AsyncExitStack() as servers:

        async def start() -> PostgresServer:
            server = PostgresServer(
                tmp_path / f"postgres-{next(numbers)}", fsync=False, create_databases=True
            )
            return await servers.enter_async_context(server)

        yield start


@pytest.fixture
async def private_postgres(start_postgres: StartPostgres) -> PostgresServer:
    """Start a PostgreSQL that the test may kill, pause, stop and start again on the same port."""
    return await start_postgres()


@pytest.fixture
def gone() -> Callable[[Iterable[int]], Awaitable[list[int]]]:
    """Let a test wait until processes are gone; what still runs after 15 s is returned."""

    async def wait(pids: Iterable[int]) -> list[int]:
        left = list(pids)
        deadline = time.monotonic() + 15
        while (left := [*filter(_runs, left)]) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # they are no children of ours that could be awaited
        return left

    return wait


def _runs(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be reaped by somebody does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
