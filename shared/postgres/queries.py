"""SQL that lives in .sql files, by name.

A file is a list of blocks::

    -- name: claim_jobs
    -- Takes the next jobs of some functions and leases them to a session.
    WITH …

"""

import re
from collections.abc import Mapping
from importlib.resources import files

OTHER = "(other)"
"""What statements are called that stand in no file."""

# By their text and not by a subclass of str, which asyncpg's C code would refuse.
_names = {"COMMIT": "(commit)", "ROLLBACK": "(rollback)"}

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load_queries(package: str, *names: str) -> Mapping[str, str]:
    """Return the queries of files in a package by their names, which are unique among them."""
    queries: dict[str, str] = {}
    for name in names:
        text = files(package).joinpath(name).read_text(encoding="utf-8")
        _preamble, *parts = _NAME.split(text)
        for query, body in zip(parts[::2], parts[1::2], strict=True):
            if query in queries:
                raise ValueError(f"{package}/{name}: the name {query} is taken by another query")
            queries[query] = body.strip()
            _names[queries[query]] = query
    return queries


def named(sql: str, name: str) -> str:
    """Return a statement that stands in no file, after giving it a name of the code's own."""
    _names[sql] = name
    return sql


def name_of(sql: str) -> str:
    """Return the name of a query that was loaded from a file, in a fixed set of names."""
    return _names.get(sql, OTHER)
