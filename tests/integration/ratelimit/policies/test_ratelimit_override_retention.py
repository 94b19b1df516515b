"""For how long overrides and the record of who changed them are stored."""

import asyncio
from datetime import timedelta

import asyncpg

from services.ratelimit.overriding import OverrideKey
from services.ratelimit.retention import Retention
from tests.integration.ratelimit.policies.override_rows import BOB, insert
from tests.integration.ratelimit.policies.policy_replica import ACME, PolicyReplica, by
from tests.integration.shared.waiting import PATIENCE


class TestRetention:
    async def test_deletes_what_nobody_asks_for_any_more(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """Overrides that ended a day ago, and audits of more than 400 days."""
        await insert(rows, 3, timedelta(hours=-25))
        await here.override("99/min", subject=BOB)
        await here.overriding.end(OverrideKey(ACME, "api", BOB), reason="", actor=by("ann", "r"))
        await rows.execute(
            "UPDATE ratelimit.audit_log SET create_time = now() - interval '401 days' "
            "WHERE action = 'put_override'"
        )
        deleted = await Retention(here.database).run_once()
        overrides = await rows.fetch("SELECT subject FROM ratelimit.overrides")
        audits = await rows.fetch("SELECT action FROM ratelimit.audit_log ORDER BY audit_id")

        assert (4, [BOB]) == (deleted, [row["subject"] for row in overrides])
        assert ["load_policy", "delete_override"] == [row["action"] for row in audits]

    async def test_goes_on_by_itself(self, here: PolicyReplica, rows: asyncpg.Connection) -> None:
        """For as long as the service runs, from when the database is there."""
        await insert(rows, 3, timedelta(hours=-25))
        task = asyncio.create_task(Retention(here.database).run())
        async with asyncio.timeout(PATIENCE):
            while await rows.fetchval("SELECT count(*) FROM ratelimit.overrides"):  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
