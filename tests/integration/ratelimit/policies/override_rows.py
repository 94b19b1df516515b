"""Rows of overrides, written past the service; another tenant, another subject, the first page."""

from datetime import timedelta

import asyncpg

from services.ratelimit.paging import Page
from shared.rpc.call import Tenant

OTHER = Tenant("other")
BOB = "user:bob"
FIRST = Page(100, None)

INSERT_MANY = """
INSERT INTO ratelimit.overrides
    (tenant, subject, rule, limits, expire_time, reason, creator, request_id, revision)
SELECT 'acme', 'user:' || n, 'api', '1/s', now() + $2::interval, 'test', 'x', '', n
FROM generate_series(1, $1) AS n
"""
SET_REVISION = "INSERT INTO ratelimit.revisions (name, revision) VALUES ('overrides', $1)"


async def insert(rows: asyncpg.Connection, number: int, lasts: timedelta) -> None:
    """Put many overrides at once."""
    await rows.execute(INSERT_MANY, number, lasts)
    await rows.execute(SET_REVISION, number)
