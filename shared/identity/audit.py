"""The audit log: every administrative act leaves a line and, where PostgreSQL is, a row.

Nobody waits for the row: it is written within a second or so, and a metric counts those that had to
be given up. The line is never sampled.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import structlog

from shared.identity.postgres_keys import identity_postgres
from shared.postgres.copying import BatchTable
from shared.process_settings import ProcessSettings
from shared.rpc.gate import AdminAct
from shared.telemetry.row_writer import Row, RowBuffer, RowWriter

INTERVAL = 1.0
MAX_ACTS = 10_000
"""Rows that wait at most while PostgreSQL is away: some 5 MB."""
TABLE = BatchTable(
    name="identity.audit_log",
    columns={
        "act_id": "uuid",
        "time": "timestamptz",
        "principal": "text",
        "proof": "text",
        "tenant": "text",
        "service": "text",
        "act": "text",
        "request_id": "text",
        "code": "text",
        "reason": "text",
    },
)

log = structlog.get_logger()


class _Noted(NamedTuple):
    act_id: UUID
    time: datetime
    act: AdminAct


class AuditLog:
    """Keeps the administrative acts of one service in one process."""

    def __init__(
        self,
        service: str,
        writer: RowWriter | None,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        """Write lines, and rows by a writer where there is one."""
        self._writer = writer
        self._now = now
        self._new_id = new_id
        self._rows: RowBuffer | None = None
        if writer is not None:
            self._rows = writer.buffer(TABLE, audit_row(service), max_rows=MAX_ACTS)

    def note(self, act: AdminAct) -> None:
        """Keep an act; never waits."""
        log.info(
            "admin_act",
            act=act.act,
            principal=act.principal,
            proof=act.proof,
            tenant=act.tenant,
            request_id=act.request_id,
            code=act.code,
            reason=act.reason,
        )
        if self._rows is not None:
            self._rows.add(_Noted(self._new_id(), self._now(), act))

    async def run(self) -> None:
        """Write rows again and again; for a background task."""
        if self._writer is None:
            await asyncio.Event().wait()
        else:
            await self._writer.run()

    async def close(self) -> None:
        """Write what is left, within 2 s."""
        if self._writer is not None:
            await self._writer.close()


def audit_row(service: str) -> Callable[[Any], Row]:
    """Return what makes a row of the table of an act."""

    def row(noted: _Noted) -> Row:
        act = noted.act
        return (
            noted.act_id,
            noted.time,
            act.principal,
            act.proof,
            act.tenant,
            service,
            act.act,
            act.request_id,
            act.code,
            act.reason,
        )

    return row


def build_audit(service: str, settings: ProcessSettings) -> AuditLog:
    """Return the audit log of a service; lines only where there is no PostgreSQL."""
    writer = None
    if settings.postgres_url is not None:
        # It connects with the first act; most processes never need to.
        url = settings.postgres_url.get_secret_value()
        postgres = identity_postgres(url, migrate=settings.postgres_migrate)
        writer = RowWriter(postgres, interval=INTERVAL)
    return AuditLog(service, writer, now=lambda: datetime.now(UTC))
