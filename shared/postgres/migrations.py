"""Schema changes: numbered .sql files, forwards only, each in one transaction.

Replicas that start together are serialised by an advisory lock; the second finds nothing to do. An
older replica may meet a newer schema during a rolling update: that is allowed, and migrations have
to be written for it.
"""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg
import structlog

from mainstay.errors import ConfigurationError
from shared.postgres.errors import translate, translate_connecting

CONNECT_TIMEOUT = 5.0
LOCK_TIMEOUT = "60s"
_FILE = re.compile(r"(\d{4})_(\w+)\.sql")
LOCK_KEY = 0x6D61_696E
"""Any constant will do, as long as nobody else in the database uses it."""

_CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS mainstay_migrations (
    service text NOT NULL,
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    apply_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (service, version)
)
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrations:
    """The migrations of one service, as files in its package."""

    service: str
    package: str
    folder: str = "sql/migrations"

    async def apply(self, url: str) -> list[str]:
        """Bring the database up to date and return the names of what was applied."""
        async with self._connected(url) as connection:
            return await self._apply_locked(connection)

    async def verify(self, url: str) -> None:
        """Raise ConfigurationError when the database is behind this code."""
        async with self._connected(url) as connection:
            known = await connection.fetchval(
                "SELECT to_regclass('mainstay_migrations') IS NOT NULL"
            )
            done = set(await self._applied(connection)) if known else set()
        missing = [migration.name for migration in self._load() if migration.version not in done]
        if missing:
            raise ConfigurationError(
                f"the database lacks migrations of {self.service}: {', '.join(missing)}; "
                "run `mainstay migrate`, or set MAINSTAY_POSTGRES_MIGRATE=true"
            )

    @asynccontextmanager
    async def _connected(self, url: str) -> AsyncIterator[asyncpg.Connection]:
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT)
        except Exception as error:
            raise translate_connecting(error) or error from error
        try:
            yield connection
        except Exception as error:
            raise translate(error) or error from error
        finally:
            await connection.close(timeout=CONNECT_TIMEOUT)

    async def _applied(self, connection: asyncpg.Connection) -> dict[int, str]:
        rows = await connection.fetch(
            "SELECT version, checksum FROM mainstay_migrations WHERE service = $1", self.service
        )
        return {row["version"]: row["checksum"] for row in rows}

    async def _apply_locked(self, connection: asyncpg.Connection) -> list[str]:
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        # The lock is the session's and ends with the connection.
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        await connection.execute(_CREATE_LEDGER)
        done = await self._applied(connection)
        applied = []
        for migration in self._load():
            known = done.get(migration.version)
            if known is None:
                await self._apply_one(connection, migration)
                applied.append(migration.name)
            elif known != migration.checksum:
                raise ConfigurationError(
                    f"migration {migration.name} of {self.service} differs from what was applied; "
                    "restore the file and put the change into a new one"
                )
        return applied

    async def _apply_one(self, connection: asyncpg.Connection, migration: _Migration) -> None:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO mainstay_migrations (service, version, name, checksum) "
                "VALUES ($1, $2, $3, $4)",
                self.service,
                migration.version,
                migration.name,
                migration.checksum,
            )
        log.info("migration_applied", migrated_service=self.service, migration=migration.name)

    def _load(self) -> list[_Migration]:
        found: dict[int, _Migration] = {}
        for file in files(self.package).joinpath(self.folder).iterdir():
            if not file.name.endswith(".sql"):
                continue
            migration = self._read(file)
            twin = found.setdefault(migration.version, migration)
            if twin is not migration:
                names = " and ".join(sorted((twin.name, migration.name)))
                raise ConfigurationError(
                    f"migrations {names} of {self.service} have one number; renumber the newer"
                )
        return sorted(found.values(), key=lambda migration: migration.version)

    def _read(self, file: Traversable) -> _Migration:
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise ConfigurationError(
                f"migration {file.name} of {self.service} would never be applied; "
                "name it like 0001_words.sql"
            )
        return _Migration(
            version=int(match[1]),
            name=file.name.removesuffix(".sql"),
            sql=file.read_text(encoding="utf-8"),
        )
