"""Writes what the database says of its tables into docs/data.md; --check only compares.

The tables are those of a database that all migrations were applied to: the one at --database, or
one on a PostgreSQL that is started for it. In the document `<!-- table: schema.name -->` stands
where the description of a table goes, up to `<!-- end -->`; what is between is replaced.
"""

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from cli.embedded.postgres import PostgresServer
from cli.migrate import all_migrations

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "data.md"
_BLOCK = re.compile(r"<!-- table: (?P<name>[\w.]+) -->\n.*?<!-- end -->", re.DOTALL)

# Partitions are their table's; the ledger belongs to nobody's schema.
_TABLES = """
SELECT c.oid, n.nspname || '.' || c.relname AS name, c.relkind = 'v' AS is_view,
    obj_description(c.oid) AS meaning
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
    AND n.nspname = ANY ($1)
ORDER BY 2
"""
_COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
    col_description(a.attrelid, a.attnum) AS meaning
FROM pg_attribute AS a
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_INDEXES = """
SELECT i.relname AS name, m.amname AS method, x.indisprimary AS is_primary,
    x.indisunique AS is_unique, pg_get_expr(x.indpred, x.indrelid) AS part,
    ARRAY(
        SELECT pg_get_indexdef(i.oid, position, true)
        FROM generate_series(1, x.indnkeyatts) AS position
        ORDER BY position
    ) AS columns
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_am AS m ON m.oid = i.relam
WHERE x.indrelid = $1
ORDER BY x.indisprimary DESC, i.relname
"""
_SHORT = {
    "timestamp with time zone": "timestamptz",
    "double precision": "float8",
}


async def described(connection: asyncpg.Connection) -> dict[str, str]:
    """Return the description of each table by its name."""
    schemas = await _schemas(connection)
    tables = await connection.fetch(_TABLES, schemas)
    return {table["name"]: await _described(connection, table) for table in tables}


async def _schemas(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' "
        "AND nspname NOT IN ('public', 'information_schema')"
    )
    return [row["nspname"] for row in rows]


async def _described(connection: asyncpg.Connection, table: Mapping[str, object]) -> str:
    columns = await connection.fetch(_COLUMNS, table["oid"])
    indexes = await connection.fetch(_INDEXES, table["oid"])
    lines = [_text(table["meaning"]), "", "| column | type | meaning |", "|---|---|---|"]
    lines += [_column(column, of_view=bool(table["is_view"])) for column in columns]
    if indexes:
        lines += ["", f"Indexes: {'; '.join(map(_index, indexes))}."]
    return "\n".join(lines)


def _column(column: Mapping[str, object], *, of_view: bool) -> str:
    kind = str(column["type"])
    optional = "" if column["required"] or of_view else ", null"
    said = _text(column["meaning"])
    return f"| `{column['name']}` | {_SHORT.get(kind, kind)}{optional} | {said} |"


def _index(index: Mapping[str, object]) -> str:
    columns = index["columns"]
    assert isinstance(columns, list)
    kind = "primary key" if index["is_primary"] else "unique" if index["is_unique"] else ""
    method = "" if index["method"] == "btree" else str(index["method"]).upper()
    part = f"where `{_bare(str(index['part']))}`" if index["part"] else ""
    words = [word for word in (kind, method, f"`({', '.join(columns)})`", part) if word]
    return " ".join(words)


def _bare(expression: str) -> str:
    """Return an expression without its outer brackets and casts of constants."""
    return expression.removeprefix("(").removesuffix(")").replace("::text", "")


def _text(meaning: object) -> str:
    return str(meaning or "(not said)").replace("|", "\\|")


def rewritten(text: str, tables: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the document with the descriptions, and what it names wrongly or not at all."""
    named = [match["name"] for match in _BLOCK.finditer(text)]
    mistakes = [f"{name}: no such table" for name in named if name not in tables]
    mistakes += [f"{name}: the document lacks it" for name in tables if name not in named]
    mistakes += [f"{name}: more than once" for name in set(named) if named.count(name) > 1]

    def fresh(block: re.Match[str]) -> str:
        content = tables.get(block["name"], "")
        return f"<!-- table: {block['name']} -->\n{content}\n<!-- end -->"

    return _BLOCK.sub(fresh, text), mistakes


async def _tables(url: str) -> dict[str, str]:
    for migrations in all_migrations():
        await migrations.apply(url)
    connection = await asyncpg.connect(url)
    try:
        return await described(connection)
    finally:
        await connection.close()


async def _tables_of(database: str | None) -> dict[str, str]:
    if database is not None:
        return await _tables(database)
    with tempfile.TemporaryDirectory() as directory:
        async with PostgresServer(Path(directory) / "postgres", fsync=False) as server:
            return await _tables(server.url)


def main() -> int:
    """Write the document or compare it; return 1 if something is wrong with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 if stale")
    parser.add_argument("--database", help="the URL of a database to migrate and read")
    arguments = parser.parse_args()
    tables = asyncio.run(_tables_of(arguments.database))
    before = DOCUMENT.read_text(encoding="utf-8")
    text, mistakes = rewritten(before, tables)
    if text != before and arguments.check:
        mistakes.append("descriptions differ from the database's: run scripts/describe_tables.py")
    elif text != before:
        DOCUMENT.write_text(text, encoding="utf-8")
    sys.stderr.write("".join(f"docs/data.md: {mistake}\n" for mistake in mistakes))
    return bool(mistakes)


if __name__ == "__main__":
    raise SystemExit(main())
