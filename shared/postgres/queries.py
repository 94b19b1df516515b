"""SQL that lives in .sql files, by name.

A file is a list of blocks::

    -- name: claim_jobs
    -- Takes the next jobs of some functions and leases them to a session.
    WITH …

"""

import re
from collections.abc import Mapping
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load_queries(package: str, name: str) -> Mapping[str, str]:
    """Return the queries of a file in a package by their names."""
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    _preamble, *parts = _NAME.split(text)
    queries = dict(zip(parts[::2], (body.strip() for body in parts[1::2]), strict=True))
    if len(queries) * 2 != len(parts):
        raise ValueError(f"{package}/{name}: two queries have one name")
    return queries
