"""The role that services run as: it has what they need, and nothing by which tenants could meet."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli.backup.contents import SCHEMAS
from cli.embedded.postgres import APP_ROLE, ROLE, PostgresServer
from cli.migrate import all_migrations, grant_all
from mainstay.errors import ConfigurationError
from shared.postgres.rights import rights_of
from tests.app_role import granted

MAINSTAY = [*SCHEMAS]
ROLES_SQL = Path(__file__).parents[3] / "deploy" / "postgres" / "roles.sql"
NOT_FOR_SERVICES = {"jobs.job_queue", "jobs.events", "jobs.payloads"}
"""A view for people, and two tables that nothing is written to since version 2 of the jobs."""


async def query(url: str, statement: str, *arguments: object, tenant: str = "") -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        if tenant:
            await connection.execute(f"SET mainstay.tenant = '{tenant}'")
        return [row[0] for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close()


async def refused(url: str, *statements: str) -> list[str]:
    """Return the statements that a role was not kept from; each is tried for itself."""
    connection = await asyncpg.connect(url)
    done = []
    try:
        for statement in statements:
            try:
                async with connection.transaction():
                    await connection.execute(statement)
                done.append(statement)
            except asyncpg.InsufficientPrivilegeError:
                continue
    finally:
        await connection.close()
    return done


@pytest.fixture
async def app_url(migrated_url: str) -> str:
    """Give the role its rights in a database that was migrated."""
    return await granted(migrated_url)


@pytest.fixture
async def tables(migrated_url: str) -> Sequence[str]:
    """Return every table that has rows of tenants; days of one are not tables of their own."""
    return await query(
        migrated_url,
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c "
        "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant' "
        "WHERE n.nspname = ANY ($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
        "ORDER BY 1",
        MAINSTAY,
    )


class TestTheRole:
    async def test_is_bound_by_policies(self, app_url: str) -> None:
        """It is no superuser, bypasses nothing and makes neither roles nor databases."""
        found = await query(
            app_url,
            "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication "
            "FROM pg_roles WHERE rolname = current_user",
        )

        assert [False] == found

    async def test_owns_nothing(self, app_url: str) -> None:
        """Who owns a table could switch its policies off."""
        owned = await query(
            app_url,
            "SELECT relname::text FROM pg_class WHERE pg_has_role(relowner, 'MEMBER') "
            "UNION ALL SELECT nspname FROM pg_namespace WHERE pg_has_role(nspowner, 'MEMBER') "
            "UNION ALL SELECT proname FROM pg_proc WHERE pg_has_role(proowner, 'MEMBER') "
            "UNION ALL SELECT datname FROM pg_database WHERE pg_has_role(datdba, 'MEMBER')",
        )

        assert [] == owned

    async def test_makes_nothing(self, app_url: str) -> None:
        """A function or a table of its own could stand in the way of the real one."""
        places = await query(
            app_url,
            "SELECT nspname FROM pg_namespace WHERE nspname = ANY ($1) "
            "AND has_schema_privilege(oid, 'CREATE')",
            [*MAINSTAY, "public"],
        )

        assert [] == places
        assert [] == await refused(app_url, "CREATE SCHEMA own")

    async def test_changes_no_table_and_no_policy(
        self, app_url: str, tables: Sequence[str]
    ) -> None:
        """Not one of them, in whichever way."""
        assert len(tables) > 20
        for table in tables:
            assert [] == await refused(
                app_url,
                f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
                f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"CREATE POLICY everything ON {table} USING (true)",
                f"ALTER POLICY tenant ON {table} USING (true)",
                f"DROP POLICY tenant ON {table}",
                f"DROP TABLE {table}",
                f"TRUNCATE {table}",
                f"ALTER TABLE {table} OWNER TO CURRENT_USER",
            )

    async def test_calls_nothing_that_works_for_all_and_is_not_for_services(
        self, app_url: str
    ) -> None:
        """What is for people, or inside of others, has its owner's rights."""
        assert [] == await refused(
            app_url,
            "SELECT telemetry.drop_days('api_request_logs', 'time', 1)",
            "SELECT cache.cleanup_cache_statistics(1)",
            "SELECT ratelimit.cleanup_ai_api_usage(1)",
            "SELECT ratelimit.cleanup_rate_limit_violations(1)",
        )

    async def test_makes_no_key_and_changes_no_audit(self, app_url: str) -> None:
        """Who takes over a service cannot let himself in, nor wipe out what was done."""
        assert [] == await refused(
            app_url,
            "INSERT INTO identity.api_keys (key_id, digest, name, tenant, scopes, creator) "
            "VALUES ('abcdefghijkl', sha256('x'), 'x', '*', '{*}', 'x')",
            "UPDATE identity.api_keys SET tenant = '*'",
            "UPDATE identity.api_keys SET scopes = '{*}'",
            "UPDATE identity.api_keys SET revoke_time = NULL",
            "DELETE FROM identity.api_keys",
            "UPDATE identity.key_revision SET revision = gen_random_uuid()",
            "UPDATE identity.audit_log SET principal = 'x'",
            "DELETE FROM identity.audit_log",
            "UPDATE ratelimit.audit_log SET principal = 'x'",
        )


class TestTables:
    async def test_of_tenants_have_forced_policies(
        self, migrated_url: str, tables: Sequence[str]
    ) -> None:
        """They bind whoever works with them, their owner too."""
        open_ = await query(
            migrated_url,
            "SELECT c.oid::regclass::text FROM pg_class AS c "
            "WHERE c.oid = ANY ($1::text[]::regclass[]) AND NOT ("
            "c.relrowsecurity AND c.relforcerowsecurity "
            "AND EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid))",
            list(tables),
        )

        assert [] == open_

    async def test_days_are_out_of_reach_but_by_their_table(self, migrated_url: str) -> None:
        """One that is named itself has no policy by which anybody but its owner sees a row."""
        open_ = await query(
            migrated_url,
            "SELECT c.oid::regclass::text FROM pg_class AS c "
            "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
            "JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant' "
            "WHERE n.nspname = ANY ($1) AND c.relkind = 'r' AND c.relispartition "
            "AND (NOT c.relrowsecurity OR EXISTS "
            "(SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid))",
            MAINSTAY,
        )

        assert [] == open_

    async def test_are_all_granted_or_known(self, app_url: str) -> None:
        """A migration that brings a table says in `sql/rights.sql` who may do what with it."""
        forgotten = await query(
            app_url,
            "SELECT c.oid::regclass::text FROM pg_class AS c "
            "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE n.nspname = ANY ($1) AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition "
            "AND NOT has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE')",
            MAINSTAY,
        )

        assert NOT_FOR_SERVICES == set(forgotten)

    async def test_that_come_later_are_granted(self, migrated_url: str, app_url: str) -> None:
        """Services of a new version may start before anybody says --role again."""
        owner = await asyncpg.connect(migrated_url)
        await owner.execute("CREATE TABLE jobs.later (tenant text)")
        await owner.close()
        await query(app_url, "INSERT INTO jobs.later VALUES ('acme')")

        assert [1] == await query(app_url, "SELECT count(*) FROM jobs.later")


class TestWithoutATenant:
    @pytest.fixture
    async def filled(self, migrated_url: str, app_url: str) -> str:
        """Have a row of a tenant in a table of each schema."""
        owner = await asyncpg.connect(migrated_url)
        await owner.execute(
            "SET mainstay.tenant = '*';"
            "INSERT INTO jobs.queues (tenant, name, paused) VALUES ('acme', 'q', true);"
            "INSERT INTO cache.cache_statistics (tenant, namespace, ttl_class, minute) "
            "VALUES ('acme', 'n', '', date_trunc('minute', now()));"
            "INSERT INTO identity.api_keys (key_id, digest, name, tenant, scopes, creator) "
            "VALUES ('abcdefghijkl', sha256('x'), 'x', 'acme', '{*}', 'x');"
            "INSERT INTO telemetry.api_request_logs (time, tenant, service, instance, method, "
            "principal, request_id, code, duration_ms) "
            "VALUES (now(), 'acme', 's', 'i', 'm', 'p', 'r', 'OK', 1)"
        )
        await owner.close()
        return app_url

    async def test_there_is_nothing(self, filled: str, tables: Sequence[str]) -> None:
        """Whatever a query forgets: without `mainstay.tenant` it sees no row of any table."""
        readable = await query(
            filled,
            "SELECT format('%s', t) FROM unnest($1::text[]) AS t "
            "WHERE has_table_privilege(t, 'SELECT')",
            list(tables),
        )
        for table in readable:
            assert [0] == await query(filled, f"SELECT count(*) FROM {table}")

    async def test_with_one_there_is_what_is_its_own(self, filled: str) -> None:
        """The same query, in the name of its tenant, of another and of all."""
        for table in ("jobs.queues", "cache.cache_statistics", "identity.api_keys"):
            counted = f"SELECT count(*) FROM {table}"
            seen = [(await query(filled, counted, tenant=name))[0] for name in ("acme", "x", "*")]

            assert [1, 0, 1] == seen


class TestGranting:
    async def test_may_be_repeated(self, migrated_url: str, app_url: str) -> None:
        """With every new version, while services run."""
        await grant_all(migrated_url, APP_ROLE)

        assert [True] == await query(
            app_url, "SELECT has_table_privilege('jobs.jobs', 'SELECT, INSERT, UPDATE, DELETE')"
        )

    @pytest.mark.parametrize(
        ("role", "reason"),
        [
            ("nobody_there", "there is no role"),
            ("postgres", "row-level security would not bind"),
            (ROLE, "is the one that migrates"),
        ],
    )
    async def test_is_refused_to_a_role_that_is_not_bound(
        self, session_postgres_url: str, role: str, reason: str
    ) -> None:
        """The error says what to do about it."""
        with pytest.raises(ConfigurationError, match=reason):
            await grant_all(session_postgres_url, role)

    async def test_lets_days_be_made_and_dropped(self, migrated_url: str, app_url: str) -> None:
        """By functions with their owner's rights, whose search path nobody else chooses."""
        owner = await asyncpg.connect(migrated_url)
        for table in await query(
            migrated_url,
            "SELECT inhrelid::regclass::text FROM pg_inherits AS i "
            "JOIN pg_class AS c ON c.oid = i.inhrelid WHERE c.relkind = 'r' "
            "AND c.relname ~ '_[0-9]{8}$'",
        ):
            await owner.execute(f"DROP TABLE {table}")
        await owner.close()
        made = [
            (await query(app_url, f"SELECT {function}(3)"))[0]
            for function in (
                "jobs.ensure_partitions",
                "health.ensure_partitions",
                "telemetry.ensure_partitions",
            )
        ]
        await query(app_url, "SELECT jobs.cleanup_job_queue(30)")
        await query(app_url, "SELECT telemetry.cleanup_api_request_logs(30)")

        assert [4, 4, 8] == made

    async def test_functions_with_owners_rights_fix_their_search_path(
        self, migrated_url: str
    ) -> None:
        """Else a temporary table of the caller's could stand for one of ours."""
        loose = await query(
            migrated_url,
            "SELECT p.oid::regprocedure::text FROM pg_proc AS p "
            "JOIN pg_namespace AS n ON n.oid = p.pronamespace "
            "WHERE n.nspname = ANY ($1) AND p.prosecdef AND NOT coalesce("
            "'search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)",
            MAINSTAY,
        )

        assert [] == loose

    def test_quotes_what_psql_would(self) -> None:
        """A role may be called anything."""
        assert 'TO "a""b"' == rights_of('TO :"role"', {"role": 'a"b'})


class TestRolesByHand:
    @pytest.fixture
    async def server(self, private_postgres: PostgresServer) -> PostgresServer:
        """Run the script as who may make roles and databases, and is no superuser."""
        server = private_postgres
        await server.stop()
        await server._execute_alone(server.data, "CREATE ROLE maker LOGIN CREATEROLE CREATEDB;")
        with (server.data / "pg_hba.conf").open("a") as rules:
            rules.write("host all maker,mainstay_owner,by_hand 127.0.0.1/32 trust\n")
        await server.start()
        text = re.sub(r"^--.*$", "", ROLES_SQL.read_text(), flags=re.MULTILINE)
        text = text.replace("mainstay_app", "by_hand").replace("mainstay;", "another;")
        text = re.sub(r"DATABASE mainstay\b", "DATABASE another", text)
        for statement in filter(str.strip, text.split(";")):
            await query(f"postgresql://maker@127.0.0.1:{server.port}/postgres", statement)
        return server

    async def test_are_such_that_migrate_accepts_them(self, server: PostgresServer) -> None:
        """Its owner migrates, and the other one then has all it needs."""
        owner_url = f"postgresql://mainstay_owner@127.0.0.1:{server.port}/another"
        app_url = f"postgresql://by_hand@127.0.0.1:{server.port}/another"
        for migrations in all_migrations():
            await migrations.apply(owner_url)
        await grant_all(owner_url, "by_hand")
        for migrations in all_migrations():
            await migrations.verify(app_url)

        assert [True] == await query(
            app_url, "SELECT has_database_privilege(current_database(), 'TEMP')"
        )
