"""The keys and the audit log for a role that owns nothing, as services run."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from mainstay.errors import ConfigurationError
from services.health.database import Database, history_postgres
from services.health.retention import Retention
from shared.identity.audit import build_audit
from shared.identity.postgres_administration import PostgresKeyAdministration
from shared.identity.postgres_keys import identity_postgres
from shared.process_settings import ProcessSettings
from tests.app_role import granted
from tests.integration.identity.conftest import StartRing
from tests.integration.identity.keys import Bench, known
from tests.integration.identity.test_identity_audit import ACT


@pytest.fixture
async def app_url(migrated_url: str) -> str:
    """Provide a migrated database, as services reach it."""
    return await granted(migrated_url)


@pytest.fixture
async def owners(migrated_url: str) -> AsyncIterator[Bench]:
    """Make keys as the role that migrates."""
    postgres = identity_postgres(migrated_url, migrate=False)
    await postgres.start()
    yield Bench(PostgresKeyAdministration(postgres))
    await postgres.close()


class TestTheRole:
    async def test_knows_keys_and_notes_their_use(
        self, owners: Bench, app_url: str, start_ring: StartRing
    ) -> None:
        """That is all it may change of them."""
        made = await owners.make()
        ring = await start_ring(app_url, migrate=False)
        principal = known(ring, made.header)
        await ring.note_uses()
        (listed,) = await owners.administration.list(10)

        assert made.key.key_id == (principal and principal.name)
        assert listed.last_use_time is not None

    async def test_cannot_make_keys_by_the_command(self, app_url: str) -> None:
        """Which says what it lacks."""
        postgres = identity_postgres(app_url, migrate=False)
        await postgres.start()
        with pytest.raises(ConfigurationError, match="lacks a right"):
            await Bench(PostgresKeyAdministration(postgres)).make()
        await postgres.close()

    async def test_tells_of_acts_and_cleans_up(self, app_url: str, migrated_url: str) -> None:
        """The rows that it may not read; those that are old go."""
        settings = ProcessSettings.model_validate(
            {"postgres_url": app_url, "postgres_migrate": False}
        )
        audit = build_audit("cache", settings)
        audit.note(ACT)
        await audit.close()
        connection = await asyncpg.connect(migrated_url)
        await connection.execute("SET mainstay.tenant = '*'")
        told = await connection.fetchval("SELECT count(*) FROM identity.audit_log")
        await connection.execute("UPDATE identity.audit_log SET time = now() - interval '2 years'")
        health = Database(history_postgres(app_url, migrate=False))
        await health.start()
        await Retention(health).run_once()
        await health.close()
        left = await connection.fetchval("SELECT count(*) FROM identity.audit_log")
        await connection.close()

        assert (1, 0) == (told, left)
