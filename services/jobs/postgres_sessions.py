"""Sessions of workers in PostgreSQL."""

from collections.abc import Callable, Collection

from services.jobs.endings import Ending
from services.jobs.frames import Heartbeat, HeldToken, Hello
from services.jobs.intervals import interval_of
from services.jobs.job import JobId, SessionId
from services.jobs.ports import OpenedSession, RenewedSession
from services.jobs.postgres_beats import hear
from services.jobs.postgres_functions import declare_functions
from services.jobs.postgres_turns import release_leases
from services.jobs.terms import Terms
from services.jobs.token import Token
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

_QUERIES = load_queries("services.jobs", "sql/sessions.sql")


class PostgresSessions:
    """Implements SessionStore; `random` spreads the retries of jobs that hung."""

    def __init__(self, postgres: Postgres, random: Callable[[], float]) -> None:
        self._postgres = postgres
        self._random = random

    async def open(
        self, tenant: Tenant, new_id: SessionId, hello: Hello, *, lease: float
    ) -> OpenedSession:
        """Register functions and resume the session, or begin one."""

        async def work(connection: Connection) -> OpenedSession:
            await declare_functions(connection, tenant, hello.functions)
            stream = await self._resume(connection, tenant, hello, lease)
            if stream is None or hello.resume is None:
                stream = await connection.fetchval(
                    _QUERIES["insert_session"],
                    tenant,
                    new_id,
                    hello.worker,
                    interval_of(lease),
                    *_columns(hello),
                )
                lost = tuple(held.raw for held in hello.in_flight)
                return OpenedSession(
                    session_id=new_id, stream=stream, resumed=False, lost=lost, endings=()
                )
            leases = await self._leases(connection, hello.resume)
            known = _tokens(hello.in_flight)
            unknown = [token for token in leases if token not in known]
            return OpenedSession(
                session_id=hello.resume,
                stream=stream,
                resumed=True,
                lost=_lost(hello.in_flight, leases),
                endings=await release_leases(connection, hello.resume, unknown),
            )

        return await self._postgres.run(tenant, work)

    async def _resume(
        self, connection: Connection, tenant: Tenant, hello: Hello, lease: float
    ) -> int | None:
        if hello.resume is None:
            return None
        stream: int | None = await connection.fetchval(
            _QUERIES["resume_session"],
            tenant,
            hello.resume,
            hello.worker,
            interval_of(lease),
            *_columns(hello),
        )
        return stream

    async def renew(
        self,
        tenant: Tenant,
        session_id: SessionId,
        stream: int,
        beat: Heartbeat,
        *,
        undelivered: Collection[JobId],
        terms: Terms,
    ) -> RenewedSession | None:
        """Count the lease from now and compare what both sides think the worker has."""

        async def work(connection: Connection) -> RenewedSession | None:
            lease = interval_of(terms.lease)
            query = _QUERIES["renew_session"]
            if await connection.fetchval(query, tenant, session_id, stream, lease) is None:
                return None
            return await hear(
                connection,
                session_id,
                beat,
                undelivered=undelivered,
                terms=terms,
                random=self._random,
            )

        return await self._postgres.run(tenant, work)

    async def _leases(self, connection: Connection, session_id: SessionId) -> set[Token]:
        """Return what a session has."""
        rows = await connection.fetch(_QUERIES["held_leases"], session_id)
        return {Token(job_id=row["job_id"], epoch=row["epoch"]) for row in rows}

    async def touch(self, tenant: Tenant, session_id: SessionId, *, lease: float) -> bool:
        """Count the lease from now."""

        async def work(connection: Connection) -> bool:
            found = await connection.fetchval(
                _QUERIES["touch_session"], tenant, session_id, interval_of(lease)
            )
            return found is not None

        return await self._postgres.run(tenant, work)

    async def leave(
        self, tenant: Tenant, session_id: SessionId, stream: int, *, within: float
    ) -> None:
        """Let the session end soon unless it is resumed."""

        async def work(connection: Connection) -> None:
            await connection.execute(
                _QUERIES["leave_session"], tenant, session_id, stream, interval_of(within)
            )

        await self._postgres.run(tenant, work)

    async def give_back(
        self, tenant: Tenant, session_id: SessionId, tokens: Collection[Token]
    ) -> list[Ending]:
        """Put back jobs that never reached the worker, unless they are in other hands by now."""

        async def work(connection: Connection) -> list[Ending]:
            return list(await release_leases(connection, session_id, tokens))

        return await self._postgres.run(tenant, work)


def _columns(hello: Hello) -> tuple[list[str], list[str]]:
    """Return the names of the functions and the version of each."""
    functions = hello.functions
    return [each.name for each in functions], [each.version for each in functions]


def _tokens(held: Collection[HeldToken]) -> set[Token]:
    return {each.token for each in held if each.token is not None}


def _lost(held: Collection[HeldToken], leases: Collection[Token]) -> tuple[bytes, ...]:
    return tuple(each.raw for each in held if each.token is None or each.token not in leases)
