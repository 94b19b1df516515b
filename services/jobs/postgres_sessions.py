"""Sessions of workers in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from services.jobs.endings import Ending
from services.jobs.frames import HeldToken, Hello
from services.jobs.function import FunctionDefinition
from services.jobs.job import JobId, SessionId
from services.jobs.ports import OpenedSession, RenewedSession
from services.jobs.postgres_rows import interval_of
from services.jobs.postgres_turns import release_leases
from services.jobs.token import Token
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import Tenant


class PostgresSessions:
    """Implements SessionStore."""

    def __init__(self, postgres: Postgres, queries: Mapping[str, str]) -> None:
        self._postgres = postgres
        self._queries = queries

    async def open(
        self, tenant: Tenant, new_id: SessionId, hello: Hello, *, lease: float
    ) -> OpenedSession:
        """Register functions and resume the session, or begin one."""

        async def work(connection: Connection) -> OpenedSession:
            await self._declare(connection, tenant, hello.functions)
            stream = await self._resume(connection, tenant, hello, lease)
            if stream is None or hello.resume is None:
                stream = await connection.fetchval(
                    self._queries["insert_session"],
                    tenant,
                    new_id,
                    hello.worker,
                    interval_of(lease),
                )
                lost = tuple(held.raw for held in hello.in_flight)
                return OpenedSession(
                    session_id=new_id, stream=stream, resumed=False, lost=lost, endings=()
                )
            leases = await self._leases(connection, hello.resume, lease)
            unknown = [t.job_id for t in leases if t not in _tokens(hello.in_flight)]
            return OpenedSession(
                session_id=hello.resume,
                stream=stream,
                resumed=True,
                lost=_lost(hello.in_flight, leases),
                endings=await release_leases(connection, self._queries, hello.resume, unknown),
            )

        return await self._postgres.run(tenant, work)

    async def _declare(
        self, connection: Connection, tenant: Tenant, functions: Sequence[FunctionDefinition]
    ) -> None:
        await connection.execute(
            self._queries["declare_functions"],
            tenant,
            [function.name for function in functions],
            [function.trigger for function in functions],
            [function.max_attempts for function in functions],
            [interval_of(function.backoff.initial) for function in functions],
            [interval_of(function.backoff.maximum) for function in functions],
        )

    async def _resume(
        self, connection: Connection, tenant: Tenant, hello: Hello, lease: float
    ) -> int | None:
        if hello.resume is None:
            return None
        stream: int | None = await connection.fetchval(
            self._queries["resume_session"], tenant, hello.resume, hello.worker, interval_of(lease)
        )
        return stream

    async def renew(
        self,
        tenant: Tenant,
        session_id: SessionId,
        stream: int,
        tokens: Collection[HeldToken],
        *,
        undelivered: Collection[JobId],
        lease: float,
    ) -> RenewedSession | None:
        """Count the lease from now and compare what both sides think the worker has."""

        async def work(connection: Connection) -> RenewedSession | None:
            renewed = await connection.fetchval(
                self._queries["renew_session"], tenant, session_id, stream, interval_of(lease)
            )
            if renewed is None:
                return None
            leases = await self._leases(connection, session_id, lease)
            expected = _tokens(tokens)
            forgotten = [
                token.job_id
                for token, settled in leases.items()
                if settled and token not in expected and token.job_id not in undelivered
            ]
            endings = await release_leases(connection, self._queries, session_id, forgotten)
            return RenewedSession(lost=_lost(tokens, leases), endings=endings)

        return await self._postgres.run(tenant, work)

    async def _leases(
        self, connection: Connection, session_id: SessionId, lease: float
    ) -> dict[Token, bool]:
        """Return what a session has, and of each whether it has had it for a whole lease."""
        rows = await connection.fetch(self._queries["held_leases"], session_id, interval_of(lease))
        return {Token(job_id=row["job_id"], epoch=row["epoch"]): row["settled"] for row in rows}

    async def leave(
        self, tenant: Tenant, session_id: SessionId, stream: int, *, within: float
    ) -> None:
        """Let the session end soon unless it is resumed."""

        async def work(connection: Connection) -> None:
            await connection.execute(
                self._queries["leave_session"], tenant, session_id, stream, interval_of(within)
            )

        await self._postgres.run(tenant, work)

    async def give_back(
        self, tenant: Tenant, session_id: SessionId, tokens: Collection[Token]
    ) -> list[Ending]:
        """Put back jobs that never reached the worker, unless they are in other hands by now."""

        async def work(connection: Connection) -> list[Ending]:
            leases = await self._leases(connection, session_id, 0)
            held = [token.job_id for token in tokens if token in leases]
            return list(await release_leases(connection, self._queries, session_id, held))

        return await self._postgres.run(tenant, work)


def _tokens(held: Collection[HeldToken]) -> set[Token]:
    return {each.token for each in held if each.token is not None}


def _lost(held: Collection[HeldToken], leases: Mapping[Token, Any]) -> tuple[bytes, ...]:
    return tuple(each.raw for each in held if each.token is None or each.token not in leases)
