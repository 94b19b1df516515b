"""Installing an outbox, looking at it, and helping what is stuck in it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from mainstay.errors import ConflictError, PreconditionError
from mainstay.outbox.database import Connection, connected
from mainstay.outbox.message import Kind
from mainstay.outbox.schema import (
    DEFAULT_SCHEMA,
    Step,
    checked,
    grants,
    load_queries,
    packaged_steps,
    renamed,
)

# Any constant will do, as long as nobody else in the database uses it.
_LOCK_KEY = 0x6F75_7462
# An upgrade that has to wait for a table makes all who come after it wait too.
_LOCK_TIMEOUT = "5s"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """How an outbox stands.

    Attributes:
        version: Of its schema.
        pending: Messages that are on their way.
        deferred: Those of them that were not accepted when last tried and will be tried again.
        failed: Messages that were moved aside; they stay until they are retried or discarded.
        oldest_age: How long ago the oldest pending one was written; None without any.

    """

    version: int
    pending: int
    deferred: int
    failed: int
    oldest_age: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubledMessage:
    """A message that was not accepted when last tried.

    Attributes:
        id: As send_event or enqueue returned it.
        kind: `event` or `job`.
        name: Of the event or the function.
        tenant: Whose it is; None for the relay's.
        attempts: How often it was tried.
        last_error: What the service said.
        create_time: When its transaction began.
        fail_time: When it was moved aside; None while it will be tried again.

    """

    id: int
    kind: Kind
    name: str
    tenant: str | None
    attempts: int
    last_error: str
    create_time: datetime
    fail_time: datetime | None


class Outbox:
    """The outbox in `schema` of the PostgreSQL database at `url`.

    Every method connects for itself and raises DatabaseError while the database is away,
    ConfigurationError for a URL, a role or a right that must be corrected, and PreconditionError
    (`OUTBOX_NOT_INSTALLED`) when there is no such outbox. `steps` are those of this release.
    """

    def __init__(
        self, url: str, *, schema: str = DEFAULT_SCHEMA, steps: Sequence[Step] | None = None
    ) -> None:
        self.schema = checked(schema)
        self._url = url
        self._steps = packaged_steps() if steps is None else steps
        self.queries = load_queries(schema)

    @property
    def version(self) -> int:
        """Return the version that this release installs."""
        return self._steps[-1].version

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        """Connect within the block, for a relay."""
        async with connected(self._url, self.schema) as connection:
            yield connection

    async def install(
        self, *, senders: Sequence[str] = (), relays: Sequence[str] = ()
    ) -> list[int]:
        """Install or upgrade, in one transaction, and return the versions that were applied.

        Does nothing where it was done before. Roles in `senders` may send, and nothing else; those
        in `relays` may relay. The role that installs owns the outbox.
        """
        async with self.connected() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
            present = await self._find_version(connection)
            missing = [step for step in self._steps if step.version > present]
            for step in missing:
                await connection.execute(renamed(step.sql, self.schema))
            for grant in grants(self.schema, senders=senders, relays=relays):
                await connection.execute(grant)
        return [step.version for step in missing]

    async def _find_version(self, connection: Connection) -> int:
        """Return the version that is installed; 0 for none."""
        exists = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", self.schema
        )
        if not exists:
            return 0
        if await connection.fetchval("SELECT to_regclass($1)", f"{self.schema}.versions") is None:
            raise PreconditionError(
                f"there is a schema {self.schema} that is no outbox; choose another name",
                reason="SCHEMA_TAKEN",
            )
        return int(await connection.fetchval(self.queries["find_version"]) or 0)

    async def status(self) -> OutboxStatus:
        """Return how it stands."""
        async with self.connected() as connection:
            version = await connection.fetchval(self.queries["find_version"])
            row = await connection.fetchrow(self.queries["find_status"])
        return OutboxStatus(version=version, **dict(row))

    async def troubled(self, limit: int = 20) -> tuple[TroubledMessage, ...]:
        """Return messages that were not accepted when last tried, those moved aside first."""
        async with self.connected() as connection:
            rows = await connection.fetch(self.queries["find_troubled"], limit)
        return tuple(TroubledMessage(**{**row, "kind": Kind(row["kind"])}) for row in rows)

    async def retry(self, ids: Sequence[int] | None = None) -> list[int]:
        """Have messages that were moved aside tried again, by default all; return their ids."""
        async with self.connected() as connection, connection.transaction():
            rows = await connection.fetch(self.queries["retry"], ids)
            await connection.execute("SELECT pg_notify($1, '')", self.schema)
        return sorted(row["id"] for row in rows)

    async def discard(self, ids: Sequence[int]) -> list[int]:
        """Delete messages that were moved aside, for good; return the ids of those there were."""
        async with self.connected() as connection:
            rows = await connection.fetch(self.queries["discard"], ids)
        return sorted(row["id"] for row in rows)

    async def remove(self, *, force: bool = False) -> None:
        """Remove it from the database, in one transaction.

        Raises ConflictError while there are messages in it, unless with `force`, which loses them;
        PreconditionError (`OUTBOX_IN_USE`) when something else in the database stands on it.
        """
        async with self.connected() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            await connection.execute(self.queries["lock"])
            row = await connection.fetchrow(self.queries["find_status"])
            if (held := row["pending"] + row["failed"]) and not force:
                raise ConflictError(
                    f"the outbox {self.schema} still holds {held:,} messages ({row['failed']:,} "
                    "failed); relay, retry or discard them, or remove it with what it holds",
                    reason="OUTBOX_NOT_EMPTY",
                )
            await connection.execute(self.queries["remove"])
