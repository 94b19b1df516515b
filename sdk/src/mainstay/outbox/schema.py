"""The SQL of an outbox: steps that make it and what is asked of it, for a schema of any name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from mainstay.errors import ConfigurationError

DEFAULT_SCHEMA = "mainstay_outbox"
"""The name that the files of SQL are written with."""

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_FILE = re.compile(r"(\d{4})_\w+\.sql")
_QUERY = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What makes an outbox of one version out of that of the version before, forwards only."""

    version: int
    sql: str


@cache
def packaged_steps() -> tuple[Step, ...]:
    """Return the steps of this release, the first first."""
    found = [
        Step(version=int(match[1]), sql=file.read_text(encoding="utf-8"))
        for file in files("mainstay.outbox").joinpath("sql/steps").iterdir()
        if (match := _FILE.fullmatch(file.name))
    ]
    return tuple(sorted(found, key=lambda step: step.version))


def load_queries(schema: str) -> Mapping[str, str]:
    """Return the queries by their names."""
    text = files("mainstay.outbox").joinpath("sql/queries.sql").read_text(encoding="utf-8")
    _preamble, *parts = _QUERY.split(renamed(text, schema))
    return dict(zip(parts[::2], (body.strip() for body in parts[1::2]), strict=True))


def renamed(sql: str, schema: str) -> str:
    """Return SQL of this package for a schema of another name."""
    return sql.replace(DEFAULT_SCHEMA, f'"{schema}"')


def checked(schema: str) -> str:
    """Return the name of a schema; raises ConfigurationError for one that cannot be."""
    if _SCHEMA.fullmatch(schema) and not schema.startswith("pg_"):
        return schema
    raise ConfigurationError(
        f"{schema[:100]!r} cannot be the schema of an outbox; use up to 63 of a-z, 0-9 and _, the "
        "first no digit, and not pg_ as the beginning"
    )


def grants(schema: str, *, senders: Sequence[str], relays: Sequence[str]) -> list[str]:
    """Return what lets roles send, and nothing else, and others relay."""
    place = f'"{schema}"'
    return [
        *(f"GRANT USAGE ON SCHEMA {place} TO {_quoted(role)};" for role in (*senders, *relays)),
        *(
            f"GRANT EXECUTE ON FUNCTION {place}.send_event, {place}.enqueue TO {_quoted(role)};"
            for role in senders
        ),
        *(f"GRANT SELECT ON {place}.versions TO {_quoted(role)};" for role in relays),
        *(
            f"GRANT SELECT, UPDATE, DELETE ON {place}.messages TO {_quoted(role)};"
            for role in relays
        ),
    ]


def script(
    schema: str = DEFAULT_SCHEMA,
    *,
    after: int = 0,
    senders: Sequence[str] = (),
    relays: Sequence[str] = (),
    steps: Sequence[Step] | None = None,
) -> str:
    """Return the SQL that installs an outbox, or upgrades that of version `after`.

    For those who change their schema by migrations of their own. Roles in `senders` may send, those
    in `relays` relay. Raises ConfigurationError for a name that cannot be a schema's.
    """
    checked(schema)
    known = packaged_steps() if steps is None else steps
    parts = [renamed(step.sql, schema).strip() for step in known if step.version > after]
    granted = "\n".join(grants(schema, senders=senders, relays=relays))
    return "\n\n\n".join(["BEGIN;", *parts, *([granted] if granted else []), "COMMIT;"]) + "\n"


def _quoted(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'
