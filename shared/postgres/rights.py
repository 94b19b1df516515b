"""The rights of a role that services run as: all they need, and none by which tenants could meet.

Each service says in `sql/rights.sql` what it needs, in a form that psql takes too. The role itself
is made by whoever may make roles: deploy/postgres/roles.sql.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files

import asyncpg

from mainstay.errors import ConfigurationError
from shared.postgres.errors import translate, translate_connecting
from shared.postgres.migrations import CONNECT_TIMEOUT, LOCK_KEY, LOCK_TIMEOUT

FILE = "sql/rights.sql"
COMMON = "shared.postgres"
MAX_ATTEMPTS = 3

# A partition that a service drops meanwhile, or a role that another one is granting to.
_MEANWHILE = (asyncpg.InternalServerError, asyncpg.UndefinedTableError)
_VARIABLE = re.compile(r':"(\w+)"')

_FIND_ROLE = """
SELECT
    rolsuper AS superuser, rolbypassrls AS bypasses, rolcreaterole AS creates,
    pg_has_role(oid, current_user, 'MEMBER') AS migrates
FROM pg_roles WHERE rolname = $1
"""
_FIND_OWNED = """
SELECT name FROM (
    SELECT n.nspname || '.' || c.relname AS name, c.relowner AS owner
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY ($2)
    UNION ALL
    SELECT 'the schema ' || nspname, nspowner FROM pg_namespace WHERE nspname = ANY ($2)
    UNION ALL
    SELECT 'the database', datdba FROM pg_database WHERE datname = current_database()
) AS found
WHERE pg_has_role($1, owner, 'MEMBER')
ORDER BY 1 LIMIT 1
"""


async def grant_rights(
    url: str, role: str, packages: Iterable[str], *, schemas: Iterable[str]
) -> None:
    """Give a role what the services of these packages need, which migrations have made.

    It is done as a whole or not at all, and may be repeated. Raises ConfigurationError for a role
    that row-level security would not bind, or that could change what it is to be bound by.
    """
    texts = [_text(package) for package in (COMMON, *packages)]
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT)
    except Exception as error:
        raise translate_connecting(error) or error from error
    try:
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        # Not while somebody migrates; the lock ends with the connection.
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        await _check(connection, role, list(schemas))
        await _grant(connection, role, texts)
    except Exception as error:
        raise translate(error) or error from error
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT)


def rights_of(text: str, values: Mapping[str, str]) -> str:
    """Return a file of rights with its variables filled in, as psql would."""
    return _VARIABLE.sub(lambda match: _quoted(values[match[1]]), text)


async def _grant(connection: asyncpg.Connection, role: str, texts: Iterable[str]) -> None:
    database = await connection.fetchval("SELECT current_database()")
    statements = rights_of("\n".join(texts), {"role": role, "DBNAME": database})
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            async with connection.transaction():
                await connection.execute(statements)
        except _MEANWHILE:
            if attempt == MAX_ATTEMPTS:
                raise
            await asyncio.sleep(0.1 * attempt)
        else:
            break
    await _check_temporary(connection, role, database)


async def _check(connection: asyncpg.Connection, role: str, schemas: list[str]) -> None:
    """Refuse a role that the policies of tables would not bind."""
    found = await connection.fetchrow(_FIND_ROLE, role)
    if found is None:
        raise ConfigurationError(
            f"there is no role {role!r}; whoever may make roles does: "
            f"CREATE ROLE {_quoted(role)} LOGIN (deploy/postgres/roles.sql)"
        )
    if found["superuser"] or found["bypasses"] or found["creates"]:
        raise ConfigurationError(
            f"row-level security would not bind the role {role!r}; take it away: ALTER ROLE "
            f"{_quoted(role)} NOSUPERUSER NOBYPASSRLS NOCREATEROLE, or name another one"
        )
    if found["migrates"]:
        raise ConfigurationError(
            f"the role {role!r} is the one that migrates, or may become it: it could switch off "
            "what keeps tenants apart; name one that owns nothing"
        )
    if owned := await connection.fetchval(_FIND_OWNED, role, schemas):
        raise ConfigurationError(
            f"the role {role!r} owns {owned}, or may become its owner, and could switch off what "
            f"keeps tenants apart; give it to another one: REASSIGN OWNED BY {_quoted(role)} TO …"
        )


async def _check_temporary(connection: asyncpg.Connection, role: str, database: str) -> None:
    """Only who owns the database can grant that one, and without it PostgreSQL merely warns."""
    if not await connection.fetchval(
        "SELECT has_database_privilege($1, $2, 'TEMP')", role, database
    ):
        raise ConfigurationError(
            f"the role {role!r} may not make temporary tables, by which rows are added in batches; "
            f"have the owner of the database say: GRANT TEMPORARY ON DATABASE {_quoted(database)} "
            f"TO {_quoted(role)}"
        )


def _text(package: str) -> str:
    return files(package).joinpath(FILE).read_text(encoding="utf-8")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
